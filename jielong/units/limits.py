"""What a template may cost, and what it may not ask for: see ``sandbox.py``."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2.exceptions import SecurityError

CHARACTERS = 10_000_000  # of the result, and of any one text on the way to it
MATERIAL = 100_000_000  # characters of all texts made in one rendering; a list counts as ITEM an item
ITEM = 200
STEPS = 200_000  # turns of loops, calls and filters in one rendering
SECONDS = 5.0  # steps are small, so this is reached only by a template built to be slow
WIDTH = 100_000  # the largest number that a call or a filter may be given
CONTAINERS = (list, tuple, dict)
REFUSED = ("translate", "maketrans", "format_map")  # one letter could become a book
WIDE = re.compile(r"%[-+ #0]*(?:\*|\d{4})|\.(?:\*|\d{4})|:[^{}]*(?:\{|\d{4})")


class Budget:
    """What one rendering has left. ``template``: the length of the template, the price of a macro call."""

    def __init__(self, template: int) -> None:
        self.template = template
        self._steps, self._material = STEPS, MATERIAL
        self._until = time.monotonic() + SECONDS

    def step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise SecurityError(f"it takes more than {STEPS:,} steps")
        if not self._steps & 63 and time.monotonic() > self._until:
            raise SecurityError(f"it takes more than {SECONDS:.0f} seconds")

    def charge(self, size: int) -> None:
        self._material -= size
        if self._material < 0:
            raise SecurityError(f"it makes more than {MATERIAL:,} characters")

    def weigh(self, value: Any) -> Any:
        """Charge for ``value`` (a list: with all in it, as often as it is in it) and give it back."""
        if isinstance(value, str):
            self.charge(len(value))
        elif isinstance(value, CONTAINERS):
            inside = [value]
            while inside:
                held = inside.pop()
                self.charge(ITEM * (len(held) + 1))
                for item in (*held, *held.values()) if isinstance(held, dict) else held:
                    if isinstance(item, str):
                        self.charge(len(item))
                    elif isinstance(item, CONTAINERS):
                        inside.append(item)
        return value

    def weight(self, value: Any) -> int:
        before = self._material
        self.weigh(value)
        return before - self._material


def check_call(owner: Any, name: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse, before it runs, a method or filter ``name`` of ``owner`` that would make a book of a line."""
    given = [*args, *kwargs.values()]
    numbers = [abs(value) for value in given if isinstance(value, int)]
    if max(numbers, default=0) > WIDTH:
        raise SecurityError(f"it asks for a number above {WIDTH:,}")
    if not isinstance(owner, str):
        return
    lengths = [len(value) for value in given if isinstance(value, str)]
    if name in REFUSED:
        raise SecurityError(f"{name} is not allowed")
    if name == "format":
        _check_format(owner, given)
    elif name == "replace" and len(lengths) == 2:
        _fits(len(owner) + owner.count(given[0]) * lengths[1])
    elif name in ("indent", "wordwrap", "expandtabs"):
        places = len(owner) if name == "wordwrap" else owner.count("\n") + owner.count("\t") + 1
        _fits(len(owner) + places * max([8, *lengths, *(numbers if name != "wordwrap" else [])]))


def check_operator(operator: str, left: Any, right: Any) -> None:
    """The same for ``+ * ** %``: the size of the result is known before it is made."""
    texts = (str, bytes, list, tuple)
    if operator == "+" and isinstance(left, texts) and isinstance(right, texts):
        _fits(len(left) + len(right))
    elif operator == "%" and isinstance(left, str):
        _check_format(left, [right])
    elif operator in ("*", "**"):
        for one, times in ((left, right), (right, left)):
            if isinstance(one, texts) and isinstance(times, int):
                _fits(len(one) * max(times, 0))
        if isinstance(left, int) and isinstance(right, int):
            times = abs(right) if operator == "**" else 1
            if max(left.bit_length() * times, right.bit_length()) > 512:
                raise SecurityError("its numbers grow too large")


def _check_format(text: str, given: Iterable[Any]) -> None:
    if WIDE.search(text):
        raise SecurityError("it formats wider than 999 characters")
    weight = Budget(0).weight(list(given))
    _fits(len(text) + (text.count("%") + text.count("{")) * weight)


def _fits(length: int) -> None:
    if length > CHARACTERS:
        raise SecurityError(f"it makes a text of more than {CHARACTERS:,} characters")
