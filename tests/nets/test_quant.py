"""Weights in 8 and 4 bits: closed forms, folders that load, kernels that multiply by what the integers stand for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jielong.base.errors import UserError
from jielong.infer.core import Core
from jielong.infer.generate import generate
from jielong.infer.sampling import Sampling
from jielong.nets import checkpoint, kernels, quant
from jielong.nets.config import TransformerConfig
from jielong.nets.decoder import Decoder
from jielong.nets.native import build
from jielong.nets.transformer import Transformer
from jielong.units import chars

CODEC = chars.train(["the cat sat on the mat. 玉山很高。"])
CONFIG = TransformerConfig(vocab=CODEC.size, dim=64, layers=2, heads=4, kv_heads=2, head_dim=16, hidden=96, context=64)


def random_model(config: TransformerConfig = CONFIG) -> Transformer:
    model = Transformer(config)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.2, generator=generator)
    return model.eval()


@pytest.mark.parametrize("bits, worst", [(8, 1 / 254), (4, 1 / 29)])
def test_integers_are_the_nearest(bits: int, worst: float) -> None:
    weight = torch.randn(48, 64, generator=torch.Generator().manual_seed(0))
    found = quant.integers(weight, bits)
    grouped = weight.unflatten(1, (-1, quant.GROUP if bits == 4 else 64))
    span = grouped.amax(-1) - grouped.amin(-1) if bits == 4 else grouped.abs().amax(-1)
    error = (found.values() - weight).unflatten(1, (-1, grouped.shape[2])).abs().amax(-1)
    assert (error <= span * worst * 1.05 + 0.02 * (bits == 4)).all()
    assert found.q.dtype == torch.int8


def test_a_row_of_zeros_and_odd_shapes() -> None:
    assert quant.integers(torch.zeros(3, 5), 8).values().equal(torch.zeros(3, 5))
    assert quant.integers(torch.ones(3, 5), 4).bits == 8


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("rows", [1, 5, 40])
def test_kernels_multiply_by_what_the_integers_stand_for(bits: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(48, 64, generator=generator), torch.randn(rows, 64, generator=generator)
    bias, stream = torch.randn(48, generator=generator), torch.randn(rows, 48, generator=generator)
    whole = quant.integers(weight, bits)
    times = kernels.integer(whole, bias)
    expected = x @ whole.values().T + bias
    assert (times(x) - expected).abs().max() < 0.03 * expected.std() * 3
    torch.testing.assert_close(times.onto(stream, x), times(x) + stream, atol=1e-5, rtol=1e-5)
    one = times(x[:1])
    torch.testing.assert_close(times(x)[:1], one, atol=1e-5, rtol=1e-5)  # a row does not see the others
    assert times(torch.zeros(1, 64)).isfinite().all()


@pytest.mark.parametrize("bits", [8, 4])
def test_a_folder_is_written_and_loads_everywhere(
    tmp_path: Path, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model()
    checkpoint.save(tmp_path / "plain", model, CODEC)
    loaded = checkpoint.load(tmp_path / "plain")
    quant.save(tmp_path / "small", loaded, bits)
    again = checkpoint.load(tmp_path / "small")
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, loaded.model.state_dict()[name]), name
    ids = torch.arange(20)[None]
    with torch.no_grad():
        before, after = (m(ids).log_softmax(-1) for m in (model, again.model))
    lost = (before.exp() * (before - after)).sum(-1).mean()
    assert 0 < lost < (0.002 if bits == 8 else 0.3)
    assert set(quant.kept(again.model)) == {n for n, p in model.named_parameters() if p.ndim == 2}
    sizes = {f: (tmp_path / f / n).stat().st_size for f, n in (("plain", "model.safetensors"), ("small", quant.NAME))}
    assert sizes["small"] < sizes["plain"] * (0.32 if bits == 8 else 0.3)
    greedy = Sampling(temperature=0, max_tokens=12)
    assert len(generate(again.model, [[1, 2, 3]], greedy)[0].ids) == 12
    if bits == 8 and build.library() is not None:  # integers are multiplied row by row there
        Core(again.model, mode="exact")
    monkeypatch.setattr("jielong.infer.runner.native.decoder", lambda *_: None)
    with pytest.raises(UserError, match="quantised: use mode fast"):
        Core(again.model, mode="exact")


def test_training_takes_the_integers_out_of_use(tmp_path: Path) -> None:
    model = random_model()
    quant.quantise(model, 8)
    assert len(quant.kept(model)) == 9
    model.blocks[0].feed.up.data += 0.01  # type: ignore[union-attr, operator]
    assert len(quant.kept(model)) == 8
    assert isinstance(Decoder(model).blocks[0].up, kernels.Dense | kernels.Either | kernels.Packed)


def test_wrong_bits_and_broken_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="8 or 4 bits, not 5"):
        quant.quantise(random_model(), 5)
    checkpoint.save(tmp_path / "plain", random_model(), CODEC)
    quant.save(tmp_path / "small", checkpoint.load(tmp_path / "plain"), 8)
    data = json.loads((tmp_path / "small/config.json").read_text())
    data["jielong"]["hidden"] = 10**9
    (tmp_path / "small/config.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="belongs to other weights"):  # before anything is built of it
        checkpoint.load(tmp_path / "small")
    data["jielong"]["hidden"] = 128
    (tmp_path / "small/config.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="has shape"):
        checkpoint.load(tmp_path / "small")
    path = tmp_path / "small" / quant.NAME
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match="half-written"):
        checkpoint.load(tmp_path / "small")
    path.unlink()
    with pytest.raises(UserError, match="is not there"):
        checkpoint.load(tmp_path / "small")


def test_other_shapes_too() -> None:
    model = random_model(replace(CONFIG, tied=False, mlp_bias=True, qkv_bias=True, activation="gelu"))
    quant.quantise(model, 8)
    assert "head" in quant.kept(model)
    plain = generate(random_model(model.config), [[1, 2]], Sampling(temperature=0, max_tokens=3))
    assert len(generate(model, [[1, 2]], Sampling(temperature=0, max_tokens=3))[0].ids) == len(plain[0].ids)
