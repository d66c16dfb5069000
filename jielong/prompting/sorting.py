"""Sorting digits, the task of graph of thoughts: split, sort the parts, merge, mend (Besta et al. 2023, section 5.1).

A list's error is the number of digits too many or too few, summed over 0 to 9, and the number of neighbours that stand
the wrong way round; 0 is sorted. It needs the question alone, not the answer, so the plan may score with it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from jielong.lm.prompts import Prompt
from jielong.prompting.graph_of_thoughts import Node
from jielong.prompting.graph_operations import Thoughts, aggregate, generate, improve, keep_best, score, select
from jielong.prompting.strategy import Answer, Problem, user

PART = 16  # numbers that are sorted in one reply
ASK = "Sort these numbers in ascending order: {numbers}"
SORT = "Sort this list in ascending order. Write only the sorted list.\n{numbers}"
MERGE = "Merge these sorted lists into one sorted list that has every number of both. Write only the list.\n{lists}"
MEND = """This list was sorted wrongly: numbers are missing, or stand there too often. Mend it. Write only the list.
Input: {numbers}
Wrongly sorted: {wrong}"""


def merge_sort(problem: Problem, tries: int = 5, merges: int = 10) -> list[Node]:
    """The paper's plan: parts of 16, each sorted `tries` times and the best kept; two and two are merged `merges`
    times, the best kept, mended `merges` times, and the best kept again, until one is left."""
    count = max(1, -(-len(numbers_of(problem.text)) // PART))
    plan = [Node("select", select(lambda problem, thoughts: [numbers_of(problem.text)]))]

    def add(name: str, do: Any, *after: int) -> int:
        plan.append(Node(name, do, after))
        return len(plan) - 1

    def best(place: int, of: Any) -> int:
        return add("keep_best", keep_best(1), add("score", score(of), place))

    level: list[tuple[int, int, int]] = []  # the node whose thought is sorted; the numbers, from and to
    for number in range(count):
        start, end = number * PART, (number + 1) * PART
        split = add("select", select(_slice(start, end)), 0)
        level.append((best(add("generate", generate(_sort, listed, tries), split), _worth(start, end)), start, end))
    while len(level) > 1:
        pairs, level = list(zip(level[::2], level[1::2])), level[len(level) // 2 * 2 :]
        for (one, start, _), (other, _, end) in pairs:
            worth = _worth(start, end)
            kept = best(add("aggregate", aggregate(_merge, listed, merges), one, other), worth)
            level.append((best(add("improve", improve(_mend(start, end), listed, merges), kept), worth), start, end))
        level.sort(key=lambda each: each[1])
    return plan


def errors(numbers: Sequence[int], answer: Sequence[int]) -> int:
    """How far a list is from the sorted one."""
    wanted, had = Counter(numbers), Counter(answer)
    gaps = sum(abs(wanted[each] - had[each]) for each in wanted.keys() | had.keys())
    return gaps + sum(one > other for one, other in zip(answer, answer[1:]))


def problem(numbers: Sequence[int], id: str = "") -> Problem:
    """A list to sort; right is only the sorted list."""

    def check(answer: Answer) -> bool:
        found = None if answer.value is None else listed(answer.value)
        return found is not None and errors(numbers, found) == 0

    return Problem(ASK.format(numbers=list(numbers)), id, str(sorted(numbers)), read, check)


def read(reply: str) -> str | None:
    """The last list of a reply, as Python writes it."""
    found = listed(reply)
    return None if found is None else str(found)


def listed(reply: str) -> list[int] | None:
    """The numbers in the last square brackets; None where there are none."""
    found = re.findall(r"\[([\d,\s-]*)\]", reply)
    return [int(each) for each in re.findall(r"-?\d{1,18}", found[-1])] if found else None


def numbers_of(text: str) -> list[int]:
    """The list in a question."""
    return listed(text) or []


def _slice(start: int, end: int) -> Any:
    def take(problem: Problem, thoughts: Thoughts) -> list[Any]:
        return [thoughts[0].value[start:end]]

    return take


def _worth(start: int, end: int) -> Any:
    def worth(problem: Problem, value: Any) -> float:
        return -float(errors(numbers_of(problem.text)[start:end], value))

    return worth


def _sort(problem: Problem, value: Any) -> Prompt:
    return user(SORT.format(numbers=value))


def _merge(problem: Problem, values: list[Any]) -> Prompt:
    return user(MERGE.format(lists="\n".join(map(str, values))))


def _mend(start: int, end: int) -> Any:
    def prompt(problem: Problem, value: Any) -> Prompt:
        return user(MEND.format(numbers=numbers_of(problem.text)[start:end], wrong=value))

    return prompt
