"""Captions of faces in English and Traditional Chinese, captions read back, and their exact bits.

    from jielong.world.face_words import bits, caption, fits, meaning_of, understand
    caption(face, "en", draw=3)     "a smiling face with long red hair, glasses and dark skin"

A caption tells the expression, and each of the other seven traits of TRAITS with probability 1/2, each on its own. A
trait is a word for one or more levels of a slider; levels that share a word are left open.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import NamedTuple

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.world.check import normal
from jielong.world.faces import LEVELS, Face, Faces, as_record
from jielong.world.scene_entropy import Bits


class Word(NamedTuple):
    """A word for some levels of a slider, in two languages."""

    levels: tuple[object, ...]
    en: str
    zh: str


# trait: (slider, {word: its levels and how it is said})
TRAITS: dict[str, tuple[str, dict[str, Word]]] = {
    "expression": ("curvature", {
        "frowning": Word((-4, -3, -2), "frowning", "難過"), "calm": Word((-1, 0, 1), "calm", "平靜"),
        "smiling": Word((2, 3, 4), "smiling", "微笑"),
    }),
    "length": ("length", {
        "short": Word((0, 1), "short hair", "短髮"), "medium": Word((2,), "medium hair", "中長髮"),
        "long": Word((3, 4), "long hair", "長髮"),
    }),
    "hair": ("hair", {
        "black": Word(("black",), "black hair", "黑色頭髮"), "brown": Word(("brown",), "brown hair", "棕色頭髮"),
        "blond": Word(("blond",), "blond hair", "金色頭髮"), "red": Word(("red",), "red hair", "紅色頭髮"),
        "grey": Word(("grey",), "grey hair", "灰色頭髮"),
    }),
    "skin": ("skin", {
        "light": Word(("light",), "light skin", "淺色皮膚"), "tan": Word(("tan",), "tan skin", "小麥色皮膚"),
        "brown": Word(("brown",), "brown skin", "褐色皮膚"), "dark": Word(("dark",), "dark skin", "深色皮膚"),
    }),
    "eyes": ("eyes", {
        "small": Word((0, 1), "small eyes", "小眼睛"), "large": Word((2, 3), "large eyes", "大眼睛"),
    }),
    "brows": ("brow", {
        "sad": Word((-2, -1), "sad brows", "垂眉"), "level": Word((0,), "level brows", "平眉"),
        "angry": Word((1, 2), "angry brows", "豎眉"),
    }),
    "mouth": ("opening", {
        "closed": Word((0,), "a closed mouth", "嘴閉著"), "open": Word((1, 2, 3), "an open mouth", "嘴張開"),
    }),
    "glasses": ("glasses", {
        "no": Word((False,), "no glasses", "沒戴眼鏡"), "yes": Word((True,), "glasses", "戴眼鏡"),
    }),
}  # fmt: skip
FRAMES = {"en": ("{body}", "a picture of {body}"), "zh": ("{body}", "圖上是{body}")}


@dataclass(frozen=True, slots=True)
class FaceMeaning:
    """What a caption says of a face: a word of TRAITS for each trait, None for what is not said."""

    expression: str | None = None
    length: str | None = None
    hair: str | None = None
    skin: str | None = None
    eyes: str | None = None
    brows: str | None = None
    mouth: str | None = None
    glasses: str | None = None


def describe(face: Face) -> FaceMeaning:
    """Everything that a caption could say of a face."""
    found = {}
    for trait, (slider, words) in TRAITS.items():
        found[trait] = next(word for word, each in words.items() if getattr(face, slider) in each.levels)
    return FaceMeaning(**found)


def meaning_of(face: Face, draw: int = 0) -> FaceMeaning:
    """What the caption of that draw says, in either language. Draws of one face are independent."""
    key = ",".join(map(str, as_record(face).values()))
    coins = noise.uniform(noise.seed_of("face meaning", key), draw, n=len(TRAITS) - 1)
    told = {trait for trait, coin in zip(list(TRAITS)[1:], coins.tolist()) if coin < 0.5} | {"expression"}
    every = describe(face)
    return FaceMeaning(**{trait: getattr(every, trait) if trait in told else None for trait in TRAITS})


def caption(face: Face, lang: str, draw: int = 0) -> str:
    """One caption; it says the same in both languages."""
    return words(meaning_of(face, draw), lang, draw)


def words(meaning: FaceMeaning, lang: str, draw: int = 0) -> str:
    """A meaning in words: one of `wordings`, each as likely. Raises UserError for an unknown language."""
    every = wordings(meaning, lang)
    key = ",".join(str(getattr(meaning, trait)) for trait in TRAITS)
    return every[int(noise.uniform(noise.seed_of("face words", key, lang), draw) * len(every))]


def wordings(meaning: FaceMeaning, lang: str) -> tuple[str, ...]:
    """Every way to say a meaning."""
    if lang not in FRAMES:
        raise UserError(f"captions are in en or zh, not '{lang}'")
    told = [TRAITS[trait][1][word] for trait in TRAITS if (word := getattr(meaning, trait)) is not None]
    said = [each.zh if lang == "zh" else each.en for each in told]
    first = [said.pop(0)] if meaning.expression else []
    if lang == "zh":
        body = f"一張{''.join(f'{each}的' for each in first)}臉" + "".join(f"，{each}" for each in said)
    else:
        more = f"{', '.join(said[:-1])} and {said[-1]}" if len(said) > 1 else "".join(said)
        body = " ".join(["a", *first, "face"]) + (f" with {more}" if more else "")
    return tuple(frame.format(body=body) for frame in FRAMES[lang])


def understand(text: str) -> FaceMeaning | None:
    """What a caption says, or None for a text that is no caption of a face."""
    text = normal(text).replace(",", "，").rstrip(".。 ")
    zh = bool(re.search(r"[\u4e00-\u9fff]", text))
    if zh:
        found = re.fullmatch(r"(?:圖上是)?一張(?:(.+)的)?臉(?:，(.+))?", text.replace(" ", ""))
        rest = re.split("，", found[2]) if found and found[2] else []
    else:
        text = text.replace("，", ",").lower().removeprefix("a picture of ")
        found = re.fullmatch(r"an? (?:(\w+) )?face(?: with (.+))?", text)
        rest = re.split(r", and |, | and ", found[2]) if found and found[2] else []
    if found is None:
        return None
    back = {each.zh if zh else each.en: (trait, word) for trait, (_, words) in TRAITS.items()
            for word, each in words.items()}  # fmt: skip
    said = [back.get(each) for each in ([found[1]] if found[1] else []) + rest]
    told = [each for each in said if each is not None]
    if len(told) < len(said) or len(dict(told)) < len(told):
        return None
    return FaceMeaning(**dict(told))


def fits(meaning: FaceMeaning, face: Face | None) -> dict[str, bool]:
    """Whether a face is as a meaning says, for each trait that is said; no face: all is wrong."""
    found = {}
    for field in fields(meaning):
        slider, words = TRAITS[field.name]
        if (word := getattr(meaning, field.name)) is not None:
            found[field.name] = face is not None and getattr(face, slider) in words[word].levels
    return found


def bits(faces: Faces) -> Bits:
    """The exact entropies of a picture, of what its caption says, and of the picture given its caption. A trait is told
    with probability q, which its caption shows: H(caption) gains h(q) + q H(word)."""
    caption = 0.0
    for trait, (slider, words) in TRAITS.items():
        shares = [len(each.levels) / len(LEVELS[slider]) for each in words.values()]
        word = -sum(share * math.log2(share) for share in shares)
        caption += word if trait == "expression" else 1 + word / 2
    told = len(TRAITS) - 1  # coins, of one bit each, that say nothing of the face
    image = faces.image_bits()
    return Bits(image, caption, image + told - caption, round(2**image))
