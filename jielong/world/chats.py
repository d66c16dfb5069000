"""Small tasks for chats: greetings, words, translation, lists, yes or no, comparing two people.

The kinds in HELD_OUT_KINDS are kept out of training mixtures as wholes, to see what instructions an
assistant follows that it was never taught. In the others `test` uses words and people that training never
uses, in held-out wordings; `asked` only held-out wordings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jielong.base import noise
from jielong.world import chat_words as words
from jielong.world import facts
from jielong.world.check import check as check_value
from jielong.world.check import contains, is_refusal, mentioned, normal
from jielong.world.draws import langs, rows
from jielong.world.kit import as_chat, distinct
from jielong.world.names import Person
from jielong.world.text import Chat, Origin, Question
from jielong.world.values import FIELDS

if TYPE_CHECKING:
    from jielong.world.world import World

HELD_OUT_KINDS = ("reverse", "upper", "compare")
WIDTH = 8


def choose(options: Any, u: float) -> Any:
    """One of `options` by the uniform `u`."""
    return options[int(u * len(options))]


@lru_cache(maxsize=16)
def vocabulary(seed: int, test: bool) -> tuple[tuple[str, str, str], ...]:
    """(English, Chinese, list) of the words that tasks are about; a fifth is for tests only."""
    every = [
        (*pair, field)
        for field in ("animal", "food", "colour", "job", "town", "hobby", "ingredient")
        for pair in FIELDS[field]
    ]
    once = list({en: (en, zh, field) for en, zh, field in every}.values())
    order = noise.permutation(noise.seed_of("world", seed, "vocabulary"), len(once)).tolist()
    cut = len(once) // 5
    return tuple(once[i] for i in (order[:cut] if test else order[cut:]))


def _wordings(two: words.Two, split: str) -> tuple[str, ...]:
    return two[0] if split == "train" else two[1]


def _make(
    kind: str, lang: str, split: str, prompt: str, answer: str, accept: tuple[str, ...], **extra: Any
) -> Question:
    fact, person = extra.pop("fact", ""), extra.pop("person", "")
    template = f"{kind}.{lang}.{'q' if split == 'train' else 't'}"
    origin = Origin(kind, lang, fact, template, split, person, tuple(extra.items()))
    return Question(prompt, answer, accept, origin)


@lru_cache(maxsize=64)
def _small(world: World, kind: str, lang: str, split: str) -> tuple[tuple[Question, ...], ...]:
    """Every question of a kind in groups; a group is drawn first, then one of its questions."""
    if kind == "greet":
        return tuple(_greetings(intent, lang, split) for intent in words.GREETINGS[lang])
    if kind == "translate":
        people = [(p.name("en"), p.name("zh")) for p in facts.asked_people(world, split)]
        things = [pair[:2] for pair in vocabulary(world.seed, split == "test")]
        return tuple(tuple(_translations(pairs, lang, split)) for pairs in (people, things))
    wordings = _wordings(words.WORDS[kind][lang], split)
    listed = vocabulary(world.seed, split == "test")
    return (tuple(_word(kind, lang, split, entry, wording) for entry in listed for wording in wordings),)


def _greetings(intent: str, lang: str, split: str) -> tuple[Question, ...]:
    answer, accept, two = words.GREETINGS[lang][intent]
    return tuple(_make("greet", lang, split, w, answer, accept, fact=intent) for w in _wordings(two, split))


def _translations(pairs: Sequence[tuple[str, str]], lang: str, split: str) -> Iterator[Question]:
    for pair in pairs:
        source, target = pair if lang == "en" else pair[::-1]
        for wording in _wordings(words.WORDS["translate"][lang], split):
            yield _make("translate", lang, split, wording.format(w=source), target, (target,))


def _word(kind: str, lang: str, split: str, entry: tuple[str, str, str], wording: str) -> Question:
    """copy, reverse, upper, count."""
    word = entry[0] if lang == "en" or kind == "upper" else entry[1]
    prompt = wording.format(w=word)
    if kind == "count":
        answer = words.COUNTED[lang].format(w=word, n=len(word))
        return _make(kind, lang, split, prompt, answer, (str(len(word)),))
    done = {"copy": word, "reverse": word[::-1], "upper": word.upper()}[kind]
    return _make(kind, lang, split, prompt, done, (done,))


def _of_table(world: World, kind: str, lang: str, split: str, u: list[float]) -> Question:
    return choose(choose(_small(world, kind, lang, split), u[0]), u[1])


def _list(world: World, kind: str, lang: str, split: str, u: list[float]) -> Question:
    field, more = choose(list(words.PLURALS), u[0]), int(3 * u[1])
    zh = lang == "zh"
    wording = choose(_wordings(words.LISTS[lang], split), u[2])
    prompt = wording.format(n=words.NUMBERS[lang][more], x=words.PLURALS[field][zh])
    names = _members(field, lang)
    start = int(u[3] * len(names))
    told = [names[(start + 7 * i) % len(names)] for i in range(2 + more)]
    answer = f"{'、'.join(told)}。" if zh else f"{', '.join(told)}."
    return _make(kind, lang, split, prompt, answer, names, list=field, size=2 + more)


@lru_cache(maxsize=32)
def _members(field: str, lang: str) -> tuple[str, ...]:
    return tuple(pair[lang == "zh"] for pair in FIELDS[field])


def _yes_no(world: World, kind: str, lang: str, split: str, u: list[float]) -> Question:
    person, relation = choose(facts.asked_people(world, split), u[0]), choose(facts.NAMES, u[1])
    every, truth = facts.all_values(relation, lang), person.value(relation, lang)
    place = every.index(truth)
    other = every[(place + 1 + int(u[3] * (len(every) - 1))) % len(every)]
    value = truth if u[2] < 0.5 else other
    wording = words.YES_NO[lang][relation][split != "train"]
    prompt = facts.render(wording, person.name(lang), value)
    said = words.YES[lang][u[2] >= 0.5]
    answer = f"{said}{'，' if lang == 'zh' else ', '}{facts.reply(person, relation, lang)}"
    fact = f"{person.id}.{relation}"
    return _make(kind, lang, split, prompt, answer, (said,), fact=fact, person=person.id, relation=relation)


@lru_cache(maxsize=64)
def _sharing(world: World, split: str, relation: str) -> tuple[tuple[Person, Person], ...]:
    """Pairs of people of a split who have the same value."""
    people = facts.asked_people(world, split)
    return tuple(
        (p, q)
        for i, p in enumerate(people)
        for q in people[i + 1 :]
        if p.value(relation, "en") == q.value(relation, "en")
    )


def _compare(world: World, kind: str, lang: str, split: str, u: list[float]) -> Question:
    relation, people = choose(facts.NAMES, u[0]), facts.asked_people(world, split)
    sharing = _sharing(world, split, relation)
    if sharing and u[1] < 0.5:
        p, q = choose(sharing, u[2])
    else:
        first = int(u[2] * len(people))
        p, q = people[first], people[(first + 1 + int(u[3] * (len(people) - 1))) % len(people)]
    same = p.value(relation, lang) == q.value(relation, lang)
    prompt = words.COMPARE[lang][relation][split != "train"].format(p=p.name(lang), q=q.name(lang))
    said = words.YES[lang][not same]
    comma, blank = ("，", "") if lang == "zh" else (", ", " ")
    answer = f"{said}{comma}{facts.reply(p, relation, lang)}{blank}{facts.reply(q, relation, lang)}"
    fact = f"{p.id}.{relation}"
    return _make(kind, lang, split, prompt, answer, (said,), fact=fact, person=p.id, other=q.id)


Maker = Callable[["World", str, str, str, list[float]], Question]
MAKERS: dict[str, Maker] = {
    **dict.fromkeys(("greet", "copy", "reverse", "upper", "count", "translate"), _of_table),
    "list": _list,
    "yesno": _yes_no,
    "compare": _compare,
}


def items(
    makers: Mapping[str, Maker], world: World, kind: str, n: int, split: str, lang: str | None, *key: Any
) -> Iterator[Question]:
    """`n` questions of a kind, each made from a row of uniforms."""
    tongues, make = langs(lang), makers[kind]
    for block in rows(n, WIDTH + 1, world.seed, kind, split, lang or "", *key):
        for row in block.tolist():
            yield make(world, kind, choose(tongues, row[0]), split, row[1:])


def chats(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Chat]:
    """One request and its reply."""
    return map(as_chat, items(MAKERS, world, kind, n, split, lang, "chats", draw))


def questions(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> list[Question]:
    """Different requests."""
    return distinct(items(MAKERS, world, kind, 20 * n + 200, split, lang, "questions", draw), n)


def check(world: World, question: Question, reply: str) -> str:
    """By kind: a yes or no at the start, enough members of a list, a number, or the words asked for."""
    kind, text = question.origin.kind, normal(reply)
    if not any(c.isalnum() for c in text):
        return "nonsense"
    if is_refusal(text):
        return "refused"
    if kind in ("yesno", "compare"):
        said = re.match(r"(yes|no)\b|(是的?|對)|(不是?|不對)", text, re.IGNORECASE)
        if not said:
            return "nonsense"
        yes = question.accept[0] in ("Yes", "是的")
        return "right" if bool(said[2] or (said[1] or "").lower() == "yes") == yes else "wrong"
    if kind == "list":
        allowed = {normal(each).lower() for each in question.accept}
        told = mentioned(text, question.origin.get("list"))
        if not told:
            return "nonsense"
        return "right" if told <= allowed and len(told) == question.origin.get("size") else "wrong"
    if kind == "count":
        numbers = re.findall(r"\d+", text)
        return "nonsense" if not numbers else "right" if numbers[-1] == question.accept[0] else "wrong"
    if kind == "upper":
        return "right" if re.search(rf"\b{re.escape(question.accept[0])}\b", text) else "wrong"
    if kind == "translate":
        return "right" if contains(text, question.accept) and _one_thing(text, question) else "wrong"
    return check_value(question, text)


def _one_thing(reply: str, question: Question) -> bool:
    """Whether the reply is not a list of many words in the hope that one is right."""
    return len(reply) <= 3 * len(question.answer) + 40
