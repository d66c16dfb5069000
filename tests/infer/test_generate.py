"""Batched = single, cached = uncached, chunked = whole, and the exact law of all of it by enumeration."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jielong.base import noise
from jielong.base.errors import UserError, WorkFailed
from jielong.infer import generate as gen
from jielong.infer import runner
from jielong.infer.core import Core
from jielong.infer.generate import generate, steps
from jielong.infer.pieces import Pieces
from jielong.infer.sampling import Sampling
from jielong.infer.score import score
from jielong.nets.decoder import Feed
from jielong.nets.pages import page_bytes
from jielong.nets.tap import Tap
from jielong.nets.transformer import Transformer
from jielong.units import chars

from .conftest import VOCAB, NoCache, random_model

PROMPTS = [[1 + (7 * i + 3 * j) % (VOCAB - 1) for j in range(1 + (5 * i) % 13)] for i in range(11)]
SETTINGS = [
    Sampling(seed=i, max_tokens=4 + 3 * i, temperature=(1.0, 0.0, 0.7)[i % 3], top_k=(0, 5)[i % 2],
             top_p=(1.0, 0.9)[i // 2 % 2], repetition_penalty=(1.0, 1.3)[i // 3 % 2], logprobs=i % 4,
             stop_ids=(3, 4) if i % 2 else (), logit_bias={2: -1.0} if i == 5 else (),
             bad_words=((7,), (1, 2)) if i == 6 else ())
    for i in range(11)
]  # fmt: skip


def same(a: Any, b: Any) -> None:
    assert [g.ids for g in a] == [g.ids for g in b]
    assert [(g.reason, g.stopped_by, g.text) for g in a] == [(g.reason, g.stopped_by, g.text) for g in b]
    for x, y in zip(a, b):
        np.testing.assert_allclose(x.logprobs, y.logprobs, atol=2e-4)
        assert [[i for i, _ in place] for place in x.top] == [[i for i, _ in place] for place in y.top]


@pytest.mark.parametrize("batch", [1, 3, 4, 128])
def test_batched_is_single(model: Transformer, batch: int) -> None:
    single = [generate(model, [p], s)[0] for p, s in zip(PROMPTS, SETTINGS)]
    same(generate(model, PROMPTS, SETTINGS, batch=batch), single)
    assert {g.reason for g in single} == {"stop", "length"}  # the case is not an easy one


def test_cached_is_uncached(model: Transformer, no_cache: NoCache) -> None:
    assert isinstance(runner.runner(model, 8), runner.Written)
    assert isinstance(runner.runner(no_cache, 8), runner.Recompute)
    same(generate(model, PROMPTS, SETTINGS), generate(no_cache, PROMPTS, SETTINGS))


def test_prefill_in_chunks_is_prefill_at_once(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = generate(model, PROMPTS, SETTINGS)
    monkeypatch.setattr(gen, "PREFILL_TOKENS", 7)  # less than the longest prompt, and than one token a row
    same(generate(model, PROMPTS, SETTINGS), whole)


@pytest.mark.parametrize("prompt", [PROMPTS[4], list(range(1, 33)), list(range(1, 40))])
def test_draws_of_one_prompt_share_its_reading(
    model: Transformer, prompt: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = [Sampling(seed=i, max_tokens=9) for i in range(6)]
    single = [generate(model, [prompt], s)[0] for s in draws]
    fed = []
    step = runner.Written.step

    def counted(self: runner.Written, feed: Feed) -> torch.Tensor:
        fed.append(len(feed.ids))
        return step(self, feed)

    monkeypatch.setattr(runner.Written, "step", counted)
    same(generate(model, [prompt] * 6, draws), single)
    assert fed == [len(prompt), *[6] * 8]
    assert len({g.ids for g in single}) == 6


def test_a_beginning_read_before_changes_nothing(model: Transformer) -> None:
    prompts = [[*range(1, 36), *p] for p in PROMPTS]
    plain = generate(model, prompts, SETTINGS)
    core = Core(model, length=64, streams=4)
    same(generate(core, prompts, SETTINGS), plain)
    same(generate(core, prompts, SETTINGS), plain)
    assert core.scheduler.hits >= 21 * 32  # two full pages of each, but for the very first


def test_logprobs_are_those_of_score(model: Transformer) -> None:
    for g, p, s in zip(generate(model, PROMPTS, SETTINGS), PROMPTS, SETTINGS):
        place: tuple[Any, ...] = ()
        (expected,) = score(model, [[*p, *g.ids]], [len(p)])
        np.testing.assert_allclose(g.logprobs, expected, atol=2e-4)
        for place, id, logprob in zip(g.top, g.ids, g.logprobs):
            ps = [q for _, q in place]
            assert ps == sorted(ps, reverse=True)
            assert dict(place).get(id, logprob) == pytest.approx(logprob, abs=1e-5)
            assert ps[0] >= logprob - 1e-6
        assert len(place) == s.logprobs


def test_the_law_of_whole_texts_by_enumeration() -> None:
    """Every text of up to 3 tokens, its probability from the definition, against all outcomes of the code."""
    model = random_model(vocab=5, context=16)
    prompt, setting = [1, 2], Sampling(temperature=0.8, max_tokens=3, stop_ids=(4,), logit_bias={0: 0.5})

    def law_after(text: tuple[int, ...]) -> list[float]:
        logits = model(torch.tensor([[*prompt, *text]]))[0, -1].double()
        logits[0] += 0.5
        return (logits / 0.8).softmax(-1).tolist()

    def texts(text: tuple[int, ...], p: float) -> list[tuple[tuple[int, ...], float]]:
        if len(text) == 3 or (text and text[-1] == 4):
            return [(text, p)]
        return [out for i, q in enumerate(law_after(text)) for out in texts((*text, i), p * q)]

    expected = dict(texts((), 1.0))
    other = Sampling(max_tokens=1, temperature=0)  # a neighbour must not matter
    outcomes = noise.law(
        noise.enumerate_choices(lambda source: generate(model, [prompt, [3]], [setting, other], source=source)[0].ids)
    )
    assert outcomes.keys() == expected.keys()
    assert max(abs(outcomes[t] - expected[t]) for t in expected) < 1e-6


def test_seeds_draw_from_the_law() -> None:
    model = random_model(vocab=5, context=16)
    settings = [Sampling(seed=i, max_tokens=2) for i in range(4000)]
    draws = generate(model, [[1, 2]] * 4000, settings, batch=4000)
    counts = dict.fromkeys(itertools.product(range(5), repeat=2), 0)
    for g in draws:
        counts[g.ids] += 1
    law = noise.law(
        noise.enumerate_choices(lambda source: generate(model, [[1, 2]], Sampling(max_tokens=2), source=source)[0].ids)
    )
    from jielong.base.stats import g_test

    assert g_test(np.array([counts[t] for t in sorted(law)]), np.array([law[t] for t in sorted(law)])) > 0.001


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=20), st.integers(1, 30), st.integers(0, 2**62)
        ),
        min_size=1,
        max_size=7,
    ),
    st.integers(1, 8),
)
def test_any_requests_in_any_batch(rows: list[tuple[list[int], int, int]], batch: int) -> None:
    model = random_model()
    prompts = [ids for ids, _, _ in rows]
    each = [Sampling(max_tokens=most, seed=seed, stop_ids=(5, 6, 7, 8)) for _, most, seed in rows]
    out = generate(model, prompts, each, batch=batch)
    same(out, [generate(model, [p], s)[0] for p, s in zip(prompts, each)])
    for g, s in zip(out, each):
        assert len(g.ids) <= s.max_tokens
        assert (g.reason == "stop") == (g.ids[-1] in s.stop_ids)
        assert not set(g.answer) & set(s.stop_ids)


def test_the_end_of_the_context_ends_the_text(model: Transformer) -> None:
    for length in (63, 60, 1):
        (g,) = generate(model, [[9] * length], Sampling(max_tokens=500))
        assert (len(g.ids), g.reason) == (64 - length, "length")


@pytest.mark.parametrize("prompt, told", [
    ([9] * 64, "64 tokens .* context is 64"), ([9] * 70, "70 tokens .* context is 64"), ([], "empty"),
    ([VOCAB], f"token {VOCAB}: .* 0 to {VOCAB - 1}"), ([-1], "token -1"),
])  # fmt: skip
def test_a_wrong_prompt_is_told(model: Transformer, prompt: list[int], told: str) -> None:
    with pytest.raises(UserError, match=told):
        generate(model, [[1], prompt], Sampling())


def test_wrong_calls_are_told(model: Transformer) -> None:
    with pytest.raises(UserError, match="2 settings for 1 prompts"):
        generate(model, [[1]], [Sampling()] * 2)
    with pytest.raises(UserError, match="batch is 0"):
        generate(model, [[1]], Sampling(), batch=0)
    for needs in ({"stop": "x"}, {"bad_words": "x"}):
        with pytest.raises(UserError, match="need the tokenizer"):
            generate(model, [[1]], Sampling(**needs))
    with pytest.raises(WorkFailed, match="no token"):
        generate(model, [[1]], Sampling(logit_bias=dict.fromkeys(range(VOCAB), -math.inf)))
    assert generate(model, [], Sampling()) == []


def test_a_model_that_gives_nan_is_told() -> None:
    class Broken(NoCache):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.model(ids) * math.nan

    with pytest.raises(WorkFailed, match="NaN"):
        generate(Broken(random_model()), [[1]], Sampling())


def test_a_callback_sees_every_token_and_can_end_a_row(model: Transformer) -> None:
    seen: dict[int, list[int]] = {}

    def look(row: int, id: int, logprob: float) -> bool:
        seen.setdefault(row, []).append(id)
        assert logprob <= 0
        return row == 1 and len(seen[1]) == 4

    prompts, draws = [[1], [2], [3]], [Sampling(seed=i, max_tokens=8) for i in range(3)]
    out = generate(model, prompts, draws, on_token=look)
    whole = generate(model, prompts, draws)
    assert [tuple(seen[i]) for i in range(3)] == [g.ids for g in out]
    assert [g.reason for g in out] == ["length", "cancelled", "length"]
    assert out[1].ids == whole[1].ids[:4]
    assert (out[0].ids, out[2].ids) == (whole[0].ids, whole[2].ids)


def test_rows_cancelled_before_they_begin_have_no_tokens(model: Transformer) -> None:
    out = generate(model, [[1], [2]], Sampling(max_tokens=3), cancelled={0})
    assert (out[0].ids, out[0].reason) == ((), "cancelled")
    assert len(out[1].ids) == 3


def test_a_tap_edits_the_same_whatever_the_batch(model: Transformer) -> None:
    def push(x: torch.Tensor, where: Any) -> torch.Tensor:
        return x + 0.5 * (where.rows[:, None, None] + 1) * (where.positions[..., None] > 2)

    def bias(x: torch.Tensor, where: Any) -> torch.Tensor:
        out = x.clone()
        out[..., 5] += where.positions.to(x) * 0.3
        return out

    tap = Tap({"block.0.resid_out": push, "logits": bias})
    prompts = [PROMPTS[3], PROMPTS[4], PROMPTS[3]]
    draws = [Sampling(seed=i, max_tokens=6) for i in range(3)]
    together = generate(model, prompts, draws, tap=tap)

    class Tapped(NoCache):  # the whole text at once, with the tap
        def forward(self, ids: torch.Tensor, *, tap: Any = None, rows: Any = None) -> torch.Tensor:
            return self.model(ids, tap=tap, rows=rows)

    same(together, generate(Tapped(model), prompts, draws, tap=tap))
    same(together, generate(model, prompts, draws, tap=tap, batch=1))
    assert [g.ids for g in together] != [g.ids for g in generate(model, prompts, draws)]


def test_a_model_can_be_trained_after_it_was_run() -> None:
    """Tables that a forward pass memoises must not become inference tensors."""
    fresh = random_model(seed=5)
    generate(fresh, [[1, 2, 3]], Sampling(max_tokens=3))
    score(fresh, [[1, 2, 3]], [1])
    fresh(torch.tensor([[1, 2, 3, 4]])).sum().backward()
    assert all(p.grad is not None for p in fresh.parameters())


TEXT = "abcdefgh 玉山。\nxyz"


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    return Pieces(chars.train([TEXT]))


def readable(pieces: Pieces) -> dict[int, float]:
    """A bias that leaves only the characters of TEXT."""
    known = set(pieces.codec.encode(TEXT))
    return {i: -math.inf for i in range(pieces.codec.size) if i not in known}


def test_stop_strings_cut_the_text_at_their_first_place(pieces: Pieces) -> None:
    model = random_model(vocab=pieces.codec.size, context=512)
    for seed in range(12):
        plain = Sampling(max_tokens=200, seed=seed, temperature=2, logit_bias=readable(pieces))
        free = generate(model, [[1]], plain, pieces=pieces)[0]
        for stop in (free.text[20:22], free.text[7:8], free.text[40:45]):
            (g,) = generate(model, [[1]], plain.with_(stop=stop), pieces=pieces)
            assert g.text == free.text.split(stop)[0]
            assert (g.reason, g.stopped_by) == ("stop", stop)
            assert g.ids == free.ids[: len(g.ids)]
            assert stop not in pieces.text(g.ids[:-1])  # not one token too many


def test_of_two_stops_the_earlier_wins(pieces: Pieces) -> None:
    a, b, c = (pieces.codec.encode(x)[0] for x in "abc")

    class Says(torch.nn.Module):
        """Always continues abcabc..."""

        config = None

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            after = {a: b, b: c, c: a}
            out = torch.zeros(*ids.shape, pieces.codec.size)
            for i, row in enumerate(ids.tolist()):
                for j, id in enumerate(row):
                    out[i, j, after.get(id, a)] = 99.0
            return out

    def text(*stop: str) -> tuple[str, Any]:
        (g,) = generate(Says(), [[a]], Sampling(max_tokens=9, stop=stop), pieces=pieces)
        return g.text, g.stopped_by

    assert text() == ("bcabcabca", None)
    assert text("cab") == ("b", "cab")
    assert text("ab", "cab") == ("b", "cab")  # both end here; the one that begins earlier
    assert text("zz", "bca") == ("", "bca")
    assert text("b") == ("", "b")


def test_bad_words_as_strings(pieces: Pieces) -> None:
    model = random_model(vocab=pieces.codec.size, context=512)
    plain = Sampling(max_tokens=300, seed=1, logit_bias=readable(pieces))
    free = generate(model, [[1]], plain, pieces=pieces)[0].text
    word = max(sorted({free[i : i + 2] for i in range(200)}), key=free.count)
    (g,) = generate(model, [[1]], plain.with_(bad_words=word), pieces=pieces)
    assert free.count(word) > 2
    assert word not in g.text
    assert not set(word) - set(g.text)  # its letters are still allowed


def test_little_memory_puts_rows_off_and_changes_nothing(model: Transformer) -> None:
    whole = generate(model, PROMPTS, SETTINGS)
    core = Core(model, streams=11, memory=6 * page_bytes(model.config))
    most = 0
    for _ in steps(core, PROMPTS, SETTINGS):
        most = max(most, len(core.scheduler.running))
        core.scheduler.blocks.check(row.table for row in core.scheduler.running)
    assert 1 < most <= 5
    same(generate(core, PROMPTS, SETTINGS), whole)
    assert core.scheduler.preemptions > 0
    assert core.scheduler.blocks.used == 0
