"""Counting what a model uses, and stopping before more is used than was allowed."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from jielong.base.errors import UserError, WorkFailed
from jielong.lm.protocol import Usage


class BudgetSpent(WorkFailed):
    """A call was not sent because it might have used more tokens than are left."""


class Budget:
    """A number of tokens, shared by whatever is given it. Safe across threads."""

    def __init__(self, tokens: int) -> None:
        if tokens < 0:
            raise UserError(f"a budget of {tokens} tokens: give 0 or more")
        self.tokens = tokens
        self.left = tokens
        self._lock = threading.Lock()

    def reserve(self, tokens: int) -> None:
        """Set tokens aside before a call. BudgetSpent if there are not as many."""
        with self._lock:
            if tokens > self.left:
                raise BudgetSpent(f"the call may use {tokens} tokens and {self.left} of {self.tokens} are "
                                  "left: raise the budget, or ask for fewer or shorter draws")
            self.left -= tokens

    def release(self, tokens: int) -> None:
        """Give back what was set aside and not used."""
        with self._lock:
            self.left += tokens


class Bill:
    """What one call used, filled in while it runs."""

    def __init__(self) -> None:
        self.usage = Usage(calls=1)

    def add(self, prompt: int = 0, completion: int = 0) -> None:
        """Count some tokens."""
        self.usage += Usage(0, prompt, completion)


class Meter:
    """Counts one model's use, and keeps it within a budget if there is one."""

    def __init__(self, budget: Budget | None = None) -> None:
        self.budget = budget
        self.usage = Usage()
        self._lock = threading.Lock()

    @contextmanager
    def call(self, most: int) -> Iterator[Bill]:
        """Around one call that uses at most `most` tokens: reserved before, settled after."""
        if self.budget is not None:
            self.budget.reserve(most)
        bill = Bill()
        try:
            yield bill
        finally:
            if self.budget is not None:
                self.budget.release(most - bill.usage.tokens)
            with self._lock:
                self.usage += bill.usage


def count_words(text: str) -> int:
    """Tokens of a model that has no tokenizer: words, signs, and single Chinese characters."""
    return len(re.findall(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+|[^\w\s]", text))
