"""Every drafter beside every feature, through the engine's step; and mistakes put into that step, each found.

The mistakes are those of `test_draft_mutants`, where they were put into the loop of the proof: litgpt #2307 (the first
token is dropped), transformers #32867 (a greedy drafter counted as a sampled one), mlx-lm (a guess stays if an
independent sample is the same), vLLM #9834 (settings not applied to the target), and a cache that still holds what was
refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.cli.main import main
from jielong.infer.core import Core
from jielong.infer.draft import along, compose, drafting
from jielong.infer.draft.compose import Cell, Composed
from jielong.infer.draft.drafting import Drafting
from jielong.infer.draft.features import Setup, drafters, features
from jielong.infer.draft.matrix import QUICK, Matrix
from jielong.infer.draft.model import ModelDrafter
from jielong.infer.draft.prove import Cell as Proved
from jielong.infer.draft.types import Accepted
from jielong.infer.draft.verify import VERIFIERS
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.infer.schedule import Row, Scheduler

from .conftest import random_model

SETUP = Setup()
FEATURES = {feature.name: feature for feature in features()}
FEW = ("lookup", "small model", "all of", "medusa", "all right")  # where the others differ little


def cells(drafter: Sequence[str], feature: Sequence[str], verifiers: Sequence[str] = ("coupled",)) -> list[Cell]:
    makers = {name: make for name, make in drafters(SETUP).items() if name in drafter}
    return list(compose.cells(SETUP, makers, [FEATURES[name] for name in feature], verifiers))


@pytest.mark.parametrize("feature", FEATURES)
def test_the_text_stays_what_it_is(feature: str) -> None:
    """`coupled`, all drafters: to the bit."""
    found = cells(list(drafters(SETUP)), [feature])
    assert [(cell.drafter, cell.said) for cell in found if cell.state != "right"] == []
    assert len(found) == len(drafters(SETUP)) and min(cell.tokens for cell in found) > 60


@pytest.mark.parametrize("feature", [
    "batch", "preemption", "grammar", "stop", "int8 cache", "adapters", "all together",
])  # fmt: skip
def test_the_law_stays_what_it_is(feature: str) -> None:
    found = Composed(cells(FEW, [feature], ("token", "block", "multi")), 0.0)
    assert [(c.drafter, c.verifier, c.said) for c in found.cells if c.state != "right"] == []
    assert min(found.laws().values()) > compose.RARE


@pytest.mark.slow
def test_all_of_it() -> None:
    found = compose.run(SETUP)
    assert found.right and found.count("refused") <= 0.1 * len(found.cells)
    assert len(found.cells) == compose.number(SETUP) == 4 * len(FEATURES) * len(drafters(SETUP))


def test_stops_of_both_kinds_come_up() -> None:
    core = Core(SETUP.model, SETUP.pieces)
    out = compose.write(core, FEATURES["stop"].waves(SETUP))
    assert {type(each[4]) for each in out} >= {int, str}


def test_what_is_counted() -> None:
    right = Cell("a", "x", "coupled", "right", accepted=1)
    assert Composed([right], 0.0).right
    assert not Composed([right, Cell("b", "x", "coupled", "right")], 0.0).right  # not one guess of b stayed
    assert not Composed([right, Cell("a", "y", "coupled", "wrong", "other tokens")], 0.0).right
    refused = Cell("a", "y", "coupled", "refused", "no")
    assert Composed([right] * 9 + [refused], 0.0).right and not Composed([right] * 8 + [refused], 0.0).right
    skewed = replace(right, places=tuple(np.linspace(0, 0.8, 200)))
    assert not Composed([skewed], 0.0).right and Composed([skewed], 0.0).document()["p"] < 1e-3


def test_a_drafter_that_refuses_or_breaks_or_sleeps_is_told() -> None:
    def refuses(model: Any, truth: Any) -> Any:
        raise UserError("not with this model")

    class Breaks:
        name = "breaks"

        def propose(self, rows: Any, most: Any, source: Any) -> Any:
            raise ValueError("no sense")

        def forget(self, row: Row) -> None:
            pass

    class Sleeps(Breaks):
        def propose(self, rows: Any, most: Any, source: Any) -> Any:
            return [()] * len(rows)

    makers = {"refuses": refuses, "breaks": lambda m, t: Breaks(), "sleeps": lambda m, t: Sleeps()}
    found = {c.drafter: c for c in compose.cells(SETUP, makers, [FEATURES["bias"]], ["coupled"])}  # type: ignore[arg-type]
    assert (found["refuses"].state, found["refuses"].said) == ("refused", "not with this model")
    assert (found["breaks"].state, found["breaks"].said) == ("wrong", "ValueError: no sense")
    assert found["sleeps"].said == "nobody guessed"


def test_drawn_chains_of_one_name_are_told_apart() -> None:
    def proved(verifier: str, accepted: float) -> Proved:
        return Proved("d", verifier, ("top_p", "grammar"), 0.0, 0.0, accepted)

    rows = [proved("token", 0.2), proved("block", 0.3), proved("token", 0.8), proved("block", 0.8)]
    assert Matrix(None, [], rows, 0, 0, 0.0).right  # type: ignore[arg-type]
    assert Matrix(None, [], [*rows, proved("multi", 0.7)], 0, 0, 0.0).fewer()  # type: ignore[arg-type]
    assert QUICK


def test_the_command_and_its_page(in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    makers, known = drafters(SETUP), [FEATURES["bias"], FEATURES["n > 1"]]

    def refuses(model: Any, truth: Any) -> Any:
        raise UserError("not with <this> model")

    few = {name: makers[name] for name in ("all right", "lookup", "all wrong", "int8 self", "early exit")}
    monkeypatch.setattr(compose, "features", lambda: known)
    monkeypatch.setattr(compose, "drafters", lambda setup: few)
    assert main("prove --chains 1 --paths 5 --compose --json --out proof".split()) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)["compose"]
    assert told["all_right"] and told["cells"] == told["right"] == 5 * 2 * 4 and told["refused"] == 0
    shown = (in_tmp / "proof/proof.html").read_text("utf-8")
    assert "與每項功能並用" in shown and "n &gt; 1" in shown and "4/4" in shown
    monkeypatch.setattr(compose, "drafters", lambda setup: {**few, "refuses": refuses})
    assert main("prove --chains 1 --paths 5 --compose --out proof".split()) == 1  # 8 of 48 are too many
    said = capsys.readouterr()
    assert "48 cells of 6 drafters x 2 features x 4 verifiers: 40 right, 8 refused by name (bar 10%)" in said.out
    assert "refused: refuses, bias, token: not with <this> model" in said.out
    assert "not with &lt;this&gt; model" in (in_tmp / "proof/proof.html").read_text("utf-8")


# --- mistakes


def wrong(drafter: str, *feature: str, verifiers: Sequence[str] = ("coupled",)) -> list[str]:
    """What is found wrong with one drafter."""
    return [cell.said for cell in cells([drafter], feature, verifiers) if cell.state == "wrong"]


def laws_of(verify: str | Any, settings: Sampling, drafter: Callable[[], Any] | None = None) -> float:
    """How far the engine's law of whole texts is from that without guesses, under every outcome: total variation."""
    model = random_model(vocab=4).double()

    def law(guessing: bool) -> dict[Any, float]:
        def once(source: noise.Source) -> tuple[int, ...]:
            make = drafter or (lambda: ModelDrafter(random_model(vocab=4, seed=5).double(), 4))
            rule = VERIFIERS[verify] if isinstance(verify, str) else verify
            core = Core(model, source=source, drafting=Drafting(make(), rule, guess=2) if guessing else None)
            row = core.submit(Request((1, 2), settings))
            ids: list[int] = []
            while core.busy:
                ids += [token.id for token in core.step() if token.id is not None]
            assert ids == row.text[2:] or row.request.sampling.seed  # a seed marks a mistake in what is told
            return tuple(ids)

        return noise.law(noise.enumerate_choices(once))

    plain, found = law(False), law(True)
    return sum(abs(plain.get(key, 0.0) - found.get(key, 0.0)) for key in plain | found) / 2


THREE = Sampling(max_tokens=3, temperature=0.8)


@pytest.mark.parametrize("verify", ["token", "block", "multi"])
def test_the_step_as_it_is_passes(verify: str) -> None:
    assert laws_of(verify, THREE) < 1e-9
    assert laws_of(verify, THREE.with_(top_k=2, frequency_penalty=0.7)) < 1e-9


def test_a_dropped_first_token(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Core.step

    def drops(core: Core) -> list[Any]:
        tokens = step(core)
        return tokens if core.drafting is None else [t for t in tokens if t.row.written > 1 or t.reason]

    monkeypatch.setattr(Core, "step", drops)
    assert wrong("lookup", "bias") and wrong("lookup", "bias", verifiers=["token"])


def test_the_first_token_after_guesses_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = Drafting.settle

    def drops(self: Drafting, core: Core, rows: list[Row], *more: Any) -> list[Any]:
        before, tokens = {row: len(row.text) - row.guesses for row in rows}, settle(self, core, rows, *more)
        firsts = {row: next(t for t in tokens if t.row is row) for row in rows}
        many = [row for row in rows if len(row.text) > before[row] + 1]
        return [t for t in tokens if not (t.row in many and t is firsts[t.row])]

    monkeypatch.setattr(Drafting, "settle", drops)
    assert wrong("all right", "seed") and wrong("all right", "seed", verifiers=["token"])


@pytest.mark.parametrize("verify", ["token", "block", "multi"])
def test_a_greedy_drafter_counted_as_a_sampled_one(verify: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = drafting._draws

    def greedy(core: Core, row: Row) -> Any:
        choose = draws(core, row)
        return lambda law, *at: int(np.argmax(law)) if at[0] == "draft" else choose(law, *at)

    monkeypatch.setattr(drafting, "_draws", greedy)
    assert laws_of(verify, THREE) > 1e-3


def matching(again: bool) -> Any:
    """A guess stays if a draw from the target is the same; else that draw is written, or another."""

    def verify(laws: Any, drafts: Any, choose: Any) -> Accepted:
        done: tuple[int, ...] = ()
        for i, guess in enumerate(drafts[0].tokens if drafts else ()):
            own = choose(laws(done), "accept", i)
            if own != guess:
                return Accepted((*done, choose(laws(done), "residual", i) if again else own), i)
            done = (*done, guess)
        return Accepted((*done, choose(laws(done), "residual", len(done))), len(done))

    return verify


def test_acceptance_by_an_equal_sample() -> None:
    assert laws_of(matching(again=True), THREE) > 1e-3
    assert laws_of(matching(again=False), THREE) < 1e-9  # the law is right, acceptance is not
    kept = {}
    for name, verify in (("token", VERIFIERS["token"]), ("match", matching(again=False))):
        guessing = Drafting(ModelDrafter(SETUP.model, SETUP.ours.size), verify, guess=1)
        compose.write(Core(SETUP.model, SETUP.pieces, drafting=guessing),
                      [[Request((1, 2, 3), Sampling(max_tokens=20, seed=i)) for i in range(12)]])  # fmt: skip
        kept[name] = sum(guessing.tally.accepted) / sum(guessing.tally.proposed)
    assert kept["token"] > 0.99 and kept["match"] < 0.9  # sum min(p, p) is 1, sum p p is not


@pytest.mark.parametrize("name, settings", [
    ("bias", {"logit_bias": {1: 2.0}}), ("top_k", {"top_k": 2}), ("min_p", {"min_p": 0.4}),
    ("temperature", {"temperature": 0.4}), ("penalty", {"repetition_penalty": 1.8}),
])  # fmt: skip
def test_settings_not_applied_to_the_target(name: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def raw(row: Row, guesses: Sequence[int], logits_PV: Any, bans: Any = ()) -> along.Along:
        return along.Along(logits_PV, ((),) * len(logits_PV))

    monkeypatch.setattr(along, "along", raw)
    assert laws_of("token", Sampling(max_tokens=3, **{"temperature": 0.8, **settings})) > 1e-3
    assert wrong("lookup", "grammar", verifiers=["token"]) if name == "bias" else True


@pytest.mark.parametrize("feature", ["bias", "grammar", "min-p", "batch", "all together"])
def test_settings_for_the_first_place_of_a_draft_only(feature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`coupled`: the places after an accepted guess are chosen from the model's own law."""
    settle, choose = Drafting.settle, Core.choose
    asked: list[int] = []

    def counted(self: Drafting, *more: Any) -> Any:
        asked.clear()
        return settle(self, *more)

    def raw(core: Core, rows: list[Row], logits_RV: Any, places: list[int]) -> Any:
        asked.append(1)
        if len(asked) == 1:
            return choose(core, rows, logits_RV, places)
        kept = [row.request for row in rows]
        for row in rows:
            old = row.request.sampling
            bare = Sampling(temperature=old.temperature, seed=old.seed, max_tokens=old.max_tokens,
                            logprobs=old.logprobs, stop=old.stop, stop_ids=old.stop_ids)  # fmt: skip
            row.request = replace(row.request, sampling=bare, processors=())
        core._chooser = None
        try:
            return choose(core, rows, logits_RV, places)
        finally:
            core._chooser = None
            for row, request in zip(rows, kept):
                row.request = request

    monkeypatch.setattr(Drafting, "settle", counted)
    monkeypatch.setattr(Core, "choose", raw)
    assert wrong("all right", feature) or wrong("int8 self", feature)


@pytest.mark.parametrize("verify", ["coupled", "token", "multi"])
def test_a_cache_that_holds_what_was_refused(verify: str, monkeypatch: pytest.MonkeyPatch) -> None:
    crop = Scheduler.crop

    def stale(self: Scheduler, row: Row, read: int) -> None:
        """What was refused stays where it is; the text goes on behind it."""
        row.dropped -= row.read - read
        row.read = read
        self._renew(row)

    for name in ("all wrong", "small model"):
        assert not wrong(name, "bias", verifiers=[verify])
    monkeypatch.setattr(Scheduler, "crop", stale)
    for name in ("all wrong", "small model"):
        assert wrong(name, "bias", verifiers=[verify])
    monkeypatch.setattr(Scheduler, "crop", crop)


def test_a_page_of_guesses_that_others_find(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are named as if the guesses in them were certain: loud, or found out by a text that begins alike."""
    advance = Scheduler.advance
    monkeypatch.setattr(Scheduler, "advance", lambda self, row, read, certain=None: advance(self, row, read))
    assert wrong("all wrong", "batch")
