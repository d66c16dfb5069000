"""What the labs of adapters share: ways to tune a model, a run of each, and what the tuned model answers.

All begin at a model that has read the world and never saw a chat (`aligning`'s base). A way is the whole model or an
adapter, and the rate that was best for it on world 0, which no lab measures: labs tune in the worlds from 1 on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jielong.base import noise
from jielong.base.talk import Talk
from jielong.labs import aligning, learning, stages
from jielong.labs.lab import Budget
from jielong.nets.adapters.config import Bitfit, Bottleneck, Config, Ia3, Lora, Prefix, SoftPrompt
from jielong.world.text import Question
from jielong.world.world import World

if TYPE_CHECKING:
    from jielong.data.tokens import Tokens
    from jielong.nets.checkpoint import Loaded
    from jielong.nets.transformer import Transformer

BATCH = 8  # rows of 256 tokens a step
CHATS = 4000  # of all kinds together, to learn from
RANKS = (1, 4, 16)
SOME, FEED = ("q_proj", "v_proj"), ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Way:
    """An adapter (None: the whole model) and its rate, times the usual ones."""

    config: Config | None
    gentle: float


FULL = "full fine-tuning"
PLACES = {"queries and values": (SOME, (6.0, 3.0, 3.0)), "feed-forward": (FEED, (8.0, 4.0, 2.0)),
          "all": ((), (2.0, 2.0, 1.0))}  # fmt: skip
WAYS: Mapping[str, Way] = {  # rates: scripts/tuning_rates.py
    FULL: Way(None, 0.5),
    **{f"LoRA {rank}, {place}": Way(Lora(rank=rank, alpha=2.0 * rank, targets=targets), gentle)
       for place, (targets, rates) in PLACES.items() for rank, gentle in zip(RANKS, rates)},
    "IA3": Way(Ia3(), 48.0),
    "bottleneck 8": Way(Bottleneck(8), 4.0),
    "BitFit": Way(Bitfit(), 16.0),
    "prefix 20": Way(Prefix(20), 60.0),
    "soft prompt 20": Way(SoftPrompt(20), 120.0),
}  # fmt: skip


def world(seed: int) -> World:
    """The part of the world after that of the same number which the base has read about."""
    return aligning.known(seed + 1)


def base(budget: Budget, seed: int) -> Loaded:
    """The model that has read it."""
    from jielong.nets import checkpoint

    return checkpoint.load(stages.base(budget, seed + 1, aligning.PEOPLE, aligning.READ))


def chats(of: World, codec: Any, kinds: Mapping[str, float], n: int = CHATS, draw: int = 0) -> Tokens:
    """About `n` chats, by the kinds' shares, shuffled; another `draw` has other ones."""
    from jielong.train import curriculum as plans

    some = [chat for kind, share in kinds.items() for chat in of.chats(kind, round(n * share), draw=draw)]
    order = noise.permutation(noise.seed_of("tuning", of.seed, draw), len(some)).tolist()
    return plans.chat_tokens((some[i] for i in order), codec)


def steps(budget: Budget, usual: int, minutes: float) -> int:
    """Of each run: the `usual` number where the lab takes the `minutes` that it asks for; of --tokens, as many as read
    them."""
    if budget.tokens:
        return max(1, budget.tokens // (BATCH * 2 * stages.CONTEXT))
    return max(1, round(usual * (budget.minutes or minutes) / minutes))


def tuned(
    loaded: Loaded, way: Way, tokens: Tokens, seed: int, steps: int, talk: Talk, make: Any = None, **changes: Any
) -> Transformer:
    """A copy of the model, tuned; an adapter stays attached. `make`: what makes the objective of a work (default: the
    next token); `changes`: of the run's settings."""
    from jielong.nets.adapters.attach import attach
    from jielong.nets.adapters.folder import upon
    from jielong.train.run import next_token

    model = deepcopy(loaded.model)
    work = learning.work("tuned", model, loaded.codec, tokens, make or next_token, seed, steps, way.gentle, BATCH)
    if way.config is not None:
        adapter = attach(model, way.config, family=upon(loaded).family, seed=seed)
        work = replace(work, model=adapter, beside=model)
    work = replace(work, settings=replace(work.settings, **changes))
    learning.learnt(work, talk)
    return model.eval()


def trained(model: Transformer) -> int:
    """How many numbers a tuned model has that were moved."""
    parts: list[Any] = list(model.adapters.values()) or [model]
    return sum(parameter.numel() for part in parts for parameter in part.parameters())


def verdicts(model: Transformer, codec: Any, of: World, some: Sequence[Question]) -> list[str]:
    """The oracle's on greedy answers. What can be merged is, in a copy: it answers sooner."""
    from jielong.evals.scorecard import judge
    from jielong.lm.local import Local, Parts
    from jielong.nets.adapters.attach import loose, merge, merges

    copy = deepcopy(model)
    adapters: Mapping[str, Any] = copy.adapters
    for name in loose(copy):
        if merges(adapters[name]):
            merge(copy, name)
    return judge(Local(Parts(copy, codec)), of, some)


def share(found: Sequence[str]) -> float:
    """Of right answers."""
    return sum(each == "right" for each in found) / max(1, len(found))


def nats(model: Transformer, tokens: Tokens) -> float:
    """A trained target of these documents, in nats; the same rows for every model."""
    import torch

    from jielong.data.pack import Packer
    from jielong.train.next_token import NextToken

    held = Packer(tokens, 2 * stages.CONTEXT, 2 * BATCH)
    return NextToken(model, held, held, dtype=torch.float32).validate()["val_loss"]
