"""Each family's GGUF files in llama.cpp: same tokens, same greedy text; kept in docs/results/gguf.json.

    pip install --target build/llama llama-cpp-python --no-binary llama-cpp-python     # compiles llama.cpp: minutes
    PYTHONPATH=build/llama .venv/bin/python scripts/check_gguf.py                      # a minute

Tiny models of every family learn a text by heart (so that the next token is never a matter of rounding), are written
as f32, f16 and q8_0, and go on with the text in llama.cpp and here. In f32 the logits are compared as well.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from jielong.base.result import Result, Row
from jielong.labs import store
from jielong.nets import checkpoint, gguf
from jielong.nets.cache import KVCache
from jielong.nets.config import Layer, Rope, TransformerConfig
from jielong.nets.families import known
from jielong.nets.transformer import Transformer
from jielong.units import bpe
from jielong.units.codec import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
TEXT = (
    "Karl Wren lives in Tarn and keeps 12 bees; 陳美玲住在台中，養了三隻貓。 Every morning they write to each other "
    "about honey, rain and 1,024 small things that nobody else would notice. 他們每天早上寫信。"
)
ODD = ("don't  stop\n\n 123456 🙂", " <|endoftext|> is text", "ＡＢＣ\tx\r\ny   ", "naïve café — 玉山3952公尺", "")
BASE = TransformerConfig(
    vocab=400, dim=64, layers=2, heads=2, kv_heads=1, head_dim=32, hidden=96, context=256, tied=False, norm_eps=1e-5
)
PLAIN = Layer(qk_norm=None)
LLAMA3 = Rope(base=5e5, scaling="llama3", factor=8.0, original=32)
LONG = Rope(
    scaling="longrope", factor=4.0, original=32, short=tuple(1 + i / 40 for i in range(12)),
    long=tuple(1 + i / 4 for i in range(12)), fraction=0.75,
)  # fmt: skip
SANDWICH = Layer(norm="sandwich", qk_norm=None, softcap=50.0)
GEMMA = replace(BASE, activation="geglu_tanh", norm_offset=1.0, embed_scale=8.0, tied=True)
SHAPES = {
    "qwen3": replace(BASE, tied=True),
    "qwen3, yarn": replace(BASE, layer=Layer(rope=Rope(scaling="yarn", factor=4.0, original=32))),
    "qwen2": replace(BASE, layer=PLAIN, qkv_bias=True),
    "llama": replace(BASE, layer=PLAIN),
    "llama 3, biases": replace(
        BASE, layer=replace(PLAIN, rope=LLAMA3), qkv_bias=True, out_bias=True, mlp_bias=True
    ),
    "llama, linear": replace(BASE, layer=replace(PLAIN, rope=Rope(scaling="linear", factor=2.0))),
    "gemma2": replace(GEMMA, softcap=30.0, layer_list=(replace(SANDWICH, window=16), SANDWICH)),
    "gemma3_text": replace(
        GEMMA,
        layer_list=(Layer(norm="sandwich", window=16), Layer(norm="sandwich", rope=Rope(base=1e6))),
    ),
    "phi3": replace(BASE, layer=PLAIN, kv_heads=2, hidden=64),
    "phi3, longrope": replace(BASE, layer=replace(PLAIN, rope=LONG), tied=True),
    "olmo2": replace(BASE, layer=Layer(norm="out", qk_norm="whole"), tied=True),
    "gpt2": replace(
        BASE, layer=Layer(rope=None, qk_norm=None), position="learned", norm="layer", activation="gelu_tanh",
        kv_heads=2, qkv_bias=True, out_bias=True, mlp_bias=True, tied=True,
    ),
}  # fmt: skip
PROMPT, WRITTEN = 8, 48
# keys and values in float32 (type 0), so that the file alone decides
LLAMA = {"n_ctx": 256, "n_threads": 1, "n_threads_batch": 1, "logits_all": True, "verbose": False, "type_k": 0,
         "type_v": 0}  # fmt: skip


def by_heart(config: TransformerConfig, ids: list[int]) -> Transformer:
    """A model that knows one text: two hundred steps of AdamW on it."""
    model = Transformer(config, seed=0)
    batch = torch.tensor([ids])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(200):
        optimiser.zero_grad()
        logits = model(batch[:, :-1])
        loss = F.cross_entropy(logits[0], batch[0, 1:])
        loss.backward()
        optimiser.step()
    print(f"{loss.item():.4f} nats", file=sys.stderr)
    return model.eval()


def greedy(model: Transformer, prompt: list[int]) -> list[int]:
    """The most probable text of WRITTEN tokens, with a cache as in serving."""
    cache = KVCache(model.config, 1)
    written: list[int] = []
    with torch.no_grad():
        new = prompt
        for _ in range(WRITTEN):
            new = [int(model(torch.tensor([new]), cache=cache)[0, -1].argmax())]
            written += new
    return written


def there(llama: Any, prompt: list[int]) -> tuple[list[int], np.ndarray]:
    """The same in llama.cpp, and the logits (T, V) of prompt and text."""
    llama.reset()
    llama.eval(prompt)
    ids: list[int] = []
    for _ in range(WRITTEN):
        ids.append(int(np.argmax(llama.scores[llama.n_tokens - 1])))
        llama.eval([ids[-1]])
    return ids, np.array(llama.scores[: llama.n_tokens])


def rows(codec: Tokenizer, folder: Path) -> Iterator[Row]:
    """Every family and kind."""
    from llama_cpp import Llama

    ids = codec.encode(TEXT)[:100]
    for name, shape in SHAPES.items():
        kind = name.split(",")[0].split(" ")[0]
        config = replace(shape, vocab=codec.size)
        family, reason = known.fitting(config, kind)
        if family is None or family.name != kind:
            raise SystemExit(f"{name} is no {kind}: {reason}")
        place = folder / name.replace(" ", "_").replace(",", "")
        checkpoint.save(place, by_heart(config, ids), codec)
        loaded = checkpoint.load(place)
        loaded = replace(loaded, said={**loaded.said, "model_type": kind})
        mine = greedy(loaded.model, ids[:PROMPT])
        for type_ in ("f32", "f16", "q8_0"):
            path = place / f"{type_}.gguf"
            gguf.write(loaded, path, type_)
            llama = Llama(str(path), **LLAMA)
            written, logits = there(llama, ids[:PROMPT])
            same = sum(a == b for a, b in zip(mine, written, strict=True)) / WRITTEN
            yield Row(f"{name}, {type_}: same greedy tokens", same, None, WRITTEN, bar=1.0, unit="share", group="text")
            words = [
                codec.encode(text) == llama.tokenize(text.encode(), add_bos=False, special=False)
                for text in (TEXT, *ODD)
            ]
            if type_ == "f32":
                with torch.no_grad():
                    read = torch.tensor([ids[:PROMPT] + written])
                    ours = loaded.model(read, cache=KVCache(config, 1))[0].numpy()
                far = float(np.abs(ours - logits).max())
                yield Row(
                    f"{name}: largest difference of a logit",
                    far,
                    None,
                    logits.size,
                    bar=1e-2,
                    unit="nats",
                    group="logits",
                )
                share = sum(words) / len(words)
                yield Row(
                    f"{name}: texts cut into the same tokens",
                    share,
                    None,
                    len(words),
                    bar=1.0,
                    unit="share",
                    group="tokens",
                )
            llama.close()


def main() -> None:
    """Check and store."""
    began = time.monotonic()
    torch.set_num_threads(1)
    codec = bpe.train([TEXT * 3, " ".join(ODD)], 400, at_most=True)
    with tempfile.TemporaryDirectory() as folder:
        found = tuple(rows(codec, Path(folder)))
    command = "PYTHONPATH=build/llama python " + shlex.join(["scripts/check_gguf.py", *sys.argv[1:]])
    meta = store.origin("jielong.nets.gguf", command=command, minutes=(time.monotonic() - began) / 60)
    versions = {name: version(name) for name in ("llama-cpp-python", "gguf")}
    at_most = [row.name for row in found if row.group == "logits"]
    made = Result("gguf", "GGUF files in llama.cpp", found, meta={**meta, "versions": versions, "at_most": at_most})
    print(store.save(made, ROOT / "docs/results"))
    for row in found:
        print(f"{row.name}: {row.estimate:.3g} (bar {row.bar})")


if __name__ == "__main__":
    main()
