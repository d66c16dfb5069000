"""Guesses in the engine's step: who is asked for how many, how they are verified, and what became of them.

    core = Core(model, drafting=Drafting(Lookup(), guess=6))

A row's guesses stand at the end of its text while the model reads them; then they are taken back, and tokens are
written one by one as ever, as long as they are those that were guessed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from jielong.base import noise
from jielong.infer.choose import Chooser, Token
from jielong.infer.draft import along, loop
from jielong.infer.draft.control import Controller
from jielong.infer.draft.paired import paired
from jielong.infer.draft.safely import Safe
from jielong.infer.draft.several import watch
from jielong.infer.draft.types import PLACE, Choose, Draft, Drafter, Draws, Floats, Proposal, Verify
from jielong.infer.draft.verify import coupled
from jielong.infer.schedule import Row, Work

if TYPE_CHECKING:
    from torch import Tensor

    from jielong.infer.core import Core


@dataclass
class Tally:
    """What became of the guesses so far, by place: [i] is the i-th guess of a draft."""

    proposed: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    steps: int = 0  # of rows that had guesses
    tokens: int = 0  # that these wrote

    def note(self, proposed: int, accepted: int, tokens: int) -> None:
        """One row's step."""
        self.steps += 1
        self.tokens += tokens
        for counts, n in ((self.proposed, proposed), (self.accepted, accepted)):
            counts += [0] * (n - len(counts))
            for i in range(n):
                counts[i] += 1


class Drafting:
    """`verify` None: the model's own choice at each place, by the number that plain sampling uses there, as long as it
    is what was guessed (`verify.coupled`): the same text as without drafts, in exact mode to the bit. Else a function
    of `verify` that accepts more and keeps the law only; greedy rows are always verified the first way. `guess`: how
    many guesses a row gets in a step, or a `Controller` that finds out. Of several drafts of a row the first is read. A
    drafter that fails, or takes longer than `seconds`, costs its guesses only; `reasons` says why.
    """

    def __init__(self, drafter: Drafter, verify: Verify | None = None, guess: int | Controller = 4,
                 seconds: float | None = None) -> None:  # fmt: skip
        self.drafter, self.guess, self.seconds = drafter, guess, seconds
        self.verify = None if verify is coupled else verify
        self.drafts: dict[Row, Draft] = {}
        self.results: list[tuple[Row, int, int]] = []  # of this step: guesses, and how many stayed
        self.asked, self.took, self.awake = 0, 0.0, True  # rows asked for guesses, seconds of guessing
        self.tally = Tally()
        self.safe: Safe | None = None

    @property
    def reasons(self) -> dict[str, int]:
        """Why guesses could not be used, and how often."""
        return self.safe.reasons if self.safe else {}

    def propose(self, core: Core) -> None:
        """Guesses for the rows that go on by one token; they stand in their texts from now on."""
        self.asked, self.results, self.took = 0, [], 0.0
        self.awake = not isinstance(self.guess, Controller) or self.guess.awake()
        if not self.awake:
            return
        began = time.perf_counter()
        rows = [row for row in core.scheduler.running if row.unread == 1 and row.written]
        most = [self._most(row, core.room(row)) for row in rows]
        self.asked = sum(n > 0 for n in most)
        if not self.asked:
            return
        draws: Draws = partial(_draws, core)
        if self.verify is None and core.rules.source is None:  # guesses by the number that will decide
            draws = paired(draws)
        proposals = self._guarded(core).propose(rows, most, draws)
        for row, proposal in zip(rows, proposals):
            draft = _first(proposal)
            if draft.tokens:
                row.text += draft.tokens
                row.guesses = len(draft.tokens)
                self.drafts[row] = draft
        self.took = time.perf_counter() - began

    @property
    def watches(self) -> bool:
        """Whether the drafter is to see the model's stream."""
        return watch([self.drafter])

    def saw(self, core: Core, widths: dict[Row, int], order: Sequence[tuple[Row, int]], hidden_ND: Tensor) -> None:
        """The drafter is shown the stream of all that is read in this step."""
        rows = [row for row, _ in order]
        self._guarded(core).saw(rows, [hidden_ND[first : first + widths[row]] for row, first in order])

    def watch(self, work: Sequence[Work], seconds: float) -> None:
        """After a step, which took so long in all."""
        if not self.awake or not isinstance(self.guess, Controller):
            return
        fed = sum(w.width for w in work) - sum(proposed for _, proposed, _ in self.results)
        if fed == len(work):
            self.guess.watch(seconds - self.took, self.took, self.asked, self.results, len(work))

    def forget(self, row: Row) -> None:
        """The row is over."""
        self.drafts.pop(row, None)
        if self.safe is not None:
            self.safe.forget(row)

    def _guarded(self, core: Core) -> Safe:
        if self.safe is None:
            self.safe = Safe(self.drafter, core.vocab or 1 << 31, self.seconds)
        return self.safe

    def _most(self, row: Row, room: int) -> int:
        return self.guess(row, room) if isinstance(self.guess, Controller) else min(self.guess, room)

    def settle(self, core: Core, rows: list[Row], logits_RV: Tensor, places: list[int]) -> list[Token]:
        """Tokens of these rows: those guesses that hold, and one more."""
        guesses = {row: row.retract() for row in rows}
        drafted = [row for row in rows if guesses[row]]
        before = {row: len(row.text) for row in drafted}
        judged = [row for row in drafted if self.verify is not None and row.request.sampling.temperature > 0]
        tokens: list[Token] = []
        alive = [(row, place) for row, place in zip(rows, places) if row not in judged]
        while alive:  # the rows' next places, together
            new = core.choose([row for row, _ in alive], logits_RV, [place for _, place in alive])
            tokens += new
            held = [_holds(token, guesses[row], before.get(row, 0)) for (row, _), token in zip(alive, new)]
            alive = [(row, place + 1) for (row, place), holds in zip(alive, held) if holds]
        for row in judged:
            place = places[rows.index(row)]
            logits_PV = logits_RV[place : place + 1 + len(guesses[row])]
            tokens += self._judge(core, row, guesses[row], logits_PV)
        for row in drafted:
            came = row.text[before[row] :]
            stayed = _agree(guesses[row], came)
            self.tally.note(len(guesses[row]), stayed, len(came))
            self.results.append((row, len(guesses[row]), stayed))
            self.drafts.pop(row)
            core.scheduler.crop(row, min(row.read, len(row.text) - 1))
        return tokens

    def _judge(self, core: Core, row: Row, guesses: list[int], logits_PV: Tensor) -> list[Token]:
        """The verifier's tokens, written until one of them ends the text."""
        assert self.verify is not None
        try:
            seen = along.along(row, guesses, logits_PV, core.rules.bans(row.request.sampling))
            laws = loop.by_place(along.law(seen.logits_PV))
            draft = self.drafts[row]
            accepted = loop.verdict(laws, draft, len(guesses), self.verify, _draws(core, row))
        except Exception as error:  # somebody else's code: a fault in it is that row's alone
            return [Token(row, None, error=error)]
        tokens: list[Token] = []
        for i, id in enumerate(accepted.tokens):
            logits_1V = logits_PV[i : i + 1]
            tokens += Chooser([row], logits_1V.shape[1], logits_1V.device, core.rules).put([id], logits_1V)
            if tokens[-1].reason or tokens[-1].error is not None:
                break
        return tokens


def _draws(core: Core, row: Row) -> Choose:
    """The row's choices at its present place: its own numbers, or the source that takes the place of the seeds."""
    if core.rules.source is not None:
        return loop.bound(core.rules.source, row.number, row.written)
    sampling, written = row.request.sampling, row.written
    others = loop.bound(noise.RandomSource(noise.seed_of("draft", sampling.seed)), row.request.index, written)

    def choose(probs: Sequence[float] | Floats, *position: Any) -> int:
        if position[0] != PLACE or row.chance is None:
            return others(probs, *position)
        heights = np.cumsum(probs)  # as `sample.pick` inverts it
        mark = min(row.chance[written + position[1]] * heights[-1], np.nextafter(heights[-1], 0.0))
        return int(np.searchsorted(heights, mark, side="right"))

    return choose


def _first(proposal: Proposal) -> Draft:
    return proposal if isinstance(proposal, Draft) else next(iter(proposal), Draft())


def _holds(token: Token, guesses: Sequence[int], before: int) -> bool:
    """Whether the token just written is what was guessed there, and the text goes on."""
    place = len(token.row.text) - before - 1
    return not token.reason and token.error is None and place < len(guesses) and guesses[place] == token.id


def _agree(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
