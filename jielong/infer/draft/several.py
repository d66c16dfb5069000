"""Several prophets at once: the one that promises most, or all of them side by side.

    drafter = BestOf([Lookup(), ModelDrafter(small, vocab)])       # the cheapest first
    drafter = AllOf([Lookup(), early_exit(model, 2)])              # several drafts a row: for verify.multi

With acceptance a of one guess, k guesses promise a + a^2 + ... + a^k tokens (Leviathan et al. 2023, eq. 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from jielong.infer.draft.types import Choose, Draft, Drafter, Draws, Floats, Proposal, Watcher
from jielong.infer.schedule import Row

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 0.9  # of what was measured before, at each new draft
TRUST = 4.0  # guesses of a row that count as much as all rows' acceptance


@dataclass
class Record:
    """Guesses that came true, those that could have, and how long drafts were; the older the less they count."""

    hits: float = 0.0
    tries: float = 0.0
    guesses: float = 0.0
    drafts: float = 0.0

    def add(self, guess: Sequence[int], came: Sequence[int]) -> None:
        """One draft, and what was written instead of it or by it."""
        tested = min(len(guess), len(came))
        right = next((i for i in range(tested) if guess[i] != came[i]), tested)
        self.hits = KEPT * self.hits + right
        self.tries = KEPT * self.tries + right + (right < tested)
        self.guesses = KEPT * self.guesses + len(guess)
        self.drafts = KEPT * self.drafts + 1

    @property
    def rate(self) -> float:
        """Acceptance of a guess; 3/4 while nothing is known."""
        return (self.hits + 1.5) / (self.tries + 2)

    def length(self, most: int) -> float:
        """How many guesses a draft usually has; all while nothing is known."""
        return min(most, (self.guesses + most) / (self.drafts + 1))


@dataclass(eq=False)
class _Trial:
    """What was guessed for a row, at which length of its text, and how it has gone with each drafter so far."""

    records: list[Record]
    at: int = 0
    calls: int = 0
    guesses: dict[int, tuple[int, ...]] = field(default_factory=dict)


class BestOf:
    """For each row the draft of the drafter whose recent acceptance and length promise most.

    They are asked in the order given, the cheapest first; one is left out for a row where another's draft already
    promises more than its own usually do, but for every `every`-th call, when all are asked and measured on what comes.
    A draft that was drawn is judged before it is seen: to choose by what it says would change its law.
    """

    def __init__(self, drafters: Sequence[Drafter], every: int = 16) -> None:
        self.drafters, self.every = list(drafters), every
        self.name = "best of " + ", ".join(drafter.name for drafter in self.drafters)
        self.records = [Record() for _ in self.drafters]
        self.trials: dict[Row, _Trial] = {}

    def forget(self, row: Row) -> None:
        self.trials.pop(row, None)
        for drafter in self.drafters:
            drafter.forget(row)

    @property
    def watches(self) -> bool:
        return watch(self.drafters)

    def saw(self, rows: Sequence[Row], hidden: Sequence[Tensor]) -> None:
        show(self.drafters, rows, hidden)

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        """One draft a row."""
        asked = [i for i, k in enumerate(most) if k > 0]
        trials = {i: self._measured(rows[i]) for i in asked}
        hand = [(0.0, Draft())] * len(rows)
        for j, drafter in enumerate(self.drafters):
            usual = {i: self._promise(j, trials[i], self._length(j, trials[i], most[i])) for i in asked}
            wanted = {i for i in asked if usual[i] > hand[i][0]}
            called = [i for i in asked if i in wanted or trials[i].calls % self.every == 0]
            if not called:
                continue
            found = drafter.propose([rows[i] for i in called], [most[i] for i in called], numbered(source, j))
            for i, proposal in zip(called, found, strict=True):
                draft = _first(proposal)
                trials[i].guesses[j] = draft.tokens
                certain = draft.laws is None
                promise = self._promise(j, trials[i], len(draft.tokens)) if certain else usual[i]
                if draft.tokens and promise > hand[i][0] and (certain or i in wanted):
                    hand[i] = (promise, draft)
        for trial in trials.values():
            trial.calls += 1
        return [draft for _, draft in hand]

    def _measured(self, row: Row) -> _Trial:
        """The row's trial, after what came is held against what was guessed."""
        trial = self.trials.get(row)
        if trial is None:
            trial = self.trials[row] = _Trial([Record() for _ in self.drafters])
        came = row.text[trial.at :]
        if trial.guesses and came:
            for j, guess in trial.guesses.items():
                trial.records[j].add(guess, came)
                self.records[j].add(guess, came)
        trial.guesses, trial.at = {}, len(row.text)
        return trial

    def _promise(self, j: int, trial: _Trial, length: float) -> float:
        """Tokens expected of a draft of this length: this row's acceptance, leaning on that of all."""
        own, rate = trial.records[j], self.records[j].rate
        rate = (own.hits + TRUST * rate) / (own.tries + TRUST)
        return length if rate >= 1 else rate * (1 - rate**length) / (1 - rate)

    def _length(self, j: int, trial: _Trial, most: int) -> float:
        own = trial.records[j]
        return own.length(most) if own.drafts else self.records[j].length(most)


class AllOf:
    """Every drafter's draft, for a verifier that takes several. Under `names` a request may ask for one of them."""

    def __init__(self, drafters: Sequence[Drafter], names: Sequence[str] = ()) -> None:
        self.drafters, self.names = list(drafters), list(names)
        self.name = "all of " + ", ".join(drafter.name for drafter in self.drafters)

    def forget(self, row: Row) -> None:
        for drafter in self.drafters:
            drafter.forget(row)

    @property
    def watches(self) -> bool:
        return watch(self.drafters)

    def saw(self, rows: Sequence[Row], hidden: Sequence[Tensor]) -> None:
        show(self.drafters, rows, hidden)

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[list[Draft]]:
        """The drafts of each row in the drafters' order, without empty ones."""
        out: list[list[Draft]] = [[] for _ in rows]
        for j, drafter in enumerate(self.drafters):
            mine = [k if self._may(j, row) else 0 for row, k in zip(rows, most)]
            proposals = drafter.propose(rows, mine, numbered(source, j)) if any(mine) else [Draft()] * len(rows)
            for drafts, proposal in zip(out, proposals, strict=True):
                given = [proposal] if isinstance(proposal, Draft) else proposal
                drafts += [draft for draft in given if draft.tokens]
        return out

    def _may(self, j: int, row: Row) -> bool:
        return not self.names or row.request.draft in (None, self.names[j])


def watch(drafters: Sequence[Drafter]) -> bool:
    """Whether one of them is to see the model's stream."""
    return any(getattr(drafter, "watches", False) for drafter in drafters)


def show(drafters: Sequence[Drafter], rows: Sequence[Row], hidden: Sequence[Tensor]) -> None:
    """The model's stream, for those that watch it."""
    for drafter in drafters:
        if getattr(drafter, "watches", False):
            cast(Watcher, drafter).saw(rows, hidden)


def numbered(source: Draws, number: int) -> Draws:
    """Choices of one among several: at addresses of its own, so that two of them do not share a number by accident."""

    def draws(row: Row) -> Choose:
        choose = source(row)

        def own(probs: Sequence[float] | Floats, *position: Any) -> int:
            return choose(probs, *position, number)

        return own

    return draws


def _first(proposal: Proposal) -> Draft:
    return proposal if isinstance(proposal, Draft) else next(iter(proposal), Draft())
