"""The public and the private problems of homework 4: from the world, or from a file of people's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jielong.base.errors import UserError
from jielong.evals.homework4 import number_only
from jielong.prompting import readers
from jielong.prompting.strategy import Problem, tongue

PUBLIC, PRIVATE = 30, 100  # how many the course had


def problem_sets(source: str, public: int = PUBLIC, private: int = PRIVATE, *, draw: int = 1, lang: str = "both",
                 seed: int = 0) -> tuple[list[Problem], list[Problem]]:  # fmt: skip
    """A public and a private set, without a question in common. `source`: world:errands (stories of several steps),
    world:KIND (sums_words, sums, sums_chain), or a JSONL file, GSM8K's included. `draw` 1, 2, ... is another private
    set of the world each. UserError where there are not enough."""
    if min(public, private) < 1 or draw < 1 or lang not in ("en", "zh", "both"):
        raise UserError("give 1 or more public and private problems, a draw of 1 or more, and en, zh or both languages")
    tongues = ("en", "zh") if lang == "both" else (lang,)
    if source == "world:errands":
        pools = [_errands(count, which, tongues, seed) for count, which in ((public, 0), (public + 2 * private, draw))]
    else:
        pools = _loaded(source, public, private, draw, seed, tongues)
    first = _different(pools[0], set())[:public]
    second = _different(pools[1], {each.text for each in first})[:private]
    if len(first) < public or len(second) < private:
        raise UserError(f"{source} has {len(first)} public and {len(second)} other problems: ask for fewer")
    return first, second


def _errands(count: int, draw: int, tongues: Sequence[str], seed: int) -> list[Problem]:
    from jielong.evals.errands import errand

    made = [errand(i // len(tongues), lang=tongues[i % len(tongues)], draw=draw, seed=seed) for i in range(count)]
    return [Problem(each.text, f"errands.{draw}.{i}", str(each.answer), readers.number, meta={"steps": each.steps})
            for i, each in enumerate(made)]  # fmt: skip


def _loaded(
    source: str, public: int, private: int, draw: int, seed: int, tongues: Sequence[str]
) -> list[list[Problem]]:
    """Of the world another draw for the private set; of a file its other problems."""
    from jielong.prompting import problems

    if source.startswith("world:"):
        kind = problems.load(source, 1)[0].meta.get("kind", "")
        if kind not in ("sums", "sums_direct", "sums_words", "sums_long", "sums_chain"):
            raise UserError(f"{source} does not ask for a number: give world:errands or world:sums_words")
        pools = [problems.load(source, 3 * public, seed=seed, draw=0),
                 problems.load(source, 3 * public + 3 * private, seed=seed, draw=draw)]  # fmt: skip
    else:
        every = problems.load(source)
        wrong = [each.id for each in every if number_only(each.gold or "") is None]
        if wrong:
            raise UserError(f"{source}: the answer of {wrong[0]} is no number, and the homework asks for numbers")
        from jielong.base import noise

        order = noise.permutation(noise.seed_of("homework 4", seed), len(every)).tolist()
        mixed = [every[i] for i in order]
        start = public + (draw - 1) * private
        pools = [mixed[:public], mixed[start : start + private]]
    return [[replace(each, check=None) for each in pool if tongue(each.text) in tongues] for pool in pools]


def _different(problems: Sequence[Problem], taken: set[str]) -> list[Problem]:
    """Those whose texts are not taken, each once."""
    return list({each.text: each for each in problems if each.text not in taken}.values())
