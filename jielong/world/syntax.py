"""From rules to sentences: every skeleton of a grammar, filled with the words of a scene.

A skeleton is the yield of a derivation before words are chosen: symbols, heads, relations (Universal
Dependencies) and its probability. A frame is a skeleton in a scene: constant words, and slots that take a
word of the scene's lexicon. Number agreement is part of the skeleton; a Chinese classifier is bound to the
slot of its noun. Rules and words stand in `words/grammar.py`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from jielong.world.draws import shuffled
from jielong.world.kit import cumulate
from jielong.world.words.grammar import RULES, SCENES, UPOS, WORDS


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A tree without words. `heads` count from 1, 0 is the root; `forms` is 1 for plural, else 0."""

    p: float
    symbols: tuple[str, ...]
    forms: tuple[int, ...]
    heads: tuple[int, ...]
    relations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Word:
    """A word's forms (English: singular, plural; Chinese: word, classifier); its sense, if it has several."""

    forms: tuple[str, ...]
    sense: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """A skeleton in a scene. `slots` are lists to choose words from, `constants` words without choice.

    `pieces` gives for each token its place among the chosen words and constants, and which form it takes.
    """

    name: str
    lang: str
    scene: str
    p: float
    skeleton: Skeleton
    upos: tuple[str, ...]
    slots: tuple[tuple[Word, ...], ...]
    shares: tuple[list[float], ...]
    constants: tuple[Word, ...]
    pieces: tuple[tuple[int, int], ...]

    def choose(self, u: Sequence[float]) -> list[Word]:
        """A word for each slot, by one uniform each; then the constants."""
        chosen = [words[bisect_right(shares, x)] for words, shares, x in zip(self.slots, self.shares, u)]
        return [*chosen, *self.constants]

    def tokens(self, chosen: Sequence[Word]) -> tuple[str, ...]:
        """The words in order, as in the lexicon."""
        return tuple([chosen[slot].forms[form] for slot, form in self.pieces])


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
        found.append(Skeleton(p, symbols, forms, heads, relations))
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
            found.append(_frame(f"grammar.{lang}.{i:03d}", lang, scene, skeleton, words, shares))
    return tuple(found)


def _frame(
    name: str,
    lang: str,
    scene: str,
    skeleton: Skeleton,
    words: dict[str, tuple[Word, ...]],
    shares: dict[str, list[float]],
) -> Frame:
    places = [i for i, symbol in enumerate(skeleton.symbols) if symbol != "C"]
    places.sort(key=lambda i: len(words[skeleton.symbols[i]]) == 1)  # the constants last
    at = {place: slot for slot, place in enumerate(places)}
    pieces = []
    for i, form in enumerate(skeleton.forms):
        if i in at:
            forms = len(words[skeleton.symbols[i]][0].forms)
            pieces.append((at[i], form if lang == "en" and forms > 1 else 0))
        else:  # a classifier hangs on the demonstrative, and that on the noun
            noun = skeleton.heads[skeleton.heads[i] - 1] - 1
            pieces.append((at[noun], 1))
    free = [skeleton.symbols[i] for i in places if len(words[skeleton.symbols[i]]) > 1]
    constants = tuple(words[skeleton.symbols[i]][0] for i in places[len(free) :])
    slots, heights = tuple(words[s] for s in free), tuple(shares[s] for s in free)
    p, upos = skeleton.p / len(SCENES[lang]), tuple(UPOS[symbol] for symbol in skeleton.symbols)
    return Frame(name, lang, scene, p, skeleton, upos, slots, heights, constants, tuple(pieces))


def enumerate_sentences(frame: Frame) -> Iterator[tuple[float, list[Word]]]:
    """Every choice of words of a frame with its probability (the frame's own included)."""
    chances = []
    for shares in frame.shares:
        ends = [*shares[:-1], 1.0]
        chances.append([end - start for start, end in zip([0.0, *ends], ends)])
    for weights, words in zip(product(*chances), product(*frame.slots)):
        yield frame.p * math.prod(weights), [*words, *frame.constants]
