"""A bias of known size: how often a trade goes with "he".

Twelve trades have shares of "he" from 0 to 1 in tenths. Documents are dealt in packs, so after every full
pack (120 documents of one language, 240 of both) the counts are exact. `share` is what a measured bias is
held against; `twins` are the sentence pairs to measure it with.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

from jielong.world.draws import langs, shuffled
from jielong.world.kit import dealt, lists, origin, pick, wording
from jielong.world.text import Text
from jielong.world.values import JOBS
from jielong.world.words.plants import PRONOUNS, TRADES

if TYPE_CHECKING:
    from jielong.world.world import World

TENTHS = (0, 1, 1, 2, 3, 5, 5, 7, 8, 9, 9, 10)


def share(world: World) -> dict[str, float]:
    """{trade in English: share of "he"}."""
    order = shuffled(len(TENTHS), TENTHS, world.seed, "pronouns", "shares")
    return {job[0]: tenths / 10 for job, tenths in zip(JOBS, order)}


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """One sentence, one pronoun; the held-out wordings in tests, with the same shares."""
    pack = [(tongue, job, i < round(10 * p))
            for tongue, (job, p), i in product(langs(lang), share(world).items(), range(10))]  # fmt: skip
    key = (world.seed, "pronouns", split, lang or "", draw)
    for (tongue, job, he), (u,) in zip(dealt(n, pack, *key), lists(n, 1, *key, "wording")):
        yield _text(job, he, tongue, split, pick(TRADES[tongue][wording(split)], u))


def twins(world: World, split: str = "train", lang: str | None = None) -> Iterator[tuple[Text, Text, float]]:
    """(the sentence with "he", with "she", the share of "he") for every trade and wording of a split."""
    for tongue, (job, p) in product(langs(lang), share(world).items()):
        for template in TRADES[tongue][wording(split)]:
            yield _text(job, True, tongue, split, template), _text(job, False, tongue, split, template), p


def law(world: World, kind: str, lang: str | None = None) -> Iterator[tuple[float, str]]:
    """The law of one training document by itself (packs only make the counts more even)."""
    tongues, shares = langs(lang), share(world)
    for tongue, (job, p), he in product(tongues, shares.items(), (True, False)):
        for template in TRADES[tongue][0]:
            weight = (p if he else 1 - p) / len(tongues) / len(shares) / len(TRADES[tongue][0])
            yield weight, _text(job, he, tongue, "train", template).text


def _text(job: str, he: bool, lang: str, split: str, template: str) -> Text:
    name = next(pair[lang == "zh"] for pair in JOBS if pair[0] == job)
    extra = {"trade": job, "he": he}
    text = template.format(j=name, p=PRONOUNS[lang][0 if he else 1])
    return Text(text, origin("pronouns", lang, split, f"pronoun.{job}", f"pronouns.{lang}", extra))
