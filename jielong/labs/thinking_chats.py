"""What the small models of the labs of thinking are taught: chats in the very words of `jielong/prompting`.

All numbers are by lot, each at an address of its own. What is measured later is held out: pairs of numbers, rows longer
than any that is added up here, people of other worlds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jielong.base import noise
from jielong.prompting import cot, debate, least_to_most, program_aided, retrieval
from jielong.prompting.strategy import assistant, user
from jielong.world.sums import long_split, steps
from jielong.world.world import World

if TYPE_CHECKING:
    from jielong.world.text import Question

ROWS = 4  # in a chat, at most
LONGEST, LISTED = 4, 8  # terms of a row that is added up in training, and of one that is only taken apart
PASSAGES, QUESTIONS = 2, 8  # pages of a chat, and questions about them, at most
FOLDER = "people"  # where their files lie
READ = 40  # worlds whose people are read about in training: numbers from `OTHER` on
OTHER = 1000
Turns = list[Mapping[str, str]]
COUNTS = {  # what is learnt, by share of the chats; reading is another model's: its texts are long
    "sum": 0.08, "sum, steps": 0.22, "row": 0.08, "row, steps": 0.12, "row, taken apart": 0.12, "row, smaller": 0.18,
    "row, concluded": 0.06, "program": 0.06, "others": 0.08,
}  # fmt: skip
READS = {"passages": 1.0}
ANYWAY = {"sum, steps": 0.5, "sum, steps anyway": 0.5}


@dataclass(frozen=True)
class Lot:
    """Numbers by lot for one item, each at an address of its own."""

    seed: int
    item: int

    def __call__(self, name: str, low: int, high: int) -> int:
        """From low to high, both counted in."""
        return low + int(noise.integers(self.seed, name, self.item, below=high - low + 1, n=1)[0])

    def chance(self, name: str, p: float) -> bool:
        """Whether something of this probability happens."""
        return self(name, 0, 9999) < 10_000 * p


def operands(lot: Lot, split: str) -> tuple[int, int]:
    """Two numbers of three digits of the split: a fifth of the unordered pairs is held out."""
    for again in range(100):
        a, b = lot(f"a{again}", 100, 999), lot(f"b{again}", 100, 999)
        if long_split(a, b) == split:
            return a, b
    raise AssertionError("a hundred pairs in a row of the other split")


def row(lot: Lot, shortest: int, longest: int) -> list[int]:
    """A number and some of one digit, below 100 together: a longer row needs no sum that a shorter one does not."""
    more = lot("terms", shortest, longest) - 1
    return [lot("first", 1, 99 - 9 * more), *(lot(f"x{i}", 1, 9) for i in range(more))]


def asked(terms: Sequence[int]) -> str:
    """The question of a sum."""
    return f"What is {'+'.join(map(str, terms))}?"


def in_steps(terms: Sequence[int]) -> str:
    """The reply in steps, with the ending that `cot` reads."""
    if len(terms) == 2 and min(terms) > 99:
        return cot.FINISH["en"].format(steps=steps(terms[0], terms[1], "en"), answer=sum(terms))
    sums = [sum(terms[:i]) for i in range(1, len(terms) + 1)]
    shown = ", ".join(f"{before}+{term}={after}" for before, term, after in zip(sums, terms[1:], sums[1:]))
    return cot.FINISH["en"].format(steps=f"{shown}.", answer=sums[-1])


def smaller(terms: Sequence[int]) -> list[str]:
    """The smaller questions of a row."""
    return [f"What is {terms[0]}+{terms[1]}?", *(f"And {term} more?" for term in terms[2:])]


def _sum(lot: Lot) -> Turns:
    terms = operands(lot, "train")
    return [*user(asked(terms)), assistant(f"{sum(terms)}.")]


def _sum_anyway(lot: Lot) -> Turns:
    terms = operands(lot, "train")
    return [*user(asked(terms)), assistant(in_steps(terms))]


def _sum_steps(lot: Lot) -> Turns:
    terms = operands(lot, "train")
    return [*user(cot.ASK["en"].format(question=asked(terms))), assistant(in_steps(terms))]


def _row(lot: Lot) -> Turns:
    terms = row(lot, 2, LONGEST)
    return [*user(asked(terms)), assistant(f"{sum(terms)}.")]


def _row_steps(lot: Lot) -> Turns:
    terms = row(lot, 2, LONGEST)
    return [*user(cot.ASK["en"].format(question=asked(terms))), assistant(in_steps(terms))]


def _row_apart(lot: Lot) -> Turns:
    terms = row(lot, 2, LISTED)
    listed = "\n".join(f"{i}. {each}" for i, each in enumerate(smaller(terms), 1))
    return [*user(least_to_most.SPLIT["en"].format(question=asked(terms))), assistant(listed)]


def _row_smaller(lot: Lot) -> Turns:
    """A chat of rows, up to one of the smaller questions of the last, or to its own: long chats are nothing new, long
    rows are."""
    turns: Turns = []
    for which in range(lot("rows", 1, ROWS)):
        terms, before = row(Lot(lot.seed, ROWS * lot.item + which), 2, LONGEST), len(turns)
        for i, question in enumerate(smaller(terms), 2):
            turns += [*user(question), assistant(f"{sum(terms[:i])}.")]
        turns += [*user(asked(terms)), assistant(f"{sum(terms)}.")]
    return turns[: before + 2 * lot("turns", 1, len(terms))]


def _row_concluded(lot: Lot) -> Turns:
    """The last of the smaller questions has been answered: that is the answer. Of long rows too, but nothing is added
    up here."""
    terms = row(lot, 2, LISTED)
    total = assistant(f"{sum(terms)}.")
    return [*user(f"And {terms[-1]} more?"), total, *user(asked(terms)), total]


def product(lot: Lot) -> list[int]:
    """Three numbers of two digits, for a * b + c."""
    return [lot(f"p{i}", 10, 99) for i in range(3)]


def asked_product(numbers: Sequence[int]) -> str:
    """The question of a product and a sum."""
    return "What is {}*{}+{}?".format(*numbers)


def _program(lot: Lot) -> Turns:
    terms = product(lot) if lot.chance("product", 0.5) else operands(lot, "train")
    question = asked_product(terms) if len(terms) == 3 else asked(terms)
    told = program_aided.ASK["en"].format(question=question, example=program_aided.EXAMPLE["en"])
    return [*user(told), assistant(f"def solution():\n    return {question[8:-1]}")]


def _others(lot: Lot) -> Turns:
    terms = operands(lot, "train")
    said = [in_steps(terms) if lot.chance(f"right{i}", 0.6) else wrong(lot, terms, f"w{i}") for i in range(3)]
    attitudes = [words["en"] for words in debate.ATTITUDES.values()]
    told = debate.OTHERS["en"].format(said="\n\n".join(f"- {each}" for each in said[1:]),
                                      attitude=attitudes[lot("attitude", 0, len(attitudes) - 1)])  # fmt: skip
    return [*user(asked(terms)), assistant(said[0]), *user(told), assistant(in_steps(terms))]


def wrong(lot: Lot, terms: Sequence[int], name: str) -> str:
    """A reply in steps of which one digit of the result is another."""
    right, total = in_steps(terms), str(sum(terms))
    place = lot(f"{name}, place", 0, len(total) - 1)
    other = str((int(total[place]) + lot(f"{name}, digit", 1, 8)) % 10) if place else str(1 + int(total[0]) % 9)
    return right.replace(total, total[:place] + other + total[place + 1 :])


@dataclass(frozen=True)
class Page:
    """A text about one person as `retrieval` shows it: a file that holds nothing else."""

    name: str
    text: str

    @property
    def source(self) -> str:
        """As `store.index` has it."""
        return f"{FOLDER}/{self.name}.txt, characters 0-{len(self.text)}"


@dataclass(frozen=True)
class Known:
    """A world's English questions about people, and of each person the sentences that say each fact."""

    questions: list[Question]
    people: Mapping[str, Mapping[str, list[str]]]

    def page(self, person: str, lot: Lot, name: str, most: int = 99) -> tuple[Page, list[str]]:
        """What is known of a person, each fact in one of its wordings, in any order, `most` of them; and which."""
        facts = list(self.people[person])
        order = noise.permutation(noise.seed_of(lot.seed, name, lot.item), len(facts)).tolist()[:most]
        said = [self.people[person][facts[i]] for i in order]
        texts = [each[lot(f"{name}, {i}", 0, len(each) - 1)] for i, each in enumerate(said)]
        return Page(person, " ".join(texts)), [facts[i] for i in order]


def known(seed: int) -> Known:
    """Of thirty people of a world."""
    world = World(seed, 30)
    people: dict[str, dict[str, list[str]]] = {}
    for text in world.texts("facts", 2400, lang="en"):
        people.setdefault(text.origin.person, {}).setdefault(text.origin.fact, []).append(text.text)
    questions = world.questions("facts", 1200, split="train", lang="en")
    return Known([q for q in questions if q.origin.fact in people[q.origin.person]], people)


def _passages(lot: Lot, worlds: Sequence[Known]) -> Turns:
    """Pages about people, long and short, and questions about what they say, one after the other: so each page is read
    for many answers. Some ask for what no page says."""
    world = worlds[lot("world", 0, len(worlds) - 1)]
    names = sorted(world.people)
    first = lot("first", 0, len(names) - 1)
    shown = [names[(first + i * lot(f"person{i}", 1, 14)) % len(names)] for i in range(PASSAGES)]
    made = [world.page(name, lot, f"page{i}", lot(f"facts{i}", 1, 8)) for i, name in enumerate(shown)]
    facts = {fact: place for place, (_, said) in enumerate(made, 1) for fact in said}
    pool = [q for q in world.questions if q.origin.fact in facts]
    turns: Turns = []
    for i in range(lot("questions", 1, QUESTIONS)):
        some = pool if pool and lot.chance(f"knows{i}", 0.9) else world.questions
        question = some[lot(f"question{i}", 0, len(some) - 1)]
        place = facts.get(question.origin.fact)
        said = retrieval.UNKNOWN["en"] if place is None else f"{question.accept[0]} [{place}]"
        pages = [page for page, _ in made]
        asks = retrieval.prompt(question.prompt, pages) if not turns else question.prompt  # type: ignore[arg-type]
        turns += [*user(asks), assistant(said)]
    return turns


def chats(seed: int, n: int, shares: Mapping[str, float] = COUNTS, worlds: int = READ) -> Iterator[Turns]:
    """About `n` chats of these shares, mixed."""
    read = [known(OTHER + 100 * seed + i) for i in range(worlds)] if shares.get("passages") else []
    makes: dict[str, Callable[[Lot], Turns]] = {
        "sum": _sum, "sum, steps": _sum_steps, "sum, steps anyway": _sum_anyway, "row": _row, "row, steps": _row_steps,
        "row, taken apart": _row_apart, "row, smaller": _row_smaller, "row, concluded": _row_concluded,
        "program": _program, "others": _others, "passages": lambda lot: _passages(lot, read),
    }  # fmt: skip
    kinds = [kind for kind, share in shares.items() for _ in range(round(n * share))]
    for i in noise.permutation(noise.seed_of("thinking", seed), len(kinds)).tolist():
        yield makes[kinds[i]](Lot(noise.seed_of("thinking", seed, kinds[i]), i))


def learnt(turns: Sequence[Mapping[str, str]], ids: list[int], marks: list[bool]) -> tuple[list[int], list[bool]]:
    """All that the assistant says is learnt; but its last turn alone where others have spoken (what it said first may
    be wrong) and where a row is concluded (what it said first could not be known)."""
    last = turns[-2]["content"].startswith(debate.OTHERS["en"][:20]) or turns[0]["content"].startswith("And ")
    return (ids, last_turn(marks)) if last else (ids, marks)


def last_turn(marks: Sequence[bool]) -> list[bool]:
    """The last stretch of marks alone."""
    end = max(i + 1 for i, mark in enumerate(marks) if mark)
    begin = max((i + 1 for i in range(end) if not marks[i]), default=0)
    return [begin <= i < end for i in range(len(marks))]
