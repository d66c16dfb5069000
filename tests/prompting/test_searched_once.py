"""What a tree search computes on our engine, and that a search leaves the same trace in whatever order things end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from jielong.lm.local import Local
from jielong.lm.noisy import NoisyOracle
from jielong.lm.prompts import Prompt
from jielong.lm.protocol import Draw, gather
from jielong.nets.pages import SIZE
from jielong.prompting.debate import debate
from jielong.prompting.depth_first import depth_first
from jielong.prompting.direct import direct
from jielong.prompting.graph_of_thoughts import graph_of_thoughts
from jielong.prompting.judge import judge
from jielong.prompting.readers import number
from jielong.prompting.strategy import Answer, Problem, Strategy, having, solve
from jielong.prompting.trace import Trace
from jielong.prompting.tree_of_thoughts import tree_of_thoughts
from jielong.prompting.vote import vote
from jielong.units import chars
from tests.lm.conftest import random_parts

HEAD = "the cat sat on the mat, the cat ate. the mat sat on the cat. "


@dataclass(frozen=True)
class Growing:
    """Thoughts go on where the text of the state ends, so that prompts make up a tree."""

    steps: int = 3
    draws: int = 4

    def think(self, problem: Problem, state: str) -> Prompt:
        return HEAD + problem.text + state

    def thoughts(self, problem: Problem, state: str, reply: str) -> Sequence[str]:
        return [state + reply]

    def judge(self, problem: Problem, state: str) -> Prompt:
        return HEAD + problem.text + state + " ok?"

    def worth(self, replies: Sequence[str]) -> float:
        return float(sum(len(set(reply)) for reply in replies))

    def ballot(self, problem: Problem, states: Sequence[str]) -> Prompt:
        raise AssertionError("nobody votes here")

    def choice(self, reply: str, among: int) -> int | None:
        return None

    def answer(self, problem: Problem, state: str) -> Answer:
        return Answer(state, state)


def test_a_tree_search_computes_each_token_once_but_for_the_rest_of_a_page() -> None:
    """The cache holds whole pages: where a text leaves another inside one, the beginning of that page is read again
    (all of the last page, where a prompt ends with it). No more than that, for no request."""
    lm = Local(random_parts(chars.train([HEAD + "?ok:"]), context=512))
    scheduler, known, again, asked = lm.engine.core.scheduler, set[tuple[int, ...]](), Counter[int](), list[int]()
    done, add, computed = scheduler.done, scheduler.add, 0

    def counted(work: Any) -> None:
        nonlocal computed
        for row, width in work:
            computed += width
            for end in range(row.read + 1, row.read + width + 1):
                text = tuple(row.text[:end])
                again[row.number] += text in known and end <= len(row.request.prompt)
                known.add(text)
        done(work)

    def added(row: Any) -> None:
        asked.append(len(row.text))
        add(row)

    scheduler.done, scheduler.add = counted, added  # type: ignore[method-assign]
    answer = solve(tree_of_thoughts(Growing(), keep=3), having(lm, max_tokens=24), Problem("on the mat: "))
    assert answer.value and len(asked) == 4 + 3 * 4 + 3 * 4 + 3 * (4 + 12 + 12)  # thoughts, and judgements of each
    assert max(again.values()) <= SIZE
    assert computed < 1.2 * len(known) and sum(asked) > 4 * computed  # read one by one, the prompts alone are far more


# ---------------------------------------------------------------- traces


class Restless(NoisyOracle):
    """Replies come in another order each time, `at_once` at a time."""

    def __init__(self, at_once: int, mood: int) -> None:
        replies = ["The answer is 5.", "1", "sure 4", "2"]
        super().__init__(lambda prompt: "The answer is 4.", 0.6, lambda prompt: replies)
        self.gate, self.mood, self.made = asyncio.Semaphore(at_once), mood, 0

    async def asample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        async with self.gate:
            self.made += 1
            for _ in range(hash((self.mood, self.made)) % 7):
                await asyncio.sleep(0)
            return await super().asample(prompt, n, start, **sampling)


SEARCHES: dict[str, Strategy] = {
    "tree": tree_of_thoughts(keep=2, judges=2), "ballots": tree_of_thoughts(keep=2, ballots=True),
    "depth first": depth_first(judges=1), "graph": graph_of_thoughts(), "debate": debate(direct, judged=True),
    "judge": judge(direct, looks=2), "votes of trees": vote(tree_of_thoughts(keep=2, judges=1), n=2),
}  # fmt: skip
ASKED = [Problem(f"{i} + {4 - i}?", f"p{i}", "4", number) for i in range(2)]


@pytest.mark.parametrize("name", SEARCHES)
def test_the_trace_is_the_same_at_any_concurrency(name: str) -> None:
    hashes, values = set(), set()
    for at_once, mood in ((1, 0), (4, 1), (32, 2), (32, 3)):
        trace, lm = Trace(), Restless(at_once, mood)

        async def run(trace: Trace = trace, lm: Restless = lm) -> list[Answer]:
            return await gather(*(trace.run(SEARCHES[name], lm, each) for each in ASKED))

        values.add(tuple(each.value for each in asyncio.run(run())))
        hashes.add(trace.hash)
    assert len(hashes) == 1 and len(values) == 1
