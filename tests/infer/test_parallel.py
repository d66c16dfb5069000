"""Slots written at once and in passes: enumerated laws beside closed forms, and one text whatever the batch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from jielong.base import noise, stats
from jielong.base.errors import UserError, WorkFailed
from jielong.infer.parallel import WAYS, Passes, Sheet, seeded, write
from jielong.infer.sampling import Sampling
from jielong.infer.slots import LONGEST, Marks, lay, marks_of
from jielong.nets.transformer import Transformer
from tests.infer.conftest import random_model
from tests.infer.mixtures import TWO, Knows, Law, apart, in_steps, product, random_law

PLAIN = Sampling(temperature=1.0, max_tokens=32)


def enumerated(law: Law, tokens: int, passes: Passes, sampling: Sampling = PLAIN) -> Law:
    """The exact law of what `write` gives with a model that knows `law`."""
    marks = Marks(tokens, len(next(iter(law))))
    model = Knows(law, tokens, marks.mask)
    outcomes = noise.enumerate_choices(
        lambda source: write(model, marks, [[0]], passes, sampling, source=source)[0].ids
    )
    return noise.law(outcomes)


@pytest.mark.parametrize("way", WAYS)
def test_a_single_pass_gives_the_product_of_the_marginals(way: Any) -> None:
    assert apart(enumerated(TWO, 4, Passes(way, 1)), {(0, 1): 0.25, (0, 3): 0.25, (2, 1): 0.25, (2, 3): 0.25}) < 1e-7
    law = random_law(3, 3, 1)
    assert apart(enumerated(law, 3, Passes(way, 1)), product(law, 3)) < 1e-6
    assert apart(law, product(law, 3)) > 0.1


@pytest.mark.parametrize("number", [1, 2, 3, 5, 8])
def test_mixed_answers_of_two_as_predicted(number: int) -> None:
    """Both slots open in one pass with probability 1 / N, and disagree then half of the time."""
    found = enumerated(TWO, 4, Passes("ancestral", number))
    mixed = found.get((0, 3), 0.0) + found.get((2, 1), 0.0)
    assert mixed == pytest.approx(1 / (2 * number), abs=1e-7)
    assert found[0, 1] == pytest.approx(found[2, 3], abs=1e-7)


def test_the_ancestral_law_in_n_steps_and_its_way_to_the_true_one() -> None:
    law = random_law(2, 3, 5)
    gaps = []
    for number in (1, 2, 4, 6):
        found = enumerated(law, 2, Passes("ancestral", number))
        assert apart(found, in_steps(law, number)) < 1e-6
        gaps.append(apart(found, law))
    assert all(b < a for a, b in zip(gaps, gaps[1:])) and gaps[-1] < gaps[0] / 3


@pytest.mark.parametrize("way", ["mask-predict", "confident"])
def test_two_certain_passes_never_mix_two_answers(way: Any) -> None:
    assert apart(enumerated(TWO, 4, Passes(way, 2)), TWO) < 1e-7


def test_greedy_mask_predict_names_one_answer() -> None:
    likely: Law = {(0, 1): 0.4, (2, 3): 0.35, (2, 1): 0.25}  # tokens 2 and 1 are likeliest, slot 0 less surely
    greedy = replace(PLAIN, temperature=0.0)
    assert enumerated(likely, 4, Passes("mask-predict", 1), greedy) == {(2, 1): 1.0}
    assert enumerated(likely, 4, Passes("mask-predict", 2), greedy) == {(0, 1): 1.0}


@pytest.mark.parametrize("way", ["mask-predict", "confident"])
@pytest.mark.parametrize("number", [1, 2, 3, 5, 7, 12, 20])
def test_the_schedule_of_masks(way: Any, number: int) -> None:
    """n (N - k) / N slots, rounded down, are written in pass k of mask-predict, and are masked in `confident`."""
    marks = Marks(48, 7)
    model = both_ways()
    seen: list[tuple[int, int, list[int]]] = []

    def look(k: int, sheet: Sheet) -> None:
        seen.append((k, int(sheet.masked.sum()), sheet.tokens[0].tolist()))

    (text,) = write(model, marks, [[5, 6]], Passes(way, number), PLAIN, watch=look)
    assert text.slots == 7 and all(0 <= id < 48 for id in text.ids)
    if way == "mask-predict":
        assert [k for k, _, _ in seen] == [k for k in range(number) if 7 * (number - k) // number]
        moved = [sum(a != b for a, b in zip(one[2], two[2])) for one, two in zip(seen, seen[1:])]
        assert all(m <= 7 * (number - k) // number for m, (k, _, _) in zip(moved, seen[1:]))
    else:
        masked = {k: n for k, n, _ in seen}
        assert all(n == 7 * (number - k) // number for k, n in masked.items())
        assert text.reads == len(seen) == min(number, 7)


def test_what_confident_keeps_stays() -> None:
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    write(both_ways(), Marks(48, 9), [[3], [4, 5]], Passes("confident", 5), PLAIN,
          watch=lambda k, sheet: seen.append((sheet.masked.copy(), sheet.tokens.copy())))  # fmt: skip
    for (_, before), (masked, after) in zip(seen, seen[1:]):
        assert (before[~masked] == after[~masked]).all() and (~masked).any()


def both_ways(vocab: int = 48, longest: int = 12, seed: int = 1) -> Transformer:
    """Random weights, large enough to matter, that look both ways."""
    causal = random_model(Marks(vocab, longest).vocab, seed=seed)
    model = Transformer(replace(causal.config, causal=False), seed=None)
    model.load_state_dict(causal.state_dict())
    return model.eval()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("length", ["end", "predicted"])
def test_a_text_does_not_depend_on_the_batch(way: Any, length: Any) -> None:
    marks, model = Marks(48, 12, length), both_ways()
    rng = np.random.default_rng(3)
    prompts = [rng.integers(0, 48, size=n).tolist() for n in (1, 9, 4, 20, 2, 7)]
    samplings = [replace(PLAIN, seed=i, temperature=(0.0, 0.7, 1.0)[i % 3], top_k=5 * (i % 2)) for i in range(6)]
    many = write(model, marks, prompts, Passes(way, 4), samplings)
    for i in range(6):
        alone = write(model, marks, [prompts[i]], Passes(way, 4), samplings[i])[0]
        assert alone.ids == many[i].ids and alone.reads == many[i].reads
        assert np.allclose(alone.logprobs, many[i].logprobs, atol=1e-4)
    assert many == write(model, marks, prompts, Passes(way, 4), samplings)
    assert [w.ids for w in write(model, marks, prompts, Passes(way, 4), samplings, batch=2)] == [w.ids for w in many]
    if length == "predicted":
        assert len({w.slots for w in many}) > 1
    other = write(model, marks, prompts, Passes(way, 4), [replace(s, seed=99) for s in samplings])
    assert any(a.ids != b.ids for a, b in zip(other, many))


def test_padding_is_not_seen() -> None:
    marks, model = Marks(48, 12), both_ways()
    laid = lay([[1, 2], [3, 4, 5, 6]], [3, 5], marks)
    assert laid.ids.tolist() == [[1, 2, 48, 48, 48, 0, 0, 0, 0], [3, 4, 5, 6, 48, 48, 48, 48, 48]]
    assert laid.slots.tolist() == [[2, 3, 4, 0, 0], [4, 5, 6, 7, 8]] and laid.open.sum(axis=1).tolist() == [3, 5]
    assert laid.documents is not None and laid.documents.tolist()[0] == [0] * 5 + [1] * 4
    with torch.no_grad():
        whole = model(torch.from_numpy(laid.ids), documents=torch.from_numpy(laid.documents))
        alone = model(torch.from_numpy(laid.ids[:1, :5]))
    assert torch.allclose(whole[0, :5], alone[0], atol=1e-5)
    assert lay([[1], [2]], [2, 2], marks).documents is None


def test_draws_follow_the_enumerated_law() -> None:
    law = random_law(3, 3, 2)
    marks = Marks(3, 3)
    model = Knows(law, 3, marks.mask)
    for way, number in (("ancestral", 2), ("confident", 2), ("mask-predict", 2)):
        due = enumerated(law, 3, Passes(way, number))  # type: ignore[arg-type]
        draws = write(model, marks, [[0]] * 4000, Passes(way, number), seeded(PLAIN, 4000), batch=500)  # type: ignore[arg-type]
        counts = dict.fromkeys(due, 0)
        for draw in draws:
            counts[draw.ids] += 1
        assert stats.g_test(counts, {text: p / sum(due.values()) for text, p in due.items()}) > 0.001


def test_the_law_of_lengths() -> None:
    marks, model = Marks(5, 4, "predicted"), both_ways(5, 4)
    outcomes = noise.enumerate_choices(
        lambda source: write(model, marks, [[2, 3]], Passes(), replace(PLAIN, max_tokens=3), source=source)[0].slots
    )
    with torch.no_grad():
        logits = model(torch.tensor([[2, 3, marks.ask]]))[0, -1, marks.ask + 1 : marks.ask + 4]
    due = logits.softmax(-1).tolist()
    assert noise.law(outcomes) == pytest.approx({n + 1: p for n, p in enumerate(due)}, abs=1e-6)


def test_stops_lengths_and_readings() -> None:
    law: Law = {(0, 1, 4, 4): 0.5, (2, 4, 4, 4): 0.5}
    marks = Marks(5, 4)
    model = Knows(law, 5, marks.mask)
    stop = replace(PLAIN, stop_ids=(4,))
    draws = write(model, marks, [[0]] * 50, Passes("ancestral", 4), seeded(stop, 50))
    assert all((d.reason == "stop") == (d.ids[-1] == 4) and 4 not in d.ids[:-1] for d in draws)
    assert sum(d.reason == "stop" for d in draws) > 40  # two places in one pass may be of two texts
    assert all(1 <= d.reads <= 4 and len(d.logprobs) == len(d.ids) for d in draws)
    (cut,) = write(model, marks, [[0]], Passes("ancestral", 4), replace(stop, max_tokens=1))
    assert len(cut.ids) == 1 and cut.reason == "length" and cut.slots == 4
    assert write(model, marks, [], Passes(), PLAIN) == []
    model.rows = 0
    write(model, marks, [[0]] * 10, Passes("ancestral", 100), seeded(PLAIN, 10))
    assert model.rows <= 40  # a pass in which no slot of a row opens does not read it


def test_marks_are_read_again() -> None:
    marks = Marks(100, 16, "predicted")
    assert marks_of({"parallel": marks.info("at-once")}, 100, marks.vocab) == marks
    assert marks_of({}, 100, 100) is None
    with pytest.raises(UserError, match="118 ids"):
        marks_of({"parallel": marks.info("at-once")}, 100, 117)
    for told in ({}, {"slots": "x", "length": "end"}, {"slots": 4, "length": "soon"}, {"slots": 0, "length": "end"}):
        with pytest.raises(UserError):
            marks_of({"parallel": told}, 100, 118)
    with pytest.raises(UserError, match=str(LONGEST)):
        Marks(5, LONGEST + 1)


@pytest.mark.parametrize(
    "prompts, settings, said",
    [
        ([[]], {}, "empty"),
        ([[48]], {}, "token 48"),
        ([[-1]], {}, "token -1"),
        ([[1] * 60], {}, "no room"),
        ([[1]], {"repetition_penalty": 1.2}, "repetition_penalty"),
        ([[1]], {"stop": ("x",)}, "stop"),
    ],
)
def test_wrong_requests(prompts: Any, settings: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        write(both_ways(), Marks(48, 12), prompts, Passes(), replace(PLAIN, **settings))


def test_wrong_settings_and_broken_weights() -> None:
    with pytest.raises(UserError, match="sideways"):
        Passes("sideways")  # type: ignore[arg-type]
    for number in (0, -1, True, 1.5):
        with pytest.raises(UserError, match="number of passes"):
            Passes("ancestral", number)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="2 settings for 1"):
        write(both_ways(), Marks(48, 12), [[1]], Passes(), [PLAIN, PLAIN])
    model = both_ways()
    model.embed.data[3] = math.nan
    with pytest.raises(WorkFailed):
        write(model, Marks(48, 12), [[3]], Passes(), PLAIN)
