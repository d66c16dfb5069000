"""Tree of thoughts: a search over beginnings, judged by the model itself (Yao et al. 2023, arXiv 2305.10601).

Breadth first (algorithm 1). The model is asked how each kept state may go on: once, for several next thoughts in one
reply ("propose"), or several times for one each ("sample"), as the task has it. What comes out is judged, each state
alone by `judges` draws ("value") or all together by `judges` ballots ("vote"); the best `keep` stay, of equals the
earlier. In the end the answer is that of the first state kept. Not of any of them: that would be to let the checker
choose (of the paper's published runs 69 % have a right one among five, 62 % have it first, 23.8 % of all are right).

What was thought of twice is one state, and a prompt that was sent is not sent again; the beginnings that prompts share
are found in the engine's cache.

For an oracle: a beam of one takes the right one of two children at a step with probability P(V > W) + P(V = W) [it
stands first], V and W the sums of `judges` independent judgements, and is right with the product over the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jielong.base.errors import UserError
from jielong.lm.prompts import Prompt, canonical, key_of
from jielong.lm.protocol import LM, gather
from jielong.prompting.strategy import Answer, Problem, Strategy
from jielong.prompting.trace import note


class Task(Protocol):
    """What a search must know of a kind of problem. A state is the text of the thoughts so far, "" at the root.

    `think` asks how a state goes on (None: it is whole), `draws` times, and `thoughts` reads the states that a reply
    leads to; `judge` asks what a state is worth (None: nothing, and nobody is asked), `worth` reads it from the
    replies; `ballot` asks which of several states is best, `choice` reads its place, None of a ballot that names none.
    """

    @property
    def steps(self) -> int: ...
    @property
    def draws(self) -> int: ...
    def think(self, problem: Problem, state: str) -> Prompt | None: ...
    def thoughts(self, problem: Problem, state: str, reply: str) -> Sequence[str]: ...
    def judge(self, problem: Problem, state: str) -> Prompt | None: ...
    def worth(self, replies: Sequence[str]) -> float: ...
    def ballot(self, problem: Problem, states: Sequence[str]) -> Prompt: ...
    def choice(self, reply: str, among: int) -> int | None: ...
    def answer(self, problem: Problem, state: str) -> Answer: ...


def tree_of_thoughts(task: Task | str = "steps", *, keep: int = 5, judges: int = 3, ballots: bool = False) -> Strategy:
    """Breadth first. `task`: one of one's own, or "steps" or "game24"; `ballots`: vote, do not value."""
    if min(keep, judges) < 1:
        raise UserError(f"tree_of_thoughts keeps {keep} and has {judges} judges: give 1 or more of each")
    plan = task_of(task)

    async def searched(lm: LM, problem: Problem) -> Answer:
        states = [""]
        known: dict[str, float] = {}
        for depth in range(plan.steps):
            if depth and all(plan.think(problem, state) is None for state in states):
                break
            children = await expand(lm, plan, problem, states)
            if not children:
                return Answer(None, states[0], note=f"no thought could be read after {depth} of {plan.steps} steps")
            if ballots:
                worth = await elect(lm, plan, problem, children, judges)
            else:
                worth = await appraise(lm, plan, problem, children, judges, known)
            states = [children[i] for i in best(worth, keep)]
            note(lm, "decide", depth=depth, states=children, worth=worth, kept=states)
        return plan.answer(problem, states[0])

    return searched


def task_of(task: Task | str) -> Task:
    """A task by its name. UserError for a name that there is not."""
    from jielong.prompting.game24 import Game24
    from jielong.prompting.steps import Steps

    if not isinstance(task, str):
        return task
    tasks: dict[str, Task] = {"steps": Steps(), "game24": Game24()}
    if task not in tasks:
        raise UserError(f"no task {task!r} to search: there are {', '.join(tasks)}")
    return tasks[task]


async def expand(lm: LM, task: Task, problem: Problem, states: Sequence[str]) -> list[str]:
    """The states that the model thinks of after `states`, each once, in the order of the states and of the draws."""

    async def after(state: str) -> list[str]:
        prompt = task.think(problem, state)
        if prompt is None:
            return [state]
        draws = await lm.asample(prompt, task.draws)
        return [child for draw in draws for child in task.thoughts(problem, state, draw.text)]

    return list(dict.fromkeys(child for found in await gather(*map(after, states)) for child in found))


async def appraise(
    lm: LM, task: Task, problem: Problem, states: Sequence[str], judges: int, known: dict[str, float]
) -> list[float]:  # fmt: skip
    """What each state is worth. `known`: what was judged before, by what was asked; of states about which the same is
    asked, one is judged."""
    prompts = [task.judge(problem, state) for state in states]
    keys = ["" if prompt is None else key_of(canonical(prompt)) for prompt in prompts]
    asked = {key: prompt for key, prompt in zip(keys, prompts) if prompt is not None and key not in known}
    said = await gather(*(lm.asample(prompt, judges) for prompt in asked.values()))
    known.update((key, task.worth([draw.text for draw in draws])) for key, draws in zip(asked, said))
    return [known[key] if key else 0.0 for key in keys]


async def elect(lm: LM, task: Task, problem: Problem, states: Sequence[str], judges: int) -> list[float]:
    """How many of `judges` ballots name each state; a ballot that cannot be read names none."""
    ballots = await lm.asample(task.ballot(problem, states), judges)
    named = [task.choice(ballot.text, len(states)) for ballot in ballots]
    return [float(named.count(place)) for place in range(len(states))]


def best(worth: Sequence[float], keep: int) -> list[int]:
    """The places of the `keep` highest, the highest first, of equals the earlier."""
    return sorted(range(len(worth)), key=lambda place: -worth[place])[:keep]
