"""What PPO and GRPO share: rollouts that serve several steps, their rewards, and how far the model has gone.

Step s belongs to rollout s // S and is its step s % S, S = epochs x minibatches: which steps use a rollout is a
function of the step. What was drawn is kept with the run's state, so that a resumed run learns from the same answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from jielong.base import noise
from jielong.base.errors import UserError, WorkFailed
from jielong.nets.adapters.attach import off
from jielong.nets.transformer import Transformer
from jielong.train import processes
from jielong.train.compiled import plainly
from jielong.train.preferences.advantages import k1
from jielong.train.preferences.pairs import Numbers, by_token, shares
from jielong.train.preferences.rewarding import Reward, called, judged
from jielong.train.preferences.rollout_plan import Drawing
from jielong.train.preferences.rollouts import Drawn, Piece, Prompt, Prompts, columns, draw, pieces
from jielong.units.codec import Tokenizer

if TYPE_CHECKING:
    from jielong.train.run import Work

PATIENCE = 10  # rollouts from the first on in which all answers are worth the same before the run is given up
HELD = 64  # prompts that validation answers
ROLLED = "roll."
FIGURE = "figure."


@dataclass(eq=False)
class Rolls:
    """Of `model` (or of the `adapter` that it wears) learning: what it draws, and what that is worth.

    `reference` is a copy of the model as it was, or the model itself, whose adapter is then taken off. `batch` answers
    go through a model together. `values` (A, T) or (A,) by name are what an objective adds to what was `drawn`.
    """

    model: Transformer
    codec: Tokenizer
    prompts: Prompts
    reward: Reward
    drawing: Drawing
    reference: Transformer
    batch: int
    seed: int = 0
    dtype: torch.dtype = torch.float32
    adapter: nn.Module | None = None
    number: int = -1
    drawn: Drawn | None = None
    values: dict[str, Tensor] = field(default_factory=dict)
    told: dict[str, float] = field(default_factory=dict)
    stopped: bool = False  # the rest of this rollout's steps is left out
    even: int = 0  # rollouts so far whose answers were all worth the same; -1 once some were not
    drift: tuple[float, float] = (0.0, 0.0)  # nats and tokens of the step under way
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def moved(self) -> nn.Module:
        """What is trained."""
        return self.adapter or self.model

    def begins(self, step: int) -> bool:
        """Draw the rollout of this step where it is not at hand; whether it was drawn now."""
        number = step // self.drawing.steps
        self.seconds, self.drift = {}, (0.0, 0.0)
        if number == self.number:
            return False
        self.number, self.stopped, self.values = number, False, {}
        began = time.perf_counter()
        drawn, texts = self._draw(self.prompts.train, self._deal(number), number)
        took = time.perf_counter() - began
        self.seconds = {"rollout_seconds": round(took, 3),
                        "rollout_tokens_per_second": round(float(drawn.lengths.sum()) / took, 1)}  # fmt: skip
        rewards = judged(self.reward, [self.prompts.train[i].shown for i in drawn.prompts], texts,
                         columns(self.prompts.train, drawn.prompts.numpy()))  # fmt: skip
        self.seconds["reward_seconds"] = round(time.perf_counter() - began - took, 3)
        self.drawn, self.values["reward"] = drawn, torch.from_numpy(rewards)
        self._look(rewards)
        self.told = _summary(drawn, rewards)
        return True

    def _deal(self, number: int) -> Numbers:
        """Which prompts a rollout answers: every epoch in a fresh order, each `group` times."""
        n, size = self.drawing.prompts, len(self.prompts.train)
        orders = {e: noise.permutation(self.seed, size, "prompts", e) for e in range(number * n // size,
                  ((number + 1) * n - 1) // size + 1)}  # fmt: skip
        dealt = [orders[place // size][place % size] for place in range(number * n, (number + 1) * n)]
        return np.repeat(np.array(dealt, dtype=np.int64), self.drawing.group)

    def _draw(self, prompts: Sequence[Prompt], numbers: Numbers, *address: Any) -> tuple[Drawn, list[str]]:
        was_training = self.moved.training
        self.moved.eval()
        seed = noise.seed_of("rollout", self.seed, *address)
        found = draw(self.model, self.codec, prompts, numbers, self.drawing, seed)
        self.moved.train(was_training)
        return found

    def _look(self, rewards: np.ndarray) -> None:
        """WorkFailed for a reward from which nothing can be learnt."""
        name, known = called(self.reward), rewards[~np.isnan(rewards)]
        if not len(known):
            raise WorkFailed(f"{name} judged none of the {len(rewards)} answers of rollout {self.number + 1}: there is "
                             "nothing to learn from")  # fmt: skip
        if self.even >= 0:
            self.even = self.even + 1 if (known == known[0]).all() and len(known) > 1 else -1
        if self.even >= PATIENCE:
            raise WorkFailed(f"{name} gave {known[0]:g} to every answer of the first {PATIENCE} rollouts: a constant "
                             "reward teaches nothing")  # fmt: skip

    @property
    def some(self) -> Numbers:
        """The answers that were judged."""
        return torch.nonzero(~self.values["reward"].isnan())[:, 0].numpy()

    @property
    def scores(self) -> Tensor:
        """(A,) rewards, less `unfinished` where an answer was cut; 0 where it was not judged."""
        assert self.drawn is not None
        known = self.values["reward"].nan_to_num()
        return known - self.drawing.unfinished * (~self.drawn.finished).double()

    def deal(self, step: int) -> list[Piece]:
        """The micro-batches of a step: its share of the judged answers, in the order of its epoch."""
        if self.stopped or self.drawn is None:
            return []
        epoch, part = divmod(step % self.drawing.steps, self.drawing.minibatches)
        some = self.some
        order = some[noise.permutation(self.seed, len(some), "answers", self.number, epoch)]
        dealt = np.sort(np.array_split(order, self.drawing.minibatches)[part])  # answers to one prompt side by side
        return list(pieces(self.drawn, dealt, self.batch, shares(self.model.config)))

    def read(self, tell: Callable[[Piece], Tensor], drawn: Drawn | None = None) -> Tensor:
        """(A, T) of what `tell` says (N,) of every token of a rollout, 0 elsewhere."""
        drawn = drawn or self.drawn
        assert drawn is not None
        found = torch.zeros(drawn.logs.shape, dtype=torch.float32)
        with torch.no_grad(), plainly(self.model):
            for some in pieces(drawn, np.arange(len(drawn)), self.batch, shares(self.model.config)):
                said = tell(some).to(device="cpu")
                found = found.to(torch.promote_types(found.dtype, said.dtype))
                found[some.rows, some.columns] = said
        return found

    def old(self, drawn: Drawn) -> Tensor:
        """(A, T) ln p under the law that was drawn from: the sampler's own, but where the temperature is not 1."""
        heat = self.drawing.temperature
        if heat == 1.0:
            return drawn.logs
        return self.read(lambda some: by_token(self.model, some.laid, self.dtype, heat)[0], drawn)

    def beside(self, drawn: Drawn) -> Tensor:
        """(A, T) ln p under the reference."""
        with off(self.reference):
            return self.read(
                lambda some: by_token(self.reference, some.laid, self.dtype, self.drawing.temperature)[0], drawn
            )

    def note(self, drift: Tensor) -> None:
        """How far, in nats, the model has left the one that drew these tokens (N,)."""
        nats, tokens = self.drift
        self.drift = nats + float(drift.sum()), tokens + len(drift)

    def after(self, stop: float) -> None:
        """Leave the rest of a rollout's steps out where the last one had left what drew it by more than `stop` nats a
        token."""
        nats, tokens = self.drift
        if stop and tokens and nats / tokens > stop:
            self.stopped = True

    def validate(self) -> dict[str, float]:
        """`val_reward`, `val_kl` (nats an answer), `val_length`, `val_finished`: one answer to each of the first
        prompts that were kept apart, always by the same noise."""
        if not self.prompts.held:
            return {}
        numbers = np.arange(min(HELD, len(self.prompts.held)))
        drawn, texts = self._draw(self.prompts.held, numbers, "held")
        rewards = judged(self.reward, [prompt.shown for prompt in self.prompts.held[: len(numbers)]], texts,
                         columns(self.prompts.held, numbers))  # fmt: skip
        if np.isnan(rewards).all():
            return {"val_unjudged": 1.0}
        figures = _summary(drawn, rewards) | {"kl": self.nats(drawn, self.old(drawn), self.beside(drawn))}
        return {f"val_{name}": value for name, value in figures.items()}

    @staticmethod
    def nats(drawn: Drawn, old: Tensor, beside: Tensor) -> float:
        """KL(model || reference) in nats an answer, as the answers drawn say."""
        gaps = torch.where(drawn.mask, k1(old.double(), beside.double()), 0)
        return float(gaps.sum(1).mean())

    def state(self) -> dict[str, Tensor]:
        """The rollout under way."""
        if self.drawn is None:
            return {}
        plain = {"number": self.number, "stopped": int(self.stopped), "even": self.even}
        return {
            **{name: torch.tensor(value) for name, value in plain.items()},
            **{ROLLED + name: value for name, value in {**self.drawn.state(), **self.values}.items()},
            **{FIGURE + name: torch.tensor(value, dtype=torch.float64) for name, value in self.told.items()},
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Back to what `state` returned."""
        if "number" not in tensors:
            return
        self.number, self.even = int(tensors["number"]), int(tensors["even"])
        self.stopped = bool(tensors["stopped"])
        rolled = {n.removeprefix(ROLLED): v for n, v in tensors.items() if n.startswith(ROLLED)}
        names = Drawn.__dataclass_fields__
        self.drawn = Drawn(**{name: rolled[name] for name in names})
        self.values = {name: value for name, value in rolled.items() if name not in names}
        self.told = {n.removeprefix(FIGURE): float(v) for n, v in tensors.items() if n.startswith(FIGURE)}


def _summary(drawn: Drawn, rewards: np.ndarray) -> dict[str, float]:
    """Of a rollout; rewards without what is taken for being cut."""
    return {
        "reward": float(np.nanmean(rewards)),
        "reward_std": float(np.nanstd(rewards)),
        "length": float(drawn.lengths.double().mean()),
        "finished": float(drawn.finished.double().mean()),
        "unjudged": float(np.isnan(rewards).mean()),
    }


def rolls(
    work: Work, dtype: torch.dtype, reference: Transformer, prompts: Prompts, reward: Reward, drawing: Drawing
) -> Rolls:
    """The rollouts of a run (`run.Work`), whose documents are the prompts. UserError in several processes."""
    if processes.count() > 1:
        raise UserError("train ppo and grpo run in one process: start them without torchrun")
    model, settings = work.beside or work.model, work.settings
    adapter = work.model if work.adapted else None
    frozen = reference if reference is model else reference.requires_grad_(False).eval()
    return Rolls(model, work.codec, prompts, reward, drawing, frozen, settings.batch, settings.seed, dtype, adapter)
