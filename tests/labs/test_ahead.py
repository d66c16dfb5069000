"""The labs on guessing ahead: what they count by hand and by enumeration, small runs, and their verdicts."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest

from jielong.infer.draft.scripted import Scripted, partly
from jielong.labs import ahead, drafters_theory, guessers, prophets, stages, timing, who_guesses, wrong_guesses
from jielong.labs.ahead import Written
from jielong.labs.lab import Budget
from jielong.labs.verdict import verdict
from jielong.labs.who_guesses import Spent, Who
from jielong.nets.config import shape
from jielong.views.pictures import draw
from jielong.views.verdicts import CONTROL_FAILED, HELD, PART


def test_promised_tokens_by_enumeration() -> None:
    for rate, k in itertools.product((0.0, 0.3, 1.0), (0, 1, 4)):
        due = 0.0
        for stay in itertools.product((True, False), repeat=k):
            chance = math.prod(rate if s else 1 - rate for s in stay)
            due += chance * (1 + next((i for i, s in enumerate(stay) if not s), k))
        assert ahead.promised(rate, k) == pytest.approx(due)


def test_what_stayed_by_hand() -> None:
    drafts = [(3, 3), (3, 1), (2, 2), (1, 0)]
    assert ahead.stayed(drafts, 4) == [(3, 4), (2, 3), (1, 1), (0, 0)]
    assert ahead.acceptance(drafts, 4) == 6 / 8 and ahead.acceptance([], 4) == 0


def test_operations_by_hand() -> None:
    spent = Spent(draft=100.0, guess=10.0, whole=1.0)
    assert spent.of([(4, 4), (4, 1), (0, 0)]) == 2 * 100 + 8 * 10 + 1


def test_figures_by_hand() -> None:
    """Two rounds alike: 4 steps of 8 tokens in 12 seconds, 4 of them guessing, where a step alone takes 2."""
    some = [Written(12.0, 4.0, 4, 8, [(2, 2), (2, 0), (2, 1), (2, 1)], [[1, 2]]) for _ in range(2)]
    plain = [Written(16.0, 0.0, 8, 8, [], [[1, 2]]) for _ in range(2)]
    found = drafters_theory.figures(plain, some, Who(lambda: Scripted("", lambda *_: []), Spent(guess=5.0)), 100.0,
                                    [[1, 2], [1, 3]])  # fmt: skip
    rate = 4 / 7  # stayed 3 of 4 in the first place, 1 of 3 in the second
    due = 1 + rate + rate**2
    assert found["faster"] == [pytest.approx(16 / 12)] * 2 and found["tokens"] == 2 and found["same"] == 0.5
    assert found["cost"] == pytest.approx(0.25) and found["read"] == pytest.approx(1.0)
    assert found["due"] == pytest.approx(due) and found["promised"] == pytest.approx(due / 1.5)
    assert found["operations"] == pytest.approx((4 + 8 + 8 * 5 / 100) / 8)


def test_writing_counts_what_a_known_drafter_gives() -> None:
    from jielong.infer.core import Core

    model = timing.random_model(shape(32, 64, 64, 1), 0)
    core = Core(model, mode="exact", streams=4, length=64)
    requests = ahead.asking([[1, 2], [3, 4], [5, 6]], 21)
    texts = ahead.texts(core, requests)
    for share, tokens in ((1.0, 5), (0.0, 1)):
        who = Scripted("known", partly(ahead.coming(texts), share))
        found = ahead.write(core, requests, ahead.drafting(who, None, 4))
        assert found.texts == [texts[request.prompt] for request in requests]
        assert found.tokens == 3 * 20 and found.steps == 3 * 20 / tokens and found.tokens_a_step == tokens
        assert ahead.acceptance(found.drafts, 4) == share
    alone = ahead.alone(core, requests)
    assert alone.steps == alone.tokens == 60 and alone.drafts == [] and alone.guessing == 0


def test_where_it_turns() -> None:
    assert wrong_guesses.turns([1.0, 1.1, 1.4, 3.0]) == pytest.approx(3.0)
    assert wrong_guesses.turns([1.0, 1.1, 1.2, 1.2]) is None
    assert wrong_guesses.turns([1.5, 2.0, 3.0, 4.0]) == pytest.approx(0.5)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that are made in seconds."""
    for name, value in {"READ": 4096, "WIDTH": 32, "LAYERS": 1, "PEOPLE": 20, "CONTEXT": 32, "BATCH": 8}.items():
        monkeypatch.setattr(stages, name, value)
    own = {"small": (32, 1), "diffusion": (32, 1)}
    for name, made in {"READ": 4096, "WIDTH": 64, "LAYERS": 5, "TAUGHT": 1024, "OWN": own}.items():
        monkeypatch.setattr(guessers, name, made)
    plan = stages.curriculum(0)
    plan = replace(plan, texts=400, chats=200, vocab=400)
    monkeypatch.setattr(stages, "curriculum", lambda seed, _=0: replace(plan, seed=seed))
    monkeypatch.setattr(who_guesses, "STORED", 50)
    monkeypatch.setattr(timing, "FEWEST", 2)
    for lab in (drafters_theory, prophets):
        monkeypatch.setattr(lab, "WRITTEN", 8)
    for name, count in {"RANKED": 2, "COUNTED": 6, "TIMED": 1}.items():
        monkeypatch.setattr(prophets, name, count)
    monkeypatch.setattr(drafters_theory, "TEXTS", 1)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_labs_with_models_run_whole(tmp_path: Any) -> None:
    for lab, controls in ((drafters_theory, 3), (prophets, 2)):
        name = lab.__name__.rpartition(".")[2]
        result = lab.run(Budget(minutes=0.01, seeds=(0,), out=tmp_path, lab=name))
        assert verdict(result) != "" and all(math.isfinite(row.estimate) for row in result.rows)
        assert result.row("texts that stay the same").estimate == 1
        assert sum(row.verdict.startswith("control") for row in result.rows) == controls
        assert all(draw(title, picture) is not None for title, picture in result.series.items())


def test_wrong_guesses_run_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    lab = wrong_guesses
    for name, value in {"MODELS": {"small": (32, 1), "large": (64, 1)}, "STREAMS": (1, 4), "VOCAB": 128,
                        "WRITTEN": {"small": 8, "large": 6}, "PROMPT": 4}.items():  # fmt: skip
        monkeypatch.setattr(lab, name, value)
    result = lab.run(Budget(minutes=0.01, seeds=(0,), out=tmp_path, lab="wrong_guesses"))
    assert verdict(result) != "" and all(math.isfinite(row.estimate) for row in result.rows)
    assert result.row("wrong guesses that were kept").estimate == 0
    assert result.row("wrong guesses that were kept").n > 0 and result.row("texts that stay the same").estimate == 1
    assert draw("times", result.series["times"]) is not None


def wrong(seed: int, name: str, streams: int, **changes: Any) -> dict[str, Any]:
    heavy = 0.005 if name == "large" and streams == 1 else 0.4
    found = {str(k): [1 + heavy * k] * 6 for k in wrong_guesses.GUESSES}
    return {"none": [1.0] * 6, wrong_guesses.CONTROL: [1.01] * 6, wrong_guesses.SILENT: [1.0] * 6, **found,
            "guesses": 100, "kept": 0, "same": 1.0, "promised": 1.0, **changes}  # fmt: skip


@pytest.mark.parametrize("changes, told", [
    ({}, HELD), ({"4": [1.5] * 6}, PART), ({wrong_guesses.CONTROL: [1.05] * 6}, PART), ({"kept": 1}, CONTROL_FAILED),
    ({"same": 0.9}, CONTROL_FAILED), ({wrong_guesses.SILENT: [1.2] * 6}, CONTROL_FAILED),
])  # fmt: skip
def test_verdicts_on_wrong_guesses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, changes: dict[str, Any], told: str
) -> None:
    def measure(budget: Budget, seed: int, name: str, streams: int) -> dict[str, Any]:
        return wrong(seed, name, streams, **changes)

    monkeypatch.setattr(wrong_guesses, "measure", measure)
    assert verdict(wrong_guesses.run(Budget(seeds=(0, 1, 2), out=tmp_path, lab="wrong_guesses"))) == told


def theory(seed: int, off: float = 1.0, best: float = 1.6, same: float = 1.0, rate: float = 0.7) -> dict[str, Any]:
    found: dict[str, Any] = {"operations": 1e6, "parameters": 1000}
    lab = drafters_theory
    for i, name in enumerate((*who_guesses.SHOWN, lab.KNOWN)):
        speed = best - 0.1 * i
        kept = round(1000 * rate)
        for way in (lab.SAME, lab.TOKEN, lab.CONTROLLER):
            found.setdefault(name, {})[way] = {
                "faster": [speed] * 6, "promised": speed * off, "read promised": speed * off,
                "operations": 2 + 0.01 * seed,
                "stayed": [[kept, 1000], [0, 0], [0, 0], [0, 0]], "steps": 1000, "tokens": 2.0, "due": 2.0,
                "cost": 0.1, "read": 1.0, "same": same,
            }  # fmt: skip
        found[name][lab.PLAIN] = {"each": [0.001] * 6}
    return found


@pytest.mark.parametrize("changes, told", [
    ({}, HELD), ({"off": 1.3}, PART), ({"best": 1.45, "off": 1.05}, HELD), ({"same": 0.9}, CONTROL_FAILED),
    ({"rate": 0.5}, CONTROL_FAILED),
])  # fmt: skip
def test_verdicts_on_theory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, changes: dict[str, Any], told: str
) -> None:
    monkeypatch.setattr(drafters_theory, "measure", lambda budget, seed: theory(seed, **changes))
    result = drafters_theory.run(Budget(seeds=(0, 1, 2), out=tmp_path, lab="drafters_theory"))
    assert verdict(result) == told


def several(seed: int, **changes: Any) -> dict[str, Any]:
    lab = prophets
    alone = {name: 1.5 + 0.1 * i + 0.01 * seed for i, name in enumerate(lab.PROPHETS)}
    together = {lab.ALL: 2.2, lab.WORST: 2.0, lab.TURNS: 1.9, lab.TWICE: alone[lab.PROPHETS[0]]}
    times = {name: [1.0] * 6 for name in ("none", *lab.PROPHETS)} | {lab.ALL: [0.9] * 6, lab.TURNS: [1.0] * 6}
    both = {lab.SAME: alone | together, lab.SEVERAL: alone | together}
    return {"order": list(lab.PROPHETS), **both, "same": 1.0, "times": times, **changes}


@pytest.mark.parametrize("ways, same, told", [
    ({}, 1.0, HELD), ({prophets.ALL: 1.7}, 1.0, PART), ({prophets.WORST: 2.3}, 1.0, PART), ({}, 0.9, CONTROL_FAILED),
    ({prophets.TWICE: 1.9}, 1.0, CONTROL_FAILED),
])  # fmt: skip
def test_verdicts_on_prophets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, ways: dict[str, float], same: float, told: str
) -> None:
    def measure(budget: Budget, seed: int) -> dict[str, Any]:
        found = several(seed, same=same)
        for way in (prophets.SAME, prophets.SEVERAL):
            found[way] |= ways
        return found

    monkeypatch.setattr(prophets, "measure", measure)
    assert verdict(prophets.run(Budget(seeds=(0, 1, 2), out=tmp_path, lab="prophets"))) == told
