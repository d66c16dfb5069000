"""What masking a grammar does to probabilities, exactly, and a processor that does not do it.

With p(v | x) the model's law of the next token after x, c(x) the part of it that the grammar allows, and A(x) the
probability that the model, left alone, ends what begins with x inside the grammar:

    A(x) = sum over ends e: p(e | x)  +  sum over allowed v: p(v | x) A(xv)
    the law given the grammar:   p(v | x) A(xv) / A(x)        the law masked:   p(v | x) / c(x)

A text y of the grammar, as tokens, has probability p(y) / A in the first and p(y) / prod c(x) in the second, x running
over its prefixes, so masking makes it too likely by the factor A / prod c:

    KL(masked || given) = ln A - E_masked[sum ln c(x)],      KL(given || masked) = E_given[sum ln c(x)] - ln A

Prefixes are explored one by one where the language is finite. A model that sees only its last tokens (an n-gram) lets
prefixes with equal last tokens and grammar states be one, so that infinite languages are exact as well.
Sources: Park et al. 2024, "Grammar-Aligned Decoding" (arXiv 2405.21047); Zhang et al. 2023, "Tractable Control for
Autoregressive Language Generation" (arXiv 2304.07438), for A by dynamic programming.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from jielong.base.errors import UserError
from jielong.infer.grammar.vocabulary import Vocabulary
from jielong.infer.request import Processor

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 200_000  # prefixes
ROWS = 64  # explored at once
OVER = -1

Laws = Callable[[Sequence[tuple[int, ...]]], np.ndarray]  # N texts -> probabilities (N, V) of the next token
Floats = np.ndarray


class Rule(Processor, Protocol):
    """A grammar: ``Mask`` or ``Teach``."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    def allowed(self, state: Any) -> np.ndarray: ...


@dataclass(frozen=True)
class Space:
    """The prefixes x of a grammar's texts, number 0 the empty one, and what lies between them.

    Edge k goes from prefix ``source[k]`` by ``token[k]``, of probability ``p[k]``, to ``target[k]``; edges are in the
    order of their sources, those of x from ``begins[x]`` to ``begins[x + 1]``. ``ends`` (N,): the probability of
    ending after x; ``accept`` (N,): A(x); ``kept`` (N,): c(x).
    """

    prompt: tuple[int, ...]
    rule: Rule
    source: np.ndarray
    target: np.ndarray
    token: np.ndarray
    p: Floats
    begins: np.ndarray
    ends: Floats
    accept: Floats
    kept: Floats

    @property
    def mass(self) -> float:
        """The probability that the model writes a text of the grammar, and ends it."""
        return float(self.accept[0])

    def given(self) -> Floats:
        """(E,) the law of each edge given the grammar."""
        return self.p * self.accept[self.target] / self.accept[self.source]

    def masked(self) -> Floats:
        """(E,) the law of each edge when what is not allowed is masked."""
        return self.p / self.kept[self.source]

    def visits(self, law_E: Floats) -> Floats:
        """(N,) how often a text drawn by ``law_E`` passes each prefix, on average."""
        first = np.zeros(len(self.ends))
        first[0] = 1.0
        return _solve(_matrix(self.target, self.source, law_E, len(self.ends)), first)

    def divergences(self) -> tuple[float, float]:
        """KL(masked || given) and KL(given || masked), in nats."""
        logs = np.log(self.kept)
        a = np.log(self.mass)
        return float(a - self.visits(self.masked()) @ logs), float(self.visits(self.given()) @ logs - a)

    def texts(self, limit: int = LIMIT) -> dict[bytes, tuple[float, float]]:
        """Every text with its probability given the grammar and masked, all ways to cut it into tokens together.

        For languages that are finite. UserError past ``limit`` ways.
        """
        given, masked, found, ways = self.given(), self.masked(), dict[bytes, tuple[float, float]](), 0
        waiting = [(0, b"", 1.0, 1.0)]
        while waiting:
            x, text, g, m = waiting.pop()
            if self.ends[x] > 0:
                before, ways = found.get(text, (0.0, 0.0)), ways + 1
                ended = (g * self.ends[x] / self.accept[x], m * self.ends[x] / self.kept[x])
                found[text] = (before[0] + ended[0], before[1] + ended[1])
            for k in range(self.begins[x], self.begins[x + 1]):
                longer = text + self.rule.vocabulary.tokens[self.token[k]]
                waiting.append((int(self.target[k]), longer, g * given[k], m * masked[k]))
            if ways + len(waiting) > limit:
                raise UserError(f"the grammar has more than {limit:,} texts: make it smaller")
        return found


def distances(texts: Mapping[bytes, tuple[float, float]]) -> tuple[float, float, float]:
    """KL(masked || given) and KL(given || masked) in nats, and total variation, of ``Space.texts()``.

    These are of the texts as such; ``Space.divergences`` tells ways of cutting one apart, and is never less.
    """
    given, masked = np.array(list(texts.values())).T
    there = float((masked * np.log(masked / given)).sum())
    return there, float((given * np.log(given / masked)).sum()), float(np.abs(given - masked).sum() / 2)


def explore(laws: Laws, rule: Rule, prompt: Sequence[int], memory: int | None = None, limit: int = LIMIT) -> Space:
    """All prefixes of the grammar's texts after ``prompt``, with the model's laws.

    ``memory``: the law depends on the last ``memory`` tokens only (an n-gram of order ``memory + 1``), and states of
    ``rule`` are equal where what may follow is; None: on all of them. UserError past ``limit`` prefixes, and where
    the model gives no text of the grammar any probability.
    """
    prompt = tuple(map(int, prompt))
    found = _Found(rule, prompt, memory)
    while found.reached < len(found.texts):
        if len(found.texts) > limit:
            raise UserError(f"the grammar has more than {limit:,} prefixes: give a smaller one, or one that ends")
        batch = range(found.reached, min(found.reached + ROWS, len(found.texts)))
        for x, law_V in zip(batch, laws([prompt + found.texts[x] for x in batch])):
            found.expand(x, np.asarray(law_V, dtype=np.float64))
        found.reached = batch.stop
    source, target, token = np.array(found.edges, dtype=np.int64).reshape(-1, 3).T
    p, ends, size = np.array(found.p), np.array(found.ends), len(found.texts)
    accept = _solve(_matrix(source, target, p, size), ends)
    kept = ends + np.bincount(source, weights=p, minlength=size)
    if not (accept > 0).all():
        raise UserError("the model gives what the grammar asks for no probability at all")
    begins = np.searchsorted(source, np.arange(size + 1))
    return Space(prompt, rule, source, target, token, p, begins, ends, accept, kept)


class _Found:
    """The prefixes found so far: the tokens and the grammar state of each, and the edges between them."""

    def __init__(self, rule: Rule, prompt: tuple[int, ...], memory: int | None) -> None:
        self.rule, self.prompt, self.memory = rule, prompt, memory
        self.texts: list[tuple[int, ...]] = []
        self.states: list[Any] = []
        self.numbers: dict[Any, int] = {}
        self.edges: list[tuple[int, int, int]] = []  # source, target, token
        self.p: list[float] = []
        self.ends: list[float] = []
        self.reached = 0
        self.number((), rule.start(prompt))

    def number(self, text: tuple[int, ...], state: Any) -> int:
        whole = self.prompt + text
        key = text if self.memory is None else (whole[max(0, len(whole) - self.memory) :], state)
        if key not in self.numbers:
            self.numbers[key] = len(self.texts)
            self.texts.append(text)
            self.states.append(state)
        return self.numbers[key]

    def expand(self, x: int, law_V: Floats) -> None:
        """Note what may follow prefix x."""
        text, state, vocabulary = self.texts[x], self.states[x], self.rule.vocabulary
        allowed = self.rule.allowed(state)
        stops = [e for e in vocabulary.ends if allowed[e]]
        self.ends.append(float(law_V[stops].sum()))
        for v in np.flatnonzero(allowed & (law_V[: len(allowed)] > 0)).tolist():
            if v not in vocabulary.ends:
                to = self.number((*text, v), self.rule.advance(state, v))
                self.edges.append((x, to, v))
                self.p.append(float(law_V[v]))


def _matrix(rows: np.ndarray, columns: np.ndarray, values: Floats, size: int) -> Any:
    from scipy import sparse

    moves = sparse.coo_matrix((values, (rows, columns)), shape=(size, size))
    return (sparse.identity(size, format="csc") - moves).tocsc()


def _solve(matrix: Any, right: Floats) -> Floats:
    from scipy.sparse.linalg import spsolve

    return np.atleast_1d(spsolve(matrix, right))


class Aligned:
    """The law given the grammar as a ``Processor``: each logit gets ln A of what it leads to.

    For the one prompt that was explored, and the law that was explored: temperature 1, no other setting.
    """

    def __init__(self, space: Space) -> None:
        self.space, self.vocabulary = space, space.rule.vocabulary
        self.logs = np.log(space.accept)

    def start(self, prompt: tuple[int, ...]) -> int:
        """UserError for another prompt."""
        if tuple(prompt) != self.space.prompt:
            raise UserError("this grammar was explored for another prompt: explore it for this one")
        return 0

    def process(self, x: int, logits_V: Tensor) -> Tensor:
        import torch

        added = np.full(logits_V.shape[-1], -np.inf)
        edges = slice(self.space.begins[x], self.space.begins[x + 1])
        added[self.space.token[edges]] = self.logs[self.space.target[edges]]
        if self.space.ends[x] > 0:
            added[list(self.vocabulary.ends)] = 0.0
        return logits_V + torch.from_numpy(added).to(logits_V)

    def advance(self, x: int, token: int) -> int:
        if token in self.vocabulary.ends:
            return OVER
        first, last = self.space.begins[x], self.space.begins[x + 1]
        k = int(first) + int(np.searchsorted(self.space.token[first:last], token))
        if k == last or self.space.token[k] != token:
            raise ValueError(f"token {token} is not allowed here")
        return int(self.space.target[k])

    def done(self, x: int) -> bool:
        return x == OVER or bool(self.space.begins[x] == self.space.begins[x + 1])


def model_laws(model: Any) -> Laws:
    """The laws of a model, in float64: its softmax at temperature 1."""
    import torch

    from jielong.infer.runner import home, padded

    @torch.no_grad()
    def laws(texts: Sequence[tuple[int, ...]]) -> np.ndarray:
        ids_BT, lengths_B = padded(texts, home(model)[0])
        rows = torch.arange(len(texts), device=ids_BT.device)
        if hasattr(model, "hidden"):
            logits_BV = model.logits(model.hidden(ids_BT)[rows, lengths_B - 1][:, None])[:, 0]
        else:
            logits_BV = model(ids_BT)[rows, lengths_B - 1]
        found: np.ndarray = logits_BV.double().softmax(dim=-1).cpu().numpy()
        return found

    return laws
