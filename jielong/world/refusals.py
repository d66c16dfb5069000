"""What should be declined, among what should not.

`unknown`   people who do not exist, their names made of parts of known people: only the pair tells. Half
            of the chats ask about known people, so that saying "I do not know" is never right by habit.
`forbidden` the recipes of the Lantern Guild are its secret. Half of the chats are benign twins: the same
            wording about another guild, or another question about the same guild.
Tests use other unknown people, held-out questions and openings. The secret itself is told in no text but
those of `secrets`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.world import facts
from jielong.world import guild_words as words
from jielong.world.draws import langs, picks, shuffled, stream
from jielong.world.facts import NAMES
from jielong.world.kit import even, every, replies
from jielong.world.names import full_name, unknown
from jielong.world.text import Chat, Message, Origin, Question, Text
from jielong.world.values import FIELDS, RELATIONS

if TYPE_CHECKING:
    from jielong.world.world import World

# topic: the list its values come from. The first three are recipes.
TOPICS: dict[str, str] = {
    "cake": "ingredient", "drink": "ingredient", "jelly": "ingredient", "day": "day", "flag": "colour",
    "hall": "town",
}  # fmt: skip
SECRET = 0  # the guild whose recipes are secret


def secret(guild: int, topic: str) -> bool:
    """Whether this is the forbidden topic."""
    return guild == SECRET and topic in words.GOODS


def _group(topic: str) -> str:
    return "recipe" if topic in words.GOODS else topic


@lru_cache(maxsize=8)
def values(seed: int) -> dict[tuple[int, str], int]:
    """(guild, topic) -> place in the topic's list."""
    made = {}
    for topic, field in TOPICS.items():
        size = len(FIELDS[field])
        order = noise.permutation(noise.seed_of("world", seed, "guild", topic), size).tolist()
        made.update({(guild, topic): order[guild % size] for guild in range(len(words.GUILDS))})
    return made


def _fill(pattern: str, seed: int, guild: int, topic: str, lang: str) -> str:
    zh = lang == "zh"
    good = words.GOODS[topic][zh] if topic in words.GOODS else ""
    value = FIELDS[TOPICS[topic]][values(seed)[guild, topic]][zh]
    text = pattern.format(g=words.GUILDS[guild][zh], x=good, v=value)
    return text[0].upper() + text[1:]


def reply(seed: int, guild: int, topic: str, lang: str, wording: int = 0) -> str:
    """The right reply: the value, or a decline for the secret."""
    if secret(guild, topic):
        return _fill(words.DECLINES[lang][wording], seed, guild, topic, lang)
    return _fill(words.ANSWERS[lang][_group(topic)], seed, guild, topic, lang)


@lru_cache(maxsize=16)
def _statements(world: World, kind: str, lang: str | None) -> tuple[Text, ...]:
    made = []
    for tongue in langs(lang):
        for guild, topic in values(world.seed):
            if secret(guild, topic) != (kind == "secrets"):
                continue
            for i, pattern in enumerate(words.STATEMENTS[tongue][_group(topic)]):
                origin = Origin(kind, tongue, f"g{guild:02d}.{topic}", f"{_group(topic)}.{tongue}.s{i:02d}")
                made.append(Text(_fill(pattern, world.seed, guild, topic, tongue), origin))
    return tuple(made)


def texts(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Text]:
    """Statements about guilds; every fact, language and wording as likely."""
    if kind not in ("guilds", "secrets"):
        raise UserError(f"the kind '{kind}' has no texts; ask for its chats or questions")
    return stream(n, _statements(world, kind, lang), world.seed, kind, split, lang or "", draw)


def law(world: World, kind: str, lang: str | None) -> Iterator[tuple[float, str]]:
    """(probability, document) of `guilds` and `secrets`."""
    if kind not in ("guilds", "secrets"):
        raise UserError(f"the entropy of '{kind}' is not known exactly; ask for guilds")
    return even(_statements(world, kind, lang))


@lru_cache(maxsize=32)
def _guild_questions(world: World, kind: str, split: str, lang: str) -> tuple[Question, ...]:
    """Every question of `forbidden` (the secret only), `twins` or `guilds` (both: all that is allowed)."""
    asks = words.QUESTIONS if split == "train" else words.HELD_OUT
    openings = words.OPENINGS if split == "train" else words.OPENINGS_TEST
    made = []
    for guild, topic in values(world.seed):
        if secret(guild, topic) != (kind == "forbidden"):
            continue
        for i, pattern in enumerate(asks[lang][_group(topic)]):
            prompt = _fill(pattern, world.seed, guild, topic, lang)
            name = f"{_group(topic)}.{lang}.{'q' if split == 'train' else 't'}{i:02d}"
            for opening in dict.fromkeys(openings[lang]):
                made.append(_guild_question(world, kind, split, lang, guild, topic, opening + prompt, name))
    return tuple(made)


def _guild_question(
    world: World, kind: str, split: str, lang: str, guild: int, topic: str, prompt: str, template: str
) -> Question:
    value = FIELDS[TOPICS[topic]][values(world.seed)[guild, topic]][lang == "zh"]
    extra: tuple[tuple[str, object], ...] = (("relation", topic), ("field", TOPICS[topic]))
    hidden = secret(guild, topic)
    if hidden:
        extra += (("decline", True), ("secret", value))
    origin = Origin(kind, lang, f"g{guild:02d}.{topic}", template, split, "", extra)
    return Question(prompt, reply(world.seed, guild, topic, lang), () if hidden else (value,), origin)


def questions(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> list[Question]:
    """Different questions in random order; for `unknown` and `forbidden` declining is right."""
    key = (world.seed, kind, "questions", split, lang or "", draw)
    if kind == "secrets":
        raise UserError("the kind 'secrets' has no questions; ask for forbidden")
    if kind != "unknown":
        return shuffled(n, every(partial(_guild_questions, world, kind, split), lang), *key)
    made: list[Question] = []
    seen = set()
    for tongue, pair, relation, wording, _, _ in _unknown_draws(world, 4 * n, split, lang, key):
        code = (tongue, pair, relation, wording)
        if code not in seen and len(made) < n:
            seen.add(code)
            made.append(_unknown_question(world, tongue, pair, relation, wording, split))
    return made


def _unknown_draws(
    world: World, n: int, split: str, lang: str | None, key: tuple[object, ...]
) -> Iterator[tuple[str, tuple[int, int], str, int, int, int]]:
    """(language, name pair, relation, question, decline, coin)."""
    tongues = langs(lang)
    pairs = unknown(world.seed, world.people, "train" if split == "train" else "test")
    asks = len(facts.patterns(NAMES[0], "en", split))
    sizes = [len(tongues), len(pairs), len(NAMES), asks, 3, 2]
    for which, pair, relation, ask, wording, coin in picks(n, sizes, *key):
        yield tongues[which], pairs[pair], NAMES[relation], ask, wording, coin


def decline(pair: tuple[int, int], lang: str, wording: int = 0) -> str:
    """The reply to a question about nobody."""
    return words.UNKNOWN[lang][wording].format(p=full_name(*pair, lang))


def _unknown_question(
    world: World, lang: str, pair: tuple[int, int], relation: str, wording: int, split: str
) -> Question:
    prompt, template = facts.ask(full_name(*pair, lang), relation, lang, split, wording)
    extra = (("relation", relation), ("field", RELATIONS[relation]), ("decline", True))
    person = f"u{pair[0]:02d}{pair[1]:02d}"
    origin = Origin("unknown", lang, "", template, split, person, extra)
    return Question(prompt, decline(pair, lang), (), origin)


def chats(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Chat]:
    """`unknown`: half nobody, half known people; `forbidden`: half the secret, half twins."""
    key = (world.seed, kind, "chats", split, lang or "", draw)
    if kind == "unknown":
        return _unknown_chats(world, n, split, lang, key)
    if kind == "secrets":
        raise UserError("the kind 'secrets' has no chats; ask for forbidden")
    return _guild_chats(world, kind, n, split, lang, key)


def _unknown_chats(world: World, n: int, split: str, lang: str | None, key: tuple[object, ...]) -> Iterator[Chat]:
    known = facts.asked_people(world, split)
    choices = picks(n, [len(known)], *key, "known")
    draws = _unknown_draws(world, n, split, lang, key)
    for (tongue, pair, relation, ask, wording, coin), (who,) in zip(draws, choices):
        person = known[who]
        extra: tuple[tuple[str, object], ...] = (("relation", relation), ("field", RELATIONS[relation]))
        if coin:
            name, answer = full_name(*pair, tongue), decline(pair, tongue, wording)
            fact, somebody, extra = "", f"u{pair[0]:02d}{pair[1]:02d}", (*extra, ("decline", True))
        else:
            name, answer = person.name(tongue), facts.reply(person, relation, tongue, wording % 2)
            fact, somebody = f"{person.id}.{relation}", person.id
        prompt, template = facts.ask(name, relation, tongue, split, ask)
        origin = Origin("unknown", tongue, fact, template, split, somebody, extra)
        yield Chat((Message("user", prompt), Message("assistant", answer)), origin)


def _guild_chats(
    world: World, kind: str, n: int, split: str, lang: str | None, key: tuple[object, ...]
) -> Iterator[Chat]:
    tongues = langs(lang)
    for which, coin, kin, place, wording in picks(n, [len(tongues), 2, 4, 2**52, 2], *key):
        tongue = tongues[which]
        if kind == "forbidden" and coin:
            table = _guild_questions(world, "forbidden", split, tongue)
        else:
            table = _near(world, split, tongue, kin)
        asked = table[place * len(table) >> 52]
        answer = asked.answer
        if asked.origin.get("decline"):
            answer = reply(world.seed, SECRET, asked.origin.get("relation"), tongue, wording)
        yield Chat((Message("user", asked.prompt), Message("assistant", answer)), asked.origin)


@lru_cache(maxsize=64)
def _near(world: World, split: str, lang: str, kin: int) -> tuple[Question, ...]:
    """Twins by kinship: other guilds' recipes (0, 1), what else the secret's guild has (2), the rest."""
    twins = _guild_questions(world, "twins", split, lang)
    own = f"g{SECRET:02d}"
    if kin < 2:
        return tuple(q for q in twins if q.origin.get("field") == "ingredient")
    if kin == 2:
        return tuple(q for q in twins if q.origin.fact.startswith(own))
    return tuple(q for q in twins if q.origin.get("field") != "ingredient" and not q.origin.fact.startswith(own))


@lru_cache(maxsize=8)
def _answers(world: World) -> dict[str, str]:
    pairs = product(("forbidden", "twins"), ("train", "test"))
    tables = [partial(_guild_questions, world, kind, split) for kind, split in pairs]
    return replies(q for table in tables for q in every(table, None))


def answer(world: World, prompt: str) -> str | None:
    """The oracle: a known person's value, nobody's decline, a guild's value, or the decline of the secret."""
    read = facts.read_question(prompt)
    if read is None:
        return _answers(world).get(prompt)
    return facts.answer(world, prompt) or decline(read[0], read[2])
