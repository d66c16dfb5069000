"""Log-probabilities of answers under a model and under the reference it should stay near.

    ln p(y | x) = sum_t ln p(y_t | x, y_<t)        over the tokens of the answer

All answers of a micro-batch (chosen and rejected together) go through the model in one pass, laid side by side into
rows as long as the longest of them; attention never crosses from one to the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from jielong.base import noise
from jielong.data.pack import IGNORED, Batch
from jielong.data.tokens import Tokens
from jielong.nets import ops
from jielong.nets.adapters.attach import off
from jielong.nets.transformer import Transformer
from jielong.train.compiled import plainly
from jielong.train.next_token import stream

SLICE = 4096  # places whose logits are in memory together
Document = tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]  # ids and targets
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Laid:
    """Answers in rows. at (N,): the flat places of all targets; owner (N,): the answer of each; `count` answers;
    lasts (count,): the flat place of each answer's last token. `examples`: which of the data they are."""

    batch: Batch
    at: Numbers
    owner: Numbers
    lasts: Numbers
    count: int
    examples: Numbers

    @property
    def ids(self) -> Numbers:
        """(B, T), what the model reads."""
        return self.batch.ids


@dataclass(frozen=True)
class Told:
    """Of A answers: summed log-probabilities (A,), numbers of tokens (A,), and nats of entropy a token (A,)."""

    sums: Tensor
    lengths: Tensor
    entropies: Tensor


def lay(documents: Sequence[Document], examples: Numbers, last: bool = False) -> Laid:
    """These answers side by side, the longest first, each into the first row with room. With `last` a row also reads
    each answer's last token, which predicts nothing."""
    lengths = np.array([len(ids) - (not last) for ids, _ in documents])
    width = int(lengths.max())
    free: list[int] = []
    seats = np.zeros((len(documents), 2), dtype=np.int64)  # row and place of each answer's first token
    for i in np.argsort(-lengths, kind="stable"):
        row = next((r for r, room in enumerate(free) if room >= lengths[i]), len(free))
        if row == len(free):
            free.append(width)
        seats[i] = row, width - free[row]
        free[row] -= lengths[i]
    shape = (len(free), width)
    ids, targets = np.zeros(shape, dtype=np.int64), np.full(shape, IGNORED, dtype=np.int64)
    numbers, positions = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32)
    at, owner = [], []
    for i in np.argsort(seats[:, 1], kind="stable"):  # from left to right: what stays free belongs to a row's last
        (row, place), (tokens, marks), n = seats[i], documents[i], lengths[i]
        ids[row, place : place + n] = tokens[:n]
        numbers[row, place:] = numbers[row, place - 1] + 1 if place else 0
        positions[row, place : place + n] = np.arange(n)
        asked = np.flatnonzero(marks[1:])
        targets[row, place + asked] = tokens[1:][asked]
        at.append(row * width + place + asked)
        owner.append(np.full(len(asked), i))
    lasts = seats[:, 0] * width + seats[:, 1] + lengths - 1
    batch = Batch(ids, targets, numbers, positions)
    return Laid(batch, np.concatenate(at), np.concatenate(owner), lasts, len(documents), examples)


def log_probs(model: Transformer, laid: Laid, dtype: torch.dtype = torch.float32) -> Told:
    """Of every answer, in the order in which they were given. Gradients flow through `sums`."""
    each, entropy = by_token(model, laid, dtype)
    owner = torch.from_numpy(laid.owner).to(each.device)
    zeros = each.new_zeros(laid.count)
    lengths = zeros.index_add(0, owner, torch.ones_like(entropy))
    return Told(zeros.index_add(0, owner, each), lengths, zeros.index_add(0, owner, entropy) / lengths)


def by_token(
    model: Transformer, laid: Laid, dtype: torch.dtype = torch.float32, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """ln p of each target and the entropy of the law there, (N,) in the order of `laid.at`. `temperature`: of the law
    softmax(logits / temperature). Gradients flow through the first."""
    device = model.device
    at = torch.from_numpy(laid.at).to(device)
    hidden = stream(model, laid.batch, dtype).flatten(0, 1)[at]
    targets = torch.from_numpy(laid.batch.targets).to(device).flatten()[at]
    found = [_slice(model, hidden[i : i + SLICE], targets[i : i + SLICE], temperature, len(hidden) > SLICE)
             for i in range(0, len(hidden), SLICE)]  # fmt: skip
    each, entropy = (torch.cat(parts) for parts in zip(*found))
    return each, entropy


def _slice(
    model: Transformer, hidden: Tensor, targets: Tensor, temperature: float, forget: bool
) -> tuple[Tensor, Tensor]:
    given = (model, hidden, targets, temperature)
    if forget and torch.is_grad_enabled():  # logits of several slices are never in memory together
        found: tuple[Tensor, Tensor] = checkpoint(_chosen, *given, use_reentrant=False)
        return found
    return _chosen(*given)


def _chosen(model: Transformer, hidden_ND: Tensor, targets_N: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """ln p of each target, and the entropy of each place's law (without gradients)."""
    z = logits(model, hidden_ND)
    laws = (z if temperature == 1.0 else z / temperature).log_softmax(-1)
    with torch.no_grad():
        entropy = -(laws.exp() * laws).sum(-1)
    return laws.gather(1, targets_N[:, None]).squeeze(1), entropy


def logits(model: Transformer, hidden_ND: Tensor) -> Tensor:
    """(N, V) in float32 or more."""
    z = ops.linear(hidden_ND, model.head_weight, model.head_bias)
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    cap = model.config.softcap
    return z if cap is None else cap * torch.tanh(z / cap)


@dataclass(frozen=True, eq=False)
class Deck:
    """`tokens` holds `each` documents an example; every epoch deals the examples in a fresh order."""

    tokens: Tokens
    each: int
    seed: int
    orders: dict[int, Numbers] = field(default_factory=dict)  # of the epochs under way

    def __len__(self) -> int:
        return self.tokens.documents // self.each

    def deal(self, first: int, n: int) -> Numbers:
        """The numbers of `n` examples from place `first` on, counted over all epochs."""
        places = range(first, first + n)
        return np.array([self._order(place // len(self))[place % len(self)] for place in places], dtype=np.int64)

    def documents(self, examples: Numbers) -> list[Document]:
        """All first answers, then all second ones."""
        return [self.document(int(i) * self.each + k) for k in range(self.each) for i in examples]

    def document(self, number: int) -> Document:
        """Ids and targets of a document."""
        ids, marks = self.tokens.document(number)
        return ids.astype(np.int64), marks

    def lay(self, examples: Numbers, last: bool = False) -> Laid:
        """The answers of these examples in rows."""
        return lay(self.documents(examples), examples, last)

    def once(self, batch: int) -> list[Numbers]:
        """Every example once, in order, `batch` at a time."""
        return [np.arange(i, min(i + batch, len(self))) for i in range(0, len(self), batch)]

    def _order(self, epoch: int) -> Numbers:
        """Only the latest epochs are kept, and the first, after which the reference's passes are made up."""
        if epoch not in self.orders:
            for old in [e for e in self.orders if 0 < e < epoch - 1]:
                del self.orders[old]
            self.orders[epoch] = noise.permutation(self.seed, len(self), "preferences", epoch)
        return self.orders[epoch]


@dataclass(frozen=True, eq=False)
class Reference:
    """A model that stays as it is, without an adapter that it wears. What it says of each answer is computed once and
    kept, 8 bytes an answer.

    It reads answers in the company in which the first epoch deals them, `batch` examples at a time, whenever they are
    first asked for: so a resumed run has the same numbers as one that was never interrupted.
    """

    model: Transformer
    deck: Deck
    batch: int
    dtype: torch.dtype
    kept: dict[int, Tensor] = field(default_factory=dict)  # of an example: (each,) sums
    places: dict[int, int] = field(default_factory=dict)

    def sums(self, examples: Numbers) -> Tensor:
        """Summed log-probabilities, all first answers, then all second ones."""
        if not self.places:
            self.places.update({int(i): place for place, i in enumerate(self.deck.deal(0, len(self.deck)))})
        for number in examples.tolist():
            if number not in self.kept:
                first = self.places[number] // self.batch * self.batch
                self._read(self.deck.deal(first, min(self.batch, len(self.deck) - first)))
        return torch.stack([self.kept[i] for i in examples.tolist()], dim=1).flatten()

    def told(self, laid: Laid) -> Told:
        """What it says of any answers."""
        with off(self.model):
            return told_by(self.model, laid, self.dtype)

    def _read(self, examples: Numbers) -> None:
        told = self.told(self.deck.lay(examples))
        for i, sums in zip(examples.tolist(), told.sums.unflatten(0, (self.deck.each, -1)).unbind(1)):
            self.kept[i] = sums


def told_by(model: Transformer, laid: Laid, dtype: torch.dtype) -> Told:
    """`log_probs` of a model that does not learn from it."""
    with torch.no_grad(), plainly(model):
        return log_probs(model, laid, dtype)


def divergence(model: Transformer, reference: Transformer, laid: Laid, dtype: torch.dtype) -> tuple[float, int]:
    """Summed KL(model || reference) in nats of the laws at all places of the answers, and the number of places. The
    reference may be the model itself, then without the adapter that it wears."""
    total = 0.0
    with torch.no_grad(), plainly(model), plainly(reference):
        at = torch.from_numpy(laid.at).to(model.device)
        streams = [stream(model, laid.batch, dtype).flatten(0, 1)[at]]
        with off(reference):
            streams.append(stream(reference, laid.batch, dtype).flatten(0, 1)[at])
        for i in range(0, len(at), SLICE):
            p, q = (logits(m, s[i : i + SLICE]).log_softmax(-1) for m, s in zip((model, reference), streams))
            total += float((p.exp() * (p - q)).sum(dtype=torch.float64))
    return total, len(at)
