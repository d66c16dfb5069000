"""Adapters beside the base's products: each row of a step is what the Transformer with its adapter attached gives."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from jielong.base.errors import UserError
from jielong.nets import quant
from jielong.nets.adapters import attach
from jielong.nets.adapters.adapter import Adapter
from jielong.nets.adapters.config import Bitfit, Bottleneck, Config, Ia3, Lora, Prefix
from jielong.nets.adapters.thin import fingerprint, thins
from jielong.nets.decoder import Decoder
from jielong.nets.native import decoder as native
from jielong.nets.transformer import Transformer

from .test_decoder import SHAPES, Reader, random_model

KINDS: dict[str, Config] = {
    "lora": Lora(rank=3), "wide": Lora(rank=9, rslora=True), "some": Lora(rank=5, targets=("v_proj", "down_proj")),
    "pissa": Lora(rank=2, pissa=True), "dora": Lora(rank=4, dora=True), "ia3": Ia3(), "bitfit": Bitfit(),
}  # fmt: skip


def trained(model: Transformer, config: Config, seed: int) -> Adapter:
    adapter = attach.fresh(model, config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapter.parameters():
        parameter.data.add_(torch.empty_like(parameter).normal_(0.0, 0.1, generator=generator))
    return adapter


def attached(model: Transformer, adapter: Adapter | None, ids: Sequence[int]) -> Tensor:
    """What the Transformer itself says."""
    own = copy.deepcopy(model)
    if adapter is not None:
        attach.attach(own, copy.deepcopy(adapter))
    with torch.no_grad():
        return own(torch.tensor([ids]))[0]


class Owned(Reader):
    """Rows that have adapters: `owners` by row, numbers as a feed has them."""

    owners: Sequence[int] = ()

    def feed(self, pieces: dict[int, list[int]], tile: int = 1) -> Any:
        order = sorted(pieces, key=lambda row: len(pieces[row]))
        owned = torch.tensor([self.owners[row] for row in order for _ in pieces[row]])
        step = self.decoder.step
        self.decoder.step = lambda feed, pages: step(replace(feed, adapters=owned), pages)  # type: ignore[method-assign]
        try:
            return super().feed(pieces, tile)
        finally:
            del self.decoder.step  # type: ignore[method-assign]


def decoders(model: Transformer, adapters: Sequence[Adapter]) -> dict[str, Any]:
    found = {"fast": Decoder(model, False, adapters), "exact": Decoder(model, True, adapters),
             "compiled": native.decoder(model, adapters=adapters)}  # fmt: skip
    return {name: each for name, each in found.items() if each is not None}


@pytest.mark.parametrize("name", SHAPES)
def test_every_row_is_its_own_adapters(name: str) -> None:
    model = random_model(SHAPES[name])
    adapters = [trained(model, config, i) for i, config in enumerate(KINDS.values())]
    rows = len(adapters) + 1
    ids = torch.randint(0, 40, (rows, 40), generator=torch.Generator().manual_seed(3)).tolist()
    expected = [attached(model, None if i == 0 else adapters[i - 1], ids[i]) for i in range(rows)]
    assert min(float((a - expected[0]).abs().max()) for a in expected[1:]) > 0.1  # they do something
    for kind, decoder in decoders(model, adapters).items():
        reader, tile = Owned(decoder, rows), 8 if kind == "exact" else 1
        reader.owners = range(rows)
        out = reader.feed({i: row[:33] for i, row in enumerate(ids)}, tile).view(rows, 33, -1)
        last = reader.feed({i: row[33:34] for i, row in enumerate(ids)}, tile)
        for i, one in enumerate(expected):
            torch.testing.assert_close(out[i], one[:33], atol=2e-4 * float(one.std()), rtol=2e-4)
            torch.testing.assert_close(last[i], one[33], atol=2e-4 * float(one.std()), rtol=2e-4)


@pytest.mark.parametrize("name", ["qwen3", "gpt2", "partial rotary, parallel"])
def test_a_rows_bits_depend_on_that_row_alone(name: str) -> None:
    """Alone, and beside rows of other adapters and of none, in chunks of any size: bit for bit."""
    model = random_model(SHAPES[name])
    adapters = [trained(model, config, i) for i, config in enumerate(KINDS.values())]
    ids = torch.randint(0, 40, (30, 60), generator=torch.Generator().manual_seed(3)).tolist()
    for kind, decoder in decoders(model, adapters).items():
        if kind == "fast" or (kind == "exact" and name == "gpt2"):  # of that shape torch's own products depend on
            continue  # the company without any adapter: the engine's self-check is there to see it
        tile = 8 if kind == "exact" else 1
        for own in range(len(adapters) + 1):
            alone = Owned(decoder, 1)
            alone.owners = [own]
            expected = alone.feed({0: ids[0]}, tile)
            reader = Owned(decoder, 30)
            reader.owners = [own, *((own + i) % (len(adapters) + 1) for i in range(29))]
            found = []
            for at in range(0, 60, 13):
                piece = ids[0][at : at + 13]
                others = {i + 1: other[at : at + 1 + i % 3] for i, other in enumerate(ids[1:])}
                out = reader.feed({0: piece} | others, tile)
                widths = [len(other) for other in others.values() if len(other) < len(piece)]
                found.append(out[sum(widths) : sum(widths) + len(piece)])
            assert torch.equal(torch.cat(found), expected), (kind, own)


@pytest.mark.parametrize("bits", [8, 4])
def test_beside_integers_the_thin_products_are_of_floats(bits: int) -> None:
    model = random_model({"dim": 64, "hidden": 64})
    quant.quantise(model, bits)
    adapter = trained(model, Lora(rank=4), 1)
    ids = torch.randint(0, 40, (50,), generator=torch.Generator().manual_seed(3)).tolist()
    base, own = attached(model, None, ids).log_softmax(-1), attached(model, adapter, ids).log_softmax(-1)
    for kind, decoder in (("torch", Decoder(model, False, [adapter])), ("c", native.decoder(model, 32, [adapter]))):
        assert decoder is not None or bits == 4 or kind == "c"
        if decoder is not None:
            reader = Owned(decoder, 2)
            reader.owners = [1, 0]
            out = reader.feed({0: ids, 1: ids}).log_softmax(-1)
            moved = (own - base).abs().mean()
            assert (out[:50] - own).abs().mean() < 0.3 * moved and (out[50:] - base).abs().mean() < 0.3 * moved


def test_an_adapter_that_is_attached_and_not_merged_is_not_passed_over() -> None:
    for config in (Lora(), Ia3(), Bottleneck(4), Prefix(4)):
        model = random_model({})
        attach.attach(model, trained(model, config, 0))
        for made in (Decoder, native.decoder):
            with pytest.raises(UserError, match="attached and not merged"):
                made(model)  # type: ignore[operator]
        if attach.merges(model.adapters["adapter"]):
            attach.merge(model)
        else:
            attach.detach(model)
        Decoder(model)


def test_what_does_more_than_change_products_is_refused_by_name() -> None:
    model = random_model({})
    for config, kind in ((Prefix(4), "prefix"), (Bottleneck(4), "bottleneck")):
        with pytest.raises(UserError, match=f"kind {kind} does more"):
            thins(model, attach.fresh(model, config))


def test_a_fingerprint_stands_for_what_an_adapter_does() -> None:
    model = random_model({})
    one, same, other = (trained(model, Lora(rank=2), seed) for seed in (0, 0, 1))
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    same.get_parameter("sites.0.lows.0.a").data[0, 0] += 1e-6
    assert fingerprint(one) != fingerprint(same)
    twice = trained(model, Lora(rank=2), 0)
    twice.get_submodule("sites.0.lows.0").scale *= 2  # type: ignore[operator]
    assert fingerprint(one) != fingerprint(twice)
