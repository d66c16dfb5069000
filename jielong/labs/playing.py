"""What the labs of games share: a tiny model that reads a game as text and writes moves, imitation, and learning from
how games end.

A prompt is the game as it stands, an answer the moves, each move one token. Games are so small that nothing is
estimated: `law` is the model's whole law of its next move in every game, so what it wins follows by enumeration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jielong.labs import learning, stages

if TYPE_CHECKING:
    from jielong.nets.transformer import Transformer
    from jielong.train.preferences.rewarding import Reward
    from jielong.train.preferences.rollout_plan import Drawing
    from jielong.train.run import Work
    from jielong.units.codec import Tokenizer

WIDTH, LAYERS = 64, 2
ROWS = 4  # of a step of imitation, each of 256 tokens
LEARN, READ = 3, 1  # passes through the model: to learn a token, and to write or read it
ANSWER = READ + READ + LEARN  # to write it, to read it beside the start, to learn from it
Floats = NDArray[np.float64]


def codec_of(tokens: Sequence[str]) -> Tokenizer:
    """A token for each of these; "<bytes>" of all else."""
    from jielong.units import tokenlist

    return tokenlist.build(tokens)


def fresh(codec: Tokenizer, seed: int) -> Transformer:
    """One that has learnt nothing."""
    from jielong.nets.config import shape
    from jielong.nets.transformer import Transformer

    return Transformer(shape(WIDTH, codec.size, 2 * stages.CONTEXT, LAYERS), seed=seed)


def imitating(
    model: Transformer, codec: Tokenizer, said: Sequence[tuple[str, str]], items: float, seed: int, gentle: float = 1.0
) -> Work:
    """A copy of the model learns the moves of these (game, moves), in all so many of them, token by token."""
    from jielong.data.tokens import Tokens
    from jielong.train.run import next_token

    documents = []
    for asked, moves in said:
        before, after = [codec.end, *codec.encode(asked)], codec.encode(moves)
        documents.append((before + after, [False] * len(before) + [True] * len(after)))
    tokens = Tokens.from_documents(documents)
    slots = (len(tokens) - len(documents)) / len(documents)  # of one; its last token costs none
    steps = max(1, round(items * slots / (2 * stages.CONTEXT * ROWS)))
    made = learning.work("imitation", deepcopy(model), codec, tokens, next_token, seed, steps, gentle, ROWS)
    return learning.exact(made)


def rewarded(
    model: Transformer, codec: Tokenizer, games: Sequence[str], reward: Callable[[Transformer], Reward],
    drawing: Drawing, items: float, seed: int, gentle: float,
) -> Work:  # fmt: skip
    """A copy of the model learns by GRPO from what its own moves in these games are worth, in all so many of them.
    `reward`: of the copy, which may play itself. Nothing ties it to what it was."""
    from jielong.train.preferences import grpo
    from jielong.train.preferences.asked import Asked
    from jielong.train.preferences.rollout_plan import GrpoPlan
    from jielong.train.preferences.rollouts import encoded

    prompts = encoded([Asked(game, as_text=True) for game in games], codec, 2 * stages.CONTEXT)
    moved = deepcopy(model)
    objective = partial(grpo.of_work, reference=deepcopy(model), prompts=prompts, reward=reward(moved), drawing=drawing,
                        plan=GrpoPlan(beta=0.0))  # fmt: skip
    steps = max(1, round(items / drawing.answers)) * drawing.steps
    made = learning.work("outcomes", moved, codec, prompts.tokens()[0], objective, seed, steps, gentle,
                         drawing.answers // drawing.minibatches)  # fmt: skip
    return learning.exact(made)


def law(model: Transformer, codec: Tokenizer, games: Sequence[str], moves: Sequence[str]) -> Floats:
    """(G, M) the probability of each move as the next token, whatever else the model might write. The games have
    equally many tokens."""
    import torch

    from jielong.train.compiled import plainly

    ids = torch.tensor([[codec.end, *codec.encode(game)] for game in games])
    chosen = [codec.encode(move)[0] for move in moves]
    was_training = model.training
    model.eval()
    with torch.no_grad(), plainly(model):
        logits = torch.cat([model(some)[:, -1] for some in ids.split(1024)])
    model.train(was_training)
    found: Any = logits.double().softmax(-1)[:, chosen].numpy()
    return np.asarray(found, dtype=np.float64)
