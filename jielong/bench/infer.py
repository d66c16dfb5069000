"""Writing beside transformers' generate and CTranslate2: same shape, same weights, same threads, one run.

Every contestant writes the same number of tokens greedily, from prompts of 16 tokens; rounds are interleaved and begin
with another contestant each time. Beside them, in the same rounds, the machine itself: one pass of reading as many
bytes as the weights have, and products at the model's own shapes. From these come the floors of a step (bytes /
reading rate, operations / matrix rate), and the bound is named: what is left above both floors is dispatch.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from jielong.base import device, noise
from jielong.base.result import Interval, Result, Row
from jielong.base.talk import Talk
from jielong.infer.core import Core
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.nets import kernels, quant
from jielong.nets.config import Layer, TransformerConfig, shape
from jielong.nets.transformer import Transformer, count

PROMPT = 16
GPT2 = TransformerConfig(
    vocab=50257, dim=768, layers=12, heads=12, kv_heads=12, head_dim=64, hidden=3072, context=1024,
    layer=Layer(rope=None, qk_norm=None), position="learned", activation="gelu_tanh", norm="layer", norm_eps=1e-5,
    qkv_bias=True, out_bias=True, mlp_bias=True,
)  # fmt: skip
SIZES = {"1M": shape(128, 1024, 512, 4), "4M": shape(224, 2048, 512, 6), "15M": shape(320, 8192, 512, 10)}
SLOWER = "exact, times as long as fast"
EITHER = "of the lower of 10 times transformers and 55 % of the matrix rate"
TARGETS = {"times at 1": 5.0, "times at 32": 10.0, "matrix share": 0.55, "exact": 1.5, "f32": 0.85, "int8": 0.60}
Write = Callable[[], list[int]]


@dataclass
class Contestant:
    """`write()` gives the first stream's tokens; `seconds` are those of a step, one a round."""

    name: str
    write: Write
    steps: int
    seconds: list[float] = field(default_factory=list)
    said: list[int] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds a step."""
        return statistics.median(self.seconds)


def prompts(config: TransformerConfig, streams: int) -> list[tuple[int, ...]]:
    """Random tokens, another prompt for each stream."""
    ids = noise.integers(11, below=config.vocab, n=streams * PROMPT).tolist()
    return [tuple(ids[i * PROMPT : (i + 1) * PROMPT]) for i in range(streams)]


def random_model(config: TransformerConfig) -> Transformer:
    """Random weights, not zero anywhere: a text that depends on them."""
    model = Transformer(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.7 / parameter.shape[1] ** 0.5, generator=generator)
    return model.eval()


def ours(model: Transformer, name: str, streams: int, tokens: int, mode: Any = "fast") -> Contestant:
    """Our engine's core, kept from round to round; what it knows of the prompts is forgotten."""
    core = Core(model, mode=mode, streams=streams, length=PROMPT + tokens)
    asked = prompts(model.config, streams)

    def write() -> list[int]:
        core.clear()
        rows = [core.submit(Request(p, Sampling(max_tokens=tokens, temperature=0))) for p in asked]
        while core.busy:
            core.step()
        return rows[0].text[PROMPT:]

    return Contestant(name, write, tokens)


def transformers_(model: Transformer, streams: int, tokens: int) -> Contestant | None:
    """transformers' generate over its own class with our weights; None where it is not installed."""
    try:
        import transformers
    except ImportError:
        return None
    theirs = huggingface(model, transformers)
    ids = torch.tensor(prompts(model.config, streams))
    options: dict[str, Any] = {
        "max_new_tokens": tokens,
        "min_new_tokens": tokens,
        "do_sample": False,
        "pad_token_id": 0,
    }
    options |= {"attention_mask": torch.ones_like(ids), "eos_token_id": None}

    def write() -> list[int]:
        with torch.inference_mode():
            return theirs.generate(ids, **options)[0, PROMPT:].tolist()

    return Contestant("transformers", write, tokens)


def huggingface(model: Transformer, transformers: Any) -> Any:
    """The model as transformers' own class."""
    from jielong.nets import checkpoint, weights
    from jielong.nets.families import known
    from jielong.nets.families.family import write

    family, _ = known.fitting(model.config)
    assert family is not None
    said = write(family, model.config)
    config = transformers.AutoConfig.for_model(**{k: v for k, v in said.items() if k != "architectures"})
    with torch.device("cpu"):
        theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
    state = model.state_dict()
    mine = {part.theirs: weights.take(state, part) for part in checkpoint.parts(family, model)}
    theirs.load_state_dict(mine, strict=False)
    theirs.tie_weights()
    return theirs


def ctranslate2_(model: Transformer, tokens: int, kind: str, folder: Path) -> Contestant | None:
    """CTranslate2 at one stream; None where it or transformers is not installed."""
    try:
        import ctranslate2  # type: ignore[import-not-found]
        import transformers
    except ImportError:
        return None
    made = folder / "ct2"
    if not made.exists():
        _convert(model, transformers, ctranslate2, folder, made)
    threads = torch.get_num_threads()
    generator = ctranslate2.Generator(
        str(made), device="cpu", compute_type=kind, inter_threads=1, intra_threads=threads
    )
    (prompt,) = prompts(model.config, 1)
    words = [f"w{i}" for i in prompt]

    def write() -> list[int]:
        out = generator.generate_batch(
            [words], max_length=tokens, min_length=tokens, sampling_topk=1, include_prompt_in_result=False
        )
        return list(out[0].sequences_ids[0])

    return Contestant(f"CTranslate2 {kind}", write, tokens)


def _convert(model: Transformer, transformers: Any, ctranslate2: Any, folder: Path, made: Path) -> None:
    """Write the model with a tokenizer of plain words, as the converter wants it."""
    import tokenizers

    huggingface(model, transformers).save_pretrained(folder / "hf")
    words = tokenizers.models.WordLevel({f"w{i}": i for i in range(model.config.vocab)}, unk_token="w0")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(words))
    fast.add_special_tokens(dict.fromkeys(("bos_token", "eos_token", "unk_token"), "w0"))
    fast.save_pretrained(folder / "hf")
    ctranslate2.converters.TransformersConverter(str(folder / "hf")).convert(str(made))


def read_pass(numbers: int) -> Contestant:
    """One pass of reading so many bytes: the sum of float32 numbers."""
    much = torch.ones(numbers // 4)

    def write() -> list[int]:
        for _ in range(5):
            much.sum()
        return []

    return Contestant("one read pass", write, 5)


def run(
    talk: Talk, rounds: int = 5, tokens: int = 64, sizes: tuple[str, ...] = tuple(SIZES), gpt2: bool = True
) -> Result:
    """Everything, as one result."""
    torch.set_num_threads(device.threads())
    device.keep_memory()
    rows: list[Row] = []
    for name in sizes:
        model = random_model(SIZES[name])
        for streams in (1, 32):
            rows += _small(name, model, streams, tokens, rounds, talk)
    if gpt2:
        rows += _large(random_model(GPT2), min(tokens, 32), rounds, talk)
    meta = {"threads": torch.get_num_threads(), "tokens": tokens, "prompt": PROMPT}
    return Result("bench_infer", "Writing speed beside peers", tuple(rows), meta={**meta, "at_most": [SLOWER]})


def _small(name: str, model: Transformer, streams: int, tokens: int, rounds: int, talk: Talk) -> list[Row]:
    size = 4 * count(model)
    fast, exact = ours(model, "fast", streams, tokens), ours(model, "exact", streams, tokens, "exact")
    peer = transformers_(model, streams, tokens)
    reading = read_pass(size)
    compete([c for c in (fast, exact, peer, reading) if c is not None], rounds, f"{name}, {streams} streams", talk)
    group = f"{name}, {streams} stream{'s' if streams > 1 else ''}"
    rows = [_speed(c, streams, group) for c in (fast, exact, peer) if c is not None]
    flops = _work(model.config, tokens) * streams / tokens
    rate = matrix_rate(_shapes(model.config, streams))
    rows.append(_card(fast, group, flops / rate, reading.median, size))
    share, bar = flops / rate / fast.median, TARGETS["times at 1"] if streams == 1 else None
    if peer is not None:
        rows.append(_ratio("times transformers", peer, fast, group, bar))
    if streams > 1:
        rows.append(_row("share of the matrix rate", share, group, None, f"{rate / 1e9:.0f} GFLOP/s"))
    if streams > 1 and peer is not None:
        parts = share / TARGETS["matrix share"], peer.median / fast.median / TARGETS["times at 32"]
        rows.append(_row(EITHER, max(parts), group, 1.0))
    rows.append(_ratio(SLOWER, exact, fast, group, TARGETS["exact"]))
    return rows


def _large(model: Transformer, tokens: int, rounds: int, talk: Talk) -> list[Row]:
    size, group = 4 * count(model), "GPT-2 124M shape, 1 stream"
    small = Transformer(model.config, seed=None)
    small.load_state_dict(model.state_dict())
    quant.quantise(small.eval(), 8)
    with tempfile.TemporaryDirectory() as folder:
        mine, eight = ours(model, "float32", 1, tokens), ours(small, "int8", 1, tokens)
        peers = [transformers_(model, 1, tokens)]
        peers += [ctranslate2_(model, tokens, kind, Path(folder)) for kind in ("float32", "int8")]
        whole, quarter = read_pass(size), read_pass(size // 4)
        quarter.name = "one read pass of a quarter"
        compete([c for c in (mine, eight, *peers, whole, quarter) if c is not None], rounds, group, talk)
    rows = [_speed(c, 1, group) for c in (mine, eight, *peers) if c is not None]
    rows.append(_row("float32, share of one read pass", whole.median / mine.median, group, TARGETS["f32"]))
    rows.append(_row("int8, share of one read pass", quarter.median / eight.median, group, TARGETS["int8"]))
    for peer, own, bar in ((peers[0], mine, None), (peers[1], mine, None), (peers[2], eight, 1.0)):
        if peer is not None:
            rows.append(_ratio(f"{own.name}, times {peer.name}", peer, own, group, bar))
    return rows


def compete(field_: list[Contestant], rounds: int, name: str, talk: Talk, bench: str = "infer") -> None:
    """A warm-up and `rounds` interleaved rounds, each begun by another contestant."""
    with talk.progress(len(field_) * (rounds + 1), f"bench {bench}, {name}", "runs") as bar:
        for number in range(-1, rounds):
            start = number % len(field_)
            for place, one in enumerate(field_[start:] + field_[:start]):
                began = time.perf_counter()
                one.said = one.write()
                if number >= 0:
                    one.seconds.append((time.perf_counter() - began) / one.steps)
                bar.update((number + 1) * len(field_) + place + 1)


def _shapes(config: TransformerConfig, streams: int) -> list[tuple[int, int, int]]:
    attention, kv = config.heads * config.head_dim, config.kv_heads * config.head_dim
    block = [(streams, config.dim, attention + 2 * kv), (streams, attention, config.dim)]
    block += [(streams, config.dim, config.hidden * (2 if config.gated else 1)), (streams, config.hidden, config.dim)]
    return block * config.layers + [(streams, config.dim, config.vocab)]


def _work(config: TransformerConfig, tokens: int) -> float:
    """Operations of one stream's round: the prompt is read as well, but its logits are wanted at the end only."""
    head = 2 * config.dim * config.vocab
    body = config.matrix_flops(PROMPT + tokens) - head
    return body * (PROMPT + tokens - 1) + head * tokens


def matrix_rate(shapes: list[tuple[int, int, int]]) -> float:
    """FLOP/s of (m, k) @ (k, n) products by the better of torch's own and the packed ones."""
    different = list(dict.fromkeys(shapes))
    plain = device.matmul_rate(different, repeats=3, seconds=0.2)
    if not kernels.packs():
        return plain
    pairs = [(torch.rand(m, k), kernels.Packed(torch.rand(n, k))) for m, k, n in different]
    with torch.inference_mode():
        times = [statistics.median(_clock(times_, x) for _ in range(3)) for x, times_ in pairs]
    return max(plain, sum(2 * m * k * n for m, k, n in different) / sum(times))


def _clock(matrix: kernels.Packed, x: torch.Tensor) -> float:
    """Seconds of one product, of twenty."""
    began = time.perf_counter()
    for _ in range(20):
        matrix(x)
    return (time.perf_counter() - began) / 20


def _card(one: Contestant, group: str, compute: float, reading: float, size: int) -> Row:
    """The roofline card: the floors of a step, and which of them (or dispatch) binds."""
    cached = size < CACHE
    floors = {"compute": compute, "cache" if cached else "bandwidth": reading}
    dispatch = max(0.0, one.median - max(floors.values()))
    bound = max(floors, key=lambda k: floors[k]) if max(floors.values()) > dispatch else "dispatch"
    note = f"bound: {bound}; a step of {one.median * 1e6:.0f} us has floors " + ", ".join(
        f"{k} {v * 1e6:.0f} us" for k, v in floors.items()
    )
    return _row("share of the floor", max(floors.values()) / one.median, group, None, note)


CACHE = 16 << 20  # bytes of weights that a laptop's last cache may keep from step to step


def _speed(one: Contestant, streams: int, group: str) -> Row:
    speeds = sorted(streams / s for s in one.seconds)
    low, high = speeds[0], speeds[-1]
    return Row(one.name, streams / one.median, Interval(low, high, 1.0, "range"), len(speeds), unit="tokens/s",
               group=group)  # fmt: skip


def _ratio(name: str, slow: Contestant, quick: Contestant, group: str, bar: float | None) -> Row:
    """Round by round, one's seconds over the other's."""
    ratios = sorted(a / b for a, b in zip(slow.seconds, quick.seconds, strict=True))
    same = "the same text" if slow.said == quick.said else f"{_agree(slow.said, quick.said)} first tokens alike"
    return Row(name, statistics.median(ratios), Interval(ratios[0], ratios[-1], 1.0, "range"), len(ratios), bar=bar,
               unit="times", group=group, note=same)  # fmt: skip


def _agree(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def _row(name: str, value: float, group: str, bar: float | None, note: str = "") -> Row:
    return Row(name, value, None, 1, bar=bar, unit="share", group=group, note=note)


def summary(result: Result) -> Iterator[tuple[Any, ...]]:
    """Rows of a table for people."""
    for row in result.rows:
        value = f"{row.estimate:,.0f}" if row.unit == "tokens/s" else f"{row.estimate:.2f}"
        yield row.group, row.name, value, row.unit, f"{row.bar:g}" if row.bar else "", row.note


def versions() -> Mapping[str, Any]:
    """The peers' versions."""
    return {name: device.version(name) for name in ("torch", "transformers", "ctranslate2")}
