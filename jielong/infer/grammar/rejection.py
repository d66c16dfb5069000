"""Texts of a grammar with exactly the probabilities that the model gives them, by rejection that learns.

Plain rejection draws from the model until a text of the grammar comes. Here a trie keeps, for every prefix x looked at
so far, a bound U(x) on the probability that what begins with x ends inside the grammar: 1 where nothing is known, 0
where the grammar forbids it, else the sum over v of p(v | x) U(xv). An attempt goes from prefix to prefix with
probability p(v | x) U(xv) / U(x); at a prefix looked at for the first time it goes on with probability U(x), now
known, and is rejected otherwise. The factors cancel: an attempt gives a text y with probability p(y) / U, U being the
bound of the empty prefix when it begins. So whatever was learnt before, accepted texts follow p(y) given the grammar,
and each rejection makes the next less likely. U is at all times an upper bound on the model's mass on the grammar.
Source: Parys et al. 2025, "Constrained Adaptive Rejection Sampling" (arXiv 2510.01902); the bounds are those of Park
et al. 2024 (arXiv 2405.21047), whose own sampler masks instead of rejecting, and is right in the limit only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jielong.base.errors import UserError, WorkFailed
from jielong.base.noise import Source
from jielong.infer.grammar.truth import Rule
from jielong.infer.sampling import Sampling

Law = Callable[[tuple[int, ...]], np.ndarray]  # a text -> probabilities (V,) of the next token
LAWFUL = ("temperature", "top_k", "top_p", "min_p")  # settings that depend on the logits alone


@dataclass(eq=False)
class Node:
    """A prefix. ``tokens`` (K,), rising: those allowed after it; ``weights`` (K,): their p(v | x) U(xv), None before
    it is looked at; ``bound``: U(x)."""

    state: Any
    tokens: np.ndarray | None = None
    weights: np.ndarray | None = None
    bound: float = 1.0
    children: dict[int, Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """A text of the grammar: its tokens without the end, and how many attempts it took."""

    ids: tuple[int, ...]
    attempts: int


class Rejection:
    """What is known of one model, grammar and prompt, and draws that use it and add to it.

    ``longest``: the most tokens of a text; longer ones count as outside the grammar.
    """

    def __init__(self, law: Law, rule: Rule, prompt: Sequence[int], longest: int = 256) -> None:
        self.law, self.rule, self.prompt, self.longest = law, rule, tuple(map(int, prompt)), longest
        self.root = Node(rule.start(self.prompt))

    @property
    def bound(self) -> float:
        """The model writes a text of the grammar with at most this probability."""
        return self.root.bound

    def draw(self, source: Source, *address: int, most: int = 10_000) -> Drawn:
        """One text. Choices are made at (address, attempt, position). WorkFailed after ``most`` attempts."""
        for attempt in range(most):
            found = self.attempt(source, *address, attempt)
            if found is not None:
                return Drawn(found, attempt + 1)
            if self.bound <= 0.0:
                raise UserError("the model writes no text of this grammar within the length asked for")
        raise WorkFailed(
            f"{most:,} attempts gave no text of the grammar, on which the model lays at most {self.bound:.1e}: "
            "ask for it in the prompt, or mask"
        )

    def attempt(self, source: Source, *address: int) -> tuple[int, ...] | None:
        """One attempt: the tokens of a text, or None for a rejection. What it saw is kept."""
        path, text = [self.root], list[int]()
        while True:
            node = path[-1]
            reject = self._look(path, tuple(text)) if node.weights is None else 0.0
            assert node.tokens is not None and node.weights is not None
            choice = source.choose(np.append(node.weights, reject), *address, len(text))
            if choice == len(node.tokens):
                return None
            token = int(node.tokens[choice])
            if token in self.rule.vocabulary.ends:
                return tuple(text)
            if token not in node.children:
                node.children[token] = Node(self.rule.advance(node.state, token))
            path.append(node.children[token])
            text.append(token)

    def _look(self, path: list[Node], text: tuple[int, ...]) -> float:
        """Look at the last prefix of a path for the first time: the probability of rejecting there."""
        node, allowed = path[-1], np.flatnonzero(self.rule.allowed(path[-1].state))
        if len(text) >= self.longest:
            allowed = allowed[np.isin(allowed, self.rule.vocabulary.ends)]
        law_V = np.asarray(self.law(self.prompt + text), dtype=np.float64)
        node.tokens = allowed[law_V[allowed] > 0]
        node.weights = law_V[node.tokens]
        for depth in reversed(range(len(path))):  # the new bound is carried up to the empty prefix
            node = path[depth]
            assert node.weights is not None
            old, node.bound = node.bound, min(1.0, float(node.weights.sum()))
            if depth:
                parent = path[depth - 1]
                assert parent.tokens is not None and parent.weights is not None
                parent.weights[np.searchsorted(parent.tokens, text[depth - 1])] *= node.bound / old
        return 1.0 - path[-1].bound


class Reading:
    """A model's next-token law along texts that share their beginnings: only what is new is read.

    ``sampling`` may set temperature (not 0), top_k, top_p and min_p; UserError for other settings that shape the law.
    """

    def __init__(self, model: Any, sampling: Sampling | None = None) -> None:
        self.model, self.sampling = model, sampling or Sampling()
        shaping = {name for name, value in self.sampling.law() if value != getattr(Sampling(), name)} - {"seed"}
        if shaping - {*LAWFUL}:
            raise UserError(
                f"drawing by rejection cannot be had with {', '.join(sorted(shaping - {*LAWFUL}))}: leave it out"
            )
        if self.sampling.temperature == 0:
            raise UserError("drawing by rejection needs a temperature above 0")
        self.cache: Any = None
        self.ids: tuple[int, ...] = ()

    def __call__(self, ids: tuple[int, ...]) -> np.ndarray:
        """Probabilities (V,), float64."""
        import torch

        from jielong.infer.runner import has_cache, home
        from jielong.infer.sample import Rows, process

        with torch.no_grad():
            device, dtype = home(self.model)
            if has_cache(self.model):
                logits_V = self._continued(ids, device, dtype)
            else:
                logits_V = self.model(torch.tensor([ids], device=device))[0, -1]
            rows = Rows.of([self.sampling], [()], len(logits_V), logits_V.device)
            law_BV = process(logits_V[None].float(), rows)
            found: np.ndarray = law_BV[0].double().softmax(dim=-1).cpu().numpy()
        return found

    def _continued(self, ids: tuple[int, ...], device: Any, dtype: Any) -> Any:
        import torch

        from jielong.nets.cache import KVCache

        if self.cache is None:
            self.cache = KVCache(self.model.config, 1, None, dtype, device)
        shared = next(
            (i for i, (a, b) in enumerate(zip(ids[:-1], self.ids)) if a != b), min(len(ids) - 1, len(self.ids))
        )
        self.cache.crop(torch.tensor([shared], device=device))
        hidden_BTD = self.model.hidden(torch.tensor([ids[shared:]], device=device), cache=self.cache)
        self.ids = ids
        return self.model.logits(hidden_BTD[:, -1:])[0, 0]
