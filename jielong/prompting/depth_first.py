"""Tree of thoughts, depth first: the best thought first, to the last step, and back (Yao et al. 2023, algorithm 2).

Of a state's next thoughts those worth more than `above` are entered, the best first, of equals the earlier. The first
whole answer that is reached is the answer. At most `most` states are entered (the paper's crosswords: 100); if none of
them is whole there is no answer, and `text` is the deepest, of equally deep ones the first.

For an oracle of two thoughts a step, the wrong one first, of which one judgement lets the right one through with
probability t and a wrong one with f: over two steps the share right is t (1 - f (1 - (1 - f)^2)) * t (1 - f), where a
beam of one that breaks ties alike has (t (1 - f))^2, so going back is worth the ratio of the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from jielong.base.errors import UserError
from jielong.lm.protocol import LM
from jielong.prompting.strategy import Answer, Problem, Strategy
from jielong.prompting.trace import note
from jielong.prompting.tree_of_thoughts import Task, appraise, best, expand, task_of


def depth_first(task: Task | str = "steps", *, above: float = 0.0, judges: int = 3, most: int = 100) -> Strategy:
    """`task` and `judges` as in `tree_of_thoughts`; states worth `above` or less are not entered."""
    if min(judges, most) < 1:
        raise UserError(f"depth_first has {judges} judges and enters {most} states: give 1 or more of each")
    plan = task_of(task)

    async def searched(lm: LM, problem: Problem) -> Answer:
        walk = _Walk(lm, plan, problem, above, judges, most)
        state = await walk.down("", 0)
        if state is None:
            return Answer(None, walk.deepest, note=f"no whole answer in {walk.entered} states")
        return plan.answer(problem, state)

    return searched


@dataclass
class _Walk:
    """One search: where it is, and how many states it has entered."""

    lm: LM
    task: Task
    problem: Problem
    above: float
    judges: int
    most: int
    entered: int = 0
    depth: int = 0
    deepest: str = ""
    known: dict[str, float] = field(default_factory=dict)

    async def down(self, state: str, depth: int) -> str | None:
        """The first whole answer under a state."""
        if depth == self.task.steps or (depth and self.task.think(self.problem, state) is None):
            return state
        children = await expand(self.lm, self.task, self.problem, [state])
        worth = await appraise(self.lm, self.task, self.problem, children, self.judges, self.known)
        note(self.lm, "decide", depth=depth, state=state, states=children, worth=worth)
        for place in best(worth, len(children)):
            if worth[place] <= self.above or self.entered == self.most:
                return None
            self.entered += 1
            if depth + 1 > self.depth:
                self.depth, self.deepest = depth + 1, children[place]
            found = await self.down(children[place], depth + 1)
            if found is not None:
                return found
        return None
