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
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING

from jielong.world.draws import langs
from jielong.world.kit import as_chat, cumulate, judge_choice, lists, pick, side, wording
from jielong.world.syntax import Frame, Word, enumerate_sentences, frames, write
from jielong.world.text import Chat, Origin, Question, Text
from jielong.world.words.grammar import ASKED, POS_NAMES, SENSES

if TYPE_CHECKING:
    from jielong.world.world import World

HELD = 5
WIDTH = 14
ENDLESS = 1 << 40
_SENSE = attrgetter("sense")
PEOPLE_AND_ANIMALS = ("位", "隻", "頭")
WRONG_FOR = {True: ("張", "件", "台"), False: ("位", "頭")}  # classifiers that surely do not fit
Sample = tuple[Frame, list[Word], tuple[str, ...], str]  # frame, words, tokens, text
Fault = tuple[str, int, list[str]]  # phenomenon, place, tokens


def held_out(text: str) -> bool:
    """Whether a sentence belongs to the tests."""
    return zlib.crc32(text.encode()) % HELD == 0


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """Sentences of a split, drawn by the grammar's law."""
    for (frame, words, tokens, text), _ in _samples(world, kind, n, draw, split, lang):
        gold = _gold(frame, words, tokens)
        yield Text(text, Origin(kind, frame.lang, "", frame.name, side(split), "", gold))


def law(world: World, kind: str, lang: str | None = None) -> Iterator[tuple[float, str]]:
    """The exact law of the training sentences; each string once, its derivations merged."""
    mass: dict[str, float] = {}
    for tongue in langs(lang):
        found, _ = _frames(world.seed, kind, tongue)
        share = math.fsum(frame.p for frame in found)  # the language is drawn before the frame
        for frame in found:
            for p, words in enumerate_sentences(frame):
                text = write(frame.tokens(words), tongue)
                if not held_out(text) and (kind != "senses" or any(map(_SENSE, words))):
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
    for sample, (phenomenon, at, bad), _ in islice(_faults(world, draw, split, lang), n):
        frame, words, tokens, text = sample
        about = (("phenomenon", phenomenon), ("at", at), *_gold(frame, words, tokens))
        right, wrong = (
            Origin("grammar", frame.lang, "", frame.name, side(split), "", (("grammatical", good), *about))
            for good in (True, False)
        )
        yield Text(text, right), Text(write(bad, frame.lang), wrong)


def questions(
    world: World, kind: str, n: int, draw: int = 0, split: str = "test", lang: str | None = None
) -> list[Question]:
    """Which of two is grammatical, what part of speech or subject a word has; for `senses`: which sense."""
    seen: dict[str, Question] = {}
    for question in _asked(world, kind, 4 * n + 100, draw, split, lang):
        if len(seen) >= n:
            break
        seen.setdefault(question.prompt, question)
    return list(seen.values())


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
def _frames(seed: int, kind: str, lang: str) -> tuple[list[Frame], list[float]]:
    """The frames that can give a sentence of a kind, and their cumulative shares."""
    every = frames(seed, lang)
    found = [f for f in every if kind != "senses" or any(word.sense for slot in f.slots for word in slot)]
    return found, cumulate(frame.p for frame in found)


def _samples(
    world: World, kind: str, n: int, draw: int, split: str, lang: str | None, use: str = "texts"
) -> Iterator[tuple[Sample, list[float]]]:
    """n accepted sentences with the uniforms that are left over."""
    known = [_frames(world.seed, kind, tongue) for tongue in langs(lang)]
    held, count = side(split) == "test", 0
    for u in lists(ENDLESS if n else 0, WIDTH, world.seed, kind, use, split, lang or "", draw):
        every, heights = pick(known, u[0])
        frame = every[bisect_right(heights, u[1])]
        words = frame.choose(u[2:])
        if kind == "senses" and not any(map(_SENSE, words)):
            continue
        tokens = frame.tokens(words)
        text = write(tokens, frame.lang)
        if held_out(text) == held:
            yield (frame, words, tokens, text), u
            count += 1
            if count == n:
                return


def _gold(frame: Frame, words: Sequence[Word], tokens: tuple[str, ...]) -> tuple[tuple[str, object], ...]:
    skeleton, senses = frame.skeleton, _senses(frame, words) if any(map(_SENSE, words)) else ()
    return (("tokens", tokens), ("upos", frame.upos), ("heads", skeleton.heads),
            ("relations", skeleton.relations), ("senses", senses), ("scene", frame.scene))  # fmt: skip


def _senses(frame: Frame, words: Sequence[Word]) -> tuple[tuple[int, str], ...]:
    """(token, sense) of the words that have several; a classifier does not count."""
    places = [(i, words[s].sense) for i, (s, _) in enumerate(frame.pieces) if words[s].sense]
    return tuple((i, sense) for i, sense in places if frame.skeleton.symbols[i] != "C")


def subject(frame: Frame, verb: int) -> int:
    """The place of the noun that a verb agrees with, through relative pronouns and auxiliaries, or -1."""
    heads, relations = frame.skeleton.heads, frame.skeleton.relations
    if relations[verb] in ("cop", "aux"):
        verb = heads[verb] - 1
    for i, (head, relation) in enumerate(zip(heads, relations)):
        if head == verb + 1 and relation in ("nsubj", "nsubj:pass"):
            return heads[verb] - 1 if frame.skeleton.symbols[i] == "WHO" else i
    if relations[verb] == "acl:relcl" and frame.lang == "zh":
        return heads[verb] - 1
    return -1


def _faults(
    world: World, draw: int, split: str, lang: str | None
) -> Iterator[tuple[Sample, Fault, list[float]]]:
    for sample, u in _samples(world, "grammar", ENDLESS, draw, split, lang, "pairs"):
        frame, words, tokens, _ = sample
        options = _english(frame, words, tokens) if frame.lang == "en" else _chinese(frame, tokens, u[-1])
        if options:
            yield sample, pick(options, u[-2]), u


def _english(frame: Frame, words: Sequence[Word], tokens: tuple[str, ...]) -> list[Fault]:
    found = []
    for i, (slot, form) in enumerate(frame.pieces):
        symbol = frame.skeleton.symbols[i]
        if symbol not in ("D", "I", "T", "BE", "DO") or len(words[slot].forms) < 2:
            continue
        other = words[slot].forms[1 - form]
        if other != tokens[i]:
            bad = [*tokens[:i], other, *tokens[i + 1 :]]
            found.append(("demonstrative" if symbol == "D" else _agreement(frame, i), i, bad))
    return found


def _agreement(frame: Frame, verb: int) -> str:
    symbols, forms = frame.skeleton.symbols, frame.skeleton.forms
    if "DO" in symbols and symbols[verb] == "T" and frame.skeleton.relations[verb] == "root":
        return "after_do"
    noun = subject(frame, verb)
    between = [i for i in range(min(noun, verb) + 1, max(noun, verb)) if symbols[i] in ("N", "O", "L")]
    if any(forms[i] != forms[noun] for i in between):
        return "agreement_attractor"
    return "agreement_distance" if between else "agreement"


def _chinese(frame: Frame, tokens: tuple[str, ...], u: float) -> list[Fault]:
    found: list[Fault] = []
    symbols, heads = frame.skeleton.symbols, frame.skeleton.heads
    for i, symbol in enumerate(symbols):
        if symbol == "C":
            wrong = pick(WRONG_FOR[tokens[i] in PEOPLE_AND_ANIMALS], u)
            far = heads[heads[i] - 1] - 1 > i + 1
            name = "classifier_distance" if far else "classifier"
            found.append((name, i, [*tokens[:i], wrong, *tokens[i + 1 :]]))
        elif symbol == "BAP":
            verb = frame.skeleton.relations.index("root")
            found.append(("order", i, [*tokens[:i], tokens[verb], *tokens[i:verb], *tokens[verb + 1 :]]))
    return found


def _asked(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Question]:
    """n questions, fewer only if n is 0; sentences in which nothing can be asked are passed over."""
    if kind == "senses":
        samples = _samples(world, kind, ENDLESS, draw, split, lang, "questions")
        found: Iterator[Question | None] = (_ask_sense(sample, u, split) for sample, u in samples)
    else:
        found = (_ask(*each, split) for each in _faults(world, draw, split, lang))
    return islice((question for question in found if question), n)


def _ask(sample: Sample, fault: Fault, u: list[float], split: str) -> Question | None:
    frame, _, tokens, text = sample
    ask, lang = pick(("right", "pos", "subject"), u[-3]), frame.lang
    if ask == "right":
        good, bad = u[-4] < 0.5, write(fault[2], lang)
        fields = {"a": text if good else bad, "b": bad if good else text}
        return _question(sample, u, split, "right", fields, "A" if good else "B", ("A", "B"))
    once = [i for i, token in enumerate(tokens) if tokens.count(token) == 1]
    symbols = frame.skeleton.symbols
    nouns = [i for i, tag in enumerate(frame.upos) if tag in ("NOUN", "PROPN") and symbols[i] != "C"]
    if ask == "pos":
        names = POS_NAMES[lang]
        once = [i for i in once if frame.upos[i] in names and symbols[i] != "C"]
        at = pick(once, u[-4])
        return _question(sample, u, split, "pos", {"w": tokens[at], "s": text}, names[frame.upos[at]],
                         tuple(names.values()))  # fmt: skip
    verbs = [i for i in once if frame.upos[i] == "VERB" and subject(frame, i) in nouns]
    if not verbs:
        return None
    at, options = pick(verbs, u[-4]), tuple(tokens[i] for i in nouns)
    right = tokens[subject(frame, at)]
    return _question(sample, u, split, "subject", {"w": tokens[at], "s": text}, right, options)


def _ask_sense(sample: Sample, u: list[float], split: str) -> Question:
    frame, words, tokens, text = sample
    at, sense = pick(_senses(frame, words), u[-3])
    base = next(word.forms[0] for word in words if word.sense == sense)
    glosses = tuple(SENSES[frame.lang][base].values())
    x, y = glosses if u[-4] < 0.5 else glosses[::-1]
    right = SENSES[frame.lang][base][sense]
    return _question(sample, u, split, "sense", {"w": tokens[at], "x": x, "y": y, "s": text}, right, glosses)


def _question(
    sample: Sample,
    u: list[float],
    split: str,
    ask: str,
    fields: dict[str, str],
    right: str,
    options: tuple[str, ...],
) -> Question:
    frame, words, tokens, _ = sample
    wordings = ASKED[ask, frame.lang][wording(split)]
    i = int(u[-1] * len(wordings))
    kind = "senses" if ask == "sense" else "grammar"
    extra = (("ask", ask), ("options", options), *_gold(frame, words, tokens))
    template = f"grammar.{ask}.{frame.lang}.{wording(split):d}.{i}"
    where = Origin(kind, frame.lang, "", template, split, "", extra)
    reply = f"{right[0].upper()}{right[1:]}." if frame.lang == "en" else f"{right}。"
    return Question(wordings[i].format(**fields), reply, (right,), where)
