"""Self-consistency: ask n times, and take the answer that comes most often (Wang et al. 2022).

Replies are read first; those in which no answer was found do not vote, they are no answer of their own. Of answers with
equally many votes the one that came first wins. The n runs are branches of the model, so the first three of n=5 are
those of n=3.

For answers x of probability p(x), u of them unread, the share right is that of the multinomial's outcomes in which the
right answer leads, and of its ties the part in which it came first. With two answers, p the right one's, n runs and
nothing unread:  sum over k > n/2 of C(n, k) p^k (1 - p)^(n - k),  and half of the term k = n/2.
"""

from __future__ import annotations

from collections.abc import Sequence

from jielong.base.errors import UserError
from jielong.lm.protocol import LM, gather
from jielong.prompting.strategy import Answer, Problem, Strategy, branch
from jielong.prompting.trace import note


def vote(strategy: Strategy, n: int = 5) -> Strategy:
    """The majority of n runs of the strategy, all at once. UserError for n below 1."""
    if n < 1:
        raise UserError(f"vote's n is {n}: give 1 or more")

    async def voted(lm: LM, problem: Problem) -> Answer:
        answers = await gather(*(strategy(branch(lm, run), problem) for run in range(n)))
        found = majority(answers)
        note(lm, "vote", votes=found.votes, value=found.value, unread=sum(a.value is None for a in answers))
        return found

    return voted


def majority(answers: Sequence[Answer]) -> Answer:
    """The value with most votes, the earlier one of equals; `text` is what its first voter said. None votes for
    nothing: without any value there is no answer."""
    votes: dict[str, float] = {}
    for each in answers:
        if each.value is not None:
            votes[each.value] = votes.get(each.value, 0) + 1
    if not votes:
        return Answer(None, answers[0].text if answers else "", note="no run gave an answer")
    best = max(votes, key=lambda value: votes[value])  # of equals the first that was put in
    first = next(each for each in answers if each.value == best)
    return Answer(best, first.text, votes, first.note)
