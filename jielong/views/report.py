"""Whole pages: what `jielong demo` made and proved, a lab's result, the list of all labs.

html = demo_report(DemoData(...))         one self-contained file
html = result_report(result, claim=...)   a lab, a bench, a scorecard
html = labs_report([LabCard(...), ...])   claims, verdicts, commands
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jielong.base.result import Result
from jielong.views import demo_parts as parts
from jielong.views.bars import BarSet
from jielong.views.demo_parts import Curve, Guess, Hint, SampleChat, Sentence
from jielong.views.html import Section, command, facts, fold, heading, page, paragraph
from jielong.views.markup import Html, Prose, Words, element, join, text, words
from jielong.views.pictures import draw
from jielong.views.scorecard import scorecard
from jielong.views.tokens import Merge
from jielong.views.verdicts import CONTROL_FAILED, MARKS, NOT_RUN, mark

__all__ = [
    "Curve",
    "DemoData",
    "Guess",
    "Hint",
    "LabCard",
    "SampleChat",
    "Sentence",
    "demo_report",
    "lab_card",
    "labs_report",
    "result_report",
]


@dataclass(frozen=True)
class DemoData:
    """All that the demo's report shows. Every part may be empty; its section is then left out.

    Minutes are wall time. `base` and `assistant` are scorecards of the same rows before and after fine-tuning
    (meta "at_most" names rows whose bar is an upper bound). `names` translates rows, groups, configuration
    keys. `seed`, sizes and the like go into `config`, what the machine is into `machine`.
    """

    title: Prose
    machine: Mapping[str, Any]
    config: Mapping[str, Any]
    predicted_minutes: float | None
    real_minutes: float
    curves: Sequence[Curve] = ()
    base: Result | None = None
    assistant: Result | None = None
    sentences: Sequence[Sentence] = ()
    guesses: Sequence[Guess] = ()
    chats: Sequence[SampleChat] = ()
    aligned: Result | None = None  # true rewards before and after learning what people prefer
    manners: Sequence[SampleChat] = ()  # the same questions before and after
    hints: Sequence[Hint] = ()
    merges: Sequence[Merge] = ()
    merge_example: Sequence[str] = ()
    stages: Sequence[tuple[Prose, float]] = ()  # (what was done, minutes), in order
    key_figures: Sequence[tuple[str, Prose, Prose]] = ()  # (value, what it is, remark) beside the page's own
    names: Mapping[str, Prose] = field(default_factory=dict)


def demo_report(data: DemoData, lang: str = "en") -> str:
    """The page that `jielong demo` leaves behind. `lang` is the language shown first."""
    sets = [BarSet(name, result.rows) for name, result in _systems(data)]
    sections = [
        _section("score", parts.SCORE, parts.scores(sets, data.names, _at_most(data))),
        _section("chats", parts.CHATS, parts.conversations(data.chats)),
        _section("aligned", parts.ALIGNED, parts.aligned(data.aligned, data.manners, data.names)),
        _section("curves", parts.CURVES, parts.curves(data.curves)),
        _section("tokens", parts.TOKENS, parts.tokens(data.sentences, data.merges, data.merge_example)),
        _section("next", parts.GUESSES, parts.guesses(data.guesses)),
        _section("try", parts.HINTS, parts.hints(data.hints)),
        _section("made", parts.MADE, parts.made(data.stages, data.machine, data.config, data.names)),
    ]
    return page(
        data.title,
        [s for s in sections if s is not None],
        lang=lang,
        lead=parts.lead(data.real_minutes),
        before=parts.key_figures(
            data.real_minutes, data.predicted_minutes, sets, _at_most(data), data.key_figures
        ),
        foot=parts.FOOT,
    )


def _systems(data: DemoData) -> list[tuple[Prose, Result]]:
    found: list[tuple[Prose, Result]] = []
    if data.base is not None:
        found.append((Words("base model", "基礎模型"), data.base))
    if data.assistant is not None:
        found.append((Words("assistant", "助理"), data.assistant))
    return found


def _at_most(data: DemoData) -> list[str]:
    found: list[str] = []
    for _, result in _systems(data):
        found += [str(name) for name in result.meta.get("at_most", [])]
    return found


def _section(key: str, names: tuple[Prose, Prose], body: Html) -> Section | None:
    return Section(key, names[0], body, names[1]) if body else None


def result_report(
    result: Result,
    *,
    claim: Prose = "",
    source: Prose = "",
    expect: Prose = "",
    verdict: str = "",
    stale: Sequence[str] = (),
    names: Mapping[str, Prose] | None = None,
    lang: str = "en",
) -> str:
    """One result: the claim and what was expected, the rows beside their controls, the pictures, the origin.

    A result whose control failed says so first: its numbers are shown, nothing is claimed from them.
    """
    intro = []
    if claim:
        intro.append(_line(Words("Claim", "主張"), claim))
    if source:
        intro.append(_line(Words("Source", "出處"), source))
    if expect:
        intro.append(_line(Words("Expected", "預期"), expect))
    if verdict:
        intro.append(element("p", join([_bold(Words("Verdict", "判定")), ": ", mark(verdict)])))
    if verdict == CONTROL_FAILED:
        intro.append(paragraph(FAILED))
    if stale:
        intro.append(_stale(stale))
    at_most = [str(name) for name in result.meta.get("at_most", [])]
    card = scorecard([BarSet("", result.rows)], title=result.title, names=names, at_most=at_most)
    drawn = [picture for name, value in result.series.items() if (picture := draw(name, value)) is not None]
    sections = [
        _section("claim", (Words("What was asked", "問題"), Words("Question", "問題")), join(intro)),
        _section("rows", (Words("What was measured", "量測結果"), Words("Rows", "數字")), card),
        _section("pictures", (Words("Pictures", "圖"), Words("Pictures", "圖")), join(drawn)),
        _section("origin", (Words("Where it comes from", "來源"), Words("Origin", "來源")), _origin(result)),
    ]
    return page(result.title, [s for s in sections if s is not None], lang=lang, foot=parts.FOOT)


FAILED = Words(
    "A control did not come out as it must, so the measurement cannot be trusted here: nothing is claimed.",
    "對照沒有得到應有的結果，因此這裡的量測不可信：不作任何宣稱。",
)


def _bold(prose: Prose) -> Html:
    return element("b", text(prose))


def _line(name: Prose, said: Prose) -> Html:
    return element("p", join([_bold(name), ": ", text(said)]))


def _stale(changed: Sequence[str]) -> Html:
    said = Words("Made by older sources; changed since", "由較舊的程式產生；此後已更動")
    files = fold(Words(f"files: {len(changed)}", f"{len(changed)} 個檔案"), join([text(", ".join(changed))]))
    return join([element("p", text(said), class_="mark warn"), files])


def _origin(result: Result) -> Html:
    meta = {key: value for key, value in result.meta.items() if key not in ("sources", "at_most")}
    line = str(meta.pop("command", ""))
    again = [heading(Words("Run it again", "再跑一次")), command(line)] if line else []
    return join([*again, facts(meta) if meta else Html("")])


@dataclass(frozen=True)
class LabCard:
    """One lab in the list of labs. `figure` is the main number as it is read; `href` its page."""

    name: str
    claim: Prose
    source: Prose
    verdict: str = NOT_RUN
    figure: str = ""
    command: str = ""
    minutes: float | None = None
    stale: Sequence[str] = ()
    href: str = ""


def lab_card(card: LabCard) -> Html:
    """A claim with its verdict, its figure, its source, its minutes and the command that repeats it."""
    title = element("a", text(card.claim), href=card.href) if card.href else text(card.claim)
    facts_ = [mark(card.verdict)]
    if card.figure and card.verdict != CONTROL_FAILED:
        facts_.append(element("span", card.figure))
    if card.minutes is not None:
        minutes = f"{card.minutes:.1f}"
        facts_.append(element("span", text(Words(f"{minutes} minutes", f"{minutes} 分鐘"))))
    if card.stale:
        facts_.append(element("span", text(Words("stale", "已過時")), class_="mark warn"))
    facts_.append(element("span", text(words(card.source))))
    inner = [element("h3", title), element("div", join(facts_), class_="line")]
    return element("div", join([*inner, command(card.command) if card.command else Html("")]), class_="card")


def labs_report(cards: Sequence[LabCard], *, lang: str = "en") -> str:
    """All labs on one page, with a count of the verdicts on top."""
    counts = {verdict: sum(card.verdict == verdict for card in cards) for verdict in MARKS}
    said = [element("span", join([mark(verdict), f" {count}"])) for verdict, count in counts.items() if count]
    body = join([element("p", join(said, "  ")), *(lab_card(card) for card in cards)])
    title = Words("The course's claims, measured", "課程的主張，實測")
    lead = Words(
        "Each claim is an experiment that anyone can repeat with the command below it.",
        "每一項主張都是一個實驗，任何人都能用下方的指令重做。",
    )
    return page(
        title, [Section("labs", Words("Claims", "主張"), body)], lang=lang, lead=lead, foot=parts.FOOT
    )
