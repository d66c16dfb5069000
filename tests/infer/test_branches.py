"""Several drafts of a row in one step of the engine: the text stays, the pages stay right, more guesses hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jielong.base import noise
from jielong.infer.core import Core
from jielong.infer.draft import branches
from jielong.infer.draft.drafting import Drafting
from jielong.infer.draft.lookup import Lookup
from jielong.infer.draft.selves import early_exit, quantised
from jielong.infer.draft.several import AllOf
from jielong.infer.draft.types import Draft, Draws
from jielong.infer.draft.verify import VERIFIERS
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.infer.schedule import Row
from jielong.nets.pages import page_bytes

from .conftest import VOCAB, random_model
from .test_core import text
from .test_drafting import Told, run, some


def wrong(row: Row) -> list[int]:
    return [(row.text[-1] + 1) % VOCAB] * 5


def truth_of(requests: list[Request], texts: list[Any]) -> Any:
    truth = {r.prompt: ids for r, (ids, *_) in zip(requests, texts)}
    return lambda row: truth[row.request.prompt][row.written :]


@pytest.mark.parametrize("options", [{}, {"chunk": 30}, {"streams": 3}, {"memory": 12}, {"sinks": 16}], ids=str)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_text_is_the_one_without_guesses(order: tuple[int, ...], options: dict[str, Any]) -> None:
    """One is right, one begins right, one is wrong; in whichever order they stand, the right one's guesses stay."""
    model = random_model(context=96)
    if "memory" in options:
        options = {"memory": options["memory"] * page_bytes(model.config)}
    requests = some(9)
    plain = run(Core(model, mode="exact", **options), requests)
    right = truth_of(requests, plain)
    told = [Told(right), Told(lambda row: [*right(row)[:2], 1, 2]), Told(wrong)]
    drafting = Drafting(AllOf([told[i] for i in order]), guess=5)
    assert run(Core(model, mode="exact", drafting=drafting, **options), requests) == plain
    tally = drafting.tally
    assert not drafting.reasons
    if not {"memory", "chunk", "streams"} & set(options):  # there, not all of them find room
        assert tally.accepted == tally.proposed


@given(st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1, max_size=4), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_pages_are_counted_right_whatever_the_drafts(drafts: list[list[int]], length: int) -> None:
    """Prompts that end anywhere in a page; drafts of all lengths, alike or not; every page has its owners."""
    model = random_model(vocab=4, context=96)

    class Some:
        name = "some"

        def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[list[Draft]]:
            return [[Draft(tuple(d[:n])) for d in drafts] for n in most]

        def forget(self, row: Row) -> None:
            pass

    requests = [Request(tuple(i % 4 for i in range(length + j)), Sampling(max_tokens=30, seed=j)) for j in range(2)]
    plain = run(Core(model, mode="exact"), requests)
    core = Core(model, mode="exact", drafting=Drafting(Some(), guess=5))
    rows = [core.submit(r) for r in requests]
    while core.busy:
        core.step()
        core.scheduler.blocks.check([row.table for row in core.scheduler.running])
    assert [row.text[len(r.prompt) :] for row, r in zip(rows, requests)] == [ids for ids, *_ in plain]


class Drawn:
    """Draws its guesses from the same law everywhere."""

    def __init__(self, name: str, law: list[float]) -> None:
        self.name, self.law = name, np.array(law)

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        out = []
        for row, k in zip(rows, most):
            tokens = [source(row)(self.law, "draft", i) for i in range(k)]
            out.append(Draft(tuple(tokens), np.stack([self.law] * k)) if k else Draft())
        return out

    def forget(self, row: Row) -> None:
        pass


@pytest.mark.parametrize("others", [1, 2])
def test_the_law_of_whole_texts_by_enumeration(others: int) -> None:
    model = random_model(vocab=4).double()
    sampling = Sampling(max_tokens=3, temperature=0.8, top_k=3)
    laws = [[0.1, 0.4, 0.3, 0.2], [0.3, 0.1, 0.1, 0.5]]

    def law(drafter: Any) -> dict[tuple[int, ...], float]:
        def once(source: noise.Source) -> tuple[int, ...]:
            drafting = drafter and Drafting(drafter(), VERIFIERS["multi"], guess=2 if others == 1 else 1)
            return tuple(run(Core(model, source=source, drafting=drafting), [Request((1, 2), sampling)])[0][0])

        return noise.law(noise.enumerate_choices(once))

    plain = law(None)
    found = law(lambda: AllOf([Told(lambda row: [2, 1]), *(Drawn(str(i), laws[i]) for i in range(others))]))
    assert set(found) <= set(plain)
    assert sum(abs(found.get(t, 0.0) - p) for t, p in plain.items()) / 2 < 1e-9


@pytest.mark.parametrize("verify", [None, "multi"])
def test_all_of_them_have_more_accepted_than_the_best(verify: str | None) -> None:
    model = random_model(context=96)
    requests = [Request(text(i, 20), Sampling(seed=i, max_tokens=40, temperature=0.6)) for i in range(12)]
    check = VERIFIERS[verify] if verify else None

    def kept(*drafters: Any) -> float:
        drafting = Drafting(AllOf(drafters), check, guess=4)
        run(Core(model, drafting=drafting), requests)
        return drafting.tally.tokens / drafting.tally.steps

    alone = [kept(early_exit(model, 1)), kept(quantised(model, 4)), kept(Lookup(least=1))]
    assert kept(quantised(model, 4), early_exit(model, 1), Lookup(least=1)) > max(alone)  # the best first


def test_drafts_that_say_nothing_new_are_not_read() -> None:
    one, begins, other = Draft((1, 2, 3)), Draft((1, 2)), Draft((1, 3))
    assert branches.different([Draft(), one, begins, other, one]) == [one, other]
    assert [draft.tokens for draft in branches.different([Draft()])] == [()]
