"""Who owns which page of the cache. No torch here.

A page is free, owned (by one text or shared by several), or kept: nobody's, but its content is known and may be
wanted again, until room is needed and the page longest unused goes. Content is known by a trie: a full page's key
is (the serial of the page before it, its tokens), so equal keys are equal beginnings, not equal hashes. Before the
first page stands 0, or a negative number of the adapter under which it was read: what one has written, another does
not find.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

Key = tuple[int, tuple[int, ...]]


class Blocks:
    """Pages 1 to count - 1; page 0 is padding and belongs to nobody. `keep` False: nothing is known again."""

    def __init__(self, count: int, size: int, keep: bool = True) -> None:
        self.count, self.size, self.keep = count, size, keep
        self.free = list(range(count - 1, 0, -1))
        self.refs = [0] * count
        self.kept: OrderedDict[int, None] = OrderedDict()
        self.pages: dict[Key, int] = {}
        self.keys: dict[int, Key] = {}
        self.serials = [0] * count
        self.last_serial = 0

    @property
    def room(self) -> int:
        """Pages that can be had: free ones and kept ones."""
        return len(self.free) + len(self.kept)

    @property
    def used(self) -> int:
        """Pages that texts own."""
        return self.count - 1 - self.room

    def take(self, n: int) -> list[int]:
        """n pages for one owner; ask for `room` first."""
        taken = []
        for _ in range(n):
            page = self.free.pop() if self.free else self._evict()
            self.refs[page] = 1
            taken.append(page)
        return taken

    def share(self, pages: Iterable[int]) -> None:
        """One more owner for each."""
        for page in pages:
            self.refs[page] += 1
            self.kept.pop(page, None)

    def drop(self, pages: Sequence[int]) -> None:
        """One owner less; the last pages of a text are the first to be forgotten."""
        for page in reversed(pages):
            self.refs[page] -= 1
            if self.refs[page] == 0:
                if page in self.keys:
                    self.kept[page] = None
                else:
                    self.free.append(page)

    def forget(self, pages: Sequence[int]) -> list[int]:
        """Let nobody find what stands in these pages again; those that nobody else owns are returned."""
        for page in pages:
            key = self.keys.pop(page, None)
            if key is not None:
                del self.pages[key]
            if page in self.kept:
                del self.kept[page]
                self.free.append(page)
        return [page for page in pages if self.refs[page] <= 1]

    def shared(self, page: int) -> bool:
        """Whether a page has several owners."""
        return self.refs[page] > 1

    def name(self, parent: int, tokens: tuple[int, ...], page: int) -> int:
        """A full page's content becomes known; the serial that the next page's key begins with."""
        if not self.keep:
            return 0
        key = (parent, tokens)
        known = self.pages.get(key)
        if known is not None:
            return self.serials[known]
        self.last_serial += 1
        self.serials[page], self.pages[key], self.keys[page] = self.last_serial, page, key
        return self.last_serial

    def find(self, text: Sequence[int], root: int = 0) -> tuple[list[int], int]:
        """The pages that hold the longest known beginning of a text, one token left over; and their last serial.
        `root`: what stands before the first."""
        found: list[int] = []
        parent = root
        for start in range(0, len(text) - self.size, self.size):
            page = self.pages.get((parent, tuple(text[start : start + self.size])))
            if page is None:
                break
            found.append(page)
            parent = self.serials[page]
        return found, parent

    def _evict(self) -> int:
        page, _ = self.kept.popitem(last=False)
        del self.pages[self.keys.pop(page)]
        return page

    def check(self, tables: Iterable[Sequence[int]]) -> None:
        """AssertionError unless every page is counted once: as its owners' tables say, or as free, or as kept."""
        owners = [0] * self.count
        for table in tables:
            for page in table:
                owners[page] += 1
        assert owners == self.refs, "owners and counts differ"
        assert owners[0] == 0, "page 0 has an owner"
        idle = sorted([*self.free, *self.kept])
        assert idle == [page for page in range(1, self.count) if not owners[page]], "a page is lost or doubled"
        assert all(self.pages[key] == page for page, key in self.keys.items()), "a key leads elsewhere"
        assert len(self.pages) == len(self.keys)
