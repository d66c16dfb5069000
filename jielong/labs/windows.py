"""Text that runs on without an end, and small models that read it in windows of one length.

The world's documents follow each other as one stream, each begun by the end token. A model is trained on pieces of so
many tokens, each behind an end token of its own: whatever it knows of places, it knows of those.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.labs.lab import Budget

if TYPE_CHECKING:
    import numpy as np

    from jielong.nets.transformer import Transformer
    from jielong.units.codec import Tokenizer

DOCUMENT = 45  # tokens of a document, about
VOCAB = 512
STEP = 2048  # tokens of a training step


@dataclass(frozen=True, eq=False)
class Stream:
    """`train` and `fresh` (held out) token ids, and the UTF-8 `bytes` of each token."""

    codec: Tokenizer
    train: np.ndarray
    fresh: np.ndarray
    bytes: np.ndarray

    @property
    def end(self) -> int:
        """The token with which every document and every window begins."""
        return self.codec.end


def share(budget: Budget, minutes: float, tokens: int, models: int) -> int:
    """Tokens that each of so many models may see: `tokens` in the lab's own `minutes`, in proportion in others."""
    if budget.tokens is not None:
        return max(1, budget.tokens // models)
    return max(1, round(tokens * (budget.minutes or minutes) / minutes))


def stream(seed: int, tokens: int, fresh: int, people: int = 60) -> Stream:
    """About `tokens` tokens to train on, and at least `fresh` of documents that no training uses."""
    import numpy as np

    from jielong.data.tokenise import byte_lengths
    from jielong.train import curriculum as plans
    from jielong.units import bpe

    plan = plans.Curriculum(seed=seed, people=people)
    read = plans.documents(plan, max(200, tokens // DOCUMENT))
    held = plans.documents(plan, max(200, 2 * fresh // DOCUMENT), plans.HELD_OUT_DRAW)
    codec = bpe.train(read[:10_000], VOCAB, at_most=True)

    def flat(texts: list[str]) -> np.ndarray:
        return np.concatenate([[codec.end, *ids] for ids in codec.encode_batch(texts)])

    return Stream(codec, flat(read), flat(held), byte_lengths(codec))


def learn(
    model: Transformer, text: Stream, context: int, tokens: int, seed: int, budget: Budget, label: str,
    gentle: float = 1.0,
) -> Transformer:  # fmt: skip
    """The model after `tokens` more tokens of the stream in windows of `context`; `gentle` scales the rates."""
    from jielong.data.tokens import Tokens
    from jielong.train import run
    from jielong.train.settings import Settings

    places = range(0, len(text.train) - context, context)
    pieces = Tokens.from_documents(([text.end, *text.train[at : at + context]], None) for at in places)
    plain = Settings(tokens=tokens, context=context, batch=max(1, STEP // context), validate=0, save_every=0, seed=seed,
                     compile=False)  # fmt: skip
    settings = replace(plain, matrix_rate=plain.matrix_rate * gentle, other_rate=plain.other_rate * gentle)
    with tempfile.TemporaryDirectory() as folder:
        work = run.Work(model, text.codec, pieces, None, settings, {"name": label})
        run.start(work, Path(folder), budget.talk, f"{label}, seed {seed}")
    return model.eval()


def reshaped(model: Transformer, **changes: Any) -> Transformer:
    """The same weights with another configuration: a longer context, other positions."""
    from jielong.nets.transformer import Transformer

    other = Transformer(replace(model.config, **changes), seed=None)
    other.load_state_dict(model.state_dict())
    return other.eval()


def bits(logprobs: Sequence[np.ndarray], targets: Sequence[np.ndarray], text: Stream) -> float:
    """Bits per byte of targets with such (natural) log-probabilities."""
    import numpy as np

    total = -sum(float(np.sum(each)) for each in logprobs) / np.log(2)
    return float(total / sum(int(text.bytes[each].sum()) for each in targets))
