"""Captions of scenes in English and Traditional Chinese, and captions read back.

    from jielong.world.scene_words import caption, fits, meaning_of, understand, words
    caption(scene, "en", draw=3)                  "a large red circle left of a blue square on grey"
    understand("兩個綠色叉形，背景是白色")           its Meaning, which `fits` holds against a scene

The words of a meaning are chosen independently of the scene: two frames, and any order of what is named. A caption
therefore tells its meaning and nothing else, and p(picture | caption) is p(picture | meaning).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import permutations

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.world.check import normal
from jielong.world.scene_meaning import OPPOSITE, Meaning, Said, canonical, fits, law, meaning_of
from jielong.world.scenes import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES, Scene

__all__ = ["Meaning", "Said", "caption", "captions", "fits", "meaning_of", "understand", "wordings", "words"]

LANGS = ("en", "zh")
Reader = Callable[[str], Said | None]
ZH = {
    "circle": "圓形", "square": "方形", "triangle": "三角形", "cross": "叉形", "thing": "東西",
    "red": "紅色", "green": "綠色", "blue": "藍色", "yellow": "黃色", "purple": "紫色", "orange": "橘色",
    "white": "白色", "grey": "灰色", "black": "黑色", "cyan": "青色", "small": "小的", "large": "大的",
    "left": "左邊", "right": "右邊", "above": "上面", "below": "下面",
}  # fmt: skip
NUMBERS = {
    "en": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "zh": ("零", "一", "兩", "三", "四", "五", "六", "七", "八", "九"),
}
PLACES = {
    "en": ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right"),
    "zh": ("左上角", "正上方", "右上角", "正左方", "正中央", "正右方", "左下角", "正下方", "右下角"),
}
# [without a ground, with one]; the first frame of each is the plain one.
FRAMES = {
    "en": (("{body}", "a picture of {body}"), ("{body} on {ground}", "{body} on a {ground} background")),
    "zh": (("{body}", "圖上：{body}"), ("{ground}背景上，{body}", "{body}，背景是{ground}")),
}
MORE = {"big": "large", "little": "small", "gray": "grey", "center": "centre", "middle": "centre"}


def name(word: str, lang: str) -> str:
    """A shape, colour, size, ground or relation in a language."""
    if lang == "zh":
        return ZH[word]
    return f"{word} of" if word in ("left", "right") else word


def caption(scene: Scene, lang: str, draw: int = 0) -> str:
    """One caption; draws of one scene are independent, and say the same in both languages."""
    return words(meaning_of(scene, draw), lang, draw)


def captions(scene: Scene, lang: str) -> dict[str, float]:
    """{caption: probability} of every caption that a scene can have in a language."""
    found: dict[str, float] = {}
    for meaning, p in law(scene).items():
        every = list(wordings(meaning, lang))
        for text in every:
            found[text] = found.get(text, 0.0) + p / len(every)
    return found


def words(meaning: Meaning, lang: str, draw: int = 0) -> str:
    """A meaning in words: one of `wordings`, each as likely. Raises UserError for an unknown language."""
    ways = _ways(meaning, lang)
    pick = noise.uniform(noise.seed_of("scene words", _key(meaning), lang), draw)
    return _say(meaning, lang, *ways[int(pick * len(ways))])


def wordings(meaning: Meaning, lang: str) -> Iterator[str]:
    """Every way to say a meaning."""
    return (_say(meaning, lang, *way) for way in _ways(meaning, lang))


def _ways(meaning: Meaning, lang: str) -> list[tuple[int, tuple[int, ...]]]:
    """(frame, order of naming) of every wording; of related things the second first means "right" or "below"."""
    if lang not in LANGS:
        raise UserError(f"captions are in en or zh, not '{lang}'")
    if not meaning.things:
        raise UserError("a caption must name one thing at least")
    order = list(permutations(range(len(meaning.things))))
    if meaning.relation:
        order = [each for each in order if set(each[:2]) == {0, 1} and list(each[2:]) == sorted(each[2:])]
    return [(frame, each) for frame in (0, 1) for each in order]


def _key(meaning: Meaning) -> str:
    things = (f"{s.count}{s.size}{s.colour}{s.shape}{s.cell}" for s in meaning.things)
    return ",".join([str(meaning.background), str(meaning.relation), *things])


def _say(meaning: Meaning, lang: str, frame: int, order: tuple[int, ...]) -> str:
    each = [_noun(meaning.things[i], lang) for i in order]
    relation = meaning.relation
    if relation:
        body = _related(each, relation if order[0] == 0 else OPPOSITE[relation], lang)
    elif lang == "en":
        body = each[0] if len(each) == 1 else f"{', '.join(each[:-1])} and {each[-1]}"
    elif any(said.cell is not None for said in meaning.things):
        body = "，".join(each)
    else:
        body = each[0] if len(each) == 1 else f"{'、'.join(each[:-1])}和{each[-1]}"
    ground = meaning.background
    return FRAMES[lang][ground is not None][frame].format(body=body, ground=name(ground, lang) if ground else "")


def _related(each: list[str], relation: str, lang: str) -> str:
    if lang == "en":
        rest = "".join(f", and {more}" for more in each[2:])
        return f"{each[0]} {name(relation, lang)} {each[1]}{rest}"
    return f"{each[0]}在{each[1]}的{name(relation, lang)}" + "".join(f"，還有{more}" for more in each[2:])


def _noun(said: Said, lang: str) -> str:
    """What is said of some alike things: "two large red circles", "左上角有一個大的紅色圓形"."""
    number = NUMBERS[lang][said.count] if said.count < 10 else str(said.count)
    if lang == "zh":
        what = "".join(name(word, lang) for word in (said.size, said.colour, said.shape or "thing") if word)
        place = "" if said.cell is None else f"{PLACES[lang][said.cell]}有"
        return f"{place}{number}個{what}"
    what = " ".join(word for word in (said.size, said.colour, said.shape or "thing") if word)
    if said.count == 1:
        what = f"{'an' if what[0] in 'aeiou' else 'a'} {what}"
    else:
        what = f"{number} {what}{'es' if what.endswith('s') else 's'}"
    return what if said.cell is None else f"{what} at the {PLACES[lang][said.cell]}"


def understand(text: str) -> Meaning | None:
    """What a caption says, in the order of `canonical`; None for a text that is no caption of a scene.

    Reads every wording of every meaning in both languages, and small liberties: capitals, a full stop, digits,
    "big", "gray", "to the left of".
    """
    text = normal(text).replace(",", "，").replace(":", "：").rstrip(".。 ")
    if re.search(r"[\u4e00-\u9fff]", text):
        found = _understand_zh(text.replace(" ", ""))
    else:
        found = _understand_en(text.replace("，", ",").replace("：", ":").lower())
    return None if found is None else canonical(found)


def _understand_en(text: str) -> Meaning | None:
    text = re.sub(r"[a-z]+", lambda word: MORE.get(word[0], word[0]), text).removeprefix("a picture of ")
    ground, sides = None, "|".join(BACKGROUNDS)
    if found := re.fullmatch(rf"(.+) on (?:an? )?({sides})(?: background)?", text):
        text, ground = found[1], found[2]
    parts = re.split(r" (?:to the )?(left|right|above|below)(?: of)? (?=(?:an?|one|\d) )", text)
    if len(parts) == 1:
        return _meaning(re.split(r", and |, | and ", text), None, ground, _read_en)
    if len(parts) != 3:
        return None
    return _meaning([parts[0], *re.split(r", and |, | and ", parts[2])], parts[1], ground, _read_en)


def _understand_zh(text: str) -> Meaning | None:
    text, ground = text.removeprefix("圖上："), None
    back = {ZH[word]: word for word in (*BACKGROUNDS, *RELATIONS)}
    sides = "|".join(ZH[word] for word in BACKGROUNDS)
    if found := re.fullmatch(rf"({sides})背景上，(.+)|(.+)，背景是({sides})", text):
        text, ground = found[2] or found[3], back[found[1] or found[4]]
    if found := re.fullmatch(r"(.+)在(.+)的(左邊|右邊|上面|下面)(?:，還有(.+))?", text):
        each = [part for part in (found[1], found[2], found[4]) if part]
        return _meaning(each, back[found[3]], ground, _read_zh)
    return _meaning(re.split("[，、和]", text), None, ground, _read_zh)


def _meaning(parts: list[str], relation: str | None, ground: str | None, read: Reader) -> Meaning | None:
    things = [read(part) for part in parts]
    if any(said is None or said.count < 1 for said in things):
        return None
    return Meaning(tuple(said for said in things if said is not None), relation, ground)


def _read_en(text: str) -> Said | None:
    numbers = "|".join(NUMBERS["en"])
    found = re.fullmatch(
        rf"(an?|{numbers}|\d)(?: ({'|'.join(SIZES)}))?(?: ({'|'.join(COLOURS)}))? ({'|'.join(SHAPES)}|thing)(?:e?s)?"
        rf"(?: (?:at|in) the ({'|'.join(PLACES['en'])}))?", text
    )  # fmt: skip
    return None if found is None else _said(found[1], found[2], found[3], found[4], found[5], "en")


def _read_zh(text: str) -> Said | None:
    back = {word: english for english, word in ZH.items()}
    found = re.fullmatch(
        rf"(?:({'|'.join(PLACES['zh'])})有)?([{''.join(NUMBERS['zh'])}二\d])個"
        rf"({'|'.join(ZH[each] for each in SIZES)})?({'|'.join(ZH[each] for each in COLOURS)})?的?"
        rf"({'|'.join(ZH[each] for each in (*SHAPES, 'thing'))})", text
    )  # fmt: skip
    if found is None:
        return None
    size, colour, shape = (back[word] if word else None for word in found.groups()[2:])
    return _said(found[2], size, colour, shape, found[1], "zh")


def _said(
    number: str, size: str | None, colour: str | None, shape: str | None, place: str | None, lang: str
) -> Said | None:
    """None for several things in one place."""
    same = {"a": "1", "an": "1", "二": "2"}
    count = NUMBERS[lang].index(number) if number in NUMBERS[lang] else int(same.get(number, number))
    cell = None if place is None else PLACES[lang].index(place)
    return None if place and count != 1 else Said(None if shape == "thing" else shape, colour, size, cell, count)
