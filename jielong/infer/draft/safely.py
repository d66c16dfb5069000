"""A drafter that fails costs its guesses and nothing else: the text goes on, and the reason is one line.

    drafter = Safe(drafter, size=vocab, seconds=10)
    drafter.reasons        # {"ValueError: ...": 3}

Not for errors of the target: those are the row's own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from jielong.infer.draft.loop import drafts_of
from jielong.infer.draft.types import Draft, Drafter, Draws, Proposal
from jielong.infer.schedule import Row

FAILURES = 3  # errors in a row after which a drafter is not asked again
KINDS = 100  # reasons that are kept apart


class Safe:
    """Another drafter, whose errors become empty drafts and `reasons` (each with how often).

    `size`: the vocabulary; guesses and laws that make no sense in it are cut off. `seconds`: how long it may take over
    one call, the first reading of a long text included; it then works in a thread of its own, and one that has not
    answered is not asked again. None: it is waited for.
    """

    def __init__(self, drafter: Drafter, size: int, seconds: float | None = None) -> None:
        self.drafter, self.size, self.seconds = drafter, size, seconds
        self.reasons: dict[str, int] = {}
        self.over = ""  # why it is not asked any more
        self.failures = 0
        self._worker: _Worker | None = None

    @property
    def name(self) -> str:
        return self.drafter.name

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Proposal]:
        """What the drafter gives, as far as it can be used."""
        if self.over or not any(most):
            return [Draft()] * len(rows)
        try:
            found = self._call(lambda: list(self.drafter.propose(rows, most, source)))
            if len(found) != len(rows):
                raise ValueError(f"{len(found)} drafts for {len(rows)} rows")
            checked = [drafts_of(proposal, self.size, k) for proposal, k in zip(found, most)]
        except _Stalled:
            return [Draft()] * len(rows)
        except Exception as error:  # somebody else's code
            self._failed(error, rows)
            return [Draft()] * len(rows)
        self.failures = 0
        for _, why in checked:
            if why:
                self._note(why)
        return [_given(drafts) for drafts, _ in checked]

    def forget(self, row: Row) -> None:
        if not self.over:
            with suppress(Exception):
                self._call(lambda: self.drafter.forget(row))

    def saw(self, rows: Sequence[Row], hidden: Sequence[Any]) -> None:
        """The model's stream, for a drafter that watches it."""
        if self.over:
            return
        try:
            self._call(lambda: self.drafter.saw(rows, hidden))  # type: ignore[attr-defined]
        except _Stalled:
            pass
        except Exception as error:  # somebody else's code
            self._failed(error, rows)

    def _failed(self, error: Exception, rows: Sequence[Row]) -> None:
        """What it knew of these rows may be half made: it begins anew with them, a few times."""
        lines = str(error).split("\n")
        self._note(f"{type(error).__name__}: {lines[0]:.200}")
        self.failures += 1
        for row in rows:
            self.forget(row)
        if self.failures >= FAILURES:
            self.over = f"{self.failures} errors in a row, the last {type(error).__name__}"

    def _note(self, reason: str) -> None:
        if reason in self.reasons or len(self.reasons) < KINDS:
            self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def _call(self, work: Callable[[], Any]) -> Any:
        if self.seconds is None:
            return work()
        if self._worker is None:
            self._worker = _Worker(f"drafter {self.name}")
        try:
            return self._worker.call(work, self.seconds)
        except _Stalled:  # what it may yet answer belongs to no question any more
            self.over = f"no answer within {self.seconds:g} seconds"
            self._note(self.over)
            raise


class _Stalled(Exception):
    pass


class _Worker:
    """A thread that does one thing at a time; a daemon, for one that hangs must not keep the interpreter."""

    def __init__(self, name: str) -> None:
        self.asked: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        self.answers: SimpleQueue[tuple[Any, Exception | None]] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, work: Callable[[], Any], seconds: float) -> Any:
        self.asked.put(work)
        try:
            value, error = self.answers.get(timeout=seconds)
        except Empty:
            raise _Stalled from None
        if error is not None:
            raise error
        return value

    def _run(self) -> None:
        while True:
            work = self.asked.get()
            try:
                self.answers.put((work(), None))
            except Exception as error:
                self.answers.put((None, error))


def _given(drafts: list[Draft]) -> Proposal:
    """One draft as itself."""
    return drafts[0] if len(drafts) == 1 else (drafts or Draft())
