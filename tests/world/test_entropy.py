"""Exact entropies against enumeration, hand-made laws and draws."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from jielong.base.stats import g_test
from jielong.world import World
from jielong.world import facts as facts_module
from jielong.world.entropy import entropy
from jielong.world.world import _module

TINY = World(0, 10)
WITH_LAW = (
    "facts", "namesakes", "onetemplate", "onelang", "bopomofo", "events", "friends", "common", "guilds",
    "secrets", "sums", "sums_direct", "sums_words",
)  # fmt: skip


def test_derivations_of_one_string_are_merged():
    told = entropy([(0.25, "a"), (0.25, "a"), (0.5, "中")])
    assert told.nats == pytest.approx(math.log(2))
    assert told.bytes == pytest.approx(2.0) and told.bits_per_byte == pytest.approx(0.5)
    assert told.strings == 2


def test_a_law_must_sum_to_one():
    with pytest.raises(ValueError, match="must sum to 1"):
        entropy([(0.5, "a")])
    assert entropy([(1.0, ""), (0.0, "x")]).bits_per_byte == 0


@pytest.mark.parametrize("kind", WITH_LAW)
@pytest.mark.parametrize("lang", [None, "en", "zh"])
def test_the_law_is_what_is_written(kind, lang):
    if (kind, lang) == ("bopomofo", "en"):
        return
    law = Counter()
    for p, text in _module(kind).law(TINY, kind, lang):
        law[text] += p
    told = TINY.entropy(kind, lang)
    assert told.strings == len(law)
    assert told.nats == pytest.approx(-sum(p * math.log(p) for p in law.values()))
    assert told.bytes == pytest.approx(sum(p * len(t.encode()) for t, p in law.items()))
    drawn = [text.text for text in TINY.texts(kind, 4000, lang=lang)]
    assert set(drawn) <= set(law)
    surprise = [-math.log(law[text]) for text in drawn]
    spread = (sum((s - told.nats) ** 2 for s in surprise) / len(surprise)) ** 0.5
    assert abs(sum(surprise) / len(surprise) - told.nats) <= 5 * spread / 4000**0.5 + 1e-9


def test_facts_are_uniform_over_person_relation_language_and_wording():
    told = TINY.entropy("facts")
    assert told.strings == 10 * 8 * 12 * 2 and told.nats == pytest.approx(math.log(told.strings))
    assert World(0, 10).entropy("facts", "en").nats == pytest.approx(math.log(10 * 8 * 12))


def test_draws_follow_the_law():
    """Sampled entropy with Miller and Madow's correction, and a G-test of every string's count."""
    law = {text: p for p, text in facts_module.law(TINY, "facts", None)}
    n = 60_000
    counts = Counter(text.text for text in TINY.texts("facts", n))
    sampled = -sum(c / n * math.log(c / n) for c in counts.values()) + (len(counts) - 1) / (2 * n)
    assert sampled == pytest.approx(TINY.entropy("facts").nats, abs=5e-3)
    assert g_test(dict(counts), law) > 1e-4
