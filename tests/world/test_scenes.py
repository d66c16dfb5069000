"""The law of scenes: draws, splits, closed forms and exact bits, each against enumeration."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from jielong.base.errors import UserError
from jielong.base.stats import g_test
from jielong.world.scene_entropy import Bits, bits, enumerated, p_caption, p_image_given
from jielong.world.scene_meaning import Meaning, Said, law, meaning_of
from jielong.world.scene_pixels import render_many
from jielong.world.scene_words import caption
from jielong.world.scenes import JITTERS, SHAPES, Jitter, Scene, Scenes, Thing, cell_sets, related

SMALL = Scenes(most=2, shapes=("circle", "square", "cross"), colours=("red", "blue"), sizes=("small",),
               backgrounds=("white",), jitters=JITTERS[::9])  # fmt: skip
PAIRED = Scenes(most=2, shapes=("circle", "cross"), colours=("red",), backgrounds=("grey", "black"),
                jitters=JITTERS[:2])  # fmt: skip
THREE = Scenes(most=3, shapes=SHAPES[:3], colours=("red",), sizes=("large",), backgrounds=("cyan",),
               jitters=JITTERS[:1])  # fmt: skip
# Of draws, pictures and captions at seed 0. A change here changes what every picture model is taught.
GOLDEN = "fc2360f78043"


def test_the_same_everywhere():
    found = hashlib.sha256()
    for split in ("train", "test", "unseen"):
        drawn = Scenes().draw(40, split)
        found.update(render_many(drawn).tobytes())
        found.update("".join(caption(s, lang, i) for i, (s, _) in enumerate(drawn) for lang in ("en", "zh")).encode())
    assert found.hexdigest()[:12] == GOLDEN


def test_streams():
    scenes = Scenes()
    assert scenes.draw(5000)[:100] == scenes.draw(100)
    assert scenes.draw(100) != scenes.draw(100, draw=1) and scenes.draw(100) != scenes.draw(100, "test")
    assert scenes.draw(100) != Scenes(1).draw(100)
    assert scenes.draw(0) == []


@pytest.mark.parametrize("scenes", [SMALL, PAIRED, Scenes(most=1)])
@pytest.mark.parametrize("split", ["train", "unseen"])
def test_the_law_sums_to_one(scenes, split):
    if split == "unseen" and not scenes.held_out:
        return
    every = list(scenes.law(split))
    assert math.fsum(p for p, _ in every) == pytest.approx(1)
    assert len({scene for _, scene in every}) == len(every)
    assert all(p > 0 for p, _ in every)


@pytest.mark.parametrize("split", ["train", "test", "unseen"])
def test_draws_follow_the_law(split):
    drawn = SMALL.draw(8000, split)
    law = {scene: p for p, scene in SMALL.law(split)}
    assert g_test(Counter(scene for scene, _ in drawn), law) > 1e-3
    assert g_test(Counter(jitter for _, jitter in drawn), dict.fromkeys(SMALL.jitters, 1 / 3)) > 1e-3


def test_held_out_pairs_are_never_in_train_and_always_in_unseen():
    scenes = Scenes(seed=3)
    assert sorted(shape for shape, _ in scenes.held_out) == sorted(SHAPES)
    assert len({colour for _, colour in scenes.held_out}) == 4
    assert scenes.held_out != Scenes(seed=4).held_out
    held = set(scenes.held_out)
    for split in ("train", "test", "unseen"):
        drawn = scenes.draw(4000, split)
        has = {bool(held & {thing.pair for thing in scene.things}) for scene, _ in drawn}
        assert has == {split == "unseen"}
        assert all((scenes.p(scene, "train") > 0) == (split != "unseen") for scene, _ in drawn[:300])
        assert all(scenes.p(scene, split) > 0 for scene, _ in drawn[:300])
        assert {len(scene.things) for scene, _ in drawn} == {1, 2, 3}
    pairs = {thing.pair for scene, _ in scenes.draw(4000) for thing in scene.things}
    assert len(pairs) == 20


def test_p_in_numbers():
    """By hand: 3 numbers, 9 cells, 40 kinds, 4 grounds; two alike: 1/4 together, and by chance."""
    scenes = Scenes()
    (shape, colour, _), (other, hue, _) = scenes.kinds[0], scenes.kinds[-1]
    one = Thing(shape, colour, "small", 0)
    assert scenes.p(Scene((one,), "grey")) == pytest.approx(1 / (3 * 9 * 40 * 4))
    twins = Scene((one, Thing(shape, colour, "small", 5)), "grey")
    assert scenes.p(twins) == pytest.approx((1 / 4 / 40 + 3 / 4 / 40**2) / (3 * 36 * 4))
    assert scenes.p(Scene((one, Thing(other, hue, "large", 5)), "grey")) == pytest.approx(3 / 4 / 40**2 / (3 * 36 * 4))
    new = Thing(*scenes.held_out[0], "small", 5)
    assert scenes.p(Scene((one, new), "grey"), "unseen") == pytest.approx(3 / 4 / (2 * 8 * 40) / (3 * 36 * 4))
    assert scenes.p_image(twins, Jitter()) == pytest.approx(scenes.p(twins) / 27)
    assert Scenes(most=1).p(twins) == 0 == scenes.p(Scene((new,), "grey"))


@pytest.mark.parametrize("scenes", [PAIRED, THREE])
def test_bits_are_those_of_enumeration(scenes):
    """Every scene, every meaning, every picture drawn: the shortcut by classes has to give the same three numbers."""
    said: dict[Meaning, float] = defaultdict(float)
    joint = 0.0
    for p, scene in scenes.law():
        for meaning, q in law(scene).items():
            said[meaning] += p * q
            joint -= p * q * math.log2(p * q)
    caption = -sum(p * math.log2(p) for p in said.values())
    image, pictures = enumerated(scenes)
    expected = Bits(image, caption, joint + math.log2(len(scenes.jitters)) - caption, pictures)
    found = bits(scenes)
    assert found.pictures == expected.pictures
    for name in ("image", "caption", "given"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-8)
    for meaning in list(said)[::97]:
        assert p_caption(scenes, meaning) == pytest.approx(said[meaning])
    meaning = max(said, key=lambda each: said[each])
    given = (p_image_given(scenes, s, j, meaning) for p, s in scenes.law() for j in scenes.jitters)
    assert math.fsum(given) == pytest.approx(1)


def test_one_thing_is_15_bits_and_what_looks_alike_is_merged():
    one = Scenes(most=1, jitters=JITTERS[:9])
    assert bits(Scenes(most=1)).image == pytest.approx(math.log2(1440 * 27))
    assert enumerated(one) == (pytest.approx(math.log2(1440 * 9)), 1440 * 9)
    # Without brightness (beside the ground's corner) three pictures each look alike; without colours all do.
    assert enumerated(one, see=lambda x: x - x[:, -1:, -1:])[0] == pytest.approx(math.log2(1440 * 3))
    assert enumerated(one, see=lambda x: 0 * x[:, :1]) == (pytest.approx(0, abs=1e-9), 1)


@pytest.mark.parametrize(("most", "image", "given"), [
    (2, 19.5990484052, 8.9141338944), pytest.param(3, 23.0704547820, 9.9077315101, marks=pytest.mark.slow),
])  # fmt: skip
def test_bits_against_draws(most, image, given):
    """Mean surprise of draws within 4 standard errors of the exact entropies."""
    scenes = Scenes(most=most)
    exact, drawn = bits(scenes), scenes.draw(1000, "test")
    assert (exact.image, exact.given) == (pytest.approx(image), pytest.approx(given))
    plain = [-math.log2(scenes.p_image(*each)) for each in drawn]
    told = [-math.log2(p_image_given(scenes, s, j, meaning_of(s, i))) for i, (s, j) in enumerate(drawn)]
    for values, mean in ((plain, exact.image), (told, exact.given)):
        assert abs(np.mean(values) - mean) < 4 * np.std(values) / math.sqrt(len(values))


def test_relations():
    at = [Thing("circle", "red", "small", cell) for cell in range(9)]
    for a in range(9):
        for b in range(9):
            (y, x), (v, u) = divmod(a, 3), divmod(b, 3)
            found = [related(at[a], name, at[b]) for name in ("left", "right", "above", "below")]
            assert found == [x < u, x > u, y < v, y > v]
    assert [len(cell_sets(k)) for k in (1, 2, 3)] == [9, 36, 84]


def test_wrong_input():
    for wrong in ({"most": 4}, {"most": 0}, {"shapes": ("hexagon",)}, {"colours": ()}, {"jitters": ()},
                  {"sizes": ("small", "small")}):  # fmt: skip
        with pytest.raises(UserError):
            Scenes(**wrong)
    with pytest.raises(UserError, match="split must be"):
        Scenes().draw(1, "asked")
    with pytest.raises(UserError, match="negative"):
        Scenes().draw(-1)
    with pytest.raises(UserError, match="nothing is held out"):
        PAIRED.draw(1, "unseen")
    with pytest.raises(UserError, match="more than 2000000"):
        enumerated(Scenes(most=2), see=lambda x: x[:, :1, :1])
    with pytest.raises(UserError, match="no scene of training"):
        p_image_given(SMALL, next(SMALL.law())[1], SMALL.jitters[0], Meaning((Said("triangle", "red"),)))
    one, other = Thing("circle", "red", "small", 4), Thing("circle", "red", "small", 2)
    for things in ((), (one, other), (one, one)):
        with pytest.raises(ValueError, match="reading order"):
            Scene(things, "grey")
    with pytest.raises(ValueError, match="no ground"):
        Scene((one,), "red")
    with pytest.raises(ValueError, match="no such thing"):
        Thing("circle", "white", "small", 0)
