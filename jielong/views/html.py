"""One self-contained page: sections, tables, figures, a language switch. No script, nothing fetched.

The switch is two radio buttons and three rules of CSS, so the page reads the same where scripts are off, in a
mail, on paper. The page forbids itself everything else (Content-Security-Policy): text from a model that
somehow became markup could still do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jielong.views.markup import Html, Prose, Words, chinese, element, english, escape, join, number, text

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
NUMBERS = Words("The numbers", "數字")


@dataclass(frozen=True)
class Section:
    """A titled part of a page. `short` is its name in the line of contents (none: not listed there)."""

    key: str
    title: Prose
    body: Html
    short: Prose = ""


@dataclass(frozen=True)
class Tile:
    """A key figure: the value large, what it is, and a small remark."""

    value: str
    what: Prose
    note: Prose = ""


def page(
    title: Prose,
    sections: Sequence[Section],
    *,
    lang: str = "en",
    lead: Prose = "",
    before: Html | None = None,
    foot: Prose = "",
) -> str:
    """The whole document. `lang` ("en" or "zh") is the language shown first; `before` stands above the
    sections and `foot` below them."""
    first = "zh" if lang.startswith("zh") else "en"
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="generator", content="jielong"),
        element("title", chinese(title) if first == "zh" else english(title)),
        element("style", Html(sheet())),
    ]
    listed = [element("a", text(s.short), href=f"#{s.key}") for s in sections if s.short]
    choices = [
        element("label", "English", for_="lang-en", class_="to-en", lang="en"),
        element("label", "繁體中文", for_="lang-zh", class_="to-zh", lang="zh-Hant"),
    ]
    brand = element("span", "Jielong 接龍", class_="brand")
    top = join([brand, element("nav", join(listed)), element("div", join(choices), class_="langs")])
    lead_ = [element("p", text(lead), class_="lead")] if lead else []
    header = join([element("div", top, class_="top"), element("h1", text(title)), *lead_, before or Html("")])
    body = [
        *(_radio(name, name == first) for name in ("en", "zh")),
        element("header", header),
        element("main", join(section(s) for s in sections)),
        element("footer", paragraph(foot)) if foot else Html(""),
    ]
    root = element(
        "html", join([element("head", join(head)), element("body", join(body))]), lang=LANGS[first]
    )
    return f"<!DOCTYPE html>\n{root}\n"


def sheet() -> str:
    """The style sheet without its remarks and line ends."""
    css = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    lines = css.partition("*/")[2].splitlines()
    return " ".join(line.strip() for line in lines).strip()


LANGS = {"en": "en", "zh": "zh-Hant"}


def _radio(name: str, checked: bool) -> Html:
    return element(
        "input",
        type="radio",
        name="lang",
        id=f"lang-{name}",
        class_="pick",
        checked="checked" if checked else None,
        aria_label={"en": "English", "zh": "繁體中文"}[name],
    )


def section(part: Section) -> Html:
    """A section with its heading."""
    return element("section", join([element("h2", text(part.title)), part.body]), id=part.key)


def paragraph(prose: Prose, class_: str | None = None) -> Html:
    """A paragraph of prose."""
    return element("p", text(prose), class_=class_)


def heading(prose: Prose) -> Html:
    """A heading within a section."""
    return element("h3", text(prose))


def tiles(items: Sequence[Tile]) -> Html:
    """Key figures side by side."""
    parts = []
    for item in items:
        inner = [element("b", item.value), element("span", text(item.what), class_="what")]
        inner += [element("small", text(item.note))] if item.note else []
        parts.append(element("div", join(inner), class_="tile"))
    return element("div", join(parts), class_="tiles")


def table(
    headers: Sequence[Prose],
    rows: Sequence[Sequence[object]],
    *,
    align: str = "",
    caption: Prose = "",
) -> Html:
    """A table. `align` has a letter for each column, l or r; without it, columns of numbers stand right.

    A row of one cell is a heading over the rows that follow.
    """
    sides = align or "".join("r" if _numeric(rows, i) else "l" for i in range(len(headers)))
    head = [
        element("th", text(h), scope="col", class_="num" if side == "r" else None)
        for h, side in zip(headers, sides, strict=True)
    ]
    body = []
    for row in rows:
        if len(row) == 1 < len(headers):
            cell = element("th", text(row[0]), scope="rowgroup", class_="group", colspan=len(headers))
            body.append(element("tr", cell))
            continue
        cells = [
            element("td", text(value), class_="num" if side == "r" else None)
            for value, side in zip(row, sides, strict=True)
        ]
        body.append(element("tr", join(cells)))
    title = [element("caption", text(caption))] if caption else []
    parts = [*title, element("thead", element("tr", join(head))), element("tbody", join(body))]
    return element("div", element("table", join(parts)), class_="scroll")


def _numeric(rows: Sequence[Sequence[object]], column: int) -> bool:
    """Whether every cell of the column is a number, a dash, or text that begins like a number."""
    cells = [row[column] for row in rows if column < len(row) and len(row) > 1]
    return bool(cells) and all(_like_number(cell) for cell in cells)


def _like_number(cell: object) -> bool:
    if cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool)):
        return True
    if not isinstance(cell, str) or isinstance(cell, Html):
        return False
    return cell == number(None) or (cell[:1].isdigit() or (cell[:1] in "+-−" and cell[1:2].isdigit()))


def figure(
    picture: Html,
    caption: Prose,
    numbers: tuple[Sequence[Prose], Sequence[Sequence[object]]] | None = None,
    note: Prose = "",
) -> Html:
    """A picture with its caption above and the table that says the same below, folded."""
    extra = [Html(" "), element("span", text(note), class_="note")] if note else []
    head = [element("figcaption", join([text(caption), *extra]))] if caption or note else []
    parts = [*head, element("div", picture, class_="scroll")]
    if numbers is not None:
        parts.append(fold(NUMBERS, table(*numbers)))
    return element("figure", join(parts))


def fold(summary: Prose, body: Html, *, opened: bool = False) -> Html:
    """A part that opens on a click."""
    inner = join([element("summary", text(summary)), body])
    return element("details", inner, open="open" if opened else None)


def command(line: str) -> Html:
    """A command a person may copy."""
    return element("pre", element("code", line))


def facts(values: Mapping[str, Any], names: Mapping[str, Prose] | None = None) -> Html:
    """A mapping as a table of two columns; nested mappings read `outer.inner`."""
    named = names or {}
    rows = [[text(named.get(key, key)), escape(value)] for key, value in flat(values)]
    return table([Words("what", "項目"), Words("value", "值")], rows, align="ll")


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(dotted key, printed value) of a nested mapping."""
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            found.append((f"{prefix}{key}", ", ".join(str(item) for item in value)))
        elif isinstance(value, bool) or value is None:
            found.append((f"{prefix}{key}", {True: "yes", False: "no", None: number(None)}[value]))
        else:
            found.append((f"{prefix}{key}", number(value) if isinstance(value, int | float) else str(value)))
    return found
