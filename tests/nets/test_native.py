"""The decoder in C++: odd shapes, bits that depend on nothing else, integers, and what happens without a compiler."""

from __future__ import annotations

import math
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jielong.nets import quant
from jielong.nets.config import TransformerConfig
from jielong.nets.decoder import Decoder
from jielong.nets.native import build
from jielong.nets.native import decoder as native
from jielong.nets.transformer import Transformer

from .test_decoder import SHAPES, Reader, compiled, random_model


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@given(
    dim=st.integers(3, 70), size=st.integers(1, 40).map(lambda n: 2 * n), kv=st.integers(1, 3),
    shares=st.integers(1, 5), hidden=st.integers(1, 90), vocab=st.integers(2, 99),
    activation=st.sampled_from(list(native.ACTIVATIONS)),
    norm=st.sampled_from(["rms", "layer"]), bias=st.booleans(), parallel=st.booleans(),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_shapes_that_fill_no_vector(
    dim: int, size: int, kv: int, shares: int, hidden: int, vocab: int, activation: Any, norm: Any, bias: bool,
    parallel: bool,
) -> None:  # fmt: skip
    config = TransformerConfig(
        vocab=vocab, dim=dim, layers=2, heads=kv * shares, kv_heads=kv, head_dim=size, hidden=hidden, context=40,
        activation=activation, norm=norm, mlp_bias=bias, qkv_bias=bias, out_bias=bias, parallel=parallel, norm_eps=1e-3,
    )  # fmt: skip
    model = Transformer(config).eval()
    generator = torch.Generator().manual_seed(dim)
    for parameter in model.parameters():
        parameter.data.normal_(0.0, 0.3, generator=generator)
    ids = torch.randint(0, vocab, (1, 37), generator=generator)
    with torch.no_grad():
        expected = model(ids)[0]
    reader = Reader(compiled(model), 1, 40)
    out = torch.cat([reader.feed({0: ids[0, :17].tolist()}), reader.feed({0: ids[0, 17:].tolist()})])
    torch.testing.assert_close(out, expected, atol=3e-4 * float(expected.abs().max() + 1), rtol=1e-4)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_rows_bits_depend_on_that_row_alone(name: str, threads: int) -> None:
    torch.set_num_threads(threads)
    model = random_model(SHAPES[name])
    one, *others = torch.randint(0, 40, (30, 70), generator=torch.Generator().manual_seed(3)).tolist()
    decoder = compiled(model)
    alone = Reader(decoder, 1)
    expected = torch.cat([alone.feed({0: [token]}) for token in one])
    for chunk in (70, 13, 4):
        reader = Reader(decoder, 30)
        found = []
        for at in range(0, 70, chunk):
            pieces = {i + 1: other[at : at + 1 + i % 3] for i, other in enumerate(others)}
            out = reader.feed({0: one[at : at + chunk]} | pieces)
            widths = sorted(len(p) for p in ([one[at : at + chunk], *pieces.values()]))
            first = sum(w for w in widths if w < min(chunk, 70 - at))
            found.append(out[first : first + min(chunk, 70 - at)])  # ours is the first of its width
        assert torch.equal(torch.cat(found), expected)


@pytest.mark.parametrize("name", ["qwen3", "gpt2", "partial rotary, parallel"])
def test_eight_bits_are_what_the_other_decoder_makes_of_them(name: str) -> None:
    model = random_model(SHAPES[name])
    quant.quantise(model, 8)
    ids = torch.randint(0, 40, (60,), generator=torch.Generator().manual_seed(3)).tolist()
    decoders = compiled(model), Decoder(model), Decoder(random_model(SHAPES[name]))
    a, b, c = (Reader(decoder, 1).feed({0: ids}).log_softmax(-1) for decoder in decoders)
    assert (a - b).abs().amax(1).median() < 1e-4 and (b - c).abs().amax(1).median() > 0.01
    assert (a - b).abs().mean() < 0.2 * (b - c).abs().mean()  # an activation is rounded otherwise here and there
    model.blocks[0].attention.qkv.data.mul_(1.5)  # trained on: these integers are no longer it
    with torch.no_grad():
        expected = model(torch.tensor([ids]))[0].log_softmax(-1)
    after = Reader(compiled(model), 1).feed({0: ids}).log_softmax(-1)
    assert (after - expected).abs().mean() < 0.2 * (a - expected).abs().mean()


def test_the_stream_after_the_last_norm_and_a_cache_that_moves() -> None:
    model = random_model({})
    ids = torch.randint(0, 40, (1, 40), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        hidden, logits = model.hidden(ids), model(ids)
    decoder = compiled(model)
    for _ in range(2):  # the second time in other pages
        reader = Reader(decoder, 1)
        assert torch.allclose(reader.feed({0: ids[0].tolist()}), logits[0], atol=2e-4)
    reader.read, reader.looks = [0], True
    found, stream = reader.feed({0: ids[0].tolist()})
    torch.testing.assert_close(found, logits[0], atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(stream, hidden[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bits", [32, 8])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_does_not_come_out_as_one(bits: int, bad: float) -> None:
    """One token's embedding is broken: all places of its row say so, the other rows are as without it."""
    model = random_model({"tied": False})
    if bits == 8:
        quant.quantise(model, 8)
    ids = [[1, 2, 3], [4, 39, 5], [6, 7, 8]]
    whole = Reader(compiled(model), 3).feed(dict(enumerate(ids)))
    model.embed.data[39] = bad
    broken = Reader(compiled(model), 3).feed(dict(enumerate(ids)))
    assert torch.equal(broken[:3], whole[:3]) and torch.equal(broken[6:], whole[6:])
    assert whole.isfinite().all() and broken[3:6].isnan().all()


def test_what_it_does_not_know_is_left_to_the_other() -> None:
    model = random_model({"dim": 64, "hidden": 64})
    assert native.decoder(model, bits=8) is None
    quant.quantise(model, 4)
    assert native.decoder(model) is None


def run(code: str, **env: str) -> str:
    made = subprocess.run([sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


LOADED = "from jielong.nets.native import build; print(build.library() is not None)"


def test_without_a_compiler_there_is_none(tmp_path: Path) -> None:
    assert run(LOADED, JIELONG_NATIVE="0") == "False"
    assert run(LOADED, PATH=str(tmp_path)) == "False"
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert run(LOADED, PATH=f"{tmp_path}:{os.environ['PATH']}") == "False"


@pytest.mark.skipif(build.library() is None, reason="no compiler here")
def test_it_is_compiled_once_into_a_folder_of_ones_own(tmp_path: Path) -> None:
    assert run(LOADED, XDG_CACHE_HOME=str(tmp_path)) == "True"
    (made,) = (tmp_path / "jielong").iterdir()
    before = made.stat().st_mtime_ns
    assert run(LOADED, XDG_CACHE_HOME=str(tmp_path)) == "True"
    assert made.stat().st_mtime_ns == before and stat.S_IMODE(made.parent.stat().st_mode) == 0o700
    made.parent.chmod(0o777)  # somebody else may have put it there
    assert run(LOADED, XDG_CACHE_HOME=str(tmp_path)) == "False"


def test_one_openmp_in_the_process() -> None:
    code = (
        "from jielong.nets.native import build; build.library()\n"
        "print(len({line.split()[-1] for line in open('/proc/self/maps') if 'gomp' in line}))"
    )
    if not Path("/proc/self/maps").exists() or build.library() is None:
        pytest.skip("no compiler, or no /proc")
    assert run(code) == "1"
