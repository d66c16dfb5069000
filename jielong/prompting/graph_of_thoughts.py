"""Graph of thoughts: thoughts that are split, generated, scored, merged and improved (Besta et al. 2023, 2308.09687).

A plan is a list of nodes in an order in which each comes after those it takes its thoughts from; a node runs as soon as
these are done, on its own branch of the model. The operations are the paper's (`graph_operations`): `generate` (k
replies after each thought), `aggregate` (k replies that merge all thoughts), `improve` (k new versions of each
thought), `score`, `keep_best`, `select` (a plain function of the thoughts: to split, to choose). A reply that cannot be
read is no thought. `sorting.merge_sort` is the paper's plan for its sorting task.

For an oracle that sorts a part rightly with probability 1 - p, k tries of which an exact score keeps the best give
1 - p^k; with m parts and one merge of k tries, right with 1 - q each, the whole is right with (1 - p^k)^m (1 - q^k).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jielong.base.errors import UserError
from jielong.lm.prompts import Prompt
from jielong.lm.protocol import LM
from jielong.prompting.cot import ASK as COT
from jielong.prompting.cot import concluded
from jielong.prompting.graph_operations import Operation, Thought, aggregate, generate
from jielong.prompting.strategy import Answer, Problem, Strategy, branch, tongue, user
from jielong.prompting.trace import note

MERGE = {
    "en": "{question}\n\nHere are attempts to answer it:\n\n{attempts}\n\nPut what is right in them together into one "
          'better answer, and end with "The answer is" and the answer.',
    "zh": "{question}\n\n下面是幾個嘗試：\n\n{attempts}\n\n請把其中正確的部分合成一個更好的回答，"
          "最後寫「答案是」和答案。",
}  # fmt: skip


@dataclass(frozen=True)
class Node:
    """An operation on the thoughts of the nodes `after` which it comes, in that order."""

    name: str
    do: Operation
    after: tuple[int, ...] = ()


Plan = Callable[[Problem], Sequence[Node]]


def graph_of_thoughts(plan: Plan | str = "merge", *, k: int = 3) -> Strategy:
    """The first thought of the plan's last node is the answer. A plan of one's own, "sort", or "merge": k answers to
    any question and one that puts them together."""
    if plan == "sort":
        from jielong.prompting.sorting import merge_sort

        plan = merge_sort
    if isinstance(plan, str) and plan != "merge":
        raise UserError(f"no plan {plan!r} of a graph: there are merge and sort")
    made: Plan = (lambda problem: merged(k)) if isinstance(plan, str) else plan

    async def solved(lm: LM, problem: Problem) -> Answer:
        thoughts = (await execute(lm, problem, made(problem)))[-1]
        if not thoughts:
            return Answer(None, note="the last node of the graph has no thought")
        return concluded(problem, str(thoughts[0].value))

    return solved


async def execute(lm: LM, problem: Problem, plan: Sequence[Node]) -> list[list[Thought]]:
    """The thoughts of every node. UserError for a plan that is empty or whose nodes do not stand in order."""
    if not plan or any(not 0 <= before < place for place, node in enumerate(plan) for before in node.after):
        raise UserError("a plan has nodes, and each comes after those it takes its thoughts from: mend their order")
    running: list[asyncio.Task[list[Thought]]] = []

    async def one(place: int, node: Node) -> list[Thought]:
        before = [thought for each in node.after for thought in await asyncio.shield(running[each])]
        here = branch(lm, place)
        found = await node.do(here, problem, before)
        note(here, "decide", operation=node.name, values=[each.value for each in found],
             scores=[each.score for each in found])  # fmt: skip
        return found

    running += [asyncio.ensure_future(one(place, node)) for place, node in enumerate(plan)]
    try:
        return list(await asyncio.gather(*running))
    finally:
        for task in running:
            task.cancel()


def merged(k: int) -> list[Node]:
    """The plan for any question: k answers with steps, and one that puts them together."""

    def first(problem: Problem, value: Any) -> Prompt:
        return user(COT[tongue(problem.text)].format(question=problem.text))

    def together(problem: Problem, values: list[Any]) -> Prompt:
        listed = "\n\n".join(f"{number}. {value}" for number, value in enumerate(values, 1))
        return user(MERGE[tongue(problem.text)].format(question=problem.text, attempts=listed))

    def said(reply: str) -> str | None:
        return reply.strip() or None

    return [Node("generate", generate(first, said, k)), Node("aggregate", aggregate(together, said), (0,))]
