"""Questions about a scene with their right answers, for models that look and answer.

    from jielong.world.scene_questions import check, question
    q = question(scene, "en", draw=3)             "What colour is the circle at the top left?" -> "Red."
    check(q, "It is red.")                        right, wrong, refused or nonsense

Every question has exactly one right answer: what is asked after is named only where that names one thing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import permutations

from jielong.base import noise
from jielong.world.kit import judge_choice, origin
from jielong.world.scene_meaning import scene_name
from jielong.world.scene_words import NUMBERS, PLACES, ZH, name
from jielong.world.scenes import BACKGROUNDS, CELLS, COLOURS, MOST, RELATIONS, SHAPES, SIZES, Scene, Thing, related
from jielong.world.text import Question

ASK = {
    ("count", "en"): "How many things are there?",
    ("count", "zh"): "圖上有幾個東西？",
    ("count colour", "en"): "How many {colour} things are there?",
    ("count colour", "zh"): "圖上有幾個{colour}的東西？",
    ("count shape", "en"): "How many {shapes} are there?",
    ("count shape", "zh"): "圖上有幾個{shape}？",
    ("shape", "en"): "What shape is at the {place}?",
    ("shape", "zh"): "{place}是什麼形狀？",
    ("colour", "en"): "What colour is the {shape}?",
    ("colour", "zh"): "{shape}是什麼顏色？",
    ("colour at", "en"): "What colour is the thing at the {place}?",
    ("colour at", "zh"): "{place}的東西是什麼顏色？",
    ("size", "en"): "Is the {colour} {shape} small or large?",
    ("size", "zh"): "{colour}{shape}是小的還是大的？",
    ("place", "en"): "Where is the {colour} {shape}?",
    ("place", "zh"): "{colour}{shape}在哪裡？",
    ("background", "en"): "What colour is the background?",
    ("background", "zh"): "背景是什麼顏色？",
    ("relation", "en"): "Is the {colour} {shape} {relation} the {colour2} {shape2}?",
    ("relation", "zh"): "{colour}{shape}在{colour2}{shape2}的{relation}嗎？",
}
NOTHING = {"en": "nothing", "zh": "沒有東西"}
YES = {"en": ("no", "yes"), "zh": ("不是", "是")}
ASKED = tuple(dict.fromkeys(kind for kind, _ in ASK))
WORDS: dict[str, tuple[str, ...]] = {
    "shape": SHAPES, "colour": COLOURS, "colour at": COLOURS, "size": SIZES, "background": BACKGROUNDS,
}  # fmt: skip


def questions(scene: Scene, lang: str) -> list[Question]:
    """Every question that can be asked of a scene in a language, in a fixed order."""
    return [_question(scene, lang, *each) for each in _all(scene)]


def question(scene: Scene, lang: str, draw: int = 0) -> Question:
    """One of them: first what is asked, each of ASKED as likely that can be, then of what."""
    u = noise.uniform(noise.seed_of("scene question", scene_name(scene), lang), draw, n=2)
    every = list(_all(scene))
    kinds = [kind for kind in ASKED if any(kind == each[0] for each in every)]
    kind = kinds[int(u[0] * len(kinds))]
    some = [each for each in every if each[0] == kind]
    return _question(scene, lang, *some[int(u[1] * len(some))])


def options(kind: str, lang: str) -> tuple[str, ...]:
    """The answers between which a question decides; numbers also as digits."""
    if kind.startswith("count"):
        return (*NUMBERS[lang][: MOST + 1], *map(str, range(MOST + 1)))
    if kind == "place":
        return PLACES[lang]
    if kind == "relation":
        return YES[lang]
    words = tuple(ZH[word] if lang == "zh" else word for word in WORDS[kind])
    return (*words, NOTHING[lang]) if kind == "shape" else words


def check(question: Question, reply: str) -> str:
    """`right` if the reply names the right option and no other one, else `wrong`, `refused` or `nonsense`."""
    return judge_choice(question, reply, options(question.origin.get("ask"), question.origin.lang))


Asked = tuple[str, tuple[Thing, ...], str, str | int | bool]  # kind, things named, word named, the answer


def _all(scene: Scene) -> Iterator[Asked]:
    """Every question: (kind, the things it names, the word it names, the answer)."""
    yield "count", (), "", len(scene.things)
    for colour in COLOURS:
        yield "count colour", (), colour, sum(thing.colour == colour for thing in scene.things)
    for shape in SHAPES:
        yield "count shape", (), shape, sum(thing.shape == shape for thing in scene.things)
    held = {thing.cell: thing for thing in scene.things}
    for cell in CELLS:
        yield "shape", (), str(cell), held[cell].shape if cell in held else ""
    for thing in scene.things:
        yield "colour at", (), str(thing.cell), thing.colour
    shapes = Counter(thing.shape for thing in scene.things)
    pairs = Counter(thing.pair for thing in scene.things)
    for thing in scene.things:
        if shapes[thing.shape] == 1:
            yield "colour", (thing,), "", thing.colour
        if pairs[thing.pair] == 1:
            yield "size", (thing,), "", thing.size
            yield "place", (thing,), "", thing.cell
    yield "background", (), "", scene.background
    for one, other in permutations((thing for thing in scene.things if pairs[thing.pair] == 1), 2):
        for relation in RELATIONS:
            yield "relation", (one, other), relation, related(one, relation, other)


def _question(scene: Scene, lang: str, kind: str, things: tuple[Thing, ...], word: str, answer: str | int) -> Question:
    fields = {"colour": word, "shape": word, "relation": word} if word and not word.isdigit() else {}
    for thing, mark in zip(things, ("", "2")):
        fields |= {"colour" + mark: thing.colour, "shape" + mark: thing.shape}
    fields = {key: name(value, lang) for key, value in fields.items()}
    fields["shapes"] = f"{fields.get('shape', '')}{'es' if fields.get('shape', '').endswith('s') else 's'}"
    if word.isdigit():
        fields["place"] = PLACES[lang][int(word)]
    said, accept = _answer(kind, answer, lang)
    where = origin("scenes", lang, "", scene_name(scene), f"scenes.{kind}.{lang}", {"ask": kind})
    return Question(ASK[kind, lang].format(**fields), said, accept, where)


def _answer(kind: str, answer: str | int, lang: str) -> tuple[str, tuple[str, ...]]:
    """(full answer, what must be named)."""
    if kind == "relation":
        said = YES[lang][bool(answer)]
        return f"{said.capitalize()}{'。' if lang == 'zh' else '.'}", (said,)
    if isinstance(answer, int):
        if kind == "place":
            said = PLACES[lang][answer]
            return (f"在{said}。" if lang == "zh" else f"At the {said}."), (said,)
        said = NUMBERS[lang][answer]
        return (f"{said}個。" if lang == "zh" else f"{said.capitalize()}."), (said, str(answer))
    said = (ZH[answer] if lang == "zh" else answer) if answer else NOTHING[lang]
    return f"{said.capitalize()}{'。' if lang == 'zh' else '.'}", (said,)
