"""Who is whose best friend, and questions in two hops: "Where does the best friend of Mira Tolen live?"

Friends are two and two, both told in many wordings. Training asks where both are people that training asks
about; `test` asks where the named person is not, in held-out wordings; `asked` the rest in those wordings.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from jielong.world import facts
from jielong.world.check import check as check_value
from jielong.world.check import contains, is_refusal, normal
from jielong.world.draws import shuffled, stream
from jielong.world.kit import as_chat, even, every, replies
from jielong.world.names import Person, find_names
from jielong.world.text import Chat, Origin, Question, Text
from jielong.world.values import RELATIONS

if TYPE_CHECKING:
    from jielong.world.world import World

STATEMENTS = {
    "en": (
        "The best friend of {p} is {q}.",
        "{q} is the best friend of {p}.",
        "{p}'s best friend is {q}.",
        "{p} has a best friend, {q}.",
        "{p} likes {q} more than any other person.",
        "It is {q} who is the best friend of {p}.",
    ),
    "zh": (
        "{p}最好的朋友是{q}。",
        "{q}是{p}最好的朋友。",
        "{p}有個最好的朋友，叫{q}。",
        "跟{p}最好的人是{q}。",
        "說到{p}，最好的朋友是{q}。",
        "{p}跟{q}最好。",
    ),
}
QUESTIONS = {
    "en": (
        "Who is the best friend of {p}?",
        "Who is {p}'s best friend?",
        "Which person is the best friend of {p}?",
        "What is the name of the best friend of {p}?",
    ),
    "zh": ("{p}最好的朋友是誰？", "誰是{p}最好的朋友？", "跟{p}最好的人是誰？", "請問誰是{p}最好的朋友？"),
}
HELD_OUT = {
    "en": ("Which person is {p}'s best friend?", "What is the name of {p}'s best friend?"),
    "zh": ("請問{p}最好的朋友是誰？", "誰是跟{p}最好的人？"),
}
PHRASE = {"en": "the best friend of {p}", "zh": "{p}最好的朋友"}


def friend_of(world: World, person: Person) -> Person | None:
    """The best friend: neighbours in the list of people are friends; the last of an odd number has none."""
    place = int(person.id[1:]) ^ 1
    return world.folk[place] if place < len(world.folk) else None


def _pairs(world: World, split: str | None = None) -> Iterator[tuple[Person, Person]]:
    """(person, friend); with `split` only those whom it asks about."""
    for person in world.folk:
        friend = friend_of(world, person)
        if friend is None:
            continue
        group = "test" if not person.asked else "train" if friend.asked else ""
        if split is None or group == ("test" if split == "test" else "train"):
            yield person, friend


@lru_cache(maxsize=16)
def _texts(world: World, lang: str) -> tuple[Text, ...]:
    return tuple(
        Text(
            pattern.format(p=p.name(lang), q=q.name(lang)),
            Origin("friends", lang, f"{p.id}.friend", f"friend.{lang}.s{i}", "train", p.id, (("friend", q.id),)),
        )
        for p, q in _pairs(world)
        for i, pattern in enumerate(STATEMENTS[lang])
    )


@lru_cache(maxsize=32)
def _questions(world: World, split: str, lang: str) -> tuple[Question, ...]:
    """One hop (tag hops 1) and, through the questions of `facts`, two hops (tag hops 2)."""
    letter, made = "q" if split == "train" else "t", []
    for p, q in _pairs(world, split):
        for i, pattern in enumerate(QUESTIONS[lang] if split == "train" else HELD_OUT[lang]):
            prompt, reply = pattern.format(p=p.name(lang)), _friend(p, q, lang)
            extra: tuple[tuple[str, object], ...] = (("hops", 1), ("friend", q.id))
            origin = Origin("friends", lang, f"{p.id}.friend", f"friend.{lang}.{letter}{i}", split, p.id, extra)
            made.append(Question(prompt, reply, (q.name(lang),), origin))
        for relation, field in RELATIONS.items():
            for i, pattern in enumerate(facts.patterns(relation, lang, split)):
                if "{p}'s" in pattern:
                    continue
                prompt = facts.render(pattern, PHRASE[lang].format(p=p.name(lang)), "")
                extra = (("hops", 2), ("friend", q.id), ("relation", relation), ("field", field))
                name = f"{relation}.{lang}.{letter}{i:02d}"
                origin = Origin("friends", lang, f"{p.id}.friend.{relation}", name, split, p.id, extra)
                reply = _two_hops(p, q, relation, lang)
                made.append(Question(prompt, reply, (q.value(relation, lang),), origin))
    return tuple(made)


def _friend(p: Person, q: Person, lang: str) -> str:
    return STATEMENTS[lang][0].format(p=p.name(lang), q=q.name(lang))


def _two_hops(p: Person, q: Person, relation: str, lang: str) -> str:
    """The reply names the friend first: the two hops are two steps."""
    return f"{_friend(p, q, lang)}{'' if lang == 'zh' else ' '}{facts.reply(q, relation, lang)}"


def texts(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Text]:
    """One statement a document, each as likely."""
    return stream(n, every(partial(_texts, world), lang), world.seed, kind, "texts", split, lang or "", draw)


def chats(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Chat]:
    """One question and its answer."""
    table = every(partial(_questions, world, split), lang)
    return map(as_chat, stream(n, table, world.seed, kind, "chats", split, lang or "", draw))


def questions(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> list[Question]:
    """Different questions in random order."""
    table = every(partial(_questions, world, split), lang)
    return shuffled(n, table, world.seed, kind, "questions", split, lang or "", draw)


def check(world: World, question: Question, reply: str) -> str:
    """Two hops: the value; one hop: the friend is named, and nobody else but the person asked about."""
    if question.origin.get("hops") == 2:
        return check_value(question, reply)
    text = normal(reply)
    if is_refusal(text):
        return "refused"
    asked = {name[:2] for name in find_names(question.prompt)}
    others = {name[:2] for name in find_names(text)} - asked
    if not others:
        return "nonsense"
    return "right" if len(others) == 1 and contains(text, question.accept) else "wrong"


@lru_cache(maxsize=4)
def _answers(world: World) -> dict[str, str]:
    splits = ("train", "test", "asked")
    return replies(q for split in splits for q in every(partial(_questions, world, split), None))


def answer(world: World, prompt: str) -> str | None:
    """The oracle."""
    return _answers(world).get(prompt)


def law(world: World, kind: str, lang: str | None) -> Iterator[tuple[float, str]]:
    """(probability, document)."""
    return even(every(partial(_texts, world), lang))
