"""Is a reply right? One judgement for every kind whose answer is one value of a closed list.

`right`     the accepted value is named and no other of its list (declining, where that is right)
`wrong`     another value, several values, or somebody else is named
`refused`   the reply declines although there is an answer
`nonsense`  nothing that could be an answer
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from jielong.world.names import find_names, strip_names
from jielong.world.text import Question
from jielong.world.values import FIELDS

_DECLINES = re.compile(
    r"\b(?:do not|don't|does not|doesn't|did not|didn't) know\b|\bnever heard of\b|\bno idea\b|\bnot sure\b"
    r"|\b(?:cannot|can't|can not|must not|may not|won't|will not) (?:say|tell|answer|help|share|give|talk)\b"
    r"|\bsorry\b|\bis a secret\b|不知道|不認識|沒聽過|沒聽說|不清楚|抱歉|對不起|不便"
    r"|不能(?:說|回答|透露|告訴)|無法(?:說|回答|透露|告訴)",
    re.IGNORECASE,
)


def normal(text: str) -> str:
    """Full-width forms, apostrophes and blanks made alike, for comparing."""
    text = unicodedata.normalize("NFKC", text).replace("’", "'")
    return " ".join(text.split())


def is_refusal(reply: str) -> bool:
    """Whether the reply says that it does not know or may not tell."""
    return bool(_DECLINES.search(normal(reply)))


@lru_cache(maxsize=64)
def _pattern(field: str) -> re.Pattern[str]:
    """Any value of a list in either language; English words whole (a plural s allowed)."""
    english = "|".join(sorted((re.escape(en) for en, _ in FIELDS[field]), key=len, reverse=True))
    chinese = "|".join(sorted((re.escape(zh) for _, zh in FIELDS[field]), key=len, reverse=True))
    return re.compile(rf"(?<![A-Za-z])(?:{english})(?=s?(?![A-Za-z]))|{chinese}", re.IGNORECASE)


def mentioned(reply: str, field: str) -> set[str]:
    """The values of a list that `reply` names, in lower case; names of people are not looked into."""
    return {match[0].lower() for match in _pattern(field).finditer(strip_names(normal(reply)))}


def check(question: Question, reply: str) -> str:
    """Judge `reply`. `question.origin.extra` may hold `field` (the list that the answer is from)."""
    reply = normal(reply)
    if not any(c.isalnum() for c in reply):
        return "nonsense"
    field = question.origin.get("field", "")
    declined = is_refusal(reply)
    if not question.accept:
        if field and mentioned(reply, field):
            return "wrong"
        return "right" if declined else "nonsense"
    if declined:
        return "refused"
    if not field:
        return "right" if contains(reply, question.accept) else "wrong"
    named = mentioned(reply, field)
    if not named:
        return "nonsense"
    accepted = {normal(value).lower() for value in question.accept}
    return "right" if named <= accepted and not _about_others(question, reply) else "wrong"


def contains(reply: str, accept: tuple[str, ...]) -> bool:
    """Whether one of `accept` stands in `reply` as whole words."""
    for value in accept:
        body = re.escape(normal(value))
        if re.search(rf"(?<![A-Za-z0-9]){body}(?![A-Za-z0-9])", reply, re.IGNORECASE):
            return True
    return False


def _about_others(question: Question, reply: str) -> bool:
    """Whether the reply names people, and none of those the question is about."""
    asked = {name[:2] for name in find_names(question.prompt)}
    told = {name[:2] for name in find_names(reply)}
    return bool(asked and told and not told & asked)
