"""A model that knows a law over texts of a few slots exactly, and laws to try it on."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

Law = dict[tuple[int, ...], float]


class Knows:
    """Conditional laws of `law` for any set of shown slots; slots lie behind one source token. No learning, no error.

    Where no text has the slots that are shown, all tokens are as likely.
    """

    def __init__(self, law: Law, tokens: int, mask: int) -> None:
        self.law, self.tokens, self.mask = law, tokens, mask
        self.slots = len(next(iter(law)))
        self.config = SimpleNamespace(context=64)
        self.device, self.embed = torch.device("cpu"), torch.zeros(1)
        self.rows = 0

    def hidden(self, ids: Tensor, documents: Tensor | None = None, dtype: object = None) -> Tensor:
        self.rows += len(ids)
        out = np.full((*ids.shape, self.tokens), 1.0 / self.tokens)
        for row, text in enumerate(ids[:, 1 : 1 + self.slots].tolist()):
            for slot in range(self.slots):
                weights = np.zeros(self.tokens)
                for words, p in self.law.items():
                    if all(t == self.mask or i == slot or t == words[i] for i, t in enumerate(text)):
                        weights[words[slot]] += p
                if weights.sum():
                    out[row, 1 + slot] = weights / weights.sum()
        return torch.from_numpy(out).log()

    @staticmethod
    def logits(hidden: Tensor) -> Tensor:
        return hidden.float()


TWO: Law = {(0, 1): 0.5, (2, 3): 0.5}  # "A B" or "C D"


def random_law(tokens: int, slots: int, seed: int) -> Law:
    """Every text possible, none as likely as another."""
    texts = list(itertools.product(range(tokens), repeat=slots))
    values = np.random.default_rng(seed).dirichlet(np.full(len(texts), 0.3))
    return dict(zip(texts, values.tolist()))


def marginals(law: Law, tokens: int) -> np.ndarray:
    """(slots, tokens)."""
    out = np.zeros((len(next(iter(law))), tokens))
    for words, p in law.items():
        out[np.arange(len(words)), list(words)] += p
    return out


def product(law: Law, tokens: int) -> Law:
    """The product of the marginals."""
    each = marginals(law, tokens)
    texts = itertools.product(range(tokens), repeat=len(each))
    return {words: math.prod(each[i, t] for i, t in enumerate(words)) for words in texts}


def conditional(law: Law, shown: dict[int, int], slot: int, token: int) -> float:
    """p(slot = token | shown)."""
    fits = {words: p for words, p in law.items() if all(words[i] == t for i, t in shown.items())}
    return sum(p for words, p in fits.items() if words[slot] == token) / sum(fits.values())


def in_steps(law: Law, number: int) -> Law:
    """The law of ancestral sampling in `number` steps: every way to deal slots out to steps, each as likely."""
    slots = len(next(iter(law)))
    ways = list(itertools.product(range(number), repeat=slots))
    out = dict.fromkeys(law, 0.0)
    for words in law:
        for when in ways:
            shown: dict[int, int] = {}
            chance = 1.0
            for step in range(number):
                now = [i for i in range(slots) if when[i] == step]
                chance *= math.prod(conditional(law, shown, i, words[i]) for i in now)
                shown |= {i: words[i] for i in now}
            out[words] += chance / len(ways)
    return out


def apart(one: Law, two: Law) -> float:
    """Total variation."""
    return sum(abs(one.get(words, 0.0) - two.get(words, 0.0)) for words in {*one, *two}) / 2
