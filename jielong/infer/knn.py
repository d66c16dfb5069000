"""A model that looks up what followed in like contexts: kNN-LM (Khandelwal et al. 2020, arXiv 1911.00172).

    p(y | x) = share * p_kNN(y | x) + (1 - share) * p_LM(y | x)
    p_kNN(y | x) ~ sum of exp(-d / temperature) over the neighbours with token y

The neighbours of a context x are the k nearest of the store's vectors, d the squared Euclidean distance. A context's
vector is the stream after the last norm, as the head reads it (the paper takes the one before the last feed-forward).
Texts begin with the end token, so that a document's first token is predicted as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from jielong.base.errors import UserError
from jielong.infer.runner import context_of
from jielong.infer.score import hidden

if TYPE_CHECKING:
    from jielong.store.store import Writer

AT_ONCE = 64  # documents that are read together


class Datastore(Protocol):
    """`store.Store` is one."""

    def nearest(self, queries_QD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances (Q, k) and the tokens (Q, k) that followed."""
        ...


@dataclass(frozen=True)
class Knn:
    """How much the neighbours count. `temperature` 1 is the paper's; its best `share` for new text was 0.25."""

    share: float = 0.25
    k: int = 32
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise UserError(f"share is {self.share}: give 0 (the model alone) to 1 (the neighbours alone)")
        if self.k < 1:
            raise UserError(f"k is {self.k}: give 1 or more neighbours")
        if not 0 < self.temperature < float("inf"):
            raise UserError(f"temperature is {self.temperature}: give a number above 0")


def weights(distances_Nk: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(N, k) float64, each row summing to 1: what every neighbour counts."""
    far = distances_Nk.astype(np.float64) / temperature
    raised = np.exp(far.min(axis=1, keepdims=True) - far)
    found: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return found


def chances(distances_Nk: np.ndarray, follows_Nk: np.ndarray, tokens_N: np.ndarray, temperature: float) -> np.ndarray:
    """p_kNN of one token for each context, (N,) float64."""
    found: np.ndarray = (weights(distances_Nk, temperature) * (follows_Nk == tokens_N[:, None])).sum(axis=1)
    return found


def law(distances_k: np.ndarray, follows_k: np.ndarray, size: int, temperature: float = 1.0) -> np.ndarray:
    """p_kNN of all tokens for one context, (size,) float64."""
    return np.bincount(follows_k, weights(distances_k[None], temperature)[0], minlength=size)


def mix(logprobs_N: np.ndarray, chances_N: np.ndarray, share: float) -> np.ndarray:
    """Natural logarithms (N,) of the mixture, from those of the model and the probabilities of the neighbours."""
    with np.errstate(divide="ignore"):
        own, theirs = np.log1p(-share) + logprobs_N, np.log(share) + np.log(chances_N)
    return np.logaddexp(own, theirs)


def contexts(model: Any, documents: Iterable[Sequence[int]], end: int) -> Iterator[tuple[Tensor, np.ndarray]]:
    """For each piece of the documents its contexts' vectors (T, D) float32, and the tokens (T,) that follow them.

    A document longer than the model's context is read in pieces, each begun anew with the last token of the one before.
    """
    pieces = (piece for ids in documents for piece in cut([end, *ids, end], context_of(model)))
    while some := list(islice(pieces, AT_ONCE)):
        found: list[Any] = [None] * len(some)
        for row, hidden_TD in hidden(model, [piece[:-1] for piece in some]):
            found[row] = (hidden_TD, np.array(some[row][1:], dtype=np.int64))
        yield from found


def cut(ids: Sequence[int], context: int | None) -> Iterator[Sequence[int]]:
    """Pieces that overlap by one token, of at most `context` tokens to read and one to predict."""
    step = context or len(ids)
    return (ids[at : at + step + 1] for at in range(0, len(ids) - 1, step))


def remember(
    model: Any,
    writer: Writer,
    documents: Iterable[Sequence[int]],
    end: int,
    most: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> int:
    """Put the contexts of some documents (token ids) into a store, `most` of them at most; returns how many."""
    done = 0
    for hidden_TD, follows_T in contexts(model, documents, end):
        keep = len(follows_T) if most is None else min(len(follows_T), most - done)
        if keep:
            writer.add_vectors(hidden_TD[:keep].cpu().numpy(), follows_T[:keep])
        done += keep
        if progress is not None:
            progress(done)
        if done == most:
            break
    return done


@torch.no_grad()
def score(model: Any, store: Datastore, documents: Sequence[Sequence[int]], end: int, knn: Knn) -> list[np.ndarray]:
    """Natural log-probabilities under the mixture of each document's tokens, and of its end after them."""
    found = []
    for hidden_TD, follows_T in contexts(model, documents, end):
        own_T = logprobs(model, hidden_TD, follows_T)
        near = store.nearest(hidden_TD.cpu().numpy(), knn.k)
        found.append(mix(own_T, chances(*near, follows_T, knn.temperature), knn.share))
    flat = np.concatenate([np.zeros(0), *found])
    return np.split(flat, np.cumsum([len(ids) + 1 for ids in documents])[:-1])


@torch.no_grad()
def logprobs(model: Any, hidden_TD: Tensor, tokens_T: np.ndarray) -> np.ndarray:
    """The model's own log-probabilities (T,) float64 of tokens behind such contexts."""
    logits_TV = model.logits(hidden_TD[None])[0].float()
    chosen_T = logits_TV.gather(1, torch.from_numpy(tokens_T).to(logits_TV.device)[:, None])[:, 0]
    found: np.ndarray = (chosen_T - logits_TV.logsumexp(dim=-1)).double().cpu().numpy()
    return found


class Neighbours:
    """kNN-LM as a processor of a request: its state is the text.

    A processor sees logits and tokens and not the stream they were made from, so each text is read once more for every
    token: right for any engine and drafter, and too slow for long texts. Put it first: what comes in is taken for the
    model's own logits, and what goes out are the mixture's log-probabilities.
    """

    def __init__(self, model: Any, store: Datastore, knn: Knn) -> None:
        self.model, self.store, self.knn = model, store, knn

    def start(self, prompt: tuple[int, ...]) -> tuple[int, ...]:
        return prompt

    def process(self, state: tuple[int, ...], logits_V: Tensor) -> Tensor:
        ((_, hidden_TD),) = hidden(self.model, [state])
        (far,), (follows,) = self.store.nearest(hidden_TD[-1:].cpu().numpy(), self.knn.k)
        theirs = torch.from_numpy(law(far, follows, len(logits_V), self.knn.temperature))
        own = logits_V.double().softmax(dim=-1)
        mixed = torch.lerp(own, theirs.to(own.device), self.knn.share)
        return mixed.log().to(logits_V.dtype)

    def advance(self, state: tuple[int, ...], token: int) -> tuple[int, ...]:
        return (*state, token)

    def done(self, state: tuple[int, ...]) -> bool:
        return False
