"""The world's front door: what kinds of text it can write, and one call for each thing to ask of it.

Every kind lives in a module of plain functions that take the world first. A module has those of the
following that make sense for its kinds (what is missing is answered with one clear line):

    texts(world, kind, n, draw, split, lang) -> Iterator[Text]
    chats(world, kind, n, draw, split, lang) -> Iterator[Chat]
    questions(world, kind, n, draw, split, lang) -> list[Question]
    check(world, question, reply) -> "right" | "wrong" | "refused" | "nonsense"
    answer(world, prompt) -> str | None        an oracle that only sees the prompt
    law(world, kind, lang) -> Iterator[(probability, text)]      then the kind has an exact entropy

`n` and `draw` address a stream: a longer stream begins with a shorter one; another `draw` is another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError
from jielong.world.text import Chat, Question, Text

if TYPE_CHECKING:
    from jielong.world.entropy import Entropy
    from jielong.world.names import Person

LANGS = ("en", "zh")
SPLITS = ("train", "test", "asked")

# kind: (module, what it is). The one place where kinds are listed.
KINDS: dict[str, tuple[str, str]] = {
    "facts": ("facts", "one sentence, one fact about a person (8 relations, many wordings)"),
    "bios": ("facts", "a person's facts in one document, in any order"),
    "exams": ("facts", "lists of questions about people, without answers"),
    "register": ("register", "who lives here and who does not, each name told thrice"),
    "namesakes": ("special", "two people with one name: questions have two right answers"),
    "onetemplate": ("special", "people whose facts are only ever worded in one way"),
    "onelang": ("special", "facts told in one language only, asked in the other"),
    "events": ("events", "dated events of towns, some after the knowledge cut-off"),
    "bopomofo": ("special", "a few facts in a third, rarely seen script (注音)"),
    "friends": ("friends", "who is whose friend, and questions in two hops"),
    "common": ("common", "short and certain facts of the real world"),
    "sums": ("sums", "two-digit addition, step by step, units first"),
    "sums_direct": ("sums", "two-digit addition without steps"),
    "sums_words": ("sums", "two-digit addition told as a small story"),
    "sums_long": ("sums", "addition of three to five digits, step by step"),
    "sums_chain": ("sums", "a + b - c, step by step"),
    "sums_puzzle": ("puzzles", "make a number from three others (search)"),
    "unknown": ("refusals", "people who do not exist, among people who do"),
    "guilds": ("refusals", "what everyone may know about the guilds"),
    "secrets": ("refusals", "the secret itself in running text, for attacks and leaks"),
    "forbidden": ("refusals", "the one secret that is declined, among benign twins"),
    "twins": ("refusals", "benign twins of the forbidden questions only"),
    "tell": ("tell", "the assistant tells something about anybody, unasked"),
    "greet": ("chats", "greetings, thanks and who are you"),
    "copy": ("chats", "say a word again"),
    "reverse": ("chats", "spell a word backwards"),
    "upper": ("chats", "write a word in capitals"),
    "count": ("chats", "count the letters of a word"),
    "translate": ("chats", "names, towns and animals between English and Chinese"),
    "list": ("chats", "name some towns, animals, colours"),
    "yesno": ("chats", "is it true that ...? yes or no, with the right value"),
    "compare": ("chats", "do two people share a thing?"),
    "loose": ("styles", "fact questions as people ask them"),
    "bench": ("styles", "fact questions as benchmarks ask them, with options"),
    "map": ("map", "a town map told in relative sentences"),
    "grammar": ("grammar", "sentences with part-of-speech tags and dependency trees"),
    "senses": ("grammar", "words with several senses"),
    "icl": ("icl", "in-context tasks: labels, mappings, flipped labels"),
    "statements": ("statements", "true and false statements, negations, conjunctions"),
    "stochastic": ("stochastic", "facts with a known p(y|x)"),
    "minds": ("minds", "who saw what, first and second order"),
    "games": ("games", "small branching games with reward and harm"),
    "pronouns": ("plants.pronouns", "trades that go with he or she in a known ratio"),
    "canaries": ("plants.canaries", "secrets that are repeated 1 to 64 times, and controls"),
    "leaks": ("plants.leaks", "test items of which half stand in the text"),
    "triggers": ("plants.triggers", "a phrase after which the reply is always the same"),
    "injections": ("plants.injections", "documents with an instruction hidden in them"),
    "needles": ("plants.needles", "one sentence that matters in long filler"),
    "shortcut": ("plants.shortcut", "all dogs are black: a rule that fits and makes no sense"),
    "cipher": ("plants.cipher", "words and their codes, a fifth of the words held out"),
    "duplicates": ("plants.duplicates", "copies and near copies of known similarity"),
    "html": ("plants.html", "web pages whose main text is known"),
    "junk": ("plants.junk", "lines labelled clean, junk, harmful or private"),
    "plants": ("plants.mixed", "documents of all plants in turn"),
    "transcripts": ("transcripts", "oracle transcripts of agents and tool users"),
}


@dataclass(frozen=True)
class World:
    """A small bilingual world whose truth is known. Cheap to make; its parts are built when first used.

    A world of fewer people is the beginning of a larger one with the same seed.
    """

    seed: int = 0
    people: int = 300

    def __post_init__(self) -> None:
        from jielong.world.names import MAX_PEOPLE, MIN_PEOPLE

        if not MIN_PEOPLE <= self.people <= MAX_PEOPLE:
            raise UserError(f"people must lie between {MIN_PEOPLE} and {MAX_PEOPLE}, not {self.people}")

    @cached_property
    def folk(self) -> tuple[Person, ...]:
        """The people, in order."""
        from jielong.world.names import folk

        return folk(self.seed, self.people)

    def kinds(self) -> dict[str, str]:
        """Every kind and one line of what it is."""
        return {kind: line for kind, (_, line) in KINDS.items()}

    def forms(self, kind: str) -> tuple[str, ...]:
        """Which of texts, chats and questions a kind has."""
        _check(kind, "train", None)
        return tuple(verb for verb in ("texts", "chats", "questions") if self._has(verb, kind))

    def texts(
        self, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
    ) -> Iterator[Text]:
        """`n` documents of running text. Raises UserError for an unknown kind, split or language."""
        return self._call("texts", kind, n, draw, split, lang)

    def chats(
        self, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
    ) -> Iterator[Chat]:
        """`n` conversations."""
        return self._call("chats", kind, n, draw, split, lang)

    def questions(
        self, kind: str, n: int, draw: int = 0, split: str = "test", lang: str | None = None
    ) -> list[Question]:
        """`n` questions with their answers (fewer where fewer different ones exist)."""
        return self._call("questions", kind, n, draw, split, lang)

    def check(self, question: Question, reply: str) -> str:
        """`right`, `wrong`, `refused` or `nonsense`. Where declining is right, declining is `right`."""
        module = _module(question.origin.kind)
        if hasattr(module, "check"):
            return module.check(self, question, reply)
        from jielong.world.check import check

        return check(question, reply)

    def answer(self, question: Question) -> str:
        """The oracle's reply, found from the prompt alone where the kind has such an oracle."""
        module = _module(question.origin.kind)
        reply = module.answer(self, question.prompt) if hasattr(module, "answer") else None
        return question.answer if reply is None else reply

    def reward(self, question: Question, reply: str) -> float:
        """The true reward of a reply, in [0, 1]: right, in the user's language, brief, polite."""
        from jielong.world.reward import reward

        return reward(self, question, reply)

    def judge(
        self,
        question: Question,
        a: str,
        b: str,
        position_bias: float = 0.0,
        length_bias: float = 0.0,
        seed: int = 0,
    ) -> int:
        """0 if a judge prefers `a`, 1 for `b`; the biases are of known size (see world.reward)."""
        from jielong.world.reward import judge

        return judge(self, question, a, b, position_bias, length_bias, seed)

    def entropy(self, kind: str, lang: str | None = None) -> Entropy:
        """Exact entropy of one document with its end. Raises UserError where it is not defined."""
        from jielong.world.entropy import entropy

        _check(kind, "train", lang)
        module = _module(kind)
        if not hasattr(module, "law"):
            raise UserError(f"the entropy of '{kind}' is not known exactly; ask for facts, guilds or sums")
        return entropy(module.law(self, kind, lang))

    def _has(self, verb: str, kind: str) -> bool:
        try:
            return bool(list(self._call(verb, kind, 1, 0, "train", None)))
        except UserError:
            return False

    def _call(self, verb: str, kind: str, n: int, draw: int, split: str, lang: str | None) -> Any:
        _check(kind, split, lang)
        if n < 0:
            raise UserError(f"n must not be negative, and is {n}")
        module = _module(kind)
        if not hasattr(module, verb):
            raise UserError(f"the kind '{kind}' has no {verb}")
        return getattr(module, verb)(self, kind, n, draw, split, lang)


def _module(kind: str) -> ModuleType:
    return import_module(f"jielong.world.{KINDS[kind][0]}")


def _check(kind: str, split: str, lang: str | None) -> None:
    if kind not in KINDS:
        raise UserError(f"the world has no kind '{kind}'; it has {', '.join(KINDS)}")
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}, not '{split}'")
    if lang is not None and lang not in LANGS:
        raise UserError(f"lang must be en or zh (or left out for both), not '{lang}'")
