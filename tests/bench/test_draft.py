"""The bench of guessing ahead: the interval's arithmetic, what the bars are made of, and a tiny run of all of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from jielong.base.result import Result
from jielong.base.talk import Talk
from jielong.bench import draft, draft_models
from jielong.infer.core import Core
from jielong.infer.draft.drafting import Drafting
from jielong.infer.draft.scripted import Scripted, partly, slow
from jielong.infer.draft.types import Draft
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.infer.schedule import Row


def case(group: str, name: str, ratios: list[float], promised: list[float]) -> draft.Case:
    """One whose pairs have these ratios of seconds."""
    made = draft.Case(group, name, promised=promised, same=1, texts=1)
    made.whole = made.after = [(r * 0.25, 0.25) for r in ratios]
    return made


def test_the_interval_is_that_of_the_median() -> None:
    """Of 15 values the 4th and the 12th hold the median between them with probability 1 - 2 * 576 / 2^15."""
    ratios = [1.0 + i / 100 for i in (7, 3, -2, 0, 11, 5, 1, 90, -5, 4, 2, 6, -1, 8, 9)]
    made = case("g", "n", ratios, [0.9] * 7 + [1.1] * 8)
    middle, within = made.slowdown
    assert middle == pytest.approx(0.04) and (within.low, within.high) == (pytest.approx(0.0), pytest.approx(0.08))
    assert made.speedup[0] == pytest.approx(1 / 1.04) and made.speedup[1].high == pytest.approx(1 / 1.0)
    assert made.promise == pytest.approx(1.1)
    told = sorted(r * said for r, said in zip(ratios, [0.9] * 7 + [1.1] * 8))  # 1 / speed-up, times the promise
    assert made.off == pytest.approx(told[7] - 1)


def test_the_bars_name_the_worst_and_the_share_of_kept_promises() -> None:
    cases = [case(draft.GRID, "good", [0.5] * 6, [2.1] * 6), case(draft.GRID, "bad", [1.02] * 6, [1.0] * 6),
             case(draft.WRONG, draft.FIXED, [1.6] * 6, []),
             case(draft.REAL, "copy", [0.25] * 6, [5.0] * 6)]  # fmt: skip
    result = draft.result(cases, {})
    worst = result.row(f"{draft.BOUND} {draft.GRID}")
    assert worst.estimate == pytest.approx(0.02) and worst.note == "bad; 2 of 2 within the bar"
    assert result.row(draft.TWICE).estimate == pytest.approx(4.0)
    assert result.row(draft.WITHIN).estimate == pytest.approx(2 / 3)  # 5.0 for 4.0 is off by a quarter
    assert result.row(draft.WORST).estimate == pytest.approx(0.25)
    assert set(result.meta["at_most"]) == {worst.name, draft.WORST}  # a slowdown and an error: less is better
    assert not any(row.name.endswith(draft.WRONG) for row in result.rows if row.group == "bars")
    assert Result.from_json(result.to_json()) == result and len(list(draft.summary(result))) == len(result.rows)


def test_scripted_guesses_stay_as_often_as_they_are_to_and_take_their_time() -> None:
    truth = list(range(1, 3001))
    row = Row(0, Request((0,), Sampling(seed=5)), 10**6)
    rule = partly(lambda row: truth[row.written :], 0.6)
    for share, low, high in ((0.0, 0, 0), (0.6, 1700, 1900), (1.0, 3000, 3000)):
        found = partly(lambda row: truth[row.written :], share)(row, 3000, lambda *_: 0)
        assert isinstance(found, Draft)
        assert low <= sum(a == b for a, b in zip(found.tokens, truth)) <= high
    first = rule(row, 8, lambda *_: 0)
    row.text += [7, 7]  # the same places are guessed the same way from anywhere
    assert isinstance(first, Draft) and first.tokens[2:] == rule(row, 6, lambda *_: 0).tokens  # type: ignore[union-attr]
    import time

    began = time.perf_counter()
    slow(rule, 0.01)(row, 4, lambda *_: 0)
    assert 0.04 <= time.perf_counter() - began < 1.0


def test_both_sides_write_the_same_texts_and_every_pair_is_counted() -> None:
    from jielong.nets.config import shape

    model = draft.random_model(shape(32, 64, 128, 1))
    cores = Core(model, mode="exact", streams=1), Core(model, mode="exact", streams=1)
    requests = draft.asking([[1, 2, 3], [4, 5, 6]], 30, 1.0)
    assert requests[0].sampling.seed != requests[1].sampling.seed
    truth = {}
    for request in requests:
        side = draft.Side(cores[1], None)
        draft.write(request, [side])
        truth[request.prompt] = side.text
        assert len(side.text) == 30 and 0 < side.after < side.whole
    drafter = Scripted("right", partly(lambda row: truth[row.request.prompt][row.written :], 1.0))
    drafting = Drafting(drafter, guess=4)
    made = draft.compare(draft.Case("g", "n"), cores, drafting, draft.shared_out(requests, 3, 2))
    assert (made.same, made.texts, len(made.whole), len(made.after)) == (6, 6, 3, 3)
    assert made.promise is None and "100% of the guesses stayed" in made.note
    assert draft.told(Drafting(drafter)) == "no guesses"


def test_prompts_of_spec_bench_are_read_by_category(data: Path) -> None:
    path = data / "spec_bench" / "question.jsonl"
    if not path.is_file():
        pytest.skip("no Spec-Bench there")
    found = draft.spec_prompts(path, 100)
    assert {name: len(prompts) for name, prompts in found.items()} == dict.fromkeys(
        ("conversation", "translation", "summarisation", "questions", "mathematics", "retrieval"), 80
    )
    assert max(len(p) for prompts in found.values() for p in prompts) == 100
    assert all(p[0] == draft_models.codec().end for prompts in found.values() for p in prompts)


@pytest.mark.slow
def test_a_tiny_run_of_everything(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft_models, "QUICK", dict.fromkeys(draft_models.QUICK, (32, 2, 4096)))
    before, talk = torch.get_num_threads(), Talk(stream=io.StringIO(), out=io.StringIO())
    try:
        result = draft.run(talk, quick=True, pairs=2)
    finally:
        torch.set_num_threads(before)
    groups = [row.group for row in result.rows]
    sizes = len(draft.ACCEPTED) * len(draft.COSTS)
    assert (groups.count(draft.GRID), groups.count(draft.WRONG), groups.count(draft.WORLD)) == (sizes, 2, 9)
    assert groups.count(draft.REAL) == 4 and draft.SPEC not in groups and "JIELONG_DATA" in result.meta["skipped"]
    assert all("the same texts" in row.note for row in result.rows if row.group != "bars")
    assert all(row.control is not None for row in result.rows if row.group == draft.GRID)
