"""The sections of the demo's report, each a pure function of its part of the data ("" when there is none)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jielong.base.result import Result
from jielong.views.bars import BarSet
from jielong.views.charts import Axes, Level, Panel, Series, line, line_table, multiples
from jielong.views.chats import bubbles
from jielong.views.drawing import WIDE
from jielong.views.html import Tile, command, facts, figure, fold, heading, paragraph, table, tiles
from jielong.views.markup import Html, Prose, Words, both, chinese, element, english, escape, join, text
from jielong.views.scorecard import reached, scorecard
from jielong.views.tokens import Merge, Piece, Token, merge_table, next_bars, sentence

SCORE = Words("What it can do", "它會什麼"), Words("Scorecard", "成績單")
CHATS = Words("What it says", "它怎麼說"), Words("Chats", "對話")
ALIGNED = Words("What it was taught to prefer", "它學會偏好什麼"), Words("Aligned", "對齊")
CURVES = Words("How it learnt", "它怎麼學會"), Words("Curves", "曲線")
TOKENS = Words("What it sees", "它看見什麼"), Words("Tokens", "Token")
GUESSES = Words("What it expects next", "它預期下一個是什麼"), Words("Next token", "下一個")
HINTS = Words("What to try next", "接下來可以試試"), Words("Try", "試試")
MADE = Words("How it was made", "它怎麼做成"), Words("Making", "製作")
BITS = Axes(Words("tokens", "token 數"), Words("bits a byte", "位元 / 位元組"))
VALIDATION = Words("Validation, bits a byte", "驗證集，位元 / 位元組")
ENTROPY = Words("exact entropy", "精確熵")
FOOT = Words(
    "Made by Jielong. This page holds everything it shows: no script, nothing fetched.",
    "由接龍產生。本頁自成一體：沒有程式碼，不從網路取用任何東西。",
)


@dataclass(frozen=True)
class Curve:
    """One training run. All sequences are as long as `tokens`; nan (or None) where nothing was measured.

    Losses are nats a token; `bits` is validation in bits a byte; `entropy` the exact entropy of the text in
    bits a byte, which no model can go below; `kinds` further validation sets: (name, bits, their entropy).
    """

    name: Prose
    tokens: Sequence[float]
    train: Sequence[float | None]
    valid: Sequence[float | None] = ()
    bits: Sequence[float | None] = ()
    step: Sequence[float] = ()
    seconds: Sequence[float] = ()
    entropy: float | None = None
    kinds: Sequence[tuple[Prose, Sequence[float | None], float | None]] = ()


@dataclass(frozen=True)
class Sentence:
    """A sentence as its tokens: (piece as bytes or text, id)."""

    lang: str
    tokens: Sequence[Token]


@dataclass(frozen=True)
class Guess:
    """What a model expects after a prompt: (piece as bytes or text, probability), in any order."""

    prompt: str
    options: Sequence[tuple[Piece, float]]
    model: Prose = ""
    lang: str = ""


@dataclass(frozen=True)
class SampleChat:
    """A conversation ({"role", "content"} each) and a remark on it."""

    lang: str
    messages: Sequence[Mapping[str, str]]
    note: Prose = ""


@dataclass(frozen=True)
class Hint:
    """Something to try: why, and the command."""

    why: Prose
    command: str


def lead(minutes: float) -> Words:
    shown = f"{minutes:.1f}"
    return Words(
        f"From nothing to an assistant in {shown} minutes: a language model that was random numbers before, "
        "read a small world of text, then learnt to answer. Everything below was measured on this machine.",
        f"{shown} 分鐘，從零到一個助理：一個原本只是亂數的語言模型，先讀完一個小世界的文字，再學會回答。"
        "以下所有數字都是在這台機器上量得的。",
    )


def key_figures(
    minutes: float,
    predicted: float | None,
    sets: Sequence[BarSet],
    at_most: Collection[str],
    more: Sequence[tuple[str, Prose, Prose]],
) -> Html:
    """Minutes, bars reached, and what the caller adds."""
    note: Prose = ""
    if predicted is not None:
        shown = f"{predicted:.1f}"
        note = Words(f"predicted {shown}", f"預估 {shown}")
    found = [Tile(f"{minutes:.1f}", Words("minutes", "分鐘"), note)]
    if sets:
        done, all_ = reached(sets[-1].rows, at_most)
        if all_:
            found.append(Tile(f"{done} / {all_}", Words("bars reached", "項目標達成")))
    return tiles([*found, *(Tile(value, what, remark) for value, what, remark in more)])


def scores(sets: Sequence[BarSet], names: Mapping[str, Prose], at_most: Collection[str]) -> Html:
    if not sets:
        return Html("")
    said = Words(
        "The same questions to the base model, which has only read, and to the assistant, which was then "
        "shown how to answer.",
        "同樣的題目，分別問只讀過文字的基礎模型，以及之後學過如何回答的助理。",
    )
    title = Words("Base model and assistant", "基礎模型與助理")
    return join([paragraph(said), scorecard(sets, title=title, names=names, at_most=at_most)])


def conversations(chats: Sequence[SampleChat]) -> Html:
    if not chats:
        return Html("")
    return element("div", join(bubbles(c.messages, lang=c.lang, note=c.note) for c in chats), class_="pair")


def aligned(result: Result | None, manners: Sequence[SampleChat], names: Mapping[str, Prose]) -> Html:
    if result is None:
        return Html("")
    said = Words(
        "A copy of the assistant imitated a crowd that answers rudely, at length or wrongly, and then learnt from "
        "comparisons of its own answers. The true reward weighs what is right, in the user's language, brief and "
        "polite; answers are drawn at temperature 1.",
        "助理的一個副本先模仿一群說話無禮、冗長或答錯的人，再從自己回答的比較中學習。真正的獎勵看的是：正確、用對語言、"
        "簡短、有禮貌；回答以溫度 1 抽樣。",
    )
    shown = scorecard([BarSet(Words("true reward", "真正的獎勵"), result.rows)],
                      title=Words("Imitating and aligned", "模仿與對齊"), names=names)  # fmt: skip
    return join([paragraph(said), shown, conversations(manners)])


def curves(found: Sequence[Curve]) -> Html:
    parts: list[Html] = []
    for curve in found:
        parts.append(heading(curve.name))
        losses = _lines(curve, [(Words("training", "訓練"), curve.train), (Words("validation", "驗證"), curve.valid)])
        axes = Axes(Words("tokens", "token 數"), Words("loss, nats a token", "損失（nat / token）"))
        parts.append(_chart(losses, (), axes, Words("Loss", "損失")))
        levels = [] if curve.entropy is None else [Level(ENTROPY, curve.entropy)]
        parts.append(_chart(_lines(curve, [(Words("validation", "驗證"), curve.bits)]), levels, BITS, VALIDATION))
        parts.append(_kinds(curve))
    return join(parts)


def _kinds(curve: Curve) -> Html:
    """Each kind of text alone, above the entropy that nothing can go below."""
    panels = [
        Panel(name, lines, () if exact is None else (Level(ENTROPY, exact),))
        for name, values, exact in curve.kinds
        if (lines := _lines(curve, [(Words("validation", "驗證"), values)]))
    ]
    if not panels:
        return Html("")
    title = Words("Above the exact entropy", "高出精確熵多少")
    said = Words(
        "The world knows the law of these kinds of text, and so the least that any model must pay for them: the "
        "level line. A model that is not told which kind comes pays a little more.",
        "世界知道這幾種文字的機率分布，因此知道任何模型至少要付出多少：水平線。模型事先不知道下一篇是哪一種，所以會再多付一點。",
    )
    named = [(Words(f"{english(p.title)}, validation", f"{chinese(p.title)}，驗證"), p) for p in panels]
    rows = [replace(panel.series[0], name=name) for name, panel in named]
    return join([paragraph(said), figure(multiples(panels, title=title, axes=BITS), title, line_table(rows, BITS))])


def _lines(curve: Curve, wanted: Sequence[tuple[Prose, Sequence[float | None]]]) -> list[Series]:
    """The curves that have at least one value; points without one are left out, so lines do not break."""
    found = []
    for name, values in wanted:
        pairs = [(x, y) for x, y in zip(curve.tokens, values) if y is not None and y == y]
        if pairs:
            found.append(Series(name, [x for x, _ in pairs], [y for _, y in pairs]))
    return found


def _chart(series: Sequence[Series], levels: Sequence[Level], axes: Axes, title: Prose) -> Html:
    if not series:
        return Html("")
    drawn = line(series, title=title, axes=axes, levels=levels, size=(WIDE, 270.0))
    return figure(drawn, title, line_table(series, axes))


def tokens(sentences: Sequence[Sentence], merges: Sequence[Merge], example: Sequence[str]) -> Html:
    if not sentences and not merges:
        return Html("")
    parts = [
        paragraph(
            Words(
                "A model reads numbers. The tokenizer cuts text into pieces and gives each its id; a rare "
                "character may be cut into bytes, shown here over the character that they make.",
                "模型讀的是數字。分詞器把文字切成片段，每個片段有一個編號；少見的字可能被切成位元組，"
                "這裡把位元組畫在它們合成的字上方。",
            )
        )
    ]
    parts += [element("div", sentence(s.tokens), lang=LANGS.get(s.lang)) for s in sentences]
    if merges:
        title = Words(
            f"How its vocabulary began: the first {len(merges)} merges",
            f"詞彙的開端：前 {len(merges)} 次合併",
        )
        parts.append(fold(title, merge_table(merges, example)))
    return join(parts)


LANGS = {"zh": "zh-Hant", "en": "en"}


def guesses(found: Sequence[Guess]) -> Html:
    """Pictures in pairs, each below its prompt."""
    cells = []
    for guess in found:
        said = Words(f"After “{guess.prompt}”", f"「{guess.prompt}」之後")
        prompt = element("code", escape(guess.prompt), lang=LANGS.get(guess.lang))
        caption = join([prompt, element("span", join([" ", text(guess.model)]), class_="note")])
        cells.append(figure(next_bars(guess.options, title=both(said)), caption))
    return element("div", join(cells), class_="pair") if cells else Html("")


def hints(found: Sequence[Hint]) -> Html:
    return join(join([paragraph(hint.why, "hint"), command(hint.command)]) for hint in found)


def made(
    stages: Sequence[tuple[Prose, float]],
    machine: Mapping[str, Any],
    config: Mapping[str, Any],
    names: Mapping[str, Prose],
) -> Html:
    """Minutes of each stage, then the configuration and the machine, folded."""
    parts = []
    if stages:
        rows = [[text(name), f"{minutes:.1f}"] for name, minutes in stages]
        parts.append(table([Words("stage", "階段"), Words("minutes", "分鐘")], rows, align="lr"))
    if config:
        parts.append(fold(Words("Configuration", "設定"), facts(config, names)))
    if machine:
        parts.append(fold(Words("Machine", "機器"), facts(machine, names)))
    return join(parts)
