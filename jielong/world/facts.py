"""Facts about people: statements, biographies, exams, chats and questions.

`facts` is one statement a document: person, relation, language and wording each uniform, so its law can be
written down. Statements cover everyone. Questions of training ask four fifths of the people, in wordings of
training; `test` asks the others in held-out wordings, `asked` the same people as training in held-out ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from jielong.base.errors import UserError
from jielong.world import facts_en, facts_zh
from jielong.world.draws import langs, picks, rows, shuffled, stream
from jielong.world.kit import every
from jielong.world.names import Person, find_names, strip_names
from jielong.world.text import Chat, Message, Origin, Question, Text
from jielong.world.values import FIELDS, RELATIONS

if TYPE_CHECKING:
    from jielong.world.world import World

WORDS: dict[str, ModuleType] = {"en": facts_en, "zh": facts_zh}
NAMES = tuple(RELATIONS)
WORDINGS = 12  # statements of each relation and language


def render(template: str, name: str, value: str, possessive: str = "") -> str:
    """Fill a pattern: {p} name, {v} value, {a} value with article, {s} possessive; then a capital."""
    text = template.format(p=name, v=value, a=f"a {value}", s=possessive)
    return text[0].upper() + text[1:]


def state(person: Person, relation: str, lang: str, wording: int, kind: str = "facts") -> Text:
    """One statement of one fact in one of the twelve wordings."""
    template = WORDS[lang].STATEMENTS[relation][wording]
    text = render(template, person.name(lang), person.value(relation, lang))
    fact = f"{person.id}.{relation}"
    return Text(text, Origin(kind, lang, fact, f"{relation}.{lang}.s{wording:02d}", "train", person.id))


def reply(person: Person, relation: str, lang: str, wording: int = 0) -> str:
    """A right answer in a full sentence."""
    template = WORDS[lang].ANSWERS[relation][wording]
    return render(template, person.name(lang), person.value(relation, lang))


def ask(name: str, relation: str, lang: str, split: str, wording: int) -> tuple[str, str]:
    """(question, template's name); `train` takes the questions of training, others the held-out ones."""
    template, label = _asks(relation, lang, split)[wording]
    return render(template, name, ""), label


@lru_cache(maxsize=64)
def _asks(relation: str, lang: str, split: str) -> tuple[tuple[str, str], ...]:
    """(pattern, its name) of each question of a split."""
    letter, found = "q" if split == "train" else "t", patterns(relation, lang, split)
    return tuple((pattern, f"{relation}.{lang}.{letter}{i:02d}") for i, pattern in enumerate(found))


def patterns(relation: str, lang: str, split: str) -> tuple[str, ...]:
    """The question patterns of a split."""
    words = WORDS[lang]
    return tuple(words.QUESTIONS[relation] if split == "train" else words.HELD_OUT[relation])


def question(person: Person, relation: str, lang: str, split: str, wording: int, kind: str) -> Question:
    """One question about one fact; `accept` is the value in the question's language."""
    prompt, template = ask(person.name(lang), relation, lang, split, wording)
    extra = (("relation", relation), ("field", RELATIONS[relation]))
    origin = Origin(kind, lang, f"{person.id}.{relation}", template, split, person.id, extra)
    return Question(prompt, reply(person, relation, lang), (person.value(relation, lang),), origin)


@lru_cache(maxsize=16)
def asked_people(world: World, split: str) -> list[Person]:
    """Whom a split asks about (shared by all callers: not to be changed)."""
    return [person for person in world.folk if person.asked == (split != "test")]


@lru_cache(maxsize=8)
def table(world: World, lang: str) -> tuple[Text, ...]:
    """Every statement of every fact in one language: person, relation, wording, the last fastest."""
    return tuple(
        state(person, relation, lang, wording)
        for person in world.folk
        for relation in NAMES
        for wording in range(WORDINGS)
    )


def texts(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Text]:
    """Documents. Splits do not differ in law (statements cover everyone), only in the draws."""
    key = (world.seed, kind, split, lang or "", draw)
    if kind == "facts":
        return stream(n, every(partial(table, world), lang), *key)
    if kind == "bios":
        return _bios(world, n, lang, key)
    return _exams(world, n, lang, key)


def _bios(world: World, n: int, lang: str | None, key: tuple[object, ...]) -> Iterator[Text]:
    tables = [(each, table(world, each)) for each in langs(lang)]
    count = len(NAMES)
    for block in rows(n, 2 + 2 * count, *key):
        which = (block[:, 0] * len(tables)).astype(np.int64).tolist()
        people = (block[:, 1] * len(world.folk)).astype(np.int64)
        order = np.argsort(block[:, 2 : 2 + count], axis=1)
        wording = (block[:, 2 + count :] * WORDINGS).astype(np.int64)
        places = ((people[:, None] * count + order) * WORDINGS + wording).tolist()
        for i, person, row in zip(which, people.tolist(), places):
            tongue, each = tables[i]
            told = [each[place] for place in row]
            joint = "" if tongue == "zh" else " "
            extra = (("facts", tuple(t.origin.fact for t in told)),)
            origin = Origin("bios", tongue, "", "bios", "train", world.folk[person].id, extra)
            yield Text(joint.join([t.text for t in told]), origin)


@lru_cache(maxsize=8)
def prompts(world: World, lang: str, split: str) -> tuple[Question, ...]:
    """Every question of a split in one language, in a fixed order."""
    return tuple(
        question(person, relation, lang, split, wording, "facts")
        for person in asked_people(world, split)
        for relation in NAMES
        for wording in range(len(patterns(relation, lang, split)))
    )


def _exams(world: World, n: int, lang: str | None, key: tuple[object, ...]) -> Iterator[Text]:
    """Three to six questions under each other, as pages of exercises have them: no answers."""
    tables = [prompts(world, each, "train") for each in langs(lang)]
    for which, more, *places in picks(n, [len(tables), 4, *[2**52] * 6], *key):
        page = tables[which]
        asked = [page[place * len(page) >> 52] for place in places[: 3 + more]]
        extra = (("facts", tuple(q.origin.fact for q in asked)),)
        yield Text(
            "\n".join([q.prompt for q in asked]),
            Origin("exams", asked[0].origin.lang, "", "exams", "train", "", extra),
        )


def questions(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> list[Question]:
    """Different questions in random order, at most as many as there are."""
    if kind != "facts":
        raise UserError(f"the kind '{kind}' has no questions; ask for facts")
    found = every(lambda tongue: prompts(world, tongue, split), lang)
    return shuffled(n, found, world.seed, "facts", "questions", split, lang or "", draw)


def chats(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Chat]:
    """Question and answer; a fifth have a second turn with a pronoun, one in twenty a system message."""
    if kind != "facts":
        raise UserError(f"the kind '{kind}' has no chats; ask for facts")
    return _chats(world, n, draw, split, lang)


def _chats(world: World, n: int, draw: int, split: str, lang: str | None) -> Iterator[Chat]:
    people, tongues = asked_people(world, split), langs(lang)
    wordings = len(patterns(NAMES[0], "en", split))
    sizes = [len(tongues), len(people), len(NAMES), wordings, 2, 20, 5, len(NAMES), 2, 2]
    for row in picks(n, sizes, world.seed, "facts", "chats", split, lang or "", draw):
        tongue, person, relation = tongues[row[0]], people[row[1]], NAMES[row[2]]
        prompt, template = ask(person.name(tongue), relation, tongue, split, row[3])
        messages = [Message("user", prompt), Message("assistant", reply(person, relation, tongue, row[4]))]
        told = [f"{person.id}.{relation}"]
        if row[6] == 0 and row[7] != row[2]:
            messages += follow_up(person, NAMES[row[7]], tongue, row[8], row[9])
            told.append(f"{person.id}.{NAMES[row[7]]}")
        if row[5] == 0:
            messages.insert(0, Message("system", WORDS[tongue].SYSTEM[row[8]]))
        origin = Origin("facts", tongue, told[0], template, split, person.id, (("facts", tuple(told)),))
        yield Chat(tuple(messages), origin)


def follow_up(person: Person, relation: str, lang: str, wording: int, answer: int) -> list[Message]:
    """A second question with a pronoun, and its answer."""
    if lang == "zh":
        subject, possessive = ("她", "她的") if person.female else ("他", "他的")
    else:
        subject, possessive = ("she", "her") if person.female else ("he", "his")
    prompt = render(WORDS[lang].FOLLOW_UPS[relation][wording], subject, "", possessive)
    return [Message("user", prompt), Message("assistant", reply(person, relation, lang, answer))]


@lru_cache(maxsize=1)
def _pattern_index() -> dict[str, tuple[str, str]]:
    """Question pattern -> (relation, language)."""
    return {
        pattern: (relation, lang)
        for lang in WORDS
        for relation in NAMES
        for split in ("train", "test")
        for pattern in patterns(relation, lang, split)
    }


def read_question(prompt: str) -> tuple[tuple[int, int], str, str] | None:
    """((first, last), relation, language) of a question about one person, or None."""
    names = list(find_names(prompt))
    meant = _pattern_index().get(strip_names(prompt))
    return (names[0][:2], *meant) if len(names) == 1 and meant else None


@lru_cache(maxsize=8)
def by_name(world: World) -> dict[tuple[int, int], Person]:
    """The people by their name parts."""
    return {(person.first, person.last): person for person in world.folk}


def answer(world: World, prompt: str) -> str | None:
    """The oracle: reads the question, looks the person up. None for what is no question about people."""
    read = read_question(prompt)
    if read is None:
        return None
    person = by_name(world).get(read[0])
    return reply(person, *read[1:]) if person else None


def law(world: World, kind: str, lang: str | None) -> Iterator[tuple[float, str]]:
    """(probability, document) of `facts`."""
    if kind != "facts":
        raise UserError(f"the entropy of '{kind}' is not known exactly; ask for facts")
    tongues = langs(lang)
    for tongue in tongues:
        each = table(world, tongue)
        yield from ((1 / (len(tongues) * len(each)), text.text) for text in each)


@lru_cache(maxsize=64)
def all_values(relation: str, lang: str) -> tuple[str, ...]:
    """The list of values of a relation in words of `lang`."""
    return tuple(pair[lang == "zh"] for pair in FIELDS[RELATIONS[relation]])
