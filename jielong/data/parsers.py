"""Markdown, HTML, PDF and DOCX as sections of text: see `documents` for the limits they run under."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jielong.base.errors import UserError
from jielong.data.decode import open_bytes
from jielong.data.documents import BYTES, PAGES, UNPACKED, Builder, Content, text_of

SILENT = frozenset("script style template noscript head svg iframe object canvas math nav".split())
BLOCK = frozenset(
    "address article aside blockquote body dd details div dl dt fieldset figcaption figure footer form header hr html "
    "li main ol p pre section summary table tbody tfoot thead tr ul".split()
)
HEADING = re.compile(r"h([1-6])$")
PARTS = 10_000  # files in a DOCX


class Headings:
    """Which headings a text stands under, as "Methods > Data"."""

    def __init__(self) -> None:
        self.open: list[tuple[int, str]] = []

    def put(self, level: int, text: str) -> None:
        """A heading ends those of its level and below."""
        self.open = [each for each in self.open if each[0] < level]
        if text := " ".join(text.split())[:200]:
            self.open.append((level, text))

    def __str__(self) -> str:
        return " > ".join(text for _, text in self.open)


def markdown(path: Path) -> Content:
    """CommonMark: sections between headings; a heading in a block of code is none."""
    from markdown_it import MarkdownIt

    text = text_of(path)
    lines, builder, headings, title, at = text.split("\n"), Builder(), Headings(), "", 0
    tokens = MarkdownIt().parse(text)
    for token, inside in zip(tokens, tokens[1:]):
        if token.type == "heading_open" and token.level == 0 and token.map:
            builder.add("\n".join(lines[at : token.map[0]]), str(headings))
            headings.put(int(token.tag[1]), inside.content)
            title = title or inside.content
            at = token.map[1]
    builder.add("\n".join(lines[at:]), str(headings))
    return builder.content(title)


def html(path: Path) -> Content:
    """What a page shows: without scripts, styles and navigation. Nothing it names is fetched."""
    from lxml import etree
    from lxml import html as pages

    with open_bytes(path) as file:
        raw = file.read(BYTES + 1)
    if len(raw) > BYTES:
        raise UserError(f"more than {BYTES:,} bytes")
    try:
        raw.decode()
        encoding = "utf-8"
    except UnicodeDecodeError:
        encoding = None  # what the page says of itself
    parser = pages.HTMLParser(encoding=encoding, no_network=True, huge_tree=False, remove_comments=True,
                              remove_pis=True)  # fmt: skip
    try:
        root = pages.document_fromstring(raw, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError) as error:
        raise UserError(f"no HTML in it ({' '.join(str(error).split())[:100]})") from None
    builder, headings, said = Builder(), Headings(), list[str]()
    for kind, text in _shown(root):
        if level := HEADING.match(kind):
            builder.add(_tidy("".join(said)), str(headings))
            said.clear()
            headings.put(int(level[1]), text)
        else:
            said.append(text)
    builder.add(_tidy("".join(said)), str(headings))
    return builder.content(root.findtext(".//title") or "")


def _shown(root: Any) -> Iterator[tuple[str, str]]:
    """(tag, text) of a page in order: a heading whole, of the rest pieces and borders; without recursion."""
    waiting: list[tuple[Any, bool, bool]] = [(root, False, False)]  # element, at its end?, are line ends meant?
    while waiting:
        element, ends, lines = waiting.pop()
        tag = element.tag if isinstance(element.tag, str) else ""
        border = "\n\n" if tag in BLOCK else ""
        if HEADING.match(tag) and not ends:
            yield tag, " ".join(element.itertext())
        elif tag and tag not in SILENT and not ends:
            inside = lines or tag == "pre"
            yield "", "\n" if tag == "br" else border if tag != "tr" else ""
            yield "", _one_line(element.text, inside)
            waiting.append((element, True, lines))
            waiting += [(child, False, inside) for child in reversed(element)]
            continue
        elif ends:
            yield "", " | " if tag in ("td", "th") else "\n" if tag == "tr" else border
        yield "", _one_line(element.tail, lines)


def _one_line(text: str | None, lines: bool) -> str:
    return (text or "") if lines else re.sub(r"\s+", " ", text or "")


def _tidy(text: str) -> str:
    """Single spaces, single empty lines."""
    lines = (" ".join(line.split()).strip("| ") for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def pdf(path: Path) -> Content:
    """Page after page, under the headings of its outline."""
    import pypdf
    from pypdf.errors import FileNotDecryptedError

    with pypdf.PdfReader(path) as reader:
        try:
            if reader.is_encrypted and not reader.decrypt(""):
                raise UserError("is locked by a password: store it without")
            if len(reader.pages) > PAGES:
                raise UserError(f"{len(reader.pages):,} pages; at most {PAGES:,} are read")
        except (FileNotDecryptedError, pypdf.errors.DependencyError):
            raise UserError("is locked in a way that cannot be opened here: store it without") from None
        heads, builder, heading = _outline(reader), Builder(), ""
        for number, page in enumerate(reader.pages, 1):
            heading = heads.get(number, heading)
            builder.add(_lines(page.extract_text()), heading, number)
        title = reader.metadata.title if reader.metadata else ""
    return builder.content(title if isinstance(title, str) else "")


def _outline(reader: Any) -> dict[int, str]:
    """Page -> the last heading of the outline that points to it; none where there is no outline, or a broken one."""
    found: dict[int, str] = {}
    headings = Headings()

    def walk(items: Any, level: int) -> None:
        for item in items:
            if isinstance(item, list):
                if level < 8:
                    walk(item, level + 1)
            elif (page := reader.get_destination_page_number(item)) is not None:
                headings.put(level, str(item.title))
                found[page + 1] = str(headings)

    try:
        walk(reader.outline, 1)
    except Exception:
        return {}
    return found


def _lines(text: str) -> str:
    """A page's text: words cut at a line's end put together; lines of one paragraph stay lines."""
    text = re.sub(r"(?<=[a-z])-\n(?=[a-z])", "", text)
    return re.sub(r"[^\S\n]+\n", "\n", text)


def docx(path: Path) -> Content:
    """Paragraphs under their headings; a row of a table is a line."""
    import docx as word
    from docx.opc.exceptions import PackageNotFoundError
    from docx.table import Table

    _check_zip(path)
    try:
        document = word.Document(str(path))
    except (PackageNotFoundError, KeyError, ValueError) as error:
        raise UserError(f"no DOCX ({' '.join(str(error).split())[:100]})") from None
    builder, headings, said = Builder(), Headings(), list[str]()
    for item in document.iter_inner_content():
        if isinstance(item, Table):
            said += [" | ".join(" ".join(cell.text.split()) for cell in row.cells) for row in item.rows]
            said.append("")
            continue
        style = (item.style.name if item.style is not None else None) or ""
        level = re.match(r"heading (\d)$", style, re.IGNORECASE)
        if level or style == "Title":
            builder.add("\n".join(said), str(headings))
            said.clear()
            headings.put(int(level[1]) if level else 0, item.text)
        else:
            said += [item.text, ""]
    builder.add("\n".join(said), str(headings))
    return builder.content(document.core_properties.title or "")


def _check_zip(path: Path) -> None:
    """UserError for what is no archive, or says that it unpacks to too much (more than it says is never unpacked)."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"no DOCX ({error})") from None
    if len(parts) > PARTS or sum(part.file_size for part in parts) > UNPACKED:
        raise UserError(f"unpacks to more than {PARTS:,} files or {UNPACKED:,} bytes")
