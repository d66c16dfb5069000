"""What is too large to enumerate, through the engine: a million texts by seeds beside their exact law, and thousands
token for token beside those without guesses.

    counts = draw(Target(), "block", 1_000_000)
    pvalues(Target(), counts)          # {"whole texts": 0.4, ...}

The exact law comes from the model's own forward pass over all beginnings; the samples from `Core`, many rows a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jielong.base.stats import g_test
from jielong.infer.core import Core
from jielong.infer.draft.drafting import Drafting
from jielong.infer.draft.features import Setup, drafters, prompt, random_model
from jielong.infer.draft.model import ModelDrafter
from jielong.infer.draft.several import AllOf
from jielong.infer.draft.types import Drafter, Floats, Verify
from jielong.infer.draft.verify import VERIFIERS
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.nets.transformer import Transformer

ROWS = 256  # texts that are written side by side
DUE = 200.0  # texts that a cell of a test expects, at least: G then follows its law in the tails too
SCRIPTED = ("all wrong", "all right")


@dataclass(frozen=True)
class Target:
    """A model with random weights, `size` tokens and `horizon` of them a text; and models that guess for it, which are
    it with noise."""

    size: int = 50
    horizon: int = 4
    guess: int = 2
    temperature: float = 0.8
    start: tuple[int, ...] = (1, 2)

    @cached_property
    def model(self) -> Transformer:
        return random_model(self.size, 2, seed=1)

    def near(self, seed: int, noise: float = 0.05) -> Transformer:
        """The model, every matrix a little off."""
        model, off = random_model(self.size, 2, seed=1), random_model(self.size, 2, seed, scale=noise)
        for parameter, more in zip(model.parameters(), off.parameters()):
            if parameter.ndim > 1:
                parameter.data += more.data
        return model

    def drafter(self, verifier: str) -> Drafter:
        """Sampled guesses; two drafts for those that read several."""
        models = [ModelDrafter(self.near(seed), self.size) for seed in (2, 3)]
        return AllOf(models) if verifier in ("multi", "coupled") else models[0]

    @cached_property
    def law(self) -> Floats:
        """The probability of each text, (size,) * horizon, float64."""
        whole: Floats = np.ones(1)
        with torch.no_grad():
            for length in range(self.horizon):
                texts = [(*self.start, *each) for each in product(range(self.size), repeat=length)]
                logits = [self.model(torch.tensor(part))[:, -1] for part in _parts(texts, 4096)]
                laws = (torch.cat(logits).double() / self.temperature).softmax(-1).numpy()
                whole = (whole[:, None] * laws).reshape(-1)
        return whole.reshape((self.size,) * self.horizon)


def draw(target: Target, verifier: str, samples: int, verify: Verify | None = None, seed: int = 0,
         tell: Callable[[int], None] = lambda n: None) -> tuple[NDArray[np.int64], Drafting]:  # fmt: skip
    """How often each text came, (size,) * horizon, and what became of the guesses. `verify` can take the verifier's
    place; `tell` hears how many texts there are."""
    drafting = Drafting(target.drafter(verifier), verify or VERIFIERS[verifier], guess=target.guess)
    core = Core(target.model, streams=ROWS, chunk=ROWS * 8, length=32, drafting=drafting)
    sampling = Sampling(max_tokens=target.horizon, temperature=target.temperature, seed=seed)
    counts = np.zeros((target.size,) * target.horizon, dtype=np.int64)
    for first in range(0, samples, ROWS):
        rows = [core.submit(Request(target.start, sampling, index=i)) for i in range(first, min(first + ROWS, samples))]
        while core.busy:
            core.step()
        texts = np.array([row.text[len(target.start) :] for row in rows])
        np.add.at(counts, tuple(texts.T), 1)
        tell(first + len(rows))
    return counts, drafting


def pvalues(target: Target, counts: NDArray[np.int64]) -> dict[str, float]:
    """p of the texts under their law, and of what stands in one or two places, by G-tests; they are not independent."""
    places = tuple(range(target.horizon))
    asked = {"whole texts": places, **{f"places {a + 1} and {a + 2}": (a, a + 1) for a in places[:-1]},
             "the last place": places[-1:]}  # fmt: skip
    return {name: _p(counts, target.law, kept) for name, kept in asked.items()}


def _p(counts: NDArray[np.int64], law: Floats, kept: Sequence[int]) -> float:
    """Cells that expect too few are put together with others as rare, whatever was counted."""
    away = tuple(i for i in range(law.ndim) if i not in kept)
    seen, probs = counts.sum(axis=away).reshape(-1), law.sum(axis=away).reshape(-1)
    order = np.argsort(probs, kind="stable")
    due = probs[order] * seen.sum()
    cell = np.minimum(np.cumsum(due), np.cumsum(due)[-1] * (1 - 1e-12)) // DUE
    groups = np.unique(cell, return_inverse=True)[1]
    pooled = np.bincount(groups, weights=probs[order])
    return g_test(np.bincount(groups, weights=seen[order]).astype(int).tolist(), (pooled / pooled.sum()).tolist())


def careless(laws: Any, drafts: Any, choose: Any) -> Any:
    """A wrong verifier, to be found out: what is refused is replaced by a draw from all of the target's law."""
    from jielong.infer.draft.types import Accepted

    done: tuple[int, ...] = ()
    for i, guess in enumerate(drafts[0].tokens if drafts else ()):
        p, q = laws(done), drafts[0].law(i, len(laws(done)))
        stays = min(1.0, float(p[guess] / q[guess]))
        if choose((stays, 1.0 - stays), "accept", i):
            break
        done = (*done, guess)
    return Accepted((*done, choose(laws(done), "residual", len(done))), len(done))


def same(prompts: int, setup: Setup | None = None, streams: int = 48) -> dict[str, tuple[int, int]]:
    """For each drafter (same, all): texts that are token for token those without guesses. Each prompt is answered
    greedily and by a seed, each by one of the drafters, in exact mode, many side by side."""
    setup = setup or Setup()
    makers = {name: make for name, make in drafters(setup).items() if name not in SCRIPTED}
    asked = [_request(i, greedy) for i in range(prompts) for greedy in (True, False)]
    plain, found = Core(setup.model, streams=streams, mode="exact"), dict[str, tuple[int, int]]()
    guessing = Core(setup.model, streams=streams, mode="exact")
    for j, (name, make) in enumerate(makers.items()):
        own = [request for i, request in enumerate(asked) if i // 2 % len(makers) == j]
        true = list(_texts(plain, own))
        some: Mapping[int, Sequence[int]] = dict(enumerate(true[:100]))  # for the store
        guessing.drafting = Drafting(make(setup.model, some), guess=4)
        found[name] = sum(a == b for a, b in zip(true, _texts(guessing, own), strict=True)), len(own)
    return found


def _request(i: int, greedy: bool) -> Request:
    """Prompts that are all different: letters of the number, then some of one that repeats itself."""
    letters = (*(int(c) for c in f"{i:05d}"), *prompt(i % 89, 1 + i % 7))
    return Request(letters, Sampling(max_tokens=10, seed=i, temperature=0.0 if greedy else 0.9))


def _texts(core: Core, requests: Sequence[Request]) -> Iterator[tuple[int, ...]]:
    """What is written, some hundred requests at a time."""
    for part in _parts(requests, 4 * core.scheduler.streams):
        rows = [core.submit(request) for request in part]
        while core.busy:
            core.step()
        yield from (tuple(row.text) for row in rows)


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
