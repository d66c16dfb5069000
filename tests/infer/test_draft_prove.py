"""The proof itself: its two roads agree, it knows what it must refuse, and its page says what was found."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jielong.base import noise
from jielong.base.stats import g_test
from jielong.cli.main import main
from jielong.infer.draft import matrix
from jielong.infer.draft.cases import Small, chains, drafters, orders, other_law
from jielong.infer.draft.loop import plain, speculate
from jielong.infer.draft.prove import BAR, SAME, Guesser, Stage, cell, distance, drafted, whole
from jielong.infer.draft.scripted import Scripted, drawn, independent, nothing, same_number, tree
from jielong.infer.draft.verify import VERIFIERS, block, coupled

SMALL = Small(3, 3, 2)
LAW = other_law(3)
RULES = {"nothing": nothing, "drawn": drawn(LAW), "two": independent(LAW), "tree": tree(LAW), "same": same_number(LAW)}


def named(*names: str):
    return next(c for c in chains(3, longer=0) if c.names == names)


@pytest.mark.parametrize("names", [(), ("grammar",), ("top_p", "frequency_penalty")])
@pytest.mark.parametrize("rule", RULES)
def test_the_law_by_steps_is_that_of_the_loop_from_end_to_end(rule: str, names: tuple[str, ...]) -> None:
    """The loop's law is enumerated without any step in between, where it is small enough."""
    stage, drafter = Stage(SMALL, named(*names)), Scripted(rule, RULES[rule])
    for name in ("coupled",) if rule == "same" else ("token", "block", "coupled"):
        verify, first = VERIFIERS[name], rule in ("two", "tree")
        if first and name != "coupled":
            continue
        by_steps = drafted(stage, Guesser(drafter), verify)
        assert distance(by_steps, stage.texts()) < 1e-13
        assert distance(whole(stage, lambda drafter=drafter: drafter, verify), by_steps) < 1e-12


def test_the_numbers_of_plain_sampling_are_for_coupled_only() -> None:
    """Each step by itself looks right with block; over two steps a number is used twice, and the text is wrong."""
    stage, drafter = Stage(Small(3, 4, 2), named()), Scripted("same", same_number(LAW))
    refused = cell(stage, Guesser(drafter), "block")
    assert refused.refused == SAME and refused.right
    assert distance(drafted(stage, Guesser(drafter), block), stage.texts()) < 1e-13
    assert distance(whole(stage, lambda: drafter, block), stage.texts()) > 1e-4
    assert distance(whole(stage, lambda: drafter, coupled), stage.texts()) < 1e-12


def test_which_chains_there_are() -> None:
    found = chains(4)
    known = {c.names for c in found}
    singles = [n for n in known if len(n) == 1]
    assert len(singles) == 12 and () in known
    assert sum(len(n) == 2 for n in known) == 12 * 11 // 2 - 1  # greedy has no temperature beside it
    assert sum(len(c.names) > 2 for c in found) == 50
    assert orders(found) == len(found) + 65
    assert found == chains(4)


@pytest.mark.parametrize("names", [("greedy",), ("grammar", "bad_words"), ("typical", "repetition_penalty")])
def test_every_drafter_and_verifier(names: tuple[str, ...]) -> None:
    chain = next(c for c in chains(3, longer=0) if set(c.names) == set(names))
    found = matrix.run(SMALL, [chain], drafters(SMALL), paths=60)
    assert found.right and found.same == 60 and found.worst < 1e-12
    assert len(found.cells) == 4 * len(drafters(SMALL))
    assert sum(bool(c.refused) for c in found.cells) <= 0.1 * len(found.cells)
    if names == ("greedy",):
        assert list(Stage(SMALL, chain).texts().values()) == [1.0]


def test_a_wrong_cell_makes_the_matrix_wrong() -> None:
    stage = Stage(SMALL, named())

    def verify(laws: Any, drafts: Any, choose: Any) -> Any:
        return VERIFIERS["token"](lambda guesses: laws(guesses)[::-1], drafts, choose)

    made = cell(stage, Guesser(Scripted("drawn", drawn(LAW))), "token", verify)
    assert made.distance > BAR and not made.right
    assert not matrix.Matrix(SMALL, [stage.chain], [made], 0, 0, 0.0).right
    assert not matrix.Matrix(SMALL, [stage.chain], [], 1, 2, 0.0).right


def test_the_command(in_tmp: Path, capsys: Any) -> None:
    assert main("prove --chains 1 --paths 30 --json --out proof".split()) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["right"] and told["worst"] <= 1e-9 and told["same"] == told["paths"] == 30
    assert told["cells"] == len(told["groups"])
    assert json.loads((in_tmp / "proof/proof.json").read_text("utf-8")) == told
    shown = (in_tmp / "proof/proof.html").read_text("utf-8")
    assert "two drafts" in shown and "猜測者" in shown and "plain sampling are for coupled only" in shown
    assert "<script" not in shown and not re.search(r'(?:href|src)="(?!#|data:)', shown)
    assert main("prove --chains 0".split()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("verifier", VERIFIERS)
def test_sampled_at_a_larger_size(verifier: str) -> None:
    """Too large to enumerate: 60,000 texts of three tokens among 8 by seeds, against the exact law."""
    small = Small(8, 3, 2)
    chain = next(c for c in chains(8, longer=0) if c.names == ("temperature", "top_k"))
    stage, drafter = Stage(small, chain), Scripted("two", independent(other_law(8)))
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(60_000):
        row = chain.row(small)
        speculate(stage.law_of, drafter, VERIFIERS[verifier], noise.RandomSource(seed), row, 3, 2)
        counts[tuple(row.text)] = counts.get(tuple(row.text), 0) + 1
    assert g_test(counts, stage.texts()) > 1e-3 / len(VERIFIERS)


def test_plain_writing_stops_where_the_text_is_over() -> None:
    stage = Stage(Small(3, 6, 2), named("grammar"))
    ended = 0
    for seed in range(200):
        row, alone = stage.chain.row(stage.small), stage.chain.row(stage.small)
        speculate(stage.law_of, Scripted("drawn", drawn(LAW)), coupled, noise.RandomSource(seed), row, 6, 2)
        plain(stage.law_of, noise.RandomSource(seed), alone, 6)
        assert row.text == alone.text
        ended += row.text[-1] == 2
    assert ended > 20
