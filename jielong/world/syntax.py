"""From rules to sentences: every skeleton of a grammar, filled with the words of a scene.

A skeleton is the yield of a derivation before words are chosen: symbols, heads, relations (Universal
Dependencies) and its probability. A frame is a skeleton in a scene: constant words, and slots that take a
word of the scene's lexicon. Number agreement is part of the skeleton; a Chinese classifier is bound to the
slot of its noun. Rules and words stand in `words/grammar.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from operator import getitem, itemgetter

import numpy as np
from numpy.typing import NDArray

from jielong.world.draws import shuffled
from jielong.world.kit import cumulate
from jielong.world.words.grammar import RULES, SCENES, UPOS, WORDS

Extra = tuple[str, object]  # a name and a value in a sentence's provenance
SENSELESS: Extra = ("senses", ())


@dataclass(frozen=True, slots=True, eq=False)  # compared as objects: what follows from one is cached by it
class Skeleton:
    """A tree without words. `heads` count from 1, 0 is the root; `forms` is 1 for plural, else 0."""

    lang: str
    p: float
    symbols: tuple[str, ...]
    forms: tuple[int, ...]
    heads: tuple[int, ...]
    relations: tuple[str, ...]

    @property
    def upos(self) -> tuple[str, ...]:
        """The part of speech of each token."""
        return tuple(UPOS[symbol] for symbol in self.symbols)


@dataclass(frozen=True, slots=True)
class Word:
    """A word's forms (English: singular, plural; Chinese: word, classifier); its sense, if it has several."""

    forms: tuple[str, ...]
    sense: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A skeleton in a scene.

    `slots` are lists of words: first those with a choice, whose cumulative `shares` are given, then those of
    one word. A choice is the place of a word in each slot. `pieces` gives for each token its slot and the
    form it takes. The rest follows from these, laid out so that a sentence is put together by looking up
    alone: `spread`, from a choice to the same for each token; `columns`, what each token is for each word of
    its slot; `sensed`, the (token, slot, senses) of slots with words of several senses; `tree` and `place`,
    the provenance that no choice changes. Frames share what they can: there are many, and what fits the
    processor's cache is looked up faster.
    """

    name: str
    lang: str
    p: float
    skeleton: Skeleton
    slots: tuple[tuple[Word, ...], ...]
    shares: tuple[list[float], ...]
    pieces: tuple[tuple[int, int], ...]
    spread: Callable[[Sequence[int]], tuple[int, ...]]
    columns: tuple[tuple[str, ...], ...]
    sensed: tuple[tuple[int, int, tuple[str, ...]], ...]
    tree: tuple[Extra, ...]
    place: Extra

    def tokens(self, choice: Sequence[int]) -> tuple[str, ...]:
        """The words in order, as in the lexicon."""
        return tuple(map(getitem, self.columns, self.spread(choice)))

    def senses(self, choice: Sequence[int]) -> tuple[tuple[int, str], ...]:
        """(token, sense) of the words that have several; a classifier does not count."""
        return tuple([(i, has[choice[slot]]) for i, slot, has in self.sensed if has[choice[slot]]])

    def gold(self, choice: Sequence[int], tokens: tuple[str, ...]) -> tuple[Extra, ...]:
        """What the provenance of a sentence says about it."""
        senses = ("senses", self.senses(choice)) if self.sensed else SENSELESS
        return (("tokens", tokens), *self.tree, senses, self.place)


@dataclass(frozen=True, slots=True)
class Book:
    """The frames of one or two languages as arrays, so that many sentences are drawn at once.

    `slots` is the length of a choice; `heights` are the cumulative shares of each language's frames, `starts`
    where they begin. Of the slots with a choice: `shares`, for each word but the last those of all frames and
    slots (F, S), infinite where there is none; `several` (F, S, W), has the word several senses?
    """

    frames: tuple[Frame, ...]
    slots: int
    heights: tuple[list[float], ...]
    starts: tuple[int, ...]
    shares: tuple[NDArray[np.float64], ...]
    several: NDArray[np.bool_]

    def draw(self, u_BU: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """From B rows of S + 2 uniforms or more: the frames (B,) and the choices (B, slots)."""
        tongue_B = (u_BU[:, 0] * len(self.starts)).astype(np.int64)
        at_B = np.zeros(len(u_BU), dtype=np.int64)
        for i, (start, heights) in enumerate(zip(self.starts, self.heights)):
            rows = tongue_B == i
            at_B[rows] = start + np.searchsorted(heights, u_BU[rows, 1], side="right")
        choices_BS = np.zeros((len(u_BU), self.slots), dtype=np.int64)
        free = self.several.shape[1]
        for shares in self.shares:
            choices_BS[:, :free] += shares[at_B] <= u_BU[:, 2 : 2 + free]
        return at_B, choices_BS

    def sensed(self, at_B: NDArray[np.int64], choices_BS: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some sentences have a word of several senses, (B,)."""
        free = np.arange(self.several.shape[1])
        return np.asarray(self.several[at_B[:, None], free, choices_BS[:, free]].any(1))


@dataclass(frozen=True, slots=True)
class _Token:
    symbol: str
    form: int
    head: int  # place within the phrase; -1 for the phrase's root
    relation: str


_Phrase = tuple[float, tuple[_Token, ...], int]  # probability, tokens, place of the root


def write(tokens: Sequence[str], lang: str) -> str:
    """The sentence as it is written."""
    if lang == "zh":
        return "".join(tokens)
    text = " ".join(tokens[:-1]).replace(" ,", ",") + tokens[-1]
    return text[0].upper() + text[1:]


@lru_cache(maxsize=2)
def skeletons(lang: str) -> tuple[Skeleton, ...]:
    """Every skeleton of a language, with probabilities that sum to 1."""
    found = []
    for p, tokens, root in _expand(lang, "S", ""):
        heads = tuple(0 if i == root else token.head + 1 for i, token in enumerate(tokens))
        relations = tuple("root" if i == root else token.relation for i, token in enumerate(tokens))
        symbols, forms = tuple(t.symbol for t in tokens), tuple(t.form for t in tokens)
        found.append(Skeleton(lang, p, symbols, forms, heads, relations))
    return tuple(found)


def _expand(lang: str, symbol: str, feature: str) -> Iterator[_Phrase]:
    """Every way to derive a symbol."""
    rules = RULES[lang].get(symbol) or RULES[lang].get(f"{symbol}.n")
    if rules is None:
        yield 1.0, (_Token(symbol, int(feature == "p"), -1, ""),), 0
        return
    whole = math.fsum(float(rule.split(" | ")[0]) for rule in rules)
    for rule in rules:
        weight, items = rule.split(" | ")
        # The rule's n is its own variable, unless the symbol that it rewrites carries a number.
        numbers = (feature,) if feature else ("s", "p") if ".n" in items else ("",)
        for number in numbers:
            parts = [_part(lang, item, number) for item in items.split()]
            for choice in product(*parts):
                yield _join(float(weight) / whole / len(numbers), items.split(), choice)


def _part(lang: str, item: str, number: str) -> list[_Phrase]:
    symbol, _, feature = item.lstrip("*").split(":")[0].partition(".")
    return list(_expand(lang, symbol, number if feature == "n" else feature))


def _join(p: float, items: list[str], parts: tuple[_Phrase, ...]) -> _Phrase:
    starts = [sum(len(part[1]) for part in parts[:i]) for i in range(len(parts))]
    head = next(i for i, item in enumerate(items) if item.startswith("*"))
    root = starts[head] + parts[head][2]
    tokens: list[_Token] = []
    for item, start, (_, inside, top) in zip(items, starts, parts):
        for i, t in enumerate(inside):
            if i != top:
                tokens.append(_Token(t.symbol, t.form, start + t.head, t.relation))
            elif item.startswith("*"):
                tokens.append(_Token(t.symbol, t.form, -1, ""))
            else:
                tokens.append(_Token(t.symbol, t.form, root, item.partition(":")[2]))
    return p * math.prod(part[0] for part in parts), tuple(tokens), root


def lexicon(text: str) -> tuple[Word, ...]:
    """The words of one line of a table: "bat/bats%animal bear/bears"."""
    found = []
    for entry in text.split():
        forms, _, sense = entry.partition("%")
        found.append(Word(tuple(forms.split("/")), sense))
    return tuple(found)


@lru_cache(maxsize=4096)
def subject(skeleton: Skeleton, verb: int) -> int:
    """The place of the noun that a verb agrees with, through relative pronouns and auxiliaries, or -1."""
    heads, relations = skeleton.heads, skeleton.relations
    if relations[verb] in ("cop", "aux"):
        verb = heads[verb] - 1
    for i, (head, relation) in enumerate(zip(heads, relations)):
        if head == verb + 1 and relation in ("nsubj", "nsubj:pass"):
            return heads[verb] - 1 if skeleton.symbols[i] == "WHO" else i
    if relations[verb] == "acl:relcl" and skeleton.lang == "zh":
        return heads[verb] - 1
    return -1


@lru_cache(maxsize=4096)
def agreement(skeleton: Skeleton, verb: int) -> str:
    """What kind of agreement a verb shows: a noun of the other number may stand between it and its subject."""
    symbols, forms = skeleton.symbols, skeleton.forms
    if "DO" in symbols and symbols[verb] == "T" and skeleton.relations[verb] == "root":
        return "after_do"
    noun = subject(skeleton, verb)
    between = [i for i in range(min(noun, verb) + 1, max(noun, verb)) if symbols[i] in ("N", "O", "L")]
    if any(forms[i] != forms[noun] for i in between):
        return "agreement_attractor"
    return "agreement_distance" if between else "agreement"


@lru_cache(maxsize=8)
def frames(seed: int, lang: str) -> tuple[Frame, ...]:
    """Every skeleton in every scene; scenes are equally frequent, words follow 1/rank in a seeded order."""
    found = []
    for scene, table in SCENES[lang].items():
        words = {symbol: lexicon(line) for symbol, line in WORDS[lang].items()}
        words |= {part.split(": ")[0]: lexicon(part.split(": ")[1]) for part in table.split(" | ")}
        shares = {}
        for symbol, entries in words.items():
            ranks = shuffled(len(entries), range(len(entries)), seed, "grammar", lang, scene, symbol)
            shares[symbol] = cumulate(1 / (1 + rank) for rank in ranks)
        for i, skeleton in enumerate(skeletons(lang)):
            found.append(_frame(f"grammar.{lang}.{i:03d}", scene, skeleton, words, shares))
    return tuple(found)


def _frame(
    name: str,
    scene: str,
    skeleton: Skeleton,
    words: dict[str, tuple[Word, ...]],
    shares: dict[str, list[float]],
) -> Frame:
    symbols, lang = skeleton.symbols, skeleton.lang
    places = [i for i, symbol in enumerate(symbols) if symbol != "C"]
    places.sort(key=lambda i: len(words[symbols[i]]) == 1)  # those without choice last
    at = {place: slot for slot, place in enumerate(places)}
    pieces = []
    for i, form in enumerate(skeleton.forms):
        if i in at:
            forms = len(words[symbols[i]][0].forms)
            pieces.append((at[i], form if lang == "en" and forms > 1 else 0))
        else:  # a classifier hangs on the demonstrative, and that on the noun
            noun = skeleton.heads[skeleton.heads[i] - 1] - 1
            pieces.append((at[noun], 1))
    slots = tuple(words[symbols[i]] for i in places)
    heights = tuple(shares[symbols[i]] for i in places if len(words[symbols[i]]) > 1)
    columns = tuple(_column(slots[slot], form) for slot, form in pieces)
    senses = [(i, slot, tuple(word.sense for word in slots[slot])) for i, (slot, _) in enumerate(pieces)]
    sensed = tuple(each for each in senses if any(each[2]) and symbols[each[0]] != "C")
    spread = _spread(tuple(slot for slot, _ in pieces))
    return Frame(name, lang, skeleton.p / len(SCENES[lang]), skeleton, slots, heights, tuple(pieces), spread,
                 columns, sensed, _tree(skeleton), ("scene", scene))  # fmt: skip


@lru_cache(maxsize=1024)
def _spread(order: tuple[int, ...]) -> itemgetter[tuple[int, ...]]:
    return itemgetter(*order)


@lru_cache(maxsize=1024)
def _tree(skeleton: Skeleton) -> tuple[Extra, ...]:
    return (("upos", skeleton.upos), ("heads", skeleton.heads), ("relations", skeleton.relations))


@lru_cache(maxsize=1024)
def _column(words: tuple[Word, ...], form: int) -> tuple[str, ...]:
    return tuple(word.forms[form] for word in words)


def book(tongues: Sequence[Sequence[Frame]]) -> Book:
    """The frames of some languages as one book."""
    every = tuple(frame for found in tongues for frame in found)
    free = max(len(frame.shares) for frame in every)
    most = max(len(shares) for frame in every for shares in frame.shares)
    shares, several = np.full((most, len(every), free), np.inf), np.zeros((len(every), free, most), dtype=np.bool_)
    for f, frame in enumerate(every):
        for s, (words, ends) in enumerate(zip(frame.slots, frame.shares)):
            shares[: len(ends), f, s] = ends
            several[f, s, : len(words)] = [bool(word.sense) for word in words]
    starts = tuple(sum(map(len, tongues[:i])) for i in range(len(tongues)))
    heights = tuple(cumulate(frame.p for frame in found) for found in tongues)
    return Book(every, max(len(frame.slots) for frame in every), heights, starts, tuple(shares[:-1]), several)


def enumerate_sentences(frame: Frame) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Every choice of words of a frame with its probability (the frame's own included)."""
    chances = []
    for shares in frame.shares:
        ends = [*shares[:-1], 1.0]
        chances.append([end - start for start, end in zip([0.0, *ends], ends)])
    for weights, choice in zip(product(*chances), product(*[range(len(words)) for words in frame.slots])):
        yield frame.p * math.prod(weights), choice
