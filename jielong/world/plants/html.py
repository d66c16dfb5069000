"""Web pages whose main text is known: what a boilerplate remover should keep, and nothing else.

Each page has a headline, two to five paragraphs (of the grammar's sentences, some with &, < and quotation
marks) and around them navigation, cookies, scripts, advertisements and legal lines. `main` in the provenance
is the headline and the paragraphs, one a line. Tests have a page layout of their own.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from jielong.world import grammar
from jielong.world.draws import langs
from jielong.world.kit import lists, origin, pick, side, wording
from jielong.world.text import Text
from jielong.world.values import TOWNS
from jielong.world.words.plants import HEADLINES, PAGES

if TYPE_CHECKING:
    from jielong.world.world import World

POOL = 4096
MOST = 5  # paragraphs
SENTENCES = 3
ODD = {"en": "\"Salt & pepper\" costs < 5.", "zh": "「鹽 & 胡椒」的價錢 < 5。"}


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """Whole pages."""
    tongues = langs(lang)
    for u in lists(n, 5 + MOST * SENTENCES, world.seed, "html", split, lang or "", draw):
        tongue = pick(tongues, u[0])
        pool, joint = _pool(world.seed, tongue, side(split)), " " if tongue == "en" else ""
        count = 2 + int(u[1] * (MOST - 1))
        paragraphs = []
        for i in range(count):
            lines = [pick(pool, x) for x in u[5 + i * SENTENCES : 5 + (i + 1) * SENTENCES]]
            paragraphs.append(joint.join([*lines, ODD[tongue]] if i == 1 and u[2] < 0.2 else lines))
        headline = HEADLINES[tongue].format(t=pick(TOWNS, u[3])[tongue == "zh"])
        layouts = PAGES[tongue][wording(split)]
        layout = int(u[4] * len(layouts))
        body = "\n".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in paragraphs)
        page = layouts[layout].replace("{h}", html.escape(headline)).replace("{p}", body)
        extra = {"main": "\n".join([headline, *paragraphs]), "layout": layout}
        template = f"html.{tongue}.{wording(split):d}.{layout}"
        yield Text(page, origin("html", tongue, split, "", template, extra))


@lru_cache(maxsize=8)
def _pool(seed: int, lang: str, part: str) -> tuple[str, ...]:
    from jielong.world.world import World

    return tuple(text.text for text in grammar.texts(World(seed), "grammar", POOL, 2, part, lang))
