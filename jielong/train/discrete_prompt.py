"""Words found by reinforcement learning that, put before a question, make a frozen model answer better.

    loss = -1/M sum_m A_m ln pi(z_m) - c H(pi)        z_m ~ pi(z) = prod_k pi_k(z_k), k < K places of the prompt
    A_m = mean_b z_mb,   z_mb = (R(z_m, b) - mean_m R(., b)) / std_m R(., b)

RLPrompt (Deng et al. 2022, arXiv 2205.12548): the prompt's tokens are actions, the frozen model with the prompt is the
environment, and each question's rewards are turned into z-scores over the prompts tried on it (their section 3.3), so
that hard questions do not drown easy ones; the mean is the baseline of REINFORCE (Williams 1992). They learn by soft
Q-learning; this is the plain policy gradient with the entropy H as its soft part. Two policies: `Places`, logits of
each place by themselves, and `Spoken`, theirs: a small MLP between the frozen model's stream and its output matrix.

What is rewarded is the prompt's text, encoded anew with each question: the same text that a person will write there.
A policy may settle on a prompt that no change of a single place betters; `found` therefore compares the likeliest
prompt with the best that were tried, all on the same items of training.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.train.objective import Loss, Phase

Floats = np.ndarray[Any, np.dtype[np.float64]]
T = TypeVar("T")
Prompt = tuple[int, ...]  # numbers of candidates
Values = Callable[[Sequence[str], Sequence[T]], Floats]  # (M prompts, B items) -> (M, B); NaN: not judged
FLAT = 1e-8  # a spread of rewards below it says nothing
TRIED, ITEMS = 16, 256  # prompts that are compared at the end, and items that they are compared on


class Policy(Protocol):
    """Which tokens may stand at each place, and how probable they are."""

    candidates: Tensor  # (C,) ids
    places: int

    def logits(self, chosen: Tensor) -> Tensor:
        """(M, K, C) for the prompts (M, K) of numbers of candidates; place k sees those before it only."""
        ...


class Places(nn.Module):
    """Logits (K, C) of their own, all alike at the start."""

    def __init__(self, places: int, candidates: Tensor) -> None:
        super().__init__()
        self.places, self.candidates = places, candidates
        self.table = nn.Parameter(torch.zeros(places, len(candidates)))

    def logits(self, chosen: Tensor) -> Tensor:
        """The same for every prompt."""
        return self.table.expand(len(chosen), -1, -1)


class Spoken(nn.Module):
    """The frozen model says the prompt itself, its stream bent by an MLP whose outer matrix is zero at the start."""

    def __init__(self, model: Any, opening: Sequence[int], places: int, candidates: Tensor, width: int = 128) -> None:
        super().__init__()
        self.places, self.candidates = places, candidates
        self.frozen = (model,)  # in a tuple: its parameters are none of ours
        self.opening = torch.tensor(list(opening), dtype=torch.long)
        dim = model.config.dim
        generator = torch.Generator().manual_seed(0)
        self.inner = nn.Parameter(torch.randn(width, dim, generator=generator) / dim**0.5)
        self.bias = nn.Parameter(torch.zeros(width))
        self.outer = nn.Parameter(torch.zeros(dim, width))

    def logits(self, chosen: Tensor) -> Tensor:
        """Of one pass over the prompts."""
        model, device = self.frozen[0], self.inner.device
        before = self.candidates[chosen[:, :-1]]
        ids = torch.cat([self.opening.expand(len(chosen), -1), before], dim=1).to(device)
        with torch.no_grad():
            stream = model.hidden(ids)[:, len(self.opening) - 1 :].float()
        bent = stream + torch.relu(stream @ self.inner.T + self.bias) @ self.outer.T
        return model.logits(bent)[..., self.candidates.to(device)].float().cpu()


def draw(policy: Any, count: int, seed: int, *position: int) -> Tensor:
    """(M, K) prompts drawn from the policy, place by place; prompt m is the same whatever their number."""
    chosen = torch.zeros(count, policy.places, dtype=torch.long)
    with torch.no_grad():
        for place in range(policy.places):
            logits = policy.logits(chosen)[:, place].double()
            drawn = [noise.gumbel(seed, *position, m, place, n=logits.shape[1]) for m in range(count)]
            chosen[:, place] = (logits + torch.from_numpy(np.stack(drawn))).argmax(dim=-1)
    return chosen


def likeliest(policy: Any) -> Tensor:
    """(K,) the most probable token at each place after those before it."""
    chosen = torch.zeros(1, policy.places, dtype=torch.long)
    with torch.no_grad():
        for place in range(policy.places):
            chosen[0, place] = policy.logits(chosen)[0, place].argmax()
    return chosen[0]


def advantages(rewards: Floats) -> Floats:
    """(M,) of rewards (M, B): z-scores over the prompts, item by item, then the mean over items.

    An item that is worth the same under all prompts says nothing, nor does what was not judged (NaN).
    """
    known = ~np.isnan(rewards)
    counts = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, rewards, 0.0)
    mean = filled.sum(axis=0) / counts
    centred = np.where(known, rewards - mean, 0.0)
    spread = np.sqrt((centred**2).sum(axis=0) / counts)
    scores = np.where(spread > FLAT, centred / np.maximum(spread, FLAT), 0.0)
    found: Floats = scores.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return found


@dataclass(frozen=True, eq=False)
class DiscretePrompt:
    """`prompts` tried a step on `batch` items of `train`; `text` makes a prompt of its tokens' ids."""

    policy: Any
    train: Sequence[Any]
    held: Sequence[Any]
    values: Values[Any]
    text: Callable[[Sequence[int]], str]
    prompts: int = 16
    batch: int = 16
    entropy: float = 0.01
    seed: int = 0
    known: dict[Prompt, dict[int, float]] = field(default_factory=dict)  # rewards by item, each asked for once

    @property
    def phases(self) -> Sequence[Phase]:
        """One: lower the loss."""
        return (Phase("prompt", self.policy, self.loss, muon=False),)

    def batches(self, step: int) -> list[tuple[int, list[int]]]:
        """The step and the numbers of its items: each item once before any comes again."""
        n, size = len(self.train), min(self.batch, len(self.train))
        places = range(step * size, (step + 1) * size)
        return [(step, [int(noise.permutation(self.seed, n, place // n)[place % n]) for place in places])]

    def after_step(self, step: int) -> None:
        """Nothing to do."""

    def loss(self, batch: tuple[int, list[int]]) -> Loss:
        """Summed over the prompts of the step."""
        step, numbers = batch
        chosen = draw(self.policy, self.prompts, self.seed, step)
        rewards = self._rewards([tuple(row) for row in chosen.tolist()], numbers)
        gained = torch.from_numpy(advantages(rewards)).float()
        logs = self.policy.logits(chosen).log_softmax(dim=-1)
        each = logs.gather(-1, chosen[..., None]).squeeze(-1).sum(dim=1)
        entropy = -(logs.exp() * logs).sum(dim=-1).sum(dim=1)
        total = -(gained * each + self.entropy * entropy).sum()
        judged = rewards[~np.isnan(rewards)]
        if not len(judged):
            raise UserError("the reward judged no answer of a whole step: look into it before learning from it")
        stats = {"reward": float(judged.mean()) * self.prompts, "entropy": float(entropy.detach().sum()),
                 "unjudged": float(np.isnan(rewards).mean()) * self.prompts}  # fmt: skip
        return Loss(total, float(self.prompts), stats)

    def validate(self) -> dict[str, float]:
        """`val_reward`: of the likeliest prompt on items kept apart."""
        if not self.held:
            return {}
        return {"val_reward": mean(self.values([self.words(likeliest(self.policy).tolist())], self.held))}

    def found(self) -> Prompt:
        """The best on the items of training (the first `ITEMS`) of the likeliest prompt and the best `TRIED`."""
        items = range(min(len(self.train), ITEMS))
        likely: Prompt = tuple(likeliest(self.policy).tolist())
        some = list(dict.fromkeys([likely, *self._best()]))
        worth = [mean(row) for row in self._rewards(some, items)]
        return max(zip(some, worth), key=lambda each: -np.inf if np.isnan(each[1]) else each[1])[0]

    def _best(self) -> list[Prompt]:
        """Prompts by how much more they gave, item by item, than the others that were tried on it."""
        sums: dict[int, list[float]] = {}
        for rewards in self.known.values():
            for item, value in rewards.items():
                sums.setdefault(item, []).append(value)
        usual = {item: mean(np.array(values)) for item, values in sums.items()}
        gained = {prompt: mean(np.array([value - usual[item] for item, value in rewards.items()]))
                  for prompt, rewards in self.known.items()}  # fmt: skip
        return sorted((p for p in gained if not np.isnan(gained[p])), key=lambda p: -gained[p])[:TRIED]

    def words(self, chosen: Sequence[int]) -> str:
        """The text of a prompt."""
        return self.text(self.policy.candidates[list(chosen)].tolist())

    def state(self) -> dict[str, Tensor]:
        """What was asked for so far."""
        every = [(row, item, value) for row, rewards in enumerate(self.known.values())
                 for item, value in rewards.items()]  # fmt: skip
        rows, items, values = zip(*every) if every else ((), (), ())
        return {"prompts": torch.tensor(list(self.known), dtype=torch.long).view(-1, self.policy.places),
                "rows": torch.tensor(rows, dtype=torch.long), "items": torch.tensor(items, dtype=torch.long),
                "values": torch.tensor(values, dtype=torch.float64)}  # fmt: skip

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Back to what `state` returned."""
        self.known.clear()
        prompts = [tuple(row) for row in tensors["prompts"].tolist()]
        self.known.update({prompt: {} for prompt in prompts})
        for row, item, value in zip(*(tensors[name].tolist() for name in ("rows", "items", "values"))):
            self.known[prompts[row]][item] = value

    def figures(self) -> dict[str, float]:
        """None besides those of the loss."""
        return {}

    def clock(self) -> dict[str, float]:
        """Nothing."""
        return {}

    def _rewards(self, prompts: Sequence[Prompt], numbers: Sequence[int]) -> Floats:
        """(M, B); what is known is not asked for again."""
        new = list(dict.fromkeys(p for p in prompts if any(i not in self.known.get(p, {}) for i in numbers)))
        if new:
            given = self.values([self.words(p) for p in new], [self.train[i] for i in numbers])
            for prompt, row in zip(new, given.tolist()):
                self.known.setdefault(prompt, {}).update(zip(numbers, row))
        return np.array([[self.known[p][i] for i in numbers] for p in prompts], dtype=np.float64)


def mean(rewards: Floats) -> float:
    """Of what was judged; NaN where nothing was."""
    known = rewards[~np.isnan(rewards)]
    return float(known.mean()) if len(known) else float("nan")


def candidates(codec: Any, texts: Iterable[str], most: int) -> Tensor:
    """(C,) ids of tokens that are whole, visible characters: the `most` frequent ones of `texts`, or all (0).

    UserError where there is none.
    """
    special = set(codec.special.values())
    counts = Counter(i for text in texts for i in codec.encode(text)) if most else None
    every = range(codec.size) if counts is None else [i for i, _ in sorted(counts.items(), key=lambda e: (-e[1], e[0]))]
    fit = [i for i in every if i not in special and _visible(codec.decode([i]))]
    if not fit:
        raise UserError("no token of this vocabulary is a visible word: there is nothing to make a prompt of")
    return torch.tensor(fit[: most or None])


def _visible(text: str) -> bool:
    kinds = [unicodedata.category(c) for c in text.strip(" ")]
    return bool(kinds) and "\ufffd" not in text and not any(kind[0] == "C" or kind in ("Zl", "Zp") for kind in kinds)
