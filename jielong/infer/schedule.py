"""Which texts run next, and on which pages. No torch here: it can be fuzzed ten thousand schedules a minute.

Every step each running text is fed some of the tokens it has not read: usually the one just written, several when a
draft is to be verified, a chunk when it is a prompt (or was put off and must read its text again). Texts that were
running go first; the oldest of them is never put off, so something always ends. Slots go to the client that has
fewest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jielong.infer.blocks import Blocks
from jielong.infer.request import Request


@dataclass(eq=False)
class Row:
    """One text: what stands in it, how much of it was read, and the pages that hold that."""

    number: int  # what a tap and a source call it
    request: Request
    limit: int  # most tokens to write
    text: list[int] = field(default_factory=list)
    read: int = 0
    table: list[int] = field(default_factory=list)
    named: int = 0  # full pages whose content is known, and the serial of the last
    serial: int = 0
    dropped: int = 0  # tokens that were read and let go again, to make room in a full context
    epoch: int = 0  # changes whenever pages of the table are exchanged
    cached: int = 0  # prompt tokens that were found in the cache at first
    states: list[Any] = field(default_factory=list)  # of the processors
    counts: Any = None  # what penalties need to know
    report: Any = None  # log-probabilities of the prompt, while it is echoed
    guesses: int = 0  # tokens at the end of the text that only a draft holds for likely: a step verifies them
    trunk: Row | None = None  # of a branch, which holds another draft for one step: the row that it is a branch of
    root: int = 0  # whose pages it can share: 0 of the base, negative of an adapter

    def __post_init__(self) -> None:
        self.text = list(self.request.prompt)

    def retract(self) -> list[int]:
        """Take what is only guessed out of the text."""
        at = len(self.text) - self.guesses
        guesses, self.text[at:], self.guesses = self.text[at:], [], 0
        return guesses

    @property
    def written(self) -> int:
        """Tokens after the prompt."""
        return len(self.text) - len(self.request.prompt)

    @property
    def held(self) -> int:
        """Tokens in the cache: positions are counted by these."""
        return self.read - self.dropped

    @property
    def unread(self) -> int:
        """Tokens to feed before the next can be chosen."""
        return len(self.text) - self.read


class Work(NamedTuple):
    """Feed the next `width` unread tokens of a row."""

    row: Row
    width: int


class Scheduler:
    """`streams` texts run together; a step feeds about `chunk` tokens. With a `slide`, a text that fills its `context`
    lets pages go and runs on: `slide(row)` makes room for at least a page."""

    def __init__(
        self, blocks: Blocks, streams: int, chunk: int, context: int | None = None,
        slide: Callable[[Row], None] | None = None,
    ) -> None:  # fmt: skip
        self.blocks, self.streams, self.chunk = blocks, streams, chunk
        self.context, self.slide = context, slide
        self.running: list[Row] = []  # the oldest first
        self.waiting: dict[str, deque[Row]] = {}
        self.turns: dict[str, int] = {}  # when a client last got a slot
        self.turn = self.preemptions = self.queries = self.hits = 0

    def __len__(self) -> int:
        return len(self.running) + sum(map(len, self.waiting.values()))

    def rows(self) -> Iterator[Row]:
        """All rows that run or wait."""
        yield from self.running
        for queue in self.waiting.values():
            yield from queue

    def add(self, row: Row) -> None:
        """A new text waits for its turn."""
        self.waiting.setdefault(row.request.client, deque()).append(row)

    def leave(self, row: Row) -> None:
        """A text is over, or nobody wants it any more."""
        if row in self.running:
            self.running.remove(row)
        else:
            self._unqueue(row)
        self._release(row)

    def plan(self) -> list[Work]:
        """What to feed this step; pages for it are taken."""
        work: list[Work] = []
        budget, before = self.chunk, self.preemptions
        for row in sorted(self.running, key=_reading):  # those that only go on, first
            if self.preemptions > before and row not in self.running:  # put off for another's sake meanwhile
                continue
            width = min(row.unread, max(budget, 1 + row.guesses), self._space(row))
            if self._give(row, width):
                work.append(Work(row, width))
                budget -= width
        if self.preemptions > before:
            work = [w for w in work if w.row in self.running]
        while budget > 0 and len(self.running) < self.streams:
            new = self._next()
            if new is None or not self._admit(new, budget):
                break
            width = min(new.unread, budget, self._space(new))
            work.append(Work(new, width))
            budget -= width
        return work

    def done(self, work: list[Work]) -> None:
        """After a step: what was fed is read, and full pages are known."""
        for row, width in work:
            self.advance(row, row.read + width, len(row.text) - row.guesses if row.guesses else None)

    def advance(self, row: Row, read: int, certain: int | None = None) -> None:
        """A row has been read up to here, and its first `certain` tokens will stay (all, unless drafts are among
        them): the full pages of these can be found by others from now on."""
        row.read = read
        size = self.blocks.size
        if row.dropped:  # its pages no longer hold its beginning
            return
        for page in range(row.named, (read if certain is None else certain) // size if self.blocks.keep else 0):
            tokens = tuple(row.text[page * size : (page + 1) * size])
            row.serial = self.blocks.name(row.serial, tokens, row.table[page])
            row.named = page + 1

    def crop(self, row: Row, read: int) -> None:
        """Forget what a row has read beyond this many tokens (a draft that was refused): its pages go back. ValueError
        for tokens that others may have found already."""
        if read < row.named * self.blocks.size:
            raise ValueError(f"{row.named} pages are known: a text cannot be cropped to {read} tokens")
        keep = -(-(read - row.dropped) // self.blocks.size)
        self.blocks.drop(row.table[keep:])
        del row.table[keep:]
        row.read = read
        self._renew(row)

    def twins(self, leader: Row) -> Iterator[tuple[Row, int, int]]:
        """Waiting texts with the prompt that `leader` has just read: they begin where it stands. For each:
        (row, page to copy, its copy), or (row, 0, 0) where no page is half full."""
        prompt = leader.request.prompt
        same = [
            row
            for queue in self.waiting.values()
            for row in queue
            if row.request.prompt == prompt and row.root == leader.root and not row.written and not row.request.echo
        ]
        for row in same:
            partial = len(prompt) % self.blocks.size
            if len(self.running) >= self.streams or (partial and not self.blocks.room):
                return
            full = leader.table[: len(prompt) // self.blocks.size]
            self.blocks.share(full)
            copied = self.blocks.take(1) if partial else []
            row.table, row.read, row.named, row.serial = full + copied, len(prompt), leader.named, leader.serial
            row.cached = len(prompt) - 1
            self._count(row)
            self._start(row)
            yield row, (leader.table[len(full)] if partial else 0), (copied[0] if partial else 0)

    def _space(self, row: Row) -> int:
        """Tokens that a row can be fed before its context is full, after letting some go if it is."""
        if self.slide is None or self.context is None:
            return row.unread
        if row.held >= self.context:
            self.slide(row)
            self._renew(row)
        return self.context - row.held

    def _give(self, row: Row, width: int) -> bool:
        """Pages for the next `width` tokens, if need be by putting off the youngest; False when it was itself."""
        need = -(-(row.read - row.dropped + width) // self.blocks.size) - len(row.table)
        if need <= 0:
            return True
        while need > self.blocks.room:
            youngest = self.running[-1]
            self._put_off(youngest)
            if youngest is row:
                return False
        row.table += self.blocks.take(need)
        return True

    def _put_off(self, row: Row) -> None:
        """A running text gives its pages back and waits, before the others, to read itself again."""
        self.preemptions += 1
        self.running.remove(row)
        row.retract()
        self._release(row)
        self.waiting.setdefault(row.request.client, deque()).appendleft(row)

    def _release(self, row: Row) -> None:
        self.blocks.drop(row.table)
        row.table, row.read, row.named, row.serial, row.dropped = [], 0, 0, row.root, 0

    def _next(self) -> Row | None:
        """The first waiting text of the client with the fewest running, and of these of the one served longest ago.
        A text waits while another is just reading its prompt, or the first pages of it."""
        slots: dict[str, int] = {}
        for row in self.running:
            slots[row.request.client] = slots.get(row.request.client, 0) + 1
        reading = [r for r in self.running if r.read < len(r.request.prompt)] if self.blocks.keep else []
        order = sorted(self.waiting, key=lambda c: (slots.get(c, 0), self.turns.get(c, 0)))
        for client in order:
            for row in self.waiting[client]:
                if row.request.echo or not any(self._shares(row, other) for other in reading):
                    return row
        return None

    def _shares(self, row: Row, other: Row) -> bool:
        """Whether `other` is reading a page that `row` begins with, or all of its prompt."""
        if row.root != other.root:
            return False
        prompt, read = other.request.prompt, other.read
        end = (read // self.blocks.size + 1) * self.blocks.size
        if end > len(prompt) or end >= len(row.text):
            return row.request.prompt == prompt and not row.written
        return tuple(row.text[:end]) == prompt[:end]

    def _admit(self, row: Row, budget: int) -> bool:
        """Start a waiting text if there are pages for its first chunk; beside others, for all of it and a page for
        each of them, so that it is not put off at once."""
        pages, serial = ([], row.root) if row.request.echo else self.blocks.find(row.text, row.root)
        known = len(pages) * self.blocks.size
        width = min(len(row.text) - known, budget, self._most - known)
        need = -(-(known + width) // self.blocks.size) - len(pages)
        self.blocks.share(pages)
        whole = -(-min(len(row.text), self._most) // self.blocks.size) - len(pages) + len(self.running)
        if (whole if self.running else need) > self.blocks.room:
            self.blocks.drop(pages)
            return False
        row.table = pages + self.blocks.take(need)
        row.read, row.named, row.serial = known, len(pages), serial
        if not row.written:
            row.cached = known
            self._count(row)
        self._start(row)
        return True

    @property
    def _most(self) -> int:
        """Tokens that a text ever holds."""
        return self.context if self.slide is not None and self.context is not None else 1 << 60

    def _count(self, row: Row) -> None:
        self.queries += len(row.request.prompt)
        self.hits += row.cached

    def _start(self, row: Row) -> None:
        self._unqueue(row)
        self.running.append(row)
        self._renew(row)
        self.turns[row.request.client] = self.turn

    def _renew(self, row: Row) -> None:
        self.turn += 1
        row.epoch = self.turn

    def _unqueue(self, row: Row) -> None:
        queue = self.waiting[row.request.client]
        queue.remove(row)
        if not queue:
            del self.waiting[row.request.client]


def _reading(row: Row) -> bool:
    return len(row.text) - row.guesses - row.read > 1
