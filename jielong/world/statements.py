"""True and false statements about the world's people: plain, negated, conjunctions and disjunctions.

Material for lie detectors and truth probes, after "The Geometry of Truth" (Marks and Tegmark, 2023). The
statements come in pairs: statement 2k is true, its twin 2k + 1 is false and differs in one value only, so
both labels are exactly as frequent in every form, and no word tells them apart. `pair` numbers the twins,
`polarity` is -1 for negated statements (whose true twin names a wrong value). People whom no question of
training names and a third wording are kept for tests. `texts` holds false sentences by design: it is there
to be probed, not to be learnt; where a model is to learn from it, use the questions, which label it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jielong.world.draws import langs
from jielong.world.facts import asked_people, by_name
from jielong.world.kit import as_chat, judge_choice, lists, origin, pick, readings, unfill, wording
from jielong.world.names import Person, find_names
from jielong.world.text import Chat, Question, Text
from jielong.world.values import FIELDS, RELATIONS
from jielong.world.words.statements import ACCEPTED, ASKED, CLAUSES, ENDED, JOINED, VERDICTS

if TYPE_CHECKING:
    from jielong.world.world import World

FORMS = ("plain", "negated", "and", "or")
NAMES = tuple(RELATIONS)
WIDTH = 13


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """Statements without their label in the text: true, false, true, false, in matched pairs."""
    tongues = langs(lang)
    for k, u in enumerate(lists((n + 1) // 2, WIDTH, world.seed, "statements", split, lang or "", draw)):
        for label in (True, False)[: n - 2 * k]:
            yield _statement(world, u[1:], pick(tongues, u[0]), split, label, k)


def questions(
    world: World, kind: str, n: int, draw: int = 0, split: str = "test", lang: str | None = None
) -> list[Question]:
    """ "True or false?", of the same pairs; fewer than n where the same statement is drawn again."""
    seen = {q.prompt: q for q in _asked(world, 2 * n + 20, draw, split, lang)}
    return list(seen.values())[:n]


def chats(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Chat]:
    """The questions of a split with their right replies."""
    return map(as_chat, _asked(world, n, draw, split, lang))


def check(world: World, question: Question, reply: str) -> str:
    """The reply must say true or false (in any of the usual words), and the right one."""
    return judge_choice(question, reply, [word for words in ACCEPTED[question.origin.lang] for word in words])


def answer(world: World, prompt: str) -> str | None:
    """The verdict on a prompt that asks whether a statement about known people is true, or None."""
    for lang, found in readings(ASKED, prompt):
        truth = judge(world, found["s"], lang)
        return None if truth is None else VERDICTS[lang][truth]
    return None


def judge(world: World, statement: str, lang: str) -> bool | None:
    """Whether a statement in any of the wordings here is true; None where it cannot be read."""
    body = statement.removesuffix(ENDED[lang].format(s=""))
    body = body[:1].lower() + body[1:] if body.startswith(("The ", "What ", "It ")) else body
    for form, templates in JOINED.items():
        if found := unfill(templates[lang], body):
            parts = [judge(world, found[side], lang) for side in ("x", "y")]
            return None if None in parts else (all(parts) if form == "and" else any(parts))
    names = list(find_names(body))
    person = by_name(world).get(names[0][:2]) if names else None
    if person is None:
        return None
    for relation, clauses in CLAUSES[lang].items():
        values = "|".join(pair[lang == "zh"] for pair in FIELDS[RELATIONS[relation]])
        for clause in clauses:
            for negated, template in enumerate(clause):
                if found := unfill(template, body, v=values, p=names[0][2]):
                    return (found["v"] == person.value(relation, lang)) != bool(negated)
    return None


def _asked(world: World, n: int, draw: int, split: str, lang: str | None) -> Iterator[Question]:
    for text in texts(world, "statements", n, draw, split, lang):
        where = text.origin
        options = ASKED[where.lang][wording(split)]
        prompt = options[where.get("pair") % len(options)].format(s=text.text)
        label = where.get("label")
        yield Question(prompt, VERDICTS[where.lang][label], ACCEPTED[where.lang][label], where)


def _statement(world: World, u: list[float], lang: str, split: str, label: bool, k: int) -> Text:
    form, people = pick(FORMS, u[0]), asked_people(world, split)
    joined = form in JOINED
    # The first clause decides: what stands beside it is true in a conjunction and false in a disjunction
    # half of the time each way round, so that neither place nor number of clauses gives the label away.
    first = _clause(people, u[1:6], lang, split, label, form == "negated")
    extra: dict[str, object] = {"label": label, "form": form, "polarity": -1 if form == "negated" else 1,
                                "pair": k, "facts": first[1:2]}  # fmt: skip
    body = first[0]
    if joined:
        other = _clause(people, u[6:11], lang, split, form == "and", False)
        extra["facts"] = (first[1], other[1])
        x, y = (first[0], other[0]) if u[11] < 0.5 else (other[0], first[0])
        body = JOINED[form][lang].format(x=x, y=y)
    text = ENDED[lang].format(s=body[0].upper() + body[1:])
    return Text(text, origin("statements", lang, split, first[1], f"statements.{form}.{lang}", extra))


def _clause(people: list[Person], u: list[float], lang: str, split: str, label: bool, negated: bool) -> tuple[str, str]:
    """(a clause that is true or false as `label` says, its fact)."""
    person, relation = pick(people, u[0]), pick(NAMES, u[1])
    clauses = CLAUSES[lang][relation]
    template = pick(clauses[2:] if wording(split) else clauses[:2], u[2])[negated]
    field, right = FIELDS[RELATIONS[relation]], person.values[NAMES.index(relation)]
    shown = right if label != negated else (right + 1 + int(u[3] * (len(field) - 1))) % len(field)
    return template.format(p=person.name(lang), v=field[shown][lang == "zh"]), f"{person.id}.{relation}"
