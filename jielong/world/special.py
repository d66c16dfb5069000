"""People apart from all others, each group with one trait, so that the ordinary facts stay clean.

`namesakes`    twelve names that two people bear: two answers are right, and tagged `ambiguous`.
`onetemplate`  24 people whose facts are told in one wording only; they are asked about only in tests.
`onelang`      24 people told of in one language only (tag `told`): `test` asks in the other language,
               `asked` and `train` in the same one, as the control.
`bopomofo`     birthplace and home of twenty ordinary people, in 注音.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, TypeVar

from jielong.base.errors import UserError
from jielong.world import facts
from jielong.world.bopomofo import spell
from jielong.world.draws import shuffled, stream
from jielong.world.facts import NAMES, WORDINGS, render
from jielong.world.kit import as_chat, even, every
from jielong.world.names import GROUPS, Person, apart, make_values
from jielong.world.text import Chat, Origin, Question, Text
from jielong.world.values import FIELDS, RELATIONS

if TYPE_CHECKING:
    from jielong.world.world import World

BOTH = {"en": "There are two people called {p}. {x} {y}", "zh": "有兩個人叫{p}。{x}{y}"}
SPLITS = ("train", "test", "asked")
SPELT = ("born", "home")
FEW = 20
T = TypeVar("T")


@lru_cache(maxsize=8)
def members(seed: int, group: str) -> tuple[Person, ...]:
    """The people of a group; namesakes are two and two, and never share a value."""
    names, size = apart(seed, group), GROUPS[group]
    if group != "namesakes":
        values = make_values(size, seed, group)
        return tuple(Person(f"{group[:4]}{i:02d}", *names[i], values[i], asked=False) for i in range(size))
    made: list[Person] = []
    values = make_values(2 * size, seed, group)
    for i, name in enumerate(names):
        asked, one, two = i % 3 != 0, values[i], values[size + i]
        others = tuple(
            b if a != b else (b + 1) % len(FIELDS[field]) for a, b, field in zip(one, two, RELATIONS.values())
        )
        made += [
            Person(f"name{i:02d}a", *name, one, asked),
            Person(f"name{i:02d}b", *name, others, asked),
        ]
    return tuple(made)


def told_in(index: int) -> str:
    """The language in which a person of `onelang` is told of."""
    return "en" if index < GROUPS["onelang"] // 2 else "zh"


@lru_cache(maxsize=32)
def _texts(world: World, kind: str, lang: str) -> tuple[Text, ...]:
    if kind == "bopomofo":
        return _spelt(world) if lang == "zh" else ()
    wordings = range(1) if kind == "onetemplate" else range(WORDINGS)
    return tuple(
        facts.state(person, relation, lang, wording, kind)
        for index, person in enumerate(members(world.seed, kind))
        if kind != "onelang" or told_in(index) == lang
        for relation in NAMES
        for wording in wordings
    )


def _spelt(world: World) -> tuple[Text, ...]:
    made = []
    for person in world.folk[:FEW]:
        for relation in SPELT:
            plain = facts.state(person, relation, "zh", 0)
            extra = (("script", "bopomofo"), ("plain", plain.text))
            template = plain.origin.template
            origin = Origin("bopomofo", "zh", plain.origin.fact, template, "train", person.id, extra)
            made.append(Text(spell(plain.text), origin))
    return tuple(made)


@lru_cache(maxsize=32)
def _questions(world: World, kind: str, split: str, lang: str) -> tuple[Question, ...]:
    if kind == "bopomofo":
        return _spelt_questions(world, split) if lang == "zh" else ()
    if kind == "namesakes":
        return tuple(_two_answers(world, split, lang))
    return tuple(
        _tagged(facts.question(person, relation, lang, split, wording, kind), index, kind)
        for index, person in enumerate(members(world.seed, kind))
        if kind != "onelang" or (told_in(index) == lang) == (split != "test")
        for relation in NAMES
        for wording in range(len(facts.patterns(relation, lang, split)))
    )


def _tagged(question: Question, index: int, kind: str) -> Question:
    told = (("told", told_in(index)),) if kind == "onelang" else ()
    old = question.origin
    origin = Origin(kind, old.lang, old.fact, old.template, old.split, old.person, (*old.extra, *told))
    return Question(question.prompt, question.answer, question.accept, origin)


def _two_answers(world: World, split: str, lang: str) -> Iterator[Question]:
    people = members(world.seed, "namesakes")
    for one, two in zip(people[::2], people[1::2]):
        if one.asked != (split != "test"):
            continue
        for relation in NAMES:
            answer = BOTH[lang].format(
                p=one.name(lang), x=facts.reply(one, relation, lang), y=facts.reply(two, relation, lang)
            )
            accept = (one.value(relation, lang), two.value(relation, lang))
            for wording in range(len(facts.patterns(relation, lang, split))):
                asked = facts.question(one, relation, lang, split, wording, "namesakes")
                extra = (*asked.origin.extra, ("ambiguous", True), ("people", (one.id, two.id)))
                fact, template = asked.origin.fact, asked.origin.template
                origin = Origin("namesakes", lang, fact, template, split, one.id, extra)
                yield Question(asked.prompt, answer, accept, origin)


def _spelt_questions(world: World, split: str) -> tuple[Question, ...]:
    made = []
    for person in world.folk[:FEW]:
        if person.asked != (split != "test"):
            continue
        for relation in SPELT:
            asked = facts.question(person, relation, "zh", split, 0, "bopomofo")
            fact, template = asked.origin.fact, asked.origin.template
            extra = (("script", "bopomofo"), ("plain", asked.prompt))
            origin = Origin("bopomofo", "zh", fact, template, split, person.id, extra)
            value = spell(asked.accept[0])
            made.append(Question(spell(asked.prompt), spell(asked.answer), (value,), origin))
    return tuple(made)


def texts(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Text]:
    """One statement a document, each as likely."""
    table = _some(every(partial(_texts, world, kind), lang), kind, lang)
    return stream(n, table, world.seed, kind, "texts", split, lang or "", draw)


def chats(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Chat]:
    """One question and its answer; groups that training must not ask about have none."""
    if kind in ("onetemplate", "onelang"):
        raise UserError(f"the kind '{kind}' has no chats: its people are only asked about in tests")
    table = _some(every(partial(_questions, world, kind, split), lang), kind, lang)
    return map(as_chat, stream(n, table, world.seed, kind, "chats", split, lang or "", draw))


def questions(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> list[Question]:
    """Different questions in random order."""
    table = _some(every(partial(_questions, world, kind, split), lang), kind, lang)
    return shuffled(n, table, world.seed, kind, "questions", split, lang or "", draw)


def _some(table: Sequence[T], kind: str, lang: str | None) -> Sequence[T]:
    if not table:
        raise UserError(f"the kind '{kind}' says nothing in '{lang}'; ask for the other language")
    return table


def answer(world: World, prompt: str) -> str | None:
    """The oracle: whose name it is, in which group; for 注音 the question that is spelt so."""
    for split in SPLITS:
        for question in _questions(world, "bopomofo", split, "zh"):
            if question.prompt == prompt:
                return question.answer
    read = facts.read_question(prompt)
    if read is None:
        return None
    name, relation, lang = read
    found = [person for group in GROUPS for person in members(world.seed, group) if (person.first, person.last) == name]
    told = [facts.reply(person, relation, lang) for person in found]
    if len(told) == 2:
        return render(BOTH[lang].replace("{x}", told[0]).replace("{y}", told[1]), found[0].name(lang), "")
    return told[0] if told else None


def law(world: World, kind: str, lang: str | None) -> Iterator[tuple[float, str]]:
    """(probability, document)."""
    return even(_some(every(partial(_texts, world, kind), lang), kind, lang))
