"""Exact mode to the bit, twins, echo, zero tokens, faults: the step below everything that writes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from jielong.base import noise
from jielong.base.errors import UserError, WorkFailed
from jielong.infer.core import Core
from jielong.infer.generate import Record, generate
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.infer.score import score
from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.decoder import Decoder
from jielong.nets.native import build
from jielong.nets.native.decoder import NativeDecoder
from jielong.nets.pages import SIZE, page_bytes
from jielong.nets.transformer import Transformer

from .conftest import VOCAB, NoCache, random_model


def run(core: Core, requests: list[Request]) -> list[Any]:
    rows = [core.submit(r) for r in requests]
    records = {row: Record() for row in rows}
    while core.busy:
        for token in core.step():
            assert token.error is None
            records[token.row].add(token)
    return [(r.ids, r.logprobs, r.reason) for r in records.values()]


def text(i: int, n: int) -> tuple[int, ...]:
    return tuple(1 + (7 * i + 3 * j + j * j) % (VOCAB - 1) for j in range(n))


@pytest.fixture(params=["compiled", "call by call"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The decoder in C++ (where there is a compiler), and the one without."""
    if request.param == "call by call":
        monkeypatch.setattr("jielong.infer.runner.native.decoder", lambda *_: None)
    elif build.library() is None:
        pytest.skip("no compiler here")
    return request.param


@pytest.mark.parametrize("threads", [1, 2])
def test_exact_mode_is_the_same_to_the_bit(threads: int, either: str) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    model = random_model(context=256)
    many = 9 if threads == 1 or either == "compiled" else 3  # two threads on a busy machine wait at every call
    requests = [Request(text(i, 1 + 9 * i), Sampling(seed=i, max_tokens=12), index=i % 2) for i in range(many)]
    try:
        alone = [run(Core(model, mode="exact"), [r])[0] for r in requests]
        for options in ({"chunk": 5}, {"streams": 3}, {"memory": 14 * page_bytes(model.config)})[: 4 - threads]:
            core = Core(model, mode="exact", **options)
            assert run(core, requests) == alone
            assert run(core, requests[::-1]) == alone[::-1]  # much of it in the cache by now
    finally:
        torch.set_num_threads(before)


def test_a_prompt_that_is_read_twice_is_reported_once() -> None:
    """Texts that are put off begin anew; what was said of their prompts stands, what they wrote is no part of it."""
    model = random_model(context=128)
    asked = [Request(text(i, 3 + i), Sampling(seed=i, max_tokens=50, logprobs=2), echo=True) for i in range(8)]
    reports = []
    for memory in (1 << 30, 10 * page_bytes(model.config)):
        core = Core(model, mode="exact", memory=memory, chunk=9)
        rows = [core.submit(request) for request in asked]
        while core.busy:
            core.step()
        reports.append([row.report for row in rows])
    assert core.scheduler.preemptions > 0 and reports[0] == reports[1]
    assert [len(logprobs) for logprobs, _ in reports[1]] == [len(r.prompt) - 1 for r in asked]


def test_exact_mode_refuses_what_it_cannot_prove(model: Transformer, no_cache: NoCache) -> None:
    with pytest.raises(UserError, match="float32 on a CPU"):
        Core(random_model().double(), mode="exact")
    with pytest.raises(UserError, match="float32 on a CPU"):
        Core(model, mode="exact", bits=8)
    with pytest.raises(UserError, match="reads its text anew"):
        Core(no_cache, mode="exact")
    with pytest.raises(UserError, match="fast or exact"):
        Core(model, mode="sharp")  # type: ignore[arg-type]


def test_the_self_check_sees_a_decoder_that_depends_on_company(
    model: Transformer, monkeypatch: pytest.MonkeyPatch, either: str
) -> None:
    kind = NativeDecoder if either == "compiled" else Decoder
    real = kind.step
    monkeypatch.setattr(kind, "step", lambda self, f, p: real(self, f, p) * (1 + 1e-6 * (len(f.ids) > 2)))
    with pytest.raises(UserError, match="cannot be kept on this machine"):
        Core(model, mode="exact")


def test_echo_gives_the_prompts_log_probabilities(model: Transformer) -> None:
    prompts = [text(1, 30), text(2, 1), text(1, 30), text(3, 17)]
    core = Core(model, chunk=8)
    rows = [core.submit(Request(p, Sampling(max_tokens=3, temperature=0, logprobs=2), echo=True)) for p in prompts]
    while core.busy:
        core.step()
    for row, prompt in zip(rows, prompts):
        logprobs, tops = row.report
        (expected,) = score(model, [prompt], [1])
        assert logprobs == pytest.approx(expected.tolist(), abs=2e-4)
        assert [len(t) for t in tops] == [2] * (len(prompt) - 1)
    plain = generate(model, prompts, Sampling(max_tokens=3, temperature=0))
    assert [tuple(r.text[len(p) :]) for r, p in zip(rows, prompts)] == [g.ids for g in plain]


def test_no_tokens_are_no_tokens(model: Transformer) -> None:
    out = generate(model, [[1, 2], [3]], [Sampling(max_tokens=0), Sampling(max_tokens=2)])
    assert (out[0].ids, out[0].reason) == ((), "length")
    assert len(out[1].ids) == 2
    assert generate(model, [[5] * 64], Sampling(max_tokens=0))[0].ids == ()  # a whole context can be read


class Forbid:
    """Forbids all but one token, or fails."""

    def __init__(self, token: int, fail: bool = False, most: int = 99) -> None:
        self.token, self.fail, self.most = token, fail, most

    def start(self, prompt: tuple[int, ...]) -> int:
        return 0

    def process(self, state: int, logits_V: torch.Tensor) -> torch.Tensor:
        if self.fail and state == 2:
            raise ValueError("broken rule")
        return torch.full_like(logits_V, -torch.inf).index_fill_(0, torch.tensor([self.token]), 0.0)

    def advance(self, state: int, token: int) -> int:
        return state + 1

    def done(self, state: int) -> bool:
        return state == self.most


def test_a_fault_in_one_request_ends_that_one_only(model: Transformer) -> None:
    core = Core(model)
    nothing = dict.fromkeys(range(VOCAB), float("-inf"))
    asked: list[tuple[Any, Any]] = [
        ((Forbid(7),), ()),
        ((Forbid(8, True),), ()),
        ((), nothing),
        ((Forbid(9, most=4),), ()),
    ]
    good, bad, none, short = (
        core.submit(Request((1, 2), Sampling(max_tokens=6, logit_bias=bias), processors=rules)) for rules, bias in asked
    )
    errors: dict[Any, Exception] = {}
    while core.busy:
        errors |= {t.row: t.error for t in core.step() if t.error is not None}
    assert good.text[2:] == [7] * 6
    assert short.text[2:] == [9] * 4
    assert bad.text[2:] == [8, 8]
    assert isinstance(errors[bad], ValueError)
    assert isinstance(errors[none], WorkFailed)
    assert core.scheduler.blocks.used == 0


class Stumbles(Forbid):
    """Forbids all but one token, and fails where it is told of its third, or asked whether it is done."""

    def __init__(self, token: int, where: str) -> None:
        super().__init__(token)
        self.where = where

    def advance(self, state: int, token: int) -> int:
        if self.where == "advance" and state == 2:
            raise ValueError("broken rule")
        return state + 1

    def done(self, state: int) -> bool:
        if self.where == "done" and state == 3:
            raise ValueError("broken rule")
        return False


@pytest.mark.parametrize("where", ["advance", "done"])
@pytest.mark.parametrize("first", [True, False])
def test_a_fault_after_the_choice_ends_that_request_only(model: Transformer, where: str, first: bool) -> None:
    core = Core(model)
    rules = [Stumbles(8, where), Forbid(7)] if first else [Forbid(7), Stumbles(8, where)]
    rows = [core.submit(Request((1, 2), Sampling(max_tokens=6), processors=(rule,))) for rule in rules]
    bad, good = rows if first else reversed(rows)
    errors: dict[Any, Exception] = {}
    while core.busy:
        errors |= {t.row: t.error for t in core.step() if t.error is not None}
    assert list(errors) == [bad] and isinstance(errors[bad], ValueError)
    assert good.text[2:] == [7] * 6 and bad.text[2:] == [8, 8]  # the token it failed on is not written
    assert core.scheduler.blocks.used == 0


def test_what_can_never_fit_is_refused_at_once(model: Transformer) -> None:
    core = Core(model, memory=3 * page_bytes(model.config))
    with pytest.raises(UserError, match=f"cache holds {2 * SIZE}"):
        core.submit(Request(text(1, 40), Sampling(max_tokens=1)))
    assert not core.busy


def test_penalties_count_what_was_written_and_not_the_prompt(model: Transformer) -> None:
    """With a penalty that nothing outweighs, no token comes twice, though the prompt's own may."""
    settings = Sampling(temperature=0, max_tokens=30, presence_penalty=2.0, frequency_penalty=1e4)
    (out,) = generate(model, [[3, 3, 4]], settings)
    assert len(set(out.ids)) == 30
    everything = generate(model, [list(range(VOCAB))], settings.with_(max_tokens=16))[0].ids
    plain = generate(model, [list(range(VOCAB))], Sampling(temperature=0, max_tokens=1))[0].ids
    assert everything[0] == plain[0]
    together = generate(model, [[3, 3, 4]] * 2, [settings, Sampling(temperature=0, max_tokens=30)])
    assert together[0].ids == out.ids


def test_draws_of_one_seed_differ_by_their_index(model: Transformer) -> None:
    core = Core(model)
    draws = run(core, [Request((1, 2), Sampling(seed=3, max_tokens=9), index=i) for i in range(4)])
    assert len({tuple(ids) for ids, _, _ in draws}) == 4
    assert run(core, [Request((1, 2), Sampling(seed=3, max_tokens=9), index=2)])[0][0] == draws[2][0]


def streaming(position: str, sinks: int | None, length: int = 64, **options: Any) -> Core:
    layer = {"rope": Layer(), "alibi": Layer(rope=None), "learned": Layer(rope=None)}[position]
    config = TransformerConfig(vocab=VOCAB, dim=32, layers=1, heads=2, kv_heads=1, head_dim=16, hidden=64,
                               context=length, layer=layer, position=position)  # type: ignore[arg-type]  # fmt: skip
    model = Transformer(config)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.3, generator=generator)
    return Core(model.eval(), sinks=sinks, **options)


@pytest.mark.parametrize("position", ["rope", "alibi"])
def test_past_the_context_a_text_runs_on_as_if_the_middle_had_never_been(position: str) -> None:
    """With one layer, a key depends on its token and place alone: after each slide the cache must be what reading the
    sinks and the latest tokens alone gives, so the greedy text must be that of full re-computation over them."""
    core = streaming(position, sinks=4)
    row = core.submit(Request(text(1, 50), Sampling(temperature=0, max_tokens=120)))
    model = core.runner.decoder  # type: ignore[attr-defined]
    plain = Transformer(model.config)
    plain.load_state_dict(_source(core))
    seen = []
    while core.busy:
        tokens = core.step()
        seen.append((row.held, row.dropped))
        kept = [*row.text[:SIZE], *row.text[SIZE + row.dropped : row.read]] if row.dropped else row.text[: row.read]
        if tokens and not tokens[0].reason and row.dropped:
            with torch.no_grad():
                logits = plain.eval()(torch.tensor([kept]))[0, -1]
            assert tokens[0].logprob == pytest.approx(float(logits.log_softmax(-1)[tokens[0].id]), abs=2e-4)
    assert len(row.text) == 170
    assert max(held for held, _ in seen) == 64
    assert core.scheduler.blocks.used == 0


def _source(core: Core) -> dict[str, torch.Tensor]:
    """The weights of the model that `streaming` made."""
    config = core.runner.decoder.config  # type: ignore[attr-defined]
    model = Transformer(config)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.3, generator=generator)
    return model.state_dict()


def test_running_past_the_context_does_not_depend_on_chunks_or_company() -> None:
    requests = [Request(text(i, 20 + 30 * i), Sampling(seed=i, max_tokens=90)) for i in range(5)]
    alone = [run(streaming("rope", 0, mode="exact"), [r])[0] for r in requests]
    for options in ({"chunk": 7}, {"streams": 2}, {"memory": 13 * 2 * 2 * 16 * SIZE * 4}):
        assert run(streaming("rope", 0, mode="exact", **options), requests) == alone


def test_where_a_text_cannot_run_past_the_context_it_is_said() -> None:
    with pytest.raises(UserError, match="positions are learned"):
        streaming("learned", sinks=4)
    with pytest.raises(UserError, match="8 bits"):
        streaming("rope", sinks=4, bits=8)
    with pytest.raises(UserError, match="sinks is 60"):
        streaming("rope", sinks=60)
    with pytest.raises(UserError, match="context is 64"):
        streaming("rope", None).submit(Request(text(1, 70), Sampling()))


def test_a_source_gives_greedy_texts_their_one_outcome(model: Transformer) -> None:
    requests = [Request(text(2, 9), Sampling(temperature=0, max_tokens=4, top_p=0.9))]
    ((chance, ids),) = noise.enumerate_choices(lambda source: run(Core(model, source=source), requests)[0][0])
    assert chance == 1.0 and ids == run(Core(model), requests)[0][0]
