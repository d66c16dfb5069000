"""Odd runs: each trains to finite figures and a checkpoint that opens, or is one clear line. Never NaN."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from jielong.base.errors import UserError
from jielong.base.talk import Talk
from jielong.data.tokenise import tokenise
from jielong.nets import checkpoint
from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.train import run
from jielong.train.run import Work
from jielong.train.settings import Settings
from jielong.units import bpe

TEXTS = [
    ["a"],
    ["接龍" * 3],
    ["one document, " * 400],
    [f"{i} and {i}" for i in range(30)],
    ["x", "", "y" * 500, "🙂 z"],
    ["long words " * 200, "short"],
]


@settings(max_examples=200)
@given(
    texts=st.sampled_from(TEXTS),
    vocab=st.sampled_from([259, 260, 270, 300]),
    context=st.sampled_from([1, 2, 16, 33]),
    batch=st.integers(1, 3),
    accumulate=st.integers(1, 2),
    heads=st.sampled_from([(1, 1), (2, 1), (3, 3)]),
    dim=st.sampled_from([1, 8, 20]),
    layers=st.integers(1, 2),
    window=st.none() | st.integers(1, 20),
    precision=st.sampled_from(["float32", "bfloat16"]),
    steps=st.integers(1, 3),
    rate=st.sampled_from([1e-6, 0.02, 10.0]),
)
def test_odd_runs(
    texts: list[str], vocab: int, context: int, batch: int, accumulate: int, heads: tuple[int, int], dim: int,
    layers: int, window: int | None, precision: str, steps: int, rate: float,
) -> None:  # fmt: skip
    codec = bpe.train(texts, vocab, at_most=True)
    config = TransformerConfig(
        vocab=codec.size, dim=dim, layers=layers, heads=heads[0], kv_heads=heads[1], head_dim=4, hidden=8,
        context=max(2, context), layer=Layer(window=window),
    )  # fmt: skip
    options = Settings(
        steps=steps, context=context, batch=batch, accumulate=accumulate, precision=precision,  # type: ignore[arg-type]
        matrix_rate=rate, other_rate=rate, warmup=1,
    )  # fmt: skip
    tokens = tokenise([text for text in texts if text], codec, begin=codec.end)
    # what is validated is read whole, in rows of one token too: of the texts, their beginnings
    held = tokenise([text[:40] for text in texts if text][:2], codec, begin=codec.end)
    with tempfile.TemporaryDirectory() as folder:
        work = Work(Transformer(config), codec, tokens, held, options, {"name": "odd"})
        try:
            figures = run.start(work, Path(folder), Talk(verbosity=-1))
        except UserError:
            return  # one clear line; that each is one is the rule of the command line, tested there
        assert all(math.isfinite(value) for value in figures.values()), figures
        again = checkpoint.load(folder)
        assert again.config == config and again.info["step"] == steps
