"""What is proved: a small model, the requests' settings one by one, in pairs and in longer chains, and who guesses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jielong.base import noise
from jielong.infer.draft import scripted
from jielong.infer.draft.along import Bans
from jielong.infer.draft.diffusion import DiffusionDrafter
from jielong.infer.draft.lookup import Lookup
from jielong.infer.draft.model import ModelDrafter
from jielong.infer.draft.other_tokenizer import OtherTokenizer
from jielong.infer.draft.paired import paired
from jielong.infer.draft.retrieval import Retrieval, Texts
from jielong.infer.draft.safely import Safe
from jielong.infer.draft.scripted import Law, Scripted
from jielong.infer.draft.selves import early_exit, quantised
from jielong.infer.draft.several import AllOf, BestOf
from jielong.infer.draft.trained import untrained
from jielong.infer.draft.types import Choose, Draft, Drafter, Draws, Floats, Proposal
from jielong.infer.grammar import regex
from jielong.infer.grammar.vocabulary import Vocabulary
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.infer.schedule import Row
from jielong.infer.slots import Marks
from jielong.nets.config import TransformerConfig
from jielong.nets.drafts import KINDS
from jielong.nets.transformer import Transformer
from jielong.units.codec import END, Tokenizer

RULES = {3: "(ab?)*", 4: "(a|bc?)*", 5: "(a|bc?|db)*"}  # of the grammar: the last token ends a text
LONGER = 50


@dataclass(frozen=True)
class Small:
    """A Transformer in float64 with random weights, and how far it writes."""

    size: int
    horizon: int
    guess: int
    seed: int = 0
    prompt: tuple[int, ...] = (0, 1, 0)
    _logits: dict[tuple[int, ...], Tensor] = field(default_factory=dict)
    _streams: dict[tuple[int, ...], Tensor] = field(default_factory=dict)

    @cached_property
    def model(self) -> Transformer:
        return transformer(self.size, 2, self.seed).double()

    @torch.no_grad()
    def logits(self, text: tuple[int, ...]) -> Tensor:
        """(V,) float64 after a text."""
        if text not in self._logits:
            self._logits[text] = self.model(torch.tensor([text]))[0, -1].double()
        return self._logits[text]

    @torch.no_grad()
    def stream(self, text: tuple[int, ...]) -> Tensor:
        """(T, D) float64 after the last norm, of each place of a text."""
        if text not in self._streams:
            self._streams[text] = self.model.hidden(torch.tensor([text]))[0]
        return self._streams[text]

    def law(self, text: tuple[int, ...]) -> Floats:
        """The model's own law (V,), before any setting."""
        law: Floats = self.logits(text).softmax(dim=-1).numpy()
        return law


@dataclass(frozen=True)
class Chain:
    """Settings of a request, and the names that lead to them: orders that come to the same are one."""

    names: tuple[str, ...]
    sampling: Sampling
    grammar: bool = False

    @property
    def bans(self) -> Bans:
        return tuple(w for w in self.sampling.bad_words if isinstance(w, tuple))

    def row(self, small: Small) -> Row:
        """A row that asks for these."""
        rules = (regex(vocabulary(small.size), RULES[small.size]),) if self.grammar else ()
        return Row(0, Request(small.prompt, self.sampling, processors=rules), small.horizon)


def transformer(size: int, layers: int, seed: int, causal: bool = True) -> Transformer:
    """Weights large enough that the past matters."""
    config = TransformerConfig(vocab=size, dim=32, layers=layers, heads=1, kv_heads=1, head_dim=32, hidden=32,
                               context=32, causal=causal)  # fmt: skip
    model = Transformer(config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.25, generator=generator)
    return model.eval()


def vocabulary(size: int) -> Vocabulary:
    """Letters, and a token that ends the text."""
    return Vocabulary((*(bytes([97 + i]) for i in range(size - 1)), b"<end>"), ends=(size - 1,))


def codec(tokens: Sequence[str]) -> Tokenizer:
    """A tokenizer of these tokens and an end, the longest that fits being taken."""
    from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Backend

    backend = Backend(models.BPE({t: i for i, t in enumerate((*tokens, END))}, [], ignore_merges=True))
    longest = Regex("|".join(sorted(tokens, key=len, reverse=True)))
    backend.pre_tokenizer = pre_tokenizers.Split(longest, behavior="isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(END, special=True, normalized=False)])
    return Tokenizer(backend)


def settings(size: int) -> Mapping[str, Mapping[str, Any]]:
    """Each setting by itself. Token 0 is never forbidden, so that something can always be drawn."""
    return {
        "greedy": {"temperature": 0.0},
        "temperature": {"temperature": 0.6},
        "top_k": {"top_k": 2},
        "top_p": {"top_p": 0.8},
        "min_p": {"min_p": 0.3},
        "typical": {"typical": 0.7},
        "repetition_penalty": {"repetition_penalty": 1.7},
        "presence_penalty": {"presence_penalty": 0.8},
        "frequency_penalty": {"frequency_penalty": 0.6},
        "logit_bias": {"logit_bias": ((0, 0.5), (size - 1, -np.inf))},
        "bad_words": {"bad_words": ((0, 1), (1, 1, 1))},
        "grammar": {},
    }


def chains(size: int, pairs: bool = True, longer: int = LONGER) -> list[Chain]:
    """None, each setting, each pair (both orders are one request: the engine has one order), and longer ones drawn
    once for all, their numbers too."""
    known = settings(size)
    names = [(), *((n,) for n in known)]
    if pairs:
        listed = list(known)
        names += [(a, b) for i, a in enumerate(listed) for b in listed[i + 1 :] if {a, b} != {"greedy", "temperature"}]
    found = [_chain(each, known) for each in names]
    for i in range(longer):
        rng = noise.rng("chain", size, i)
        drawn = _drawn_settings(size, rng)
        chosen = rng.choice([n for n in known if n != "greedy"], int(rng.integers(3, 8)), replace=False)
        found.append(_chain(tuple(str(n) for n in chosen), drawn))
    return found


def orders(found: Sequence[Chain]) -> int:
    """How many orders of settings these chains stand for: those of pairs are counted singly."""
    return sum(2 if len(chain.names) == 2 else 1 for chain in found)


def _chain(names: tuple[str, ...], known: Mapping[str, Mapping[str, Any]]) -> Chain:
    values: dict[str, Any] = {}
    for name in names:
        values |= known[name]
    return Chain(names, Sampling(max_tokens=64, **values), "grammar" in names)


def _drawn_settings(size: int, rng: np.random.Generator) -> Mapping[str, Mapping[str, Any]]:
    return {
        **settings(size),
        "temperature": {"temperature": float(rng.uniform(0.3, 2.0))},
        "top_k": {"top_k": int(rng.integers(1, size + 1))},
        "top_p": {"top_p": float(rng.uniform(0.3, 1.0))},
        "min_p": {"min_p": float(rng.uniform(0.0, 0.6))},
        "typical": {"typical": float(rng.uniform(0.3, 1.0))},
        "repetition_penalty": {"repetition_penalty": float(rng.uniform(0.6, 2.5))},
        "presence_penalty": {"presence_penalty": float(rng.uniform(-1.0, 1.5))},
        "frequency_penalty": {"frequency_penalty": float(rng.uniform(-0.5, 1.5))},
    }


def other_law(size: int, seed: int = 9, gaps: bool = False) -> Law:
    """A law of its own that sees the last token; with `gaps`, one token has no probability."""
    table = np.exp(noise.rng("drafter", seed).normal(0.0, 1.0, (size, size)))
    if gaps:
        table[np.arange(size), np.arange(size)[::-1]] = 0.0
    table /= table.sum(axis=1, keepdims=True)
    return lambda text: table[text[-1]]


def drafters(small: Small) -> dict[str, Callable[[], Drafter]]:
    """All that are proved, by name; each is made anew where it is needed."""
    size = small.size
    law, gaps = other_law(size), other_law(size, gaps=True)
    rules: dict[str, scripted.Rule] = {
        "none": scripted.nothing,
        "repeats": scripted.certain(scripted.repeat),
        "argmax": scripted.certain(lambda text: int(small.law(text).argmax())),
        "forbidden": scripted.certain(lambda text: 1 if len(text) % 2 else size - 1),
        "other law": scripted.drawn(law),
        "itself": scripted.drawn(small.law),
        "zeros": scripted.drawn(gaps),
        "nan": scripted.broken(law, 1),
        "uneven": scripted.uneven(law),
        "same number": scripted.same_number(law),
        "two drafts": scripted.independent(law),
        "tree": scripted.tree(law),
    }
    found: dict[str, Callable[[], Drafter]] = {n: lambda n=n, r=r: Scripted(n, r) for n, r in rules.items()}  # type: ignore[misc]
    whole, little = transformer(size, 2, small.seed), transformer(size, 1, small.seed + 1)
    letters = [chr(97 + i) for i in range(size - 1)]
    stored = [[0, 1, 0, 1, 1, 0], [1, 1, 1, 0, 0, size - 1]]
    marks = Marks(size, max(2, small.guess))
    slots = transformer(marks.vocab, 1, small.seed + 3, causal=False)
    return found | {
        "lookup": lambda: Lookup(least=1),
        "retrieval": lambda: Retrieval(Texts(stored), least=1, several=2, name="retrieval"),
        "small model": lambda: ModelDrafter(little, size, name="small model"),
        "early exit": lambda: early_exit(whole, 1, name="early exit"),
        "int8": lambda: quantised(whole, 8, name="int8"),
        "best of several": lambda: Forgetful(BestOf([Lookup(least=1), ModelDrafter(little, size)])),
        "all of several": lambda: AllOf([Lookup(least=1), ModelDrafter(little, size)]),
        "same number, model": lambda: Paired(ModelDrafter(little, size, name="same number, model")),
        "other tokenizer": lambda: OtherTokenizer(
            ModelDrafter(transformer(size + 1, 1, small.seed + 2), size + 1), codec([*letters, "ab"]), codec(letters)
        ),
        "diffusion": lambda: DiffusionDrafter(slots, marks, size, passes=2),
        **{kind: partial(_watching, kind, small) for kind in KINDS},
        "dies": lambda: Safe(Scripted("dies", _dies), size),
    }


@dataclass(frozen=True)
class Paired:
    """A drafter whose guesses are drawn by the numbers of plain sampling."""

    drafter: Drafter

    @property
    def name(self) -> str:
        return self.drafter.name

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> Sequence[Proposal]:
        return self.drafter.propose(rows, most, paired(source))

    def forget(self, row: Row) -> None:
        self.drafter.forget(row)


@dataclass(frozen=True)
class Shown:
    """A drafter that watches, where there is no engine: it is shown what the model makes of each text, read anew."""

    drafter: Any  # a `Watcher`
    small: Small

    @property
    def name(self) -> str:
        return str(self.drafter.name)

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> Sequence[Proposal]:
        for row in rows:
            row.read = 0
            self.drafter.saw([row], [self.small.stream(tuple(row.text[:-1]))])
            row.read = len(row.text) - 1
        found: Sequence[Proposal] = self.drafter.propose(rows, most, source)
        for row in rows:
            self.forget(row)
        return found

    def forget(self, row: Row) -> None:
        self.drafter.forget(row)


@dataclass(frozen=True)
class Forgetful:
    """A drafter that learns as it goes, without what it has learnt: its guesses are then a function of the text."""

    drafter: Drafter

    @property
    def name(self) -> str:
        return self.drafter.name

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> Sequence[Proposal]:
        for row in rows:
            self.drafter.forget(row)
        return self.drafter.propose(rows, most, source)

    def forget(self, row: Row) -> None:
        self.drafter.forget(row)


def _watching(kind: str, small: Small) -> Drafter:
    return Shown(untrained(kind, small.model, small.guess), small)


def _dies(row: Row, most: int, choose: Choose) -> Draft:
    raise RuntimeError("this drafter dies in the middle")
