"""What many kinds share: choosing from tables, asking different questions, patterns read backwards."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, TypeVar

from jielong.world.draws import langs, rows, shuffled
from jielong.world.text import Chat, Message, Origin, Question, Text

if TYPE_CHECKING:
    from jielong.world.world import World

T = TypeVar("T")
K = TypeVar("K")
Make = Callable[[list[float], str], Question]


def lists(n: int, width: int, *key: Any) -> Iterator[list[float]]:
    """`n` rows of `width` uniforms in [0, 1), as lists."""
    for block in rows(n, width, *key):
        yield from block.tolist()


def side(split: str) -> str:
    """Which things a split speaks of: `test` has those that training never shows."""
    return "test" if split == "test" else "train"


def wording(split: str) -> bool:
    """Which wordings a split uses: False (0) those of training, True (1) the held-out ones.

    `asked` is what training speaks of in held-out wordings.
    """
    return split != "train"


def pick(options: Sequence[T], u: float) -> T:
    """One of `options`, each equally likely, by the uniform `u`."""
    return options[int(u * len(options))]


def several(options: Sequence[T], us: Sequence[float]) -> list[T]:
    """len(us) different options, in random order (the first steps of Fisher and Yates)."""
    pool = list(options)
    for i, u in enumerate(us):
        j = i + int(u * (len(pool) - i))
        pool[i], pool[j] = pool[j], pool[i]
    return pool[: len(us)]


def cumulate(weights: Iterable[float]) -> list[float]:
    """Cumulative shares of `weights`; the last is infinite, so that no uniform falls off the end."""
    sums = list(accumulate(weights))
    shares = [s / sums[-1] for s in sums]
    shares[-1] = float("inf")
    return shares


def sampled(n: int, table: Sequence[T], shares: Sequence[float], *key: Any) -> Iterator[T]:
    """`n` independent draws from `table` with cumulative `shares`."""
    for (u,) in lists(n, 1, *key):
        yield table[bisect_right(shares, u)]


def dealt(n: int, table: Sequence[T], *key: Any) -> Iterator[T]:
    """`n` items dealt like packs of cards: each len(table) in a row are the whole table in a fresh order."""
    for deal in range(-(-n // len(table))):
        yield from shuffled(len(table), table, *key, deal)[: n - deal * len(table)]


def every(table: Callable[[str], Iterable[T]], lang: str | None) -> list[T]:
    """What a table holds for a language, or for both (None)."""
    return list(chain.from_iterable(map(table, langs(lang))))


def even(texts: Sequence[Text]) -> Iterator[tuple[float, str]]:
    """The law of documents that are all as likely."""
    return ((1 / len(texts), text.text) for text in texts)


def replies(questions: Iterable[Question]) -> dict[str, str]:
    """The right reply to each prompt: an oracle for kinds that can ask only so much."""
    return {question.prompt: question.answer for question in questions}


def as_chat(question: Question) -> Chat:
    """A question and its right reply as one conversation."""
    messages = (Message("user", question.prompt), Message("assistant", question.answer))
    return Chat(messages, question.origin)


def as_text(question: Question) -> Text:
    """A question and its right reply as running text."""
    return Text(f"{question.prompt}\n{question.answer}", question.origin)


@lru_cache(maxsize=512)
def _pattern(template: str, groups: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    wanted = dict(groups)
    parts = re.split(r"\{(\w+)\}", template)
    seen: set[str] = set()
    for i in range(1, len(parts), 2):
        name = parts[i]
        parts[i] = f"(?P={name})" if name in seen else f"(?P<{name}>{wanted.get(name, '.+?')})"
        seen.add(name)
    parts[::2] = [re.escape(part) for part in parts[::2]]
    return re.compile("".join(parts), re.DOTALL)


def unfill(template: str, text: str, **groups: str) -> dict[str, str] | None:
    """The fields with which `template.format(...)` gives `text`, or None: format read backwards.

    `groups` gives the expression of a field where "anything" would be ambiguous.
    """
    found = _pattern(template, tuple(sorted(groups.items()))).fullmatch(text)
    return found.groupdict() if found else None


def readings(
    table: Mapping[K, Sequence[Sequence[str]]], text: str, **groups: str
) -> Iterator[tuple[K, dict[str, str]]]:
    """(key, fields) of every pattern of a table, of training or held out, that gives `text`."""
    for key, patterns in table.items():
        for template in (*patterns[0], *patterns[1]):
            found = unfill(template, text, **groups)
            if found is not None:
                yield key, found


def mentions(reply: str, options: Iterable[str]) -> set[str]:
    """The options that a reply names; of options inside one another the longest counts."""
    ordered = sorted(set(options), key=lambda o: (-len(o), o))
    latin = [o for o in ordered if o.isascii()]
    other = [o for o in ordered if not o.isascii()]
    found: set[str] = set()
    if latin:
        expression = r"(?<![A-Za-z0-9])(" + "|".join(map(re.escape, latin)) + r")(?![A-Za-z0-9])"
        by_lower = {o.lower(): o for o in latin}
        found |= {by_lower[m.lower()] for m in re.findall(expression, reply, re.IGNORECASE)}
    if other:
        found |= set(re.findall("|".join(map(re.escape, other)), reply))
    return found


def judge_choice(question: Question, reply: str, options: Iterable[str]) -> str:
    """Right if the reply names the right options and no other; wrong if it names another."""
    from jielong.world.check import is_refusal

    named = mentions(reply, options)
    if not named:
        return "refused" if is_refusal(reply) else "nonsense"
    return "right" if named <= set(question.accept) else "wrong"


def origin(kind: str, lang: str, split: str, fact: str, template: str, extra: Mapping[str, Any]) -> Origin:
    """An Origin whose extras are given as a mapping (kept in its order)."""
    return Origin(kind, lang, fact, template, split, "", tuple(extra.items()))


def drawn(
    world: World, kind: str, n: int, draw: int, split: str, lang: str | None, width: int, make: Make
) -> Iterator[Question]:
    """n questions, each made by `make(uniforms, lang)` from its own row of `width` uniforms."""
    tongues = langs(lang)
    for u in lists(n, width + 1, world.seed, kind, "questions", split, lang or "", draw):
        yield make(u[1:], pick(tongues, u[0]))


def asked(
    world: World, kind: str, n: int, draw: int, split: str, lang: str | None, width: int, make: Make
) -> list[Question]:
    """The first n of `drawn` whose prompts differ; fewer where 20 n + 200 draws do not have as many."""
    return distinct(drawn(world, kind, 20 * n + 200, draw, split, lang, width, make), n)


def distinct(questions: Iterable[Question], n: int) -> list[Question]:
    """The first n whose prompts differ."""
    seen: dict[str, Question] = {}
    for question in questions:
        if len(seen) >= n:
            break
        seen.setdefault(question.prompt, question)
    return list(seen.values())
