"""In-context tasks: the rule stands in the examples, not in the weights.

- `label`: words of two or three categories, each category with a label that means nothing (blick, dax).
- `flipped`: good and bad things under their natural labels, or, half of the time, under the wrong ones:
  whoever follows the examples and whoever follows the words part ways (`prior` is the latter's answer).
- `mapping`: y = f(x): a x + b over numbers, or a transformation of words. A fifth is held out.
- `table`: a random one-to-one table of symbols; the query is one of the examples (pure copying).

The examples always settle the answer within the families here; `answer` finds it from the prompt alone.
`labels` in the provenance gives the character spans of the examples' answers in the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import combinations, product
from typing import TYPE_CHECKING

from jielong.world.draws import langs, shuffled
from jielong.world.kit import Make, as_chat, asked, drawn, lists, origin, pick, several, side, wording
from jielong.world.text import Chat, Question, Text
from jielong.world.words.icl import BAD, CATEGORIES, FEELINGS, GOOD, LABELS, STRINGS, SYMBOLS

if TYPE_CHECKING:
    from jielong.world.world import World

TASKS = ("label", "flipped", "mapping", "table")
ARROWS = (" -> ", " => ")  # of training, and of the held-out wording
WIDTH = 28
SLOPES, SHIFTS = range(1, 5), range(10)
NUMBERS = tuple(str(i) for i in range(1, 20))
Shots = list[tuple[str, str]]
Rule = Callable[[str], str]

MOVES: Mapping[str, Rule] = {
    "reverse": lambda s: s[::-1],
    "first": lambda s: s[:1],
    "last": lambda s: s[-1:],
    "double": lambda s: s + s,
    "tail": lambda s: s[1:],
    "body": lambda s: s[:-1],
    "rotate": lambda s: s[1:] + s[:1],
    "mark": lambda s: s + "*",
}


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """Whole episodes, the answer at the end."""
    tongues = langs(lang)
    for u in lists(n, WIDTH, world.seed, "icl", split, lang or "", draw):
        question = _episode(world.seed, u[1:], pick(tongues, u[0]), split)
        yield Text(f"{question.prompt} {question.answer}", question.origin)


def questions(
    world: World, kind: str, n: int, draw: int = 0, split: str = "test", lang: str | None = None
) -> list[Question]:
    """Episodes without their answer. Tests hold out functions, categories' pairs, labels and the arrow."""
    return asked(world, kind, n, draw, split, lang, WIDTH - 1, _maker(world, split))


def chats(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Chat]:
    """The questions of a split with their right replies."""
    return map(as_chat, drawn(world, kind, n, draw, split, lang, WIDTH - 1, _maker(world, split)))


def _maker(world: World, split: str) -> Make:
    return lambda u, lang: _episode(world.seed, u, lang, split)


def check(world: World, question: Question, reply: str) -> str:
    """The reply's first line (after an arrow, if it repeats one) must be the answer exactly."""
    from jielong.world.check import is_refusal

    lines = reply.strip().splitlines()
    said = lines[0].replace(ARROWS[1].strip(), ARROWS[0].strip()) if lines else ""
    said = said.split(ARROWS[0].strip())[-1].strip(" 。.\"'「」")
    if said in question.accept:
        return "right"
    if not said or is_refusal(reply):
        return "refused" if said else "nonsense"
    return "wrong"


def answer(world: World, prompt: str) -> str | None:
    """The answer the examples of a prompt settle, or None: copy, category, feeling, number, word."""
    arrow = next((a for a in ARROWS if a.rstrip() in prompt), None)
    if arrow is None:
        return None
    *lines, last = prompt.split("\n")
    query = last.removesuffix(arrow.rstrip()).strip()
    shots = [(x, y) for x, _, y in (line.partition(arrow) for line in lines)]
    table = dict(shots)
    if query in table:
        return table[query]
    for groups in (_category_of(), _feeling_of()):
        if query in groups:
            return {groups[x]: y for x, y in shots if x in groups}.get(groups[query])
    found = {rule(query) for rule in _rules().values() if all(_same(rule, x, y) for x, y in shots)}
    return found.pop() if len(found) == 1 else None


def held_out(seed: int) -> frozenset[str]:
    """The names of the mapping functions that only tests use: a fifth, of the numbers' and of the words'."""
    names = list(_rules())
    numbers = [name for name in names if name.startswith("x")]
    words = [name for name in names if not name.startswith("x")]
    held: set[str] = set()
    for group in (numbers, words):
        held |= set(shuffled(len(group) // 5, group, "icl", seed, "held", group[0]))
    return frozenset(held)


def _same(rule: Rule, x: str, y: str) -> bool:
    return rule(x) == y


def _line(a: int, b: int) -> Rule:
    return lambda s: str(a * int(s) + b) if s.isdecimal() else ""


def _both(f: Rule, g: Rule) -> Rule:
    return lambda s: "" if s.isdecimal() else g(f(s))


@lru_cache(maxsize=1)
def _rules() -> dict[str, Rule]:
    """Every mapping function by name; of two that do the same to all words of a language the first."""
    rules = {f"x*{a}+{b}": _line(a, b) for a, b in product(SLOPES, SHIFTS) if (a, b) != (1, 0)}
    seen: set[tuple[str, ...]] = set()
    for f, g in [(f,) * 2 for f in MOVES] + [(f, g) for f in MOVES for g in MOVES if f != g]:
        rule = _both(MOVES[f], MOVES[g]) if f != g else _both(MOVES[f], str)
        does = {tuple(rule(s) for s in words) for words in STRINGS.values()}
        if not does & seen and not any("" in outputs for outputs in does):  # "nothing" is no answer
            seen |= does
            rules[f if f == g else f"{f}+{g}"] = rule
    return rules


@lru_cache(maxsize=1)
def _category_of() -> dict[str, str]:
    return {word: name for name, pairs in CATEGORIES.items() for pair in pairs for word in pair}


@lru_cache(maxsize=1)
def _feeling_of() -> dict[str, str]:
    both = ((GOOD, "good"), (BAD, "bad"))
    return {thing: feeling for table, feeling in both for things in table.values() for thing in things}


@lru_cache(maxsize=8)
def _groups(seed: int, part: str) -> tuple[tuple[str, ...], ...]:
    """The sets of two or three categories of a part: a fifth is held out."""
    found = [group for size in (2, 3) for group in combinations(CATEGORIES, size)]
    order, cut = shuffled(len(found), found, "icl", seed, "groups"), len(found) // 5
    return tuple(order[:cut] if part == "test" else order[cut:])


@lru_cache(maxsize=8)
def _names(seed: int, part: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The functions of a part: (over numbers, over words)."""
    held = held_out(seed)
    names = [name for name in _rules() if (name in held) == (part == "test")]
    return tuple(n for n in names if n[0] == "x"), tuple(n for n in names if n[0] != "x")


def _episode(seed: int, u: list[float], lang: str, split: str) -> Question:
    part, task = side(split), pick(TASKS, u[0])
    count = 4 + int(u[1] * 5)  # 4 to 8 examples
    extra: dict[str, object] = {"task": task}
    if task == "label":
        shots, query, right, extra["rule"] = _label(seed, u[2:], lang, part, count)
    elif task == "flipped":
        shots, query, right, more = _flipped(u[2:], lang, count)
        extra |= more
    elif task == "mapping":
        shots, query, right, extra["rule"] = _mapping(seed, u[2:], lang, part)
    else:
        xs = several(SYMBOLS[lang], u[2 : 2 + count])
        ys = several(SYMBOLS[lang], u[12 : 12 + count])
        shots = list(zip(xs, ys))
        query, right = pick(shots, u[10])
    return _write(lang, split, extra, shots, query, right)


def _write(lang: str, split: str, extra: dict[str, object], shots: Shots, query: str, right: str) -> Question:
    arrow, lines, spans, at = ARROWS[wording(split)], [], [], 0
    for x, y in shots:
        start = at + len(x) + len(arrow)
        at = start + len(y)
        spans.append((start, at))
        lines.append(f"{x}{arrow}{y}")
        at += 1  # the line's end
    prompt = "\n".join([*lines, f"{query}{arrow.rstrip()}"])
    extra |= {"labels": tuple(spans), "query": query, "shots": len(shots)}
    where = origin("icl", lang, split, f"icl.{extra['task']}", f"icl{arrow.rstrip()}", extra)
    return Question(prompt, right, (right,), where)


def _label(seed: int, u: list[float], lang: str, part: str, count: int) -> tuple[Shots, str, str, str]:
    names = pick(_groups(seed, part), u[0])
    labels = dict(zip(names, several(LABELS[part][lang], u[1 : 1 + len(names)])))
    asked_of = pick(names, u[4])
    order = several(range(12), u[5:14])  # the words of each category, by place in its table
    shown = [names[i % len(names)] for i in range(count)]
    shown = several(shown, u[14 : 14 + count])
    shots = [(CATEGORIES[name][order[i]][lang == "zh"], labels[name]) for i, name in enumerate(shown)]
    query = CATEGORIES[asked_of][order[8]][lang == "zh"]
    rule = ",".join(f"{name}:{labels[name]}" for name in names)
    return shots, query, labels[asked_of], rule


def _flipped(u: list[float], lang: str, count: int) -> tuple[Shots, str, str, dict[str, object]]:
    flipped = u[0] < 0.5
    tables, labels = (GOOD[lang], BAD[lang]), FEELINGS[lang]
    order, sides = several(range(12), u[1:10]), several([i % 2 for i in range(count)], u[10 : 10 + count])
    shots = [(tables[s][order[i]], labels[s ^ flipped]) for i, s in enumerate(sides)]
    s = int(u[18] * 2)
    return shots, tables[s][order[8]], labels[s ^ flipped], {"flipped": flipped, "prior": labels[s]}


def _mapping(seed: int, u: list[float], lang: str, part: str) -> tuple[Shots, str, str, str]:
    """Four examples settle it: no two functions here agree on more than one input of a family."""
    numbers = u[0] < 0.5
    name = pick(_names(seed, part)[0 if numbers else 1], u[1])
    rule = _rules()[name]
    *shown, query = several(NUMBERS if numbers else STRINGS[lang], u[2:7])
    return [(x, rule(x)) for x in shown], query, rule(query), name
