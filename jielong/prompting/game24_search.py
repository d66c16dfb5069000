"""The Game of 24 searched without a model, and how that went: the worked examples of `algorithm_of_thoughts`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations

from jielong.prompting.game24 import GOAL, problem
from jielong.prompting.strategy import Example


def example(numbers: Sequence[int]) -> Example:
    """A question, the search for its answer with all wrong turns, and the answer."""
    lines = list(traced([(Fraction(n), str(n)) for n in numbers]))
    found = lines[-1].startswith("Answer:")
    steps = "\n".join(lines[:-1] if found else lines)
    return Example(problem(numbers).text, lines[-1] if found else "There is no solution.", steps)


def traced(left: Sequence[tuple[Fraction, str]], depth: int = 0) -> Iterator[str]:
    """Depth first over (value, expression): a line for each step taken, "back" where nothing more can be tried. The
    last line is the answer if there is one."""
    if len(left) == 1:
        if left[0][0] == GOAL:
            yield f"Answer: {left[0][1][1:-1]} = {GOAL}"
        return
    for i, j in combinations(range(len(left)), 2):
        rest = [each for k, each in enumerate(left) if k not in (i, j)]
        for value, text in _joined(left[i], left[j]):
            now = [*rest, (value, text)]
            yield f"{'  ' * depth}{text} = {value} (left: {' '.join(str(v) for v, _ in now)})"
            for line in traced(now, depth + 1):
                yield line
                if line.startswith("Answer:"):
                    return
    yield "  " * depth + "back"


def _joined(one: tuple[Fraction, str], other: tuple[Fraction, str]) -> Iterator[tuple[Fraction, str]]:
    """All that two numbers can become."""
    (a, x), (b, y) = one, other
    yield a + b, f"({x} + {y})"
    yield a * b, f"({x} * {y})"
    for (c, u), (d, v) in ((one, other), (other, one)):
        yield c - d, f"({u} - {v})"
        if d:
            yield c / d, f"({u} / {v})"
