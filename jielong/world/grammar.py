"""Sentences with gold parts of speech and dependency trees, and words with several senses.

One sentence a document, from a small probabilistic grammar (`syntax.py`, `words/grammar.py`): agreement over
prepositional phrases and relative clauses, questions with a fronted object, 把 and 被, classifiers away from
their nouns. The provenance holds `tokens`, `upos`, `heads` (from 1; 0 is the root), `relations` (Universal
Dependencies), `senses` as (token, sense) and the `scene`. Kind `senses` has the sentences with such a word:
the scene's other words tell a bat that hunters hear from a bat that players throw.

A fifth of all strings, by their CRC, is held out for tests. `law` gives the exact law of the rest; sentences
that have several trees ("sees the hen near the barn") are one string there. `minimal_pairs` gives a
sentence and a twin with one fault.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jielong.world.draws import langs, rows
from jielong.world.kit import as_chat, distinct, judge_choice, pick, side, wording
from jielong.world.syntax import Book, Frame, agreement, book, enumerate_sentences, frames, subject, write
from jielong.world.text import Chat, Origin, Question, Text
from jielong.world.words.grammar import ASKED, POS_NAMES, SENSES

if TYPE_CHECKING:
    from jielong.world.world import World

HELD = 5
WIDTH, LEFT = 14, 4  # uniforms for a sentence, and how many of those are left for a question about it
ENDLESS, PART = 1 << 40, 512
PEOPLE_AND_ANIMALS = ("位", "隻", "頭")
WRONG_FOR = {True: ("張", "件", "台"), False: ("位", "頭")}  # classifiers that surely do not fit
Sample = tuple[Frame, list[int], tuple[str, ...], str, list[float]]  # frame, choice, tokens, text, uniforms left
Fault = tuple[str, int, list[str]]  # phenomenon, place, tokens
Slip = tuple[str, int, tuple[str, ...], int]  # phenomenon, place, the other form of each word of the slot, slot


def held_out(text: str) -> bool:
    """Whether a sentence belongs to the tests."""
    return zlib.crc32(text.encode()) % HELD == 0


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """Sentences of a split, drawn by the grammar's law."""
    part = side(split)
    for frame, choice, tokens, text, _ in _samples(world, kind, n, draw, split, lang):
        yield Text(text, Origin(kind, frame.lang, "", frame.name, part, "", frame.gold(choice, tokens)))


def law(world: World, kind: str, lang: str | None = None) -> Iterator[tuple[float, str]]:
    """The exact law of the training sentences; each string once, its derivations merged."""
    mass: dict[str, float] = {}
    for tongue in langs(lang):
        found = _book(world.seed, kind, (tongue,)).frames
        share = math.fsum(frame.p for frame in found)  # the language is drawn before the frame
        for frame in found:
            for p, choice in enumerate_sentences(frame):
                text = write(frame.tokens(choice), tongue)
                if not held_out(text) and (kind != "senses" or frame.senses(choice)):
                    mass[text] = mass.get(text, 0.0) + p / share
    whole = sum(mass.values())
    return ((p / whole, text) for text, p in mass.items())


def minimal_pairs(
    world: World, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[tuple[Text, Text]]:
    """n times (a sentence, the same with one fault), with the fault's `phenomenon` and its place `at`.

    After BLiMP (Warstadt et al., 2020). English: agreement, with an attractor or at a distance or not, the
    verb after do, the demonstrative. Chinese: the classifier, next to its noun or not, and the order of 把.
    """
    for sample, (phenomenon, at, bad) in islice(_faults(world, draw, split, lang), n):
        frame, choice, tokens, text, _ = sample
        about = (("phenomenon", phenomenon), ("at", at), *frame.gold(choice, tokens))
        right, wrong = (
            Origin("grammar", frame.lang, "", frame.name, side(split), "", (("grammatical", good), *about))
            for good in (True, False)
        )
        yield Text(text, right), Text(write(bad, frame.lang), wrong)


def questions(
    world: World, kind: str, n: int, draw: int = 0, split: str = "test", lang: str | None = None
) -> list[Question]:
    """Which of two is grammatical, what part of speech or subject a word has; for `senses`: which sense."""
    return distinct(_asked(world, kind, 4 * n + 100, draw, split, lang), n)


def chats(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Chat]:
    """The questions of a split with their right replies."""
    return map(as_chat, _asked(world, kind, n, draw, split, lang))


def check(world: World, question: Question, reply: str) -> str:
    """The reply must name the right option and no other (A and B as capitals)."""
    if question.origin.get("ask") == "right":
        letters = re.findall(r"(?<![A-Za-z])[AB](?![A-Za-z])", reply)
        reply = " ".join(letters) if letters else re.sub("[aAbB]", "", reply)
    return judge_choice(question, reply, question.origin.get("options"))


@lru_cache(maxsize=8)
def _book(seed: int, kind: str, tongues: tuple[str, ...]) -> Book:
    """The frames that can give a sentence of a kind."""
    every = [frames(seed, tongue) for tongue in tongues]
    return book([[frame for frame in found if kind != "senses" or frame.sensed] for found in every])


def _samples(
    world: World, kind: str, n: int, draw: int, split: str, lang: str | None, use: str = "texts"
) -> Iterator[Sample]:
    """n sentences of a split."""
    known, held = _book(world.seed, kind, langs(lang)), side(split) == "test"
    blocks = rows(ENDLESS if n else 0, WIDTH, world.seed, kind, use, split, lang or "", draw)
    # In parts: a reader who stops early, as most do, has not paid for the rest of a block.
    parts = (block[start : start + PART] for block in blocks for start in range(0, len(block), PART))
    return islice(chain.from_iterable(_accepted(known, kind == "senses", held, part) for part in parts), n)


def _accepted(known: Book, several: bool, held: bool, u_BU: NDArray[np.float64]) -> list[Sample]:
    """The sentences of rows of uniforms that are held out, or that are not; `several`: with such a word only."""
    at_B, choices_BS = known.draw(u_BU)
    if several:
        keep = known.sensed(at_B, choices_BS)
        at_B, choices_BS, u_BU = at_B[keep], choices_BS[keep], u_BU[keep]
    found = []
    for at, choice, left in zip(at_B.tolist(), choices_BS.tolist(), u_BU[:, -LEFT:].tolist()):
        frame = known.frames[at]
        tokens = frame.tokens(choice)
        text = write(tokens, frame.lang)
        if held_out(text) == held:
            found.append((frame, choice, tokens, text, left))
    return found


def _faults(world: World, draw: int, split: str, lang: str | None) -> Iterator[tuple[Sample, Fault]]:
    for sample in _samples(world, "grammar", ENDLESS, draw, split, lang, "pairs"):
        frame, choice, tokens, _, u = sample
        slips = [slip for slip in _slips(frame) if not slip[2] or slip[2][choice[slip[3]]] != tokens[slip[1]]]
        if slips:
            phenomenon, at, others, slot = pick(slips, u[-2])
            if others:
                bad = [*tokens[:at], others[choice[slot]], *tokens[at + 1 :]]
            elif phenomenon == "order":
                verb = frame.skeleton.relations.index("root")
                bad = [*tokens[:at], tokens[verb], *tokens[at:verb], *tokens[verb + 1 :]]
            else:
                wrong = pick(WRONG_FOR[tokens[at] in PEOPLE_AND_ANIMALS], u[-1])
                bad = [*tokens[:at], wrong, *tokens[at + 1 :]]
            yield sample, (phenomenon, at, bad)


@lru_cache(maxsize=4096)
def _slips(frame: Frame) -> tuple[Slip, ...]:
    """The faults that a frame has room for."""
    skeleton = frame.skeleton
    found: list[Slip] = []
    for i, (symbol, (slot, form)) in enumerate(zip(skeleton.symbols, frame.pieces)):
        words = frame.slots[slot]
        if symbol == "C":
            far = skeleton.heads[skeleton.heads[i] - 1] - 1 > i + 1
            found.append(("classifier_distance" if far else "classifier", i, (), slot))
        elif symbol == "BAP":
            found.append(("order", i, (), slot))
        elif frame.lang == "en" and symbol in ("D", "I", "T", "BE", "DO"):
            name = "demonstrative" if symbol == "D" else agreement(skeleton, i)
            found.append((name, i, tuple(word.forms[1 - form] for word in words), slot))
    return tuple(found)


def _asked(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Question]:
    """n questions, fewer only if n is 0; sentences in which nothing can be asked are passed over."""
    if kind == "senses":
        samples = _samples(world, kind, ENDLESS, draw, split, lang, "questions")
        found: Iterator[Question | None] = (_ask_sense(sample, split) for sample in samples)
    else:
        found = (_ask(*each, split) for each in _faults(world, draw, split, lang))
    return islice((question for question in found if question), n)


def _ask(sample: Sample, fault: Fault, split: str) -> Question | None:
    frame, _, tokens, text, u = sample
    ask, lang = pick(("right", "pos", "subject"), u[-3]), frame.lang
    if ask == "right":
        good, bad = u[-4] < 0.5, write(fault[2], lang)
        fields = {"a": text if good else bad, "b": bad if good else text}
        return _question(sample, split, "right", fields, "A" if good else "B", ("A", "B"))
    once = [i for i, token in enumerate(tokens) if tokens.count(token) == 1]
    skeleton, upos = frame.skeleton, frame.skeleton.upos
    if ask == "pos":
        names = POS_NAMES[lang]
        once = [i for i in once if upos[i] in names and skeleton.symbols[i] != "C"]
        at = pick(once, u[-4])
        return _question(sample, split, "pos", {"w": tokens[at], "s": text}, names[upos[at]], tuple(names.values()))
    tags = zip(upos, skeleton.symbols)
    nouns = [i for i, (tag, symbol) in enumerate(tags) if tag in ("NOUN", "PROPN") and symbol != "C"]
    verbs = [i for i in once if upos[i] == "VERB" and subject(skeleton, i) in nouns]
    if not verbs:
        return None
    at, options = pick(verbs, u[-4]), tuple(tokens[i] for i in nouns)
    right = tokens[subject(skeleton, at)]
    return _question(sample, split, "subject", {"w": tokens[at], "s": text}, right, options)


def _ask_sense(sample: Sample, split: str) -> Question:
    frame, choice, tokens, text, u = sample
    at, sense = pick(frame.senses(choice), u[-3])
    chosen = (words[i] for words, i in zip(frame.slots, choice))
    base = next(word.forms[0] for word in chosen if word.sense == sense)
    glosses = tuple(SENSES[frame.lang][base].values())
    x, y = glosses if u[-4] < 0.5 else glosses[::-1]
    right = SENSES[frame.lang][base][sense]
    fields = {"w": tokens[at], "x": x, "y": y, "s": text}
    return _question(sample, split, "sense", fields, right, glosses)


def _question(
    sample: Sample, split: str, ask: str, fields: dict[str, str], right: str, options: tuple[str, ...]
) -> Question:
    frame, choice, tokens, _, u = sample
    wordings = ASKED[ask, frame.lang][wording(split)]
    i = int(u[-1] * len(wordings))
    kind = "senses" if ask == "sense" else "grammar"
    extra = (("ask", ask), ("options", options), *frame.gold(choice, tokens))
    template = f"grammar.{ask}.{frame.lang}.{wording(split):d}.{i}"
    where = Origin(kind, frame.lang, "", template, split, "", extra)
    reply = f"{right[0].upper()}{right[1:]}." if frame.lang == "en" else f"{right}。"
    return Question(wordings[i].format(**fields), reply, (right,), where)
