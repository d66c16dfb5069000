"""Escaped markup, prose in two languages, and numbers as people read them. All of views stands on this.

Safe by construction: `Html` is markup that is already escaped; any other string that reaches `text` or
`element` is escaped there. What comes out is well-formed XML as well as HTML, whatever went in.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

VOID = frozenset({"meta", "input", "br", "hr", "col", "img"})
SVG_EMPTY = frozenset({"rect", "line", "path", "circle"})
DASH = "–"


class Html(str):
    """Markup that is already escaped and well formed. Only functions of this package make it."""

    __slots__ = ()


@dataclass(frozen=True)
class Words:
    """The same prose in English and in Traditional Chinese."""

    en: str
    zh: str


Prose = str | Words  # a plain string reads the same in both languages


def words(value: Any) -> Prose:
    """Prose from a string, a mapping with "en" and "zh", or any object with `.en` and `.zh`."""
    if isinstance(value, str | Words):
        return value
    if isinstance(value, Mapping):
        en, zh = str(value.get("en", "")), str(value.get("zh", ""))
    elif hasattr(value, "en") and hasattr(value, "zh"):
        en, zh = str(value.en), str(value.zh)
    else:
        return str(value)
    return Words(en or zh, zh or en)


def english(prose: Prose) -> str:
    return prose.en if isinstance(prose, Words) else prose


def chinese(prose: Prose) -> str:
    return prose.zh if isinstance(prose, Words) else prose


def both(prose: Prose) -> str:
    """One line with both languages, for places that cannot switch (an SVG's title, a tooltip)."""
    if isinstance(prose, Words) and prose.en != prose.zh:
        return f"{prose.en} / {prose.zh}"
    return english(prose)


def _visible(character: str) -> str:
    """A character XML can hold: controls become their pictures (␀), lone surrogates the replacement mark."""
    code = ord(character)
    if character in "\t\n\r" or 0x20 <= code < 0x7F:
        return character
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if 0x80 <= code < 0xA0 or 0xD800 <= code < 0xE000 or code in (0xFFFE, 0xFFFF):
        return "\ufffd"
    return character


def escape(value: object) -> Html:
    """Text as markup that shows exactly that text, in an element or in a quoted attribute."""
    if isinstance(value, Html):
        return value
    clean = "".join(_visible(character) for character in str(value))
    for raw, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        clean = clean.replace(raw, safe)
    return Html(clean)


def text(value: object) -> Html:
    """Markup of prose (both languages; the page shows one), of a number, of `None` (a dash), of a string."""
    if isinstance(value, Words):
        if value.en == value.zh:
            return escape(value.en)
        en = element("span", escape(value.en), class_="en", lang="en")
        return join([en, element("span", escape(value.zh), class_="zh", lang="zh-Hant")])
    if value is None:
        return Html(DASH)
    if isinstance(value, bool):
        return text(Words("yes", "是") if value else Words("no", "否"))
    if isinstance(value, int | float):
        return Html(number(value))
    return escape(value)


def join(parts: Iterable[str], between: str = "") -> Html:
    """Pieces of markup one after another; a piece that is not markup is escaped."""
    return Html(between.join(escape(part) for part in parts))


def element(name: str, content: object = "", /, **attributes: object) -> Html:
    """`<name a="...">content</name>`. `class_` and `text_anchor` become `class` and `text-anchor`;
    an attribute that is None is left out; numbers are written to a hundredth."""
    pairs = "".join(
        f' {key.rstrip("_").replace("__", ":").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = text(content)
    if name in VOID or (name in SVG_EMPTY and not inner):
        return Html(f"<{name}{pairs} />")
    return Html(f"<{name}{pairs}>{inner}</{name}>")


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return coordinate(value)
    return escape(value)


def coordinate(value: float) -> str:
    """A drawing coordinate, to a hundredth of a unit."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits or more, never fewer than the integer part: 1,234,567  12.3  0.953  3.2e-07.

    unit "share" prints a percentage of one (0.953 -> 95.3%); "%" is already a percentage; other units follow.
    """
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if unit in ("share", "%"):
        return _plain(value * 100 if unit == "share" else value, 1) + "%"
    size = abs(value)
    if size >= 1000 or float(value).is_integer():
        shown = _plain(value, 0)
    elif size >= 1e-3:
        shown = _plain(value, max(0, 2 - math.floor(math.log10(size))))
    else:
        shown = f"{value:.1e}".replace("-", "−")
    return f"{shown} {unit}" if unit else shown


def _plain(value: float, digits: int) -> str:
    shown = f"{value:,.{digits}f}"
    return shown.replace("-", "−") if float(shown.replace(",", "")) else shown.replace("-", "")


def width(shown: str, size: float) -> float:
    """About how wide a string is when set at `size`: wide characters one em, others a little over half."""
    wide = sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.56 for c in shown)
    return wide * size


def shorten(shown: str, size: float, room: float) -> str:
    """The string, cut with an ellipsis where it would be wider than `room`."""
    if width(shown, size) <= room:
        return shown
    cut = shown
    while cut and width(cut + "…", size) > room:
        cut = cut[:-1]
    return cut.rstrip() + "…"
