"""What every picture is drawn with: the palette, labels in two languages, legends, the outer element.

Colours are CSS variables with fallbacks, so a picture follows the page's light or dark scheme and still
stands alone (`standalone`).
"""

from __future__ import annotations

from collections.abc import Sequence

from jielong.views.markup import Html, Prose, Words, both, chinese, coordinate, element, english, join, width

# Okabe and Ito's palette (distinct to colour-blind readers), the light ones darkened for white paper.
COLOURS = ("#0b6fb3", "#c8500a", "#008a66", "#a3458a", "#946c00", "#3d8fc4", "#5c5c5c")
INK, FAINT = "var(--ink,#1d2127)", "var(--faint,#5d6570)"
GRID, PAPER = "var(--grid,#e3e5e8)", "var(--paper,#fff)"
SIZE = 12.5
WIDE = 880.0  # of a picture across the page


def colour(index: int) -> str:
    """The palette's colour as a CSS value that follows the page's scheme."""
    place = index % len(COLOURS)
    return f"var(--c{place},{COLOURS[place]})"


def label(prose: Prose, x: float, y: float, **attributes: object) -> Html:
    """Text in a drawing, once in each language where they differ; the page shows one of them."""
    options = {"fill": INK, "font_size": SIZE} | attributes
    if isinstance(prose, Words) and prose.en != prose.zh:
        first = element("text", prose.en, x=x, y=y, class_="en", lang="en", **options)
        return join([first, element("text", prose.zh, x=x, y=y, class_="zh", lang="zh-Hant", **options)])
    return element("text", english(prose), x=x, y=y, **options)


def prose_width(prose: Prose, size: float = SIZE) -> float:
    """Room for the wider of the two languages."""
    return max(width(english(prose), size), width(chinese(prose), size))


def svg(width_: float, height: float, title: Prose, desc: Prose, content: Html) -> Html:
    """The outer element, with a name and a description for those who do not see it."""
    head = join([element("title", both(title)), element("desc", both(desc))])
    return element(
        "svg",
        join([head, content]),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {coordinate(width_)} {coordinate(height)}",
        width=width_,
        height=height,
        role="img",
        aria_label=both(title),
        class_="chart wide" if width_ >= WIDE else "chart",
        font_family="inherit",
    )


def standalone(picture: str, lang: str = "en") -> str:
    """The same picture as an SVG file: one language, a white ground, fonts of its own."""
    hidden = "zh" if lang == "en" else "en"
    style = f".{hidden}{{display:none}}text{{font-family:system-ui,'Noto Sans TC','PingFang TC',sans-serif}}"
    ground = element("rect", width="100%", height="100%", fill="#fff")
    head, _, rest = picture.partition("</desc>")
    return f"{head}</desc><style>{style}</style>{ground}{rest}\n"


def legend(entries: Sequence[tuple[Prose, str]], x: float, y: float) -> Html:
    """Swatches with names in one row."""
    parts = []
    for name, fill in entries:
        parts.append(element("rect", x=x, y=y - 9.0, width=10.0, height=10.0, rx=2.0, style=f"fill:{fill}"))
        parts.append(label(name, x + 15.0, y))
        x += 15.0 + prose_width(name) + 18.0
    return join(parts)


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Rising places moved as little as a downward and an upward sweep allow, at least `gap` apart."""
    moved = list(places)
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + gap)
    if moved and moved[-1] > high:
        moved[-1] = max(high, low + gap * (len(moved) - 1))
        for index in range(len(moved) - 2, -1, -1):
            moved[index] = min(moved[index], moved[index + 1] - gap)
    return moved
