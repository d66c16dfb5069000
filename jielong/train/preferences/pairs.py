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

from jielong.base import noise
from jielong.data.pack import IGNORED, Batch
from jielong.data.tokens import Tokens
from jielong.nets import ops
from jielong.nets.adapters.attach import off
from jielong.nets.adapters.prefix import STAYS
from jielong.nets.config import TransformerConfig
from jielong.nets.losses import chosen_log_probs
from jielong.nets.transformer import Transformer
from jielong.train.compiled import plainly
from jielong.train.next_token import stream

WIDER = (1.0, 1.25, 1.5, 2.0)  # rows, in lengths of the longest that must fit
SLICE = 4096  # places whose logits are in memory together
Document = tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]  # ids and targets
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Laid:
    """Answers in rows. at (N,): the flat places before all targets; targets (N,); owner (N,): the answer of each;
    `count` answers; lasts (count,): the flat place of each answer's last token. `examples`: which of the data they
    are."""

    batch: Batch
    at: Numbers
    targets: Numbers
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


@dataclass(frozen=True)
class _Unit:
    """Answers that stand together: `members`, and how many tokens of what was asked they share (0: a single one)."""

    members: tuple[int, ...]
    shared: int
    length: int


def lay(
    documents: Sequence[Document], examples: Numbers, last: bool = False, asked: Numbers | None = None
) -> Laid:
    """These answers side by side in rows. With `last` rows also read each answer's last token, which predicts nothing.
    `asked` (N,): answers with the same number stand after one prompt, which is read once and seen by all of them."""
    units = _units(documents, last, asked)
    seats, shape = _seated([unit.length for unit in units])
    ids, targets = np.zeros(shape, dtype=np.int64), np.full(shape, IGNORED, dtype=np.int64)
    numbers, positions, above = (np.zeros(shape, dtype=np.int32) for _ in range(3))
    above -= 1
    at, asked_for, owner = [], [], []
    lasts = np.zeros(len(documents), dtype=np.int64)
    for u in np.argsort(seats[:, 1], kind="stable"):  # from left to right: what stays free belongs to a row's last
        (row, place), unit = seats[u], units[u]
        first, n = row * shape[1] + place, unit.shared
        number = numbers[row, place - 1] + 1 if place else 0
        if n:
            ids[row, place : place + n] = documents[unit.members[0]][0][:n]
            positions[row, place : place + n] = np.arange(n)
            numbers[row, place:], above[row, place:] = number, -1
        begin = place + n
        for k, i in enumerate(unit.members):
            tokens, marks = documents[i]
            length = len(tokens) - (not last)
            end = begin + length - n
            ids[row, begin:end], positions[row, begin:end] = tokens[n:length], np.arange(n, length)
            numbers[row, begin:], above[row, begin:] = number + k + bool(n), number if n else -1
            where = np.flatnonzero(marks[1:])
            flat = first + np.where(where < n, where, where + begin - place - n)
            targets.reshape(-1)[flat] = tokens[where + 1]
            at.append(flat)
            asked_for.append(tokens[where + 1])
            owner.append(np.full(len(where), i))
            lasts[i] = row * shape[1] + end - 1
            begin = end
    batch = Batch(ids, targets, numbers, positions, above=above if (above >= 0).any() else None)
    flat_at, flat_asked, owners = (np.concatenate(each) for each in (at, asked_for, owner))
    return Laid(batch, flat_at, flat_asked, owners, lasts, len(documents), examples)


def _units(documents: Sequence[Document], last: bool, asked: Numbers | None) -> list[_Unit]:
    """What stands together, in the order of the answers: those of one prompt, as far as they begin alike and nothing of
    it is a target."""
    lengths = [len(ids) - (not last) for ids, _ in documents]
    groups: dict[int, list[int]] = {}
    for i in range(len(documents)):
        groups.setdefault(i if asked is None else int(asked[i]), []).append(i)
    units = []
    for members in groups.values():
        shared = 0
        if len(members) > 1:
            shared = min(int(documents[i][1].argmax()) for i in members)
            first = documents[members[0]][0][:shared]
            for i in members[1:]:
                differ = np.flatnonzero(first != documents[i][0][: len(first)])
                first = first[: differ[0]] if len(differ) else first
            shared = len(first)
        if shared:
            units.append(_Unit(tuple(members), shared, shared + sum(lengths[i] - shared for i in members)))
        else:
            units += [_Unit((i,), 0, lengths[i]) for i in members]
    return units


def _seated(lengths: Sequence[int]) -> tuple[Numbers, tuple[int, int]]:
    """Row and place of each of these, the longest first, each into the first row with room, and (rows, width): of some
    widths from the longest on the one that leaves least free, since what is free is computed too."""
    best: tuple[Numbers, tuple[int, int]] | None = None
    order = np.argsort(-np.array(lengths), kind="stable")
    for more in WIDER:
        width = int(max(lengths) * more)
        free: list[int] = []
        seats = np.zeros((len(lengths), 2), dtype=np.int64)
        for i in order:
            row = next((r for r, room in enumerate(free) if room >= lengths[i]), len(free))
            if row == len(free):
                free.append(width)
            seats[i] = row, width - free[row]
            free[row] -= lengths[i]
        width -= min(free)
        if best is None or len(free) * width < best[1][0] * best[1][1]:
            best = seats, (len(free), width)
    assert best is not None
    return best


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
    hidden = stream(model, laid.batch, dtype, at)[0]
    targets = torch.from_numpy(laid.targets).to(device)
    return chosen_log_probs(
        hidden, model.head_weight, targets, model.head_bias, model.config.softcap, temperature
    )


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
    shared: bool = False  # answers to one prompt are laid after it together: `shares`
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
        asked = np.tile(np.arange(len(examples)), self.each) if self.shared and self.each > 1 else None
        return lay(self.documents(examples), examples, last, asked)

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


def shares(config: TransformerConfig) -> bool:
    """Whether answers may stand after one prompt: a token must not depend on its place in a row."""
    turning = all(layer.rope is None or layer.rope.scaling in STAYS for layer in config.blocks)
    seen = config.causal and not any(layer.window for layer in config.blocks)
    return seen and turning and config.position != "alibi"


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
        streams = [stream(model, laid.batch, dtype, at)[0]]
        with off(reference):
            streams.append(stream(reference, laid.batch, dtype, at)[0])
        for i in range(0, len(at), SLICE):
            p, q = (logits(m, s[i : i + SLICE]).log_softmax(-1) for m, s in zip((model, reference), streams))
            total += float((p.exp() * (p - q)).sum(dtype=torch.float64))
    return total, len(at)
