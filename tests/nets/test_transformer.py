"""The Transformer's promises, on tiny shapes: causality, documents apart, caches, every option."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jielong.base.errors import UserError
from jielong.nets.cache import KVCache
from jielong.nets.config import Layer, Rope, TransformerConfig, from_json, shape, to_json
from jielong.nets.tap import Tap
from jielong.nets.transformer import Transformer, count, matrices

TINY = TransformerConfig(
    vocab=37, dim=16, layers=2, heads=4, kv_heads=2, head_dim=8, hidden=24, context=32, norm_eps=1e-5
)
IDS = torch.randint(0, 37, (3, 12), generator=torch.Generator().manual_seed(1))


def lively(config: TransformerConfig, seed: int = 0) -> Transformer:
    """A model whose outputs are not zero at the start, as a trained one's are not."""
    model = Transformer(config, seed=seed)
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


VARIANTS = {
    "qwen3": TINY,
    "whole": replace(TINY, layer=Layer(qk_norm="whole")),
    "plain": replace(TINY, layer=Layer(qk_norm=None)),
    "window": replace(TINY, layer=Layer(window=3)),
    "mixed windows": replace(TINY, layer_list=(Layer(window=4), Layer(rope=None))),
    "gemma": replace(
        TINY, layer=Layer(norm="sandwich", softcap=5.0), norm_offset=1.0, embed_scale=4.0, softcap=3.0,
        activation="geglu_tanh",
    ),
    "olmo": replace(TINY, layer=Layer(norm="out", qk_norm="whole"), tied=False),
    "gpt2": replace(
        TINY, layer=Layer(rope=None, qk_norm=None), position="learned", norm="layer", activation="gelu_tanh",
        qkv_bias=True, out_bias=True, mlp_bias=True, kv_heads=4,
    ),
    "phi": replace(TINY, parallel=True, layer=Layer(rope=Rope(fraction=0.5), qk_norm=None), head_bias=True),
    "alibi": replace(TINY, position="alibi"),
    "sinusoid": replace(TINY, position="sinusoid"),
    "nowhere": replace(TINY, position="none", activation="relu2"),
}  # fmt: skip
NAMES = sorted(VARIANTS)


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest) -> Transformer:
    return lively(VARIANTS[request.param])


def test_the_future_does_not_change_the_past(model: Transformer) -> None:
    changed = IDS.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 37
    before, after = model(IDS), model(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert bool(((before[:, 7:] - after[:, 7:]).abs() > 1e-3).any())


@pytest.mark.parametrize("cuts", [(12,), (1,) * 12, (5, 1, 6), (2, 3, 3, 4)])
def test_cached_equals_whole(model: Transformer, cuts: tuple[int, ...]) -> None:
    with torch.no_grad():
        whole = model(IDS)
        cache = KVCache(model.config, 3)
        starts = list(itertools.accumulate((0, *cuts)))
        parts = [model(IDS[:, a:b], cache=cache) for a, b in itertools.pairwise(starts)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-5)
    assert cache.lengths.tolist() == [12, 12, 12]


def test_right_padded_rows_equal_rows_alone(model: Transformer) -> None:
    lengths, steps = torch.tensor([3, 9, 1]), 2
    with torch.no_grad():
        cache = KVCache(model.config, 3)
        first = model(IDS[:, :9], cache=cache, lengths=lengths)
        more = [model(IDS[:, 9 + i : 10 + i], cache=cache) for i in range(steps)]
        for row, length in enumerate(lengths.tolist()):
            ids = torch.cat([IDS[row, :length], IDS[row, 9 : 9 + steps]])[None]
            alone = model(ids)[0]
            torch.testing.assert_close(first[row, :length], alone[:length], rtol=1e-4, atol=1e-5)
            for i in range(steps):
                torch.testing.assert_close(more[i][row, 0], alone[length + i], rtol=1e-4, atol=1e-5)


def test_cache_rows_kept_repeated_and_cropped(model: Transformer) -> None:
    with torch.no_grad():
        cache = KVCache(model.config, 3)
        model(IDS[:, :6], cache=cache)
        kept = cache.keep(torch.tensor([2, 0])).repeat(2)
        assert kept.lengths.tolist() == [6, 6, 6, 6]
        after = model(IDS[[2, 2, 0, 0], 6:8], cache=kept)
        torch.testing.assert_close(after[1], model(IDS[2:3, :8])[0, 6:], rtol=1e-4, atol=1e-5)
        cache.crop(torch.tensor([4, 2, 6]))
        again = model(IDS[:, 8:9], cache=cache)
        alone = model(torch.cat([IDS[1, :2], IDS[1, 8:9]])[None])[0, -1]
        torch.testing.assert_close(again[1, 0], alone, rtol=1e-4, atol=1e-5)


def test_documents_do_not_see_each_other(model: Transformer) -> None:
    documents = torch.tensor([[0] * 5 + [1] * 7] * 3)
    positions = torch.tensor([[*range(5), *range(7)]] * 3)
    packed = model(IDS, documents=documents, positions=positions)
    torch.testing.assert_close(packed[:, :5], model(IDS[:, :5]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(packed[:, 5:], model(IDS[:, 5:]), rtol=1e-4, atol=1e-5)


def test_relative_positions_need_not_restart() -> None:
    """What training relies on: with rotation, packing needs the documents' mask only."""
    model = lively(TINY)
    documents = torch.tensor([[0] * 5 + [1] * 7] * 3)
    torch.testing.assert_close(
        model(IDS, documents=documents)[:, 5:], model(IDS[:, 5:]), rtol=1e-4, atol=1e-5
    )


def test_tap_off_dispatches_the_same_operations(model: Transformer) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Record(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            self.names.append(str(func))
            return func(*args, **(kwargs or {}))

    def operations(**options: object) -> list[str]:
        with Record() as record, torch.no_grad():
            model(IDS, **options)
        return record.names

    model(IDS)  # tables are made once
    plain = operations()
    assert plain == operations(tap=None)
    more = Counter(operations(tap=Tap({}))) - Counter(plain)  # a tap is told positions and rows, nothing else
    assert set(more) <= {"aten.arange.default", "aten.expand.default"}


def test_tap_reads_and_edits_every_site() -> None:
    model = lively(TINY)
    from jielong.nets.tap import BLOCK_SITES, PLAIN_SITES

    sites = [*PLAIN_SITES, *(f"block.1.{name}" for name in BLOCK_SITES)]
    plain = model(IDS)
    for site in sites:
        seen: list[torch.Tensor] = []

        def double(x: torch.Tensor, at: object, seen: list[torch.Tensor] = seen) -> torch.Tensor:
            seen.append(x)
            return x * 1.5 + 0.3

        edited = model(IDS, tap=Tap({site: double}))
        assert len(seen) == 1 and bool(((edited - plain).abs() > 1e-4).any()), site
    with pytest.raises(UserError, match="resid_in"):
        Tap({"block.0.residual": lambda x, at: x})


def test_tap_sees_absolute_positions_and_rows_however_a_prompt_is_cut() -> None:
    model = lively(TINY)

    def shift(x: torch.Tensor, at: object) -> torch.Tensor:
        where = at.positions == 5  # type: ignore[attr-defined]
        return x + where.unsqueeze(-1) * (at.rows == 2)[:, None, None]  # type: ignore[attr-defined]

    tap = Tap({"block.0.resid_out": shift})
    with torch.no_grad():
        whole = model(IDS, tap=tap)
        cache = KVCache(TINY, 3)
        parts = [model(IDS[:, a:b], cache=cache, tap=tap) for a, b in ((0, 4), (4, 7), (7, 12))]
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-5)
    assert float((whole[0] - model(IDS)[0]).abs().max()) < 1e-5


def test_pattern_rows_sum_to_one_and_look_back_only() -> None:
    seen = {}
    model = lively(TINY)

    def keep(x: torch.Tensor, at: object) -> torch.Tensor:
        seen["p"] = x
        return x

    model(IDS, tap=Tap({"block.1.pattern": keep}))
    pattern = seen["p"]
    assert pattern.shape == (3, 4, 12, 12)
    torch.testing.assert_close(pattern.sum(-1), torch.ones(3, 4, 12))
    assert float(pattern.triu(1).abs().max()) == 0


def test_edits_stay_differentiable() -> None:
    model = lively(TINY)
    direction = torch.zeros(16, requires_grad=True)
    model(IDS, tap=Tap({"block.0.resid_out": lambda x, at: x + direction})).sum().backward()
    assert direction.grad is not None and float(direction.grad.abs().sum()) > 0


def test_gradients_reach_every_parameter(model: Transformer) -> None:
    model(IDS).square().sum().backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or float(p.grad.abs().sum()) == 0]
    assert not idle


def test_encoder_sees_both_sides() -> None:
    model = lively(replace(TINY, causal=False, layer=Layer(rope=None, qk_norm=None, norm="post"), position="learned",
                           norm="layer", types=2, embed_norm=True, final_norm=False))  # fmt: skip
    changed = IDS.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 37
    assert bool(((model(IDS)[:, 0] - model(changed)[:, 0]).abs() > 1e-4).any())
    kinds = torch.ones_like(IDS)
    assert bool(((model(IDS, types=kinds) - model(IDS)).abs() > 1e-4).any())


def test_cross_attention_and_conditions() -> None:
    model = lively(replace(TINY, layer=Layer(cross=True, adaln=True), condition=5))
    memory, condition = torch.randn(3, 4, 16), torch.randn(3, 5)
    logits = model(IDS, memory=memory, condition=condition)
    assert bool(((logits - model(IDS, memory=memory * 2, condition=condition)).abs() > 1e-4).any())
    assert bool(((logits - model(IDS, memory=memory, condition=condition * 2)).abs() > 1e-4).any())
    with pytest.raises(UserError, match="memory"):
        model(IDS, condition=condition)
    with pytest.raises(UserError, match="condition"):
        model(IDS, memory=memory)


def test_embeds_in_place_of_ids() -> None:
    model = lively(TINY)
    torch.testing.assert_close(model(embeds=model.embed[IDS]), model(IDS))
    with pytest.raises(UserError, match="either"):
        model(IDS, embeds=model.embed[IDS])


def test_fresh_model_predicts_evenly_and_is_a_function_of_its_seed() -> None:
    one, same, other = Transformer(TINY, seed=1), Transformer(TINY, seed=1), Transformer(TINY, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.embed, other.embed)
    law = one(IDS).softmax(-1)
    assert float((law - 1 / 37).abs().max()) < 0.02


def test_bfloat16_arithmetic_is_near_float32(model: Transformer) -> None:
    with torch.no_grad():
        wide, narrow = model(IDS), model(IDS, dtype=torch.bfloat16)
    assert narrow.dtype == torch.float32
    assert float((wide - narrow).abs().max()) < 0.1 * float(wide.abs().max())


def test_training_mode_dropout() -> None:
    model = lively(replace(TINY, dropout=0.5))
    calm = model(IDS)
    torch.testing.assert_close(calm, model(IDS))
    model.train()
    assert bool(((model(IDS) - calm).abs() > 1e-3).any())


def test_text_longer_than_the_context_is_refused() -> None:
    model = lively(VARIANTS["gpt2"])
    with pytest.raises(UserError, match="context of 32"):
        model(torch.zeros(1, 33, dtype=torch.long))
    with pytest.raises(UserError, match="32 positions"):
        lively(TINY)(torch.zeros(1, 33, dtype=torch.long), cache=KVCache(TINY, 1))
    with pytest.raises(UserError, match="documents or cache"):
        lively(TINY)(IDS, cache=KVCache(TINY, 3), documents=torch.zeros_like(IDS))


def test_matrices_are_the_parts_a_stream_passes_through() -> None:
    model = Transformer(TINY)
    parts = matrices(model)
    rows = [(tuple(p.shape), start, n) for p, start, n in parts[:5]]
    assert rows[:3] == [((64, 16), 0, 32), ((64, 16), 32, 16), ((64, 16), 48, 16)]
    assert len(parts) == 2 * (3 + 1 + 2 + 1)
    weights = sum(n * p.shape[1] for p, _, n in parts) + TINY.vocab * TINY.dim
    assert weights == TINY.parameters
    assert 0 < count(model) - weights < 0.05 * weights


@pytest.mark.parametrize(
    ("change", "word"),
    [({"heads": 3}, "multiple of kv_heads"), ({"dim": 0}, "dim"), ({"dropout": 1.0}, "dropout"),
     ({"layer_list": (Layer(),)}, "layer_list"), ({"layer": Layer(window=0)}, "window"),
     ({"layer": Layer(adaln=True)}, "condition"), ({"head_dim": 7}, "even")],
)  # fmt: skip
def test_wrong_shapes_are_named(change: dict[str, object], word: str) -> None:
    with pytest.raises(UserError, match=word):
        replace(TINY, **change)


def test_configuration_survives_json() -> None:
    for config in VARIANTS.values():
        assert from_json(to_json(config)) == config
    with pytest.raises(UserError, match="wings"):
        from_json({"vocab": 3, "wings": 2})
    with pytest.raises(UserError, match="32"):
        shape(100, 300, 64)


@settings(max_examples=25, deadline=None)
@given(
    st.builds(
        lambda kv, groups, size, dim, hidden, layers, window, norm, qk, act, tied: TransformerConfig(
            vocab=23, dim=dim, layers=layers, heads=kv * groups, kv_heads=kv, head_dim=2 * size, hidden=hidden,
            context=16, layer=Layer(window=window, norm=norm, qk_norm=qk), activation=act, tied=tied,
        ),
        st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 20), st.integers(1, 20),
        st.integers(1, 3), st.none() | st.integers(1, 20), st.sampled_from(["pre", "post", "out", "sandwich"]),
        st.sampled_from([None, "head", "whole"]), st.sampled_from(["swiglu", "geglu", "gelu", "relu2"]), st.booleans(),
    ),
    st.integers(1, 16), st.integers(1, 3),
)  # fmt: skip
def test_odd_shapes_run_and_cache(config: TransformerConfig, length: int, batch: int) -> None:
    model = lively(config)
    ids = torch.randint(0, 23, (batch, length), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model(ids)
        cache = KVCache(config, batch)
        parts = [model(ids[:, i : i + 1], cache=cache) for i in range(length)]
    assert whole.shape == (batch, length, 23) and bool(torch.isfinite(whole).all())
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-3, atol=1e-4)
