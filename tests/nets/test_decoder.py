"""The written-out Transformer is the Transformer: every option of a layer, whole or token by token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from jielong.base.errors import UserError
from jielong.nets.config import Layer, Rope, TransformerConfig
from jielong.nets.decoder import Decoder, Feed, Group
from jielong.nets.native import decoder as native
from jielong.nets.native.decoder import NativeDecoder
from jielong.nets.pages import SIZE, Pages
from jielong.nets.transformer import Transformer

SMALL = TransformerConfig(vocab=40, dim=32, layers=2, heads=4, kv_heads=2, head_dim=16, hidden=48, context=96)
PLAIN = Layer(qk_norm=None)
SHAPES: dict[str, dict[str, Any]] = {
    "qwen3": {},
    "gpt2": {
        "layer": Layer(rope=None, qk_norm=None), "position": "learned", "activation": "gelu_tanh", "norm": "layer",
        "qkv_bias": True, "out_bias": True, "mlp_bias": True, "kv_heads": 4,
    },
    "gemma": {
        "layer": replace(PLAIN, norm="sandwich", softcap=5.0), "norm_offset": 1.0, "activation": "geglu_tanh",
        "embed_scale": 5.6, "softcap": 8.0, "kv_heads": 1,
        "layer_list": (replace(PLAIN, norm="sandwich", softcap=5.0, window=7), replace(PLAIN, norm="sandwich")),
    },
    "olmo2": {"layer": Layer(norm="out", qk_norm="whole")},
    "post": {"layer": replace(PLAIN, norm="post"), "norm": "layer", "embed_norm": True, "types": 2},
    "partial rotary, parallel": {
        "layer": Layer(rope=Rope(fraction=0.5), qk_norm=None), "parallel": True, "head_bias": True, "tied": False,
        "out_bias": True, "mlp_bias": True,
    },
    "alibi": {"layer": Layer(rope=None, qk_norm=None), "position": "alibi", "heads": 6, "kv_heads": 3},
    "sinusoid": {"layer": Layer(rope=None), "position": "sinusoid", "activation": "relu2"},
    "yarn and window": {"layer": Layer(rope=Rope(scaling="yarn", factor=4.0, original=24), window=9)},
    "no position": {"layer": Layer(rope=None), "position": "none", "final_norm": False},
}  # fmt: skip


def random_model(options: dict[str, Any]) -> Transformer:
    model = Transformer(replace(SMALL, **options))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        spread = 0.3 if parameter.ndim > 1 else 0.2
        parameter.data.add_(torch.empty_like(parameter).normal_(0.0, spread, generator=generator))
        if name == "embed":
            parameter.data.mul_(3)
    return model.eval()


class Reader:
    """Feeds rows to a decoder in chunks, each row in pages of its own, in no particular order."""

    def __init__(self, decoder: Decoder | NativeDecoder, rows: int, context: int = 96) -> None:
        self.decoder, self.each = decoder, -(-context // SIZE)
        self.pages = Pages(decoder.config, rows * self.each + 1)
        shuffled = torch.randperm(rows * self.each, generator=torch.Generator().manual_seed(2)) + 1
        self.tables = shuffled.view(rows, self.each)
        self.read = [0] * rows
        self.looks = False  # at the stream as well

    def feed(self, pieces: dict[int, list[int]], tile: int = 1) -> Any:
        """Logits of every token of the pieces, which are grouped by length."""
        groups, ids, positions, slots = [], [], [], []
        for width in sorted({len(p) for p in pieces.values()}):
            rows = [row for row, piece in pieces.items() if len(piece) == width]
            need = -(-(max(self.read[row] for row in rows) + width) // SIZE)
            need = -(-need // tile) * tile
            table = torch.nn.functional.pad(self.tables[rows], (0, max(0, need - self.each)))[:, :need]
            groups.append(Group(len(ids), len(rows), width, table.flatten()))
            for row in rows:
                places = range(self.read[row], self.read[row] + width)
                ids += pieces[row]
                positions += places
                slots += [int(self.tables[row, p // SIZE]) * SIZE + p % SIZE for p in places]
                self.read[row] += width
        every = torch.arange(len(ids))
        feed = Feed(torch.tensor(ids), torch.tensor(positions), torch.tensor(slots), tuple(groups), every)
        return self.decoder.look(feed, self.pages) if self.looks else self.decoder.step(feed, self.pages)


def compiled(model: Transformer) -> NativeDecoder:
    """The decoder in C++, or no test."""
    found = native.decoder(model)
    if found is None:
        pytest.skip("no compiler here")
    return found


@pytest.mark.parametrize("kind", ["fast", "exact", "compiled"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_decoder_is_the_transformer(name: str, kind: str) -> None:
    model = random_model(SHAPES[name])
    exact = kind == "exact"
    ids = torch.randint(0, 40, (2, 90), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = model(ids)
    assert expected.std() > 0.3  # not a case where everything is alike
    reader = Reader(compiled(model) if kind == "compiled" else Decoder(model, exact), 2)
    one, two = ids.tolist()
    out = reader.feed({0: one[:50], 1: two[:33]}, tile=8 if exact else 1)
    torch.testing.assert_close(out[33:], expected[0, :50], atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(out[:33], expected[1, :33], atol=2e-4, rtol=1e-4)
    for at in range(50, 54):  # one row a token at a time, the other several
        out = reader.feed({0: one[at : at + 1], 1: two[33 + 3 * (at - 50) : 36 + 3 * (at - 50)]}, 8 if exact else 1)
        torch.testing.assert_close(out[:1], expected[0, at : at + 1], atol=2e-4, rtol=1e-4)
    out = reader.feed({0: one[54:57], 1: two[45:48]}, 8 if exact else 1)
    torch.testing.assert_close(out, torch.cat([expected[0, 54:57], expected[1, 45:48]]), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{"causal": False}, {"layer": Layer(cross=True)}])
def test_what_is_no_language_model_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"causal|cross"):
        Decoder(Transformer(replace(SMALL, **options)))
    with pytest.raises(UserError, match=r"causal|cross"):
        native.decoder(Transformer(replace(SMALL, **options)))


def test_pages_of_eight_bits_are_close_and_small() -> None:
    model = random_model({})
    ids = torch.randint(0, 40, (60,), generator=torch.Generator().manual_seed(3)).tolist()
    plain, small = Reader(Decoder(model), 1), Reader(Decoder(model), 1)
    small.pages = Pages(model.config, small.pages.count, bits=8)
    a, b = plain.feed({0: ids}).log_softmax(-1), small.feed({0: ids}).log_softmax(-1)
    difference = (a.exp() * (a - b)).sum(-1).mean()
    assert 0 < difference < 2e-3
    assert small.pages.layers[0].element_size() == 1
