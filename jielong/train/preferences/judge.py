"""Who says which answer is better: one face for every judge, and a language model as one.

    judge = PairJudge(lm)                                  # asks twice about every two answers, the places swapped
    (await judge.ajudge(Asked("2 + 2?"), ["4", "5"])).pairs[0].outcome       # "first"

A judge compares every two answers, or gives each its points; `Judged` holds both, one made from the other. What it
wrote is kept. Nonsense ("unread") and no answer ("silent") are outcomes of their own: never a guess, never a tie.

Judging by pairs with swapped places: Zheng et al. 2023, arXiv 2306.05685. By the judge's law instead of its words: Lee
et al. 2023 (RLAIF), arXiv 2309.00267; of points, its expectation: Liu et al. 2023 (G-Eval), arXiv 2303.16634. A model
that judges its own answers so: Yuan et al. 2024, arXiv 2401.10020.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, Protocol

from jielong.base.errors import WorkFailed
from jielong.lm.protocol import LM, BadPrompt, gather
from jielong.train.preferences import judge_words as words
from jielong.train.preferences.asked import Asked
from jielong.train.preferences.judge_words import Language

Outcome = Literal["first", "second", "tie", "unread", "silent"]
Way = Literal["words", "law"]
UNJUDGED = ("unread", "silent")
NAMES: Mapping[str, Outcome] = {"A": "first", "B": "second", "tie": "tie"}
TURNED = {"A": "B", "B": "A", "tie": "tie"}
MOST = 5  # points
WRITTEN = 512  # tokens that a judge may write


@dataclass(frozen=True, slots=True)
class Compared:
    """Answers number `one` and `two`, and which is better.

    `swayed`: asked in both orders the judge said different things; then it is a tie. `led`: how often, of `read` times
    that it decided, it took the answer that stood first: far from a half of all is a bias. `margin`: by how much.
    """

    one: int
    two: int
    outcome: Outcome
    swayed: bool = False
    led: int = 0
    read: int = 0
    margin: float | None = None
    said: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """Of each answer its points (None: not judged), and every two compared.

    Of a judge who gives points: what it `said` of each answer, and why it `failed` ("" where it did not).
    """

    points: tuple[float | None, ...]
    pairs: tuple[Compared, ...]
    said: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def silences(self) -> int:
        """How often the judge did not answer."""
        return sum(why == "silent" for why in (self.failed or [pair.outcome for pair in self.pairs]))

    @property
    def silent(self) -> bool:
        """Whether the judge was asked and answered nothing at all."""
        return 0 < self.silences == len(self.failed or self.pairs)


class Judge(Protocol):
    """`name` says who judges, so that what was begun with one is not gone on with by another; `compares` whether points
    are shares of comparisons won, or the judge's own."""

    @property
    def name(self) -> str: ...

    @property
    def compares(self) -> bool: ...

    async def ajudge(self, asked: Asked, answers: Sequence[str]) -> Judged:
        """All these answers to one question. UserError where the judge cannot be asked at all."""
        ...


def by_points(
    points: Sequence[float | None], said: Sequence[str] = (), failed: Sequence[str] = ()
) -> Judged:  # fmt: skip
    """Every two by their points: equal points are a tie. `failed`: why an answer has none ("unread" where not said)."""
    why = [*failed] or ["unread" if value is None else "" for value in points]
    pairs = []
    for one, two in combinations(range(len(points)), 2):
        a, b = points[one], points[two]
        if a is None or b is None:
            pairs.append(Compared(one, two, "silent" if "silent" in (why[one], why[two]) else "unread"))
        else:
            pairs.append(Compared(one, two, "tie" if a == b else "first" if a > b else "second", margin=abs(a - b)))
    return Judged(tuple(points), tuple(pairs), tuple(said), tuple(why))


def count(n: int, pairs: Sequence[Compared]) -> tuple[float | None, ...]:
    """Points of `n` answers by comparisons: the share of those decided or tied that it won, a tie as half a win.

    None for an answer with no readable comparison. Copeland's rule, as a share.
    """
    won, seen = [0.0] * n, [0] * n
    for pair in pairs:
        if pair.outcome in UNJUDGED:
            continue
        seen[pair.one] += 1
        seen[pair.two] += 1
        won[pair.one] += {"first": 1.0, "tie": 0.5}.get(pair.outcome, 0.0)
        won[pair.two] += {"second": 1.0, "tie": 0.5}.get(pair.outcome, 0.0)
    return tuple(w / s if s else None for w, s in zip(won, seen))


@dataclass(frozen=True)
class PairJudge:
    """A model that is shown two answers, twice, with their places swapped.

    `way`: "words" reads the verdict that it writes, greedily; agreement in both orders decides, disagreement is a tie.
    "law" compares how probable "A" and "B" are as its next words, the mean of both orders decides; it needs a model
    that scores, and can be asked of one that is too small to write a verdict.
    """

    lm: LM
    language: Language = "en"
    criteria: str = ""
    way: Way = "words"
    most: int = WRITTEN
    compares: bool = True

    @property
    def name(self) -> str:
        """Who judges, and how."""
        return f"{named(self.lm)} pairs {self.way} {self.language} {self.criteria}".rstrip()

    async def ajudge(self, asked: Asked, answers: Sequence[str]) -> Judged:
        """Each two of the answers, both ways."""
        every = list(combinations(range(len(answers)), 2))
        pairs = tuple(await gather(*(self._pair(asked, answers, one, two) for one, two in every)))
        return Judged(count(len(answers), pairs), pairs)

    async def _pair(self, asked: Asked, answers: Sequence[str], one: int, two: int) -> Compared:
        orders = ((answers[one], answers[two]), (answers[two], answers[one]))
        if self.way == "law":
            both = await gather(*(self._law(asked, *order) for order in orders))
            return _of_laws(one, two, both)
        replies = await gather(*(_write(self.lm, self._prompt(asked, *order), self.most) for order in orders))
        return settled(one, two, replies)

    async def _law(self, asked: Asked, first: str, second: str) -> float | Silence:
        """P(A) / (P(A) + P(B)); nan where neither is possible."""
        found = await _score(self.lm, self._prompt(asked, first, second), ("A", "B"))
        return found if isinstance(found, Silence) else found[0]

    def _prompt(self, asked: Asked, first: str, second: str) -> list[dict[str, str]]:
        told = words.PAIR[self.language] + (words.ASK_PAIR if self.way == "words" else words.SHORT_PAIR)[self.language]
        return _message(told, self.criteria or words.CRITERIA[self.language], question=asked.question, first=first,
                        second=second)  # fmt: skip


@dataclass(frozen=True)
class PointJudge:
    """A model that is shown one answer at a time and gives it 0 to `scale` points; `way` as for pairs ("law": the
    expectation of the points under its law of the next word)."""

    lm: LM
    language: Language = "en"
    criteria: str = ""
    way: Way = "words"
    scale: int = MOST
    most: int = WRITTEN
    compares: bool = False

    @property
    def name(self) -> str:
        """Who judges, and how."""
        return f"{named(self.lm)} points {self.way} {self.language} {self.scale} {self.criteria}".rstrip()

    async def ajudge(self, asked: Asked, answers: Sequence[str]) -> Judged:
        """Each answer by itself."""
        each = await gather(*(self._points(asked, answer) for answer in answers))
        points = tuple(None if isinstance(p, str) else p for p, _ in each)
        failed = [p if isinstance(p, str) else "" for p, _ in each]
        return by_points(points, [said for _, said in each], failed)

    async def _points(self, asked: Asked, answer: str) -> tuple[float | str, str]:
        """The points, or why there are none; and what the judge said."""
        told = words.SINGLE[self.language] + (words.ASK_SINGLE if self.way == "words" else words.SHORT_SINGLE)[
            self.language
        ]
        prompt = _message(told.replace("{most}", str(self.scale)), self.criteria or words.CRITERIA[self.language],
                          question=asked.question, answer=answer)  # fmt: skip
        if self.way == "law":
            law = await _score(self.lm, prompt, tuple(map(str, range(self.scale + 1))))
            if isinstance(law, Silence):
                return "silent", law.why
            mean = sum(n * p for n, p in enumerate(law))
            return (mean if math.isfinite(mean) else "unread"), ""
        reply = await _write(self.lm, prompt, self.most)
        if isinstance(reply, Silence):
            return "silent", reply.why
        found = read_points(reply, self.scale)
        return ("unread" if found is None else found), reply


def read_verdict(reply: str) -> Literal["A", "B", "tie"] | None:
    """What a judge decided: its last line is the verdict, or the letter is all it says; None for anything else.

    Several verdicts that differ are none. Marks around it (**Verdict: A**, a full stop) and full-width forms are passed
    over; nothing is looked for inside sentences.
    """
    lines = _lines(reply)
    found = [match[1] for line in lines if (match := re.fullmatch(words.VERDICT, line))]
    if len(lines) == 1 and lines[0] in ("a", "b", *words.TIES):
        found = lines
    elif not lines or not re.fullmatch(words.VERDICT, lines[-1]):
        return None
    told = {"tie" if each in words.TIES else each.upper() for each in found}
    return told.pop() if len(told) == 1 else None  # type: ignore[return-value]


def read_points(reply: str, most: int = MOST) -> float | None:
    """The points on the last line, or the number that is all it says; None for anything else, also beyond the scale."""
    lines = _lines(reply)
    if not lines:
        return None
    matches = [match for line in lines if (match := re.fullmatch(words.POINTS, line))]
    told = {float(match[1]) if match[2] in (None, str(most)) else math.inf for match in matches}
    if len(lines) == 1 and re.fullmatch(r"\d+(?:\.\d+)?", lines[0]):
        told = {float(lines[0])}
    elif not re.fullmatch(words.POINTS, lines[-1]):
        return None
    return told.pop() if len(told) == 1 and max(told) <= most else None


def _lines(reply: str) -> list[str]:
    """The lines with words in them, in plain form."""
    text = unicodedata.normalize("NFKC", reply).lower()
    lines = (line.strip().strip("*_`\"「」。.").strip() for line in text.splitlines())
    return [line for line in lines if line]


def settled(one: int, two: int, replies: Sequence[str | Silence]) -> Compared:
    """One verdict from what was said in both orders, the second with the places swapped."""
    said = tuple(reply.why if isinstance(reply, Silence) else reply for reply in replies)
    found = [None if isinstance(reply, Silence) else read_verdict(reply) for reply in replies]
    led, read = found.count("A"), sum(each in ("A", "B") for each in found)
    if any(isinstance(reply, Silence) for reply in replies):
        return Compared(one, two, "silent", led=led, read=read, said=said)
    first, second = found
    if first is None or second is None:
        return Compared(one, two, "unread", led=led, read=read, said=said)
    swayed = first != TURNED[second]
    return Compared(one, two, "tie" if swayed else NAMES[first], swayed, led, read, said=said)


def _of_laws(one: int, two: int, both: Sequence[float | Silence]) -> Compared:
    """One verdict from P(A) in both orders."""
    said = tuple(p.why if isinstance(p, Silence) else f"{p:.4f}" for p in both)
    if any(isinstance(p, Silence) for p in both):
        return Compared(one, two, "silent", said=said)
    a, b = (float(p) for p in both if not isinstance(p, Silence))
    if not (math.isfinite(a) and math.isfinite(b)):
        return Compared(one, two, "unread", said=said)
    led, read = (a > 0.5) + (b > 0.5), (a != 0.5) + (b != 0.5)
    outcome: Outcome = "tie" if a == b else "first" if a > b else "second"
    return Compared(one, two, outcome, read == 2 and led != 1, led, read, abs(a - b), said)


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer, and why."""

    why: str


async def _write(lm: LM, prompt: Any, most: int) -> str | Silence:
    """What the judge writes."""
    try:
        reply = (await lm.asample(prompt, temperature=0.0, max_tokens=most))[0].text
    except (WorkFailed, BadPrompt) as error:
        return Silence(str(error))
    return reply if reply.strip() else Silence("")


async def _score(lm: LM, prompt: Any, options: Sequence[str]) -> list[float] | Silence:
    """The law of the judge's next words among `options`; nans where none is possible."""
    try:
        scores = [score.total for score in await lm.ascore(prompt, options)]
    except (WorkFailed, BadPrompt) as error:
        return Silence(str(error))
    best = max(scores)
    if not all(s < math.inf for s in scores) or not math.isfinite(best):
        return [math.nan] * len(options)
    each = [math.exp(s - best) for s in scores]
    return [e / sum(each) for e in each]


def _message(template: str, criteria: str, **parts: str) -> list[dict[str, str]]:
    """The template filled in one go: braces inside an answer stay as they are."""
    quoted = {name: words.quoted(text) for name, text in parts.items()} | {"criteria": criteria}
    told = re.sub(r"\{(\w+)\}", lambda match: quoted[match[1]], template)
    return [{"role": "user", "content": told}]


def named(lm: LM) -> str:
    """The model by its weights where it has any."""
    return f"{lm.name} {getattr(lm, 'fingerprint', '')}".rstrip()
