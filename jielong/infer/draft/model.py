"""A smaller model guesses: its own cache, all rows of a step side by side.

    drafter = ModelDrafter(small, vocab=large.config.vocab)
    drafts = drafter.propose(rows, [4] * len(rows), source)

Each row has a mirror here: the same text, read by the small model, with the guesses at its end. At the next call what
the target refused is cropped and what it wrote is read, so a step costs about as many small passes as guesses. Any
model that the runners know will do, one without a cache too (an n-gram model: `nets/ngram.py`).
Source: Leviathan et al. 2023 (arXiv 2211.17192).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from jielong.base.errors import UserError
from jielong.infer.blocks import Blocks
from jielong.infer.draft.guesses import Guess, Shaper
from jielong.infer.draft.types import Draft, Draws
from jielong.infer.feeding import Feeding
from jielong.infer.runner import CACHE_BYTES, context_of, has_cache, pages_for, runner
from jielong.infer.schedule import Row, Scheduler, Work
from jielong.nets.pages import SIZE, page_bytes

CHUNK = 512  # tokens of a row that are read in one pass
ENDLESS = 1 << 20  # the longest text expected of a model without a bound


class ModelDrafter:
    """`vocab`: the target's. Guesses are drawn from the law that the row's settings make of this model's logits (bad
    words and the request's own processors are left to the target); at temperature 0 they are certain. A text longer
    than this model's context gets no guesses.

    `streams` texts of `length` tokens are remembered in at most `memory` bytes; those not asked for longest go first.
    `exact`: what is read has the same bits whatever was refused before (see `Core`). UserError for another vocabulary,
    and for a model that cannot write text.
    """

    def __init__(self, model: Any, vocab: int, *, name: str = "model", exact: bool = False, streams: int = 32,
                 length: int | None = None, memory: int = CACHE_BYTES) -> None:  # fmt: skip
        own = getattr(getattr(model, "config", None), "vocab", vocab)
        if own != vocab:
            raise UserError(f"the drafter {name!r} has {own} tokens and the model {vocab}: give one with the same "
                            "tokenizer, or wrap it in OtherTokenizer")  # fmt: skip
        self.name, self.vocab, self.context = name, vocab, context_of(model)
        longest = min(length or 1 << 16, self.context or 1 << 16)
        count = streams * pages_for(longest) + 1
        if has_cache(model):
            count = min(count, max(2, memory // page_bytes(model.config)))
        self.runner = runner(model, count, exact=exact)
        self.chunk = CHUNK
        if not self.runner.keeps:  # nothing is kept in its pages: they are only counted
            count, self.chunk = streams * pages_for(ENDLESS) + 1, ENDLESS
        self.count = count
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self.blocks = Blocks(self.count, SIZE, self.runner.keeps)
        self.books = Scheduler(self.blocks, 1, self.chunk)  # for its bookkeeping: what runs is the target's to say
        self.feeding = Feeding(self.runner)
        self.mirrors: dict[Row, Row] = {}  # the row asked for longest ago comes first
        self.shaper = Shaper(self.vocab)

    def forget(self, row: Row) -> None:
        """Its pages are free; what they hold can be found by a text that begins alike."""
        mirror = self.mirrors.pop(row, None)
        if mirror is not None:
            self.blocks.drop(mirror.table)

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        """One draft a row. After an error of the model nothing is remembered."""
        drafts = [Draft()] * len(rows)
        try:
            guesses = self._begin(rows, most, source)
            self._read(guesses)
            guesses.sort(key=lambda g: g.row.unread)  # as a feed has them
            depth = 0
            while guesses:
                guesses = self._guess(guesses, depth, rows, drafts)
                depth += 1
        except BaseException:
            self.clear()
            raise
        return drafts

    def _begin(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Guess]:
        """The rows that get guesses, their mirrors up to date and with pages for them."""
        asked = [(i, row, self._far(row, k)) for i, (row, k) in enumerate(zip(rows, most, strict=True))]
        asked = [(i, row, k) for i, row, k in asked if k > 0]
        busy = {row for _, row, _ in asked}
        guesses = []
        for i, row, k in asked:
            mirror = self._mirror(row)
            if self._give(mirror, len(row.text) + k - 1, busy):
                guesses.append(Guess(i, mirror, k, source(row), mirror.text))
            else:
                self.forget(row)
        return guesses

    def _far(self, row: Row, most: int) -> int:
        """How many guesses this model can see far enough for: the last of them is not read."""
        return most if self.context is None else min(most, self.context - len(row.text) + 1)

    def _mirror(self, row: Row) -> Row:
        """This model's own row for a text: what both agree on stays read, but for one token, whose law is wanted."""
        mirror = self.mirrors.pop(row, None)
        if mirror is not None:
            same = min(_agree(mirror.text, row.text), len(row.text) - 1)
            if same < mirror.named * SIZE:  # others may have found these pages: begin anew, and find them too
                self.blocks.drop(mirror.table)
                mirror = None
            elif mirror.read > same:
                self.books.crop(mirror, same)
        if mirror is None:
            mirror = Row(row.number, row.request, row.limit)
            mirror.table, mirror.serial = self.blocks.find(row.text)
            self.blocks.share(mirror.table)
            mirror.named = len(mirror.table)
            mirror.read = mirror.named * SIZE
        mirror.text = list(row.text)
        self.mirrors[row] = mirror
        return mirror

    def _give(self, mirror: Row, length: int, busy: set[Row]) -> bool:
        """Pages for a text of this length; rows that are not asked for now give theirs."""
        need = pages_for(length) - len(mirror.table)
        for row in list(self.mirrors):
            if need <= self.blocks.room:
                break
            if row not in busy:
                self.forget(row)
        if need > self.blocks.room:
            return False
        if need > 0:
            mirror.table += self.blocks.take(need)
        return True

    def _read(self, guesses: Sequence[Guess]) -> None:
        """The beginnings of long texts: at most one chunk of each is left."""
        while work := [Work(g.row, self.chunk) for g in guesses if g.row.unread > self.chunk]:
            self.runner.step(self.feeding.feed(work).feed)
            self.books.done(work)

    def _guess(self, guesses: list[Guess], depth: int, rows: Sequence[Row], drafts: list[Draft]) -> list[Guess]:
        """One guess more for each; those that want no more are written to `drafts`."""
        going = self.shaper.extend(guesses, self._step(guesses, rows), depth)
        for guess in guesses:
            if guess.broken:  # what was read may be the reason
                self.runner.clear(self.blocks.forget(guess.row.table))
                self.forget(rows[guess.place])
            if guess not in going:
                drafts[guess.place] = guess.draft()
        return going

    def _step(self, guesses: Sequence[Guess], rows: Sequence[Row]) -> Tensor:
        """Logits (B, V) after all that the mirrors hold."""
        work = [Work(g.row, g.row.unread) for g in guesses]
        feed = self.feeding.feed(work).feed
        logits_BV = self.runner.step(feed)
        for guess in guesses:  # the row's own tokens stay; guesses may not
            self.books.advance(guess.row, len(guess.text), len(rows[guess.place].text))
        return logits_BV


def _agree(a: Sequence[int], b: Sequence[int]) -> int:
    """How many first tokens two texts share."""
    size = min(len(a), len(b))
    if a[:size] == b[:size]:
        return size
    return next(i for i in range(size) if a[i] != b[i])
