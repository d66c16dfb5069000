"""Guesses in the engine's step: who is asked for how many, how they are verified, and what became of them.

    core = Core(model, drafting=Drafting(Lookup(), guess=6))

A row's guesses stand at the end of its text while the model reads them; then they are taken back, and tokens are
written one by one as ever, as long as they are those that were guessed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.infer import law
from jielong.infer.choose import Chooser, Token
from jielong.infer.draft import along, branches, loop
from jielong.infer.draft.branches import Path
from jielong.infer.draft.control import Controller
from jielong.infer.draft.paired import paired
from jielong.infer.draft.safely import Safe
from jielong.infer.draft.several import watch
from jielong.infer.draft.types import PLACE, Choose, Draft, Drafter, Draws, Floats, Laws, Verify
from jielong.infer.draft.verify import coupled, multi
from jielong.infer.request import NOBODY
from jielong.infer.schedule import Row, Work

if TYPE_CHECKING:
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
    many guesses a row gets in a step, or a `Controller` that finds out. Several drafts of a row are read side by side
    (`branches`) for None and `verify.multi`; other functions look at the first only. A drafter that fails, or takes
    longer than `seconds`, costs its guesses only; `reasons` says why.
    """

    def __init__(self, drafter: Drafter, verify: Verify | None = None, guess: int | Controller = 4,
                 seconds: float | None = None) -> None:  # fmt: skip
        self.drafter, self.guess, self.seconds = drafter, guess, seconds
        self.verify = None if verify is coupled else verify
        self.drafts: dict[Row, Draft] = {}  # of this step
        self.others: dict[Row, tuple[int, list[Draft]]] = {}  # further ones, and how long they could have been
        self.branches: dict[Row, list[Path]] = {}  # those that are read beside it
        self.choosers: dict[Row, dict[int, Chooser]] = {}  # for a row's so many places at once
        self.results: list[tuple[Row, int, int]] = []  # of this step: guesses, and how many stayed
        self.asked, self.took, self.awake = 0, 0.0, True  # rows asked for guesses, seconds of guessing
        self.watches = watch([drafter])  # whether the drafter is to see the model's stream
        self.tally = Tally()
        self.safe: Safe | None = None

    @property
    def reasons(self) -> dict[str, int]:
        """Why guesses could not be used, and how often."""
        return self.safe.reasons if self.safe else {}

    def check(self, draft: str) -> None:
        """UserError for a name that no drafter has here."""
        names = [*getattr(self.drafter, "names", ()), NOBODY]
        if draft not in names:
            raise UserError(f"draft {draft!r}: nobody of that name guesses here; there is {', '.join(names)}")

    def wakes(self) -> bool:
        """Whether this step has anything to do with guesses; asked once a step. Most have not, where guesses do not
        pay: they must not cost anything."""
        self.awake = not isinstance(self.guess, Controller) or self.guess.awake()
        return self.awake or self.watches

    def propose(self, core: Core) -> None:
        """Guesses for the rows that go on by one token; they stand in their texts from now on."""
        if not self.awake:
            return
        began = time.perf_counter()
        self.results, self.others = [], {}
        rows = [row for row in core.scheduler.running if row.unread == 1 and row.written]
        most = [self._most(row, core.room(row)) for row in rows]
        self.asked = sum(n > 0 for n in most)
        if self.asked:
            self._ask(core, rows, most)
        self.took = time.perf_counter() - began

    def _ask(self, core: Core, rows: Sequence[Row], most: Sequence[int]) -> None:
        """The drafter is asked for at most so many guesses of each row."""
        draws: Draws = partial(_draws, core)
        if self.verify is None and core.rules.source is None:  # guesses by the number that will decide
            draws = paired(draws)
        proposals = self._guarded(core).propose(rows, most, draws)
        for row, proposal, n in zip(rows, proposals, most):
            first, *others = [proposal] if isinstance(proposal, Draft) else branches.different(proposal)
            if first.tokens:
                row.text += first.tokens
                row.guesses = len(first.tokens)
                self.drafts[row] = first
                if others and (self.verify in (None, multi) or row.request.sampling.temperature == 0):
                    self.others[row] = (n, others)

    def saw(self, core: Core, widths: dict[Row, int], order: Sequence[tuple[Row, int]], hidden_ND: Tensor) -> None:
        """The drafter is shown the stream of all that is read in this step."""
        order = [(row, first) for row, first in order if row.trunk is None]
        shown = [hidden_ND[first : first + widths[row]] for row, first in order]
        self._guarded(core).saw([row for row, _ in order], shown)

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
        self.choosers.pop(row, None)
        if self.safe is not None:
            self.safe.forget(row)

    def _guarded(self, core: Core) -> Safe:
        if self.safe is None:
            self.safe = Safe(self.drafter, core.vocab or 1 << 31, self.seconds)
        return self.safe

    def _most(self, row: Row, room: int) -> int:
        request = row.request
        if request.draft == NOBODY:
            return 0
        room = room if request.guess is None else min(room, request.guess)
        return self.guess(row, room) if isinstance(self.guess, Controller) else min(self.guess, room)

    def fork(self, core: Core, work: Sequence[Work]) -> list[Work]:
        """The other drafts of the rows that are fed their first one whole, as far as this step has room for them."""
        self.branches, spare = {}, core.scheduler.chunk - sum(width for _, width in work)
        for row, width in work if self.others else ():
            if row.guesses and width == row.unread and row in self.others:
                most, drafts = self.others[row]
                self.branches[row] = branches.fork(core, row, drafts, most, spare)
                spare -= (1 + most) * len(self.branches[row])
        self.others = {}
        return [branch for paths in self.branches.values() for branch in branches.works(paths)]

    def settle(self, core: Core, rows: list[Row], logits_RV: Tensor, places: Mapping[Row, int]) -> list[Token]:
        """Tokens of these rows: those guesses that hold, and one more."""
        paths = {row: self._paths(row, places) for row in rows}
        before = {row: len(row.text) for row in rows}
        drafted = [row for row in rows if paths[row][0].draft.tokens]
        judged = [row for row in drafted if self.verify is not None and row.request.sampling.temperature > 0]
        tokens: list[Token] = []
        alive = {row: paths[row] for row in rows if row not in judged}
        for row in drafted:
            if row in alive and (chooser := self._chooser(core, row, paths[row], logits_RV)):
                (path,) = alive.pop(row)
                logits_PV = logits_RV[path.place : path.place + 1 + len(path.draft.tokens)]
                with torch.inference_mode():
                    tokens += chooser.along(path.draft.tokens, logits_PV)
        while alive:  # the rows' next places, together
            next_ = [found[0].place + len(row.text) - before[row] for row, found in alive.items()]
            new = core.choose(list(alive), logits_RV, next_)
            tokens += new
            alive = {t.row: held for t in new if (held := _held(t, alive[t.row], before[t.row]))}
        for row in judged:
            tokens += self._judge(core, row, paths[row], logits_RV)
        if judged:
            core.wrote()
        for row in drafted:
            self._close(core, row, paths[row], row.text[before[row] :])
        for found in self.branches.values():
            branches.drop(core, found)
        self.branches = {}
        return tokens

    def _chooser(self, core: Core, row: Row, paths: Sequence[Path], logits_RV: Tensor) -> Chooser | None:
        """Who chooses for all places of a row's only draft at once; None where each depends on the one before."""
        if len(paths) > 1:
            return None
        known, places = self.choosers.setdefault(row, {}), 1 + len(paths[0].draft.tokens)
        if places not in known:
            known[places] = Chooser([row] * places, logits_RV.shape[1], logits_RV.device, core.rules, apart=1)
        return known[places] if known[places].still else None

    def _paths(self, row: Row, places: Mapping[Row, int]) -> list[Path]:
        """A row's drafts as they were read, the first of them first; an empty one where there is none."""
        draft = self.drafts.pop(row, Draft())
        first = Draft() if not row.retract() else draft
        others = [replace(path, place=places[path.row]) for path in self.branches.get(row, ())]
        return [Path(first, row, places[row]), *others]

    def _close(self, core: Core, row: Row, paths: Sequence[Path], came: Sequence[int]) -> None:
        """The row keeps what was read of the draft that agrees longest with what came."""
        stayed, best = max((_agree(path.draft.tokens, came), -i) for i, path in enumerate(paths))
        path, most = paths[-best], max(len(path.draft.tokens) for path in paths)
        read = row.read
        if path.row is not row:
            read = path.row.read + path.row.unread
            branches.adopt(core, row, path.row)
        self.tally.note(most, stayed, len(came))
        self.results.append((row, most, stayed))
        core.scheduler.crop(row, min(read, len(row.text) - 1))

    def _judge(self, core: Core, row: Row, paths: Sequence[Path], logits_RV: Tensor) -> list[Token]:
        """The verifier's tokens, written until one of them ends the text."""
        assert self.verify is not None
        bans, seen = core.rules.bans(row.request.sampling), dict[Path, Laws]()

        def path_of(guesses: tuple[int, ...]) -> Path:
            return next(path for path in paths if branches.begins(path.draft, guesses))

        def laws(guesses: tuple[int, ...]) -> Floats:
            path = path_of(guesses)
            if path not in seen:
                span = slice(path.place, path.place + 1 + len(path.draft.tokens))
                logits_PV = along.along(row, path.draft.tokens, logits_RV[span], bans).logits_PV
                seen[path] = loop.by_place(along.law(logits_PV))
            return seen[path](guesses)

        try:
            most = max(len(path.draft.tokens) for path in paths)
            drafts = [path.draft for path in paths]
            accepted = loop.verdict(laws, drafts, most, self.verify, _draws(core, row))
        except Exception as error:  # somebody else's code: a fault in it is that row's alone
            return [Token(row, None, error=error)]
        tokens: list[Token] = []
        for i, id in enumerate(accepted.tokens):
            place = path_of(accepted.tokens[:i]).place + i
            logits_1V = logits_RV[place : place + 1]
            tokens += Chooser([row], logits_1V.shape[1], logits_1V.device, core.rules).put([id], logits_1V)
            if tokens[-1].reason or tokens[-1].error is not None:
                break
        return tokens


def _draws(core: Core, row: Row) -> Choose:
    """The row's choices at its present place: its own numbers, or the source that takes the place of the seeds."""
    if core.rules.source is not None:
        return loop.bound(core.rules.source, row.number, row.written)
    request, written = row.request, row.written
    seed = request.sampling.seed
    others = loop.bound(noise.RandomSource(noise.seed_of("draft", seed)), request.index, written)

    def choose(probs: Sequence[float] | Floats, *position: Any) -> int:
        if position[0] != PLACE:
            return others(probs, *position)
        place = noise.gumbel_place(seed, request.index, written + position[1])
        with np.errstate(divide="ignore"):
            return int(law.race(torch.from_numpy(np.log(probs))[None], place[None])[0])

    return choose


def _held(token: Token, paths: Sequence[Path], before: int) -> list[Path]:
    """The drafts that go on with what was written; none where the text does not."""
    if token.reason or token.error is not None:
        return []
    came = token.row.text[before:]
    return [path for path in paths if branches.begins(path.draft, came)]


def _agree(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
