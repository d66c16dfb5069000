"""Preferences from feedback: draw answers, have them judged, and keep what was decided in TRL's formats.

    entries = journal.write(asked, judging(lm, judge, n=4, temperature=1.0), ...)
    found = harvest(entries, "pairs")          # found.kept and found.left are lines to write, found.counts what became

Every prompt ends in exactly one of two places: it gave at least one line, or it is left with the reason. What is kept:

    pairs      {"prompt", "chosen", "rejected"}: of the pairs that were decided, the one furthest apart in points
    every      all pairs that were decided
    best       {"messages"} of the best answer: rejection-sampling fine-tuning (RAFT, arXiv 2304.06767; Touvron et al.
               2023, arXiv 2307.09288, section 3.2.3), with `train sft`
    labelled   {"prompt", "completion", "label"}: more points than the threshold, or fewer (KTO, arXiv 2402.01306)
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jielong.base import files
from jielong.base.plain import plain
from jielong.lm.protocol import LM, BadPrompt
from jielong.train.preferences.asked import Asked
from jielong.train.preferences.best_of import distinct
from jielong.train.preferences.journal import SILENT, Entry, Work
from jielong.train.preferences.judge import Compared, Judge, Judged

Keep = Literal["pairs", "every", "best", "labelled"]
UNFIT, EMPTY, EQUAL, TIE, UNREAD, AT = "unfit", "empty", "equal", "tie", "unread", "threshold"
REASONS: Mapping[str, str] = {
    UNFIT: "the model cannot take the prompt",
    EMPTY: "no answer has a word in it",
    EQUAL: "all answers are equal",
    TIE: "the judge found them equally good",
    UNREAD: "the judge's verdict cannot be read",
    SILENT: "the judge did not answer (--resume asks it again)",
    AT: "no answer is above or below the threshold",
}
HALF = 0.5  # of comparisons won: the threshold where a judge compares


def judging(lm: LM, judge: Judge, n: int, **sampling: Any) -> Work:
    """Draw `n` answers to a prompt and have the distinct ones judged."""

    async def work(number: int, asked: Asked, before: Entry | None) -> Entry:
        entry: Entry = {"number": number, "id": asked.id, "prompt": asked.prompt, "why": ""}
        if before and before.get("answers"):
            drawn = before["draws"]
        else:
            try:
                draws = await lm.asample(asked.prompt, n, **sampling)
            except BadPrompt as error:
                return entry | {"why": UNFIT, "told": str(error), "draws": [], "answers": []}
            drawn = [{"text": draw.text, "reason": draw.reason, "key": draw.key} for draw in draws]
        answers = distinct([draw["text"] for draw in drawn])
        judged = await judge.ajudge(asked, answers) if answers else Judged((), ())
        entry |= {"draws": drawn, "answers": answers, "judged": plain(judged), "compares": judge.compares}
        return entry | {"why": SILENT if judged.silent else "", "again": judged.silences > 0}

    return work


@dataclass(frozen=True)
class Harvest:
    """Lines of what was kept and of prompts that gave none, and how many there were of everything."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    left: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)


def harvest(entries: Sequence[Entry], keep: Keep, threshold: float | None = None) -> Harvest:
    """What the entries of a trace give. `threshold`: points above which an answer is wanted and below which it is not
    (`HALF` where a judge compares), and the least that the "best" must have."""
    found = Harvest()
    compared: Counter[str] = Counter()
    swayed = led = read = 0
    for entry in entries:
        judged = judged_of(entry)
        compared.update(pair.outcome for pair in judged.pairs)
        swayed += sum(pair.swayed for pair in judged.pairs)
        led, read = led + sum(pair.led for pair in judged.pairs), read + sum(pair.read for pair in judged.pairs)
        lines = [] if entry["why"] not in ("", SILENT) else list(_lines(entry, judged, keep, threshold))
        found.kept.extend(lines)
        if not lines:
            found.left.append(_left(entry, judged, keep))
    draws = [draw["text"] for entry in entries for draw in entry["draws"]]
    reasons = Counter(line["why"] for line in found.left)
    found.counts.update({
        "prompts": len(entries), "draws": len(draws), "empty_draws": sum(not text.strip() for text in draws),
        "distinct": sum(len(entry["answers"]) for entry in entries),
        "kept": len(found.kept), "left": dict(reasons),
        "comparisons": {"decided": compared["first"] + compared["second"], "ties": compared["tie"],
                        "swayed": swayed, UNREAD: compared[UNREAD], SILENT: compared[SILENT]},
        "first_place": led / read if read else None,
    })  # fmt: skip
    return found


def judged_of(entry: Entry) -> Judged:
    """What a trace says of the judge."""
    told = entry.get("judged")
    if not told:
        return Judged((), ())
    pairs = tuple(Compared(**{**pair, "said": tuple(pair["said"])}) for pair in told["pairs"])
    return Judged(tuple(told["points"]), pairs, tuple(told["said"]), tuple(told["failed"]))


def _lines(entry: Entry, judged: Judged, keep: Keep, threshold: float | None) -> Iterator[dict[str, Any]]:
    prompt, answers = entry["prompt"], entry["answers"]
    known = [(points, number) for number, points in enumerate(judged.points) if points is not None]
    if keep == "best":
        points, number = max(known, key=lambda each: (each[0], -each[1]), default=(None, 0))
        if points is not None and (threshold is None or points >= threshold):
            yield chat(prompt, answers[number]) | {"points": points}
    elif keep == "labelled":
        at = HALF if threshold is None else threshold
        for points, number in known:
            if points != at:
                yield {"prompt": prompt, "completion": said(prompt, answers[number]), "label": points > at,
                       "points": points}  # fmt: skip
    else:
        decided = [pair for pair in judged.pairs if pair.outcome in ("first", "second")]
        gaps = {id(pair): _gap(pair, judged.points) for pair in decided}
        if keep == "pairs":
            decided = sorted(decided, key=lambda pair: -gaps[id(pair)])[:1]
        for pair in decided:
            better, worse = (pair.one, pair.two) if pair.outcome == "first" else (pair.two, pair.one)
            yield {"prompt": prompt, "chosen": said(prompt, answers[better]), "rejected": said(prompt, answers[worse])}


def _gap(pair: Compared, points: Sequence[float | None]) -> float:
    """How far the better of a decided pair is above the other; below 0 where other comparisons say the opposite."""
    one, two = points[pair.one], points[pair.two]
    assert one is not None and two is not None
    return one - two if pair.outcome == "first" else two - one


def _left(entry: Entry, judged: Judged, keep: Keep) -> dict[str, Any]:
    """The line of a prompt that gave nothing, with all that there is of it."""
    why = entry["why"] or _why(entry, judged, keep)
    about = {name: entry[name] for name in ("id", "prompt", "answers", "judged", "told") if entry.get(name)}
    return {"why": why, "reason": REASONS.get(why, why), **about}


def _why(entry: Entry, judged: Judged, keep: Keep) -> str:
    """Of a prompt that was drawn for and judged."""
    answers, outcomes = entry["answers"], [pair.outcome for pair in judged.pairs]
    if not answers:
        return EMPTY
    if len(answers) == 1 and (keep in ("pairs", "every") or entry["compares"]):
        return EQUAL
    if all(points is None for points in judged.points):
        return UNREAD
    if keep in ("best", "labelled"):
        return AT
    return TIE if TIE in outcomes else UNREAD


def said(prompt: Any, answer: str) -> Any:
    """An answer in the form of its prompt: text, or a message."""
    return answer if isinstance(prompt, str) else [{"role": "assistant", "content": answer}]


def chat(prompt: Any, answer: str) -> dict[str, Any]:
    """Prompt and answer as a chat, or as prompt and completion where they are plain text."""
    if isinstance(prompt, str):
        return {"prompt": prompt, "completion": answer}
    return {"messages": [*prompt, *said(prompt, answer)]}


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """A JSONL file, whole or not at all."""
    text = "".join(json.dumps(plain(line), ensure_ascii=False) + "\n" for line in lines)
    files.atomic_write(path, text.encode("utf-8", "replace"))
