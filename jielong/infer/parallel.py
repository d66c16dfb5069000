"""Text whose places are all written at once, or in N passes: a few readings for any length.

    marks = Marks(tokens=codec.size, longest=32)
    write(model, marks, [codec.encode("Who?")], Passes("mask-predict", 4), Sampling(seed=1, stop_ids=(codec.end,)))

In a single pass every slot takes its token by its own law given the source: the text follows the product of the
marginals, whatever the model, and where two answers are right, slots answer for different ones. More passes let later
slots see what earlier ones took. Four ways to spend N passes, one function each that says what a pass opens and keeps:

    mask-predict   write all; then N - 1 times mask the least certain floor(n (N - k) / N) of n slots and write these
                   again (Ghazvininejad et al. 2019, arXiv 1904.09324, section 3.2)
    confident      keep the most certain of what is written; what is kept stays (Chang et al. 2022, arXiv 2202.04200;
                   Nie et al. 2025, arXiv 2502.09992, "low-confidence remasking")
    ancestral      every slot opens in a pass of its own, each as likely: the reverse process of masked diffusion in
                   N equal steps, t -> s, where a masked slot opens with probability (t - s) / t (Sahoo et al. 2024,
                   arXiv 2406.07524, eq. 7)

Chance has addresses: (seed, pass, slot), so a text does not depend on what is written beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from jielong.base import noise
from jielong.base.errors import UserError, WorkFailed
from jielong.infer import sample
from jielong.infer.sample import LAWLESS, lawless, log_law, pick, weights
from jielong.infer.sampling import Sampling
from jielong.infer.slots import Laid, Marks, lay

Way = Literal["mask-predict", "confident", "ancestral"]
LENGTH, WHEN = "length", "when"  # addresses of choices that are not a token
# Settings that shape the law of one slot by itself, in the order of `sample.process`.
SHAPING: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "temperature": sample.temperature, "top_k": sample.top_k, "top_p": sample.top_p, "min_p": sample.min_p,
    "typical": sample.typical,
}  # fmt: skip
HONOURED = (*SHAPING, "seed", "max_tokens", "stop_ids")


@dataclass(frozen=True)
class Passes:
    """How slots are written: in `number` passes (1: all at once, whatever the way)."""

    way: Way = "mask-predict"
    number: int = 1

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise UserError(f"passes go by {', '.join(WAYS)}, not {self.way!r}")
        if isinstance(self.number, bool) or not isinstance(self.number, int) or self.number < 1:
            raise UserError(f"the number of passes is {self.number!r}: give 1 or more")


@dataclass(frozen=True)
class Written:
    """`ids` up to the first stop token, it included; `logprobs` of each when it was written, natural log, by the
    model's own law. `reason` is "stop" or "length". `slots`: places that were written; `reads`: how many readings of
    the model had to wait for each other, that of the length included."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    reason: str
    slots: int
    reads: int


@dataclass(eq=False)
class Sheet:
    """B rows under way. tokens (B, S) int64, what stands in the slots; sure (B, S) float32, its log-probability;
    masked (B, S) bool, which slots show the mask; reads (B,), how often a row was read."""

    laid: Laid
    tokens: np.ndarray
    sure: np.ndarray
    masked: np.ndarray
    reads: np.ndarray
    chance: Chance

    @property
    def counts(self) -> np.ndarray:
        """Slots of each row, (B,)."""
        return self.laid.open.sum(axis=1)


class Chance:
    """Where the choices of some rows come from: their seeds, or a `source` asked at (row, *address)."""

    def __init__(self, samplings: Sequence[Sampling], first: int, source: noise.Source | None) -> None:
        self.samplings, self.first, self.source = samplings, first, source

    def uniforms(self, number: int, *address: Any) -> np.ndarray:
        """(B, number) uniform numbers of the rows' seeds."""
        return np.stack([noise.uniform(s.seed, *address, n=number) for s in self.samplings])

    def tokens(self, logits_NV: Tensor, rows: np.ndarray, slots: np.ndarray, *address: Any) -> np.ndarray:
        """An id for each of N laws, of these rows and slots."""
        if bool(lawless(logits_NV).any()):
            raise WorkFailed(LAWLESS)
        if self.source is None:
            seeds = [self.samplings[row].seed for row in rows.tolist()]
            each = [noise.gumbel_place(seed, *address, slot) for seed, slot in zip(seeds, slots.tolist())]
            return pick(logits_NV, np.stack(each))
        choose, first = self.source.choose, self.first
        places = zip(weights(logits_NV), rows.tolist(), slots.tolist())
        return np.array([choose(p, first + row, *address, slot) for p, row, slot in places], dtype=np.int64)

    def among(self, most: int, slots: int, address: str) -> np.ndarray:
        """(B, slots) whole numbers below `most`, each as likely."""
        if self.source is None:
            return (self.uniforms(slots, address) * most).astype(np.int64)
        choose, rows = self.source.choose, range(self.first, self.first + len(self.samplings))
        even = [1.0] * most
        return np.array([[choose(even, row, address, slot) for slot in range(slots)] for row in rows], dtype=np.int64)


@torch.no_grad()
def write(
    model: Any,
    marks: Marks,
    prompts: Sequence[Sequence[int]],
    passes: Passes,
    samplings: Sampling | Sequence[Sampling],
    *,
    source: noise.Source | None = None,
    batch: int = 64,
    watch: Callable[[int, Sheet], object] | None = None,
) -> list[Written]:
    """One `Written` for each prompt, in order; at most `batch` rows are read together.

    `model` has `hidden(ids, documents=)` and `logits(hidden)`, as the Transformer. `samplings`: one for all, or one
    each; of their settings those in HONOURED, `max_tokens` cutting the text. `source` takes the place of the seeds.
    `watch(pass, sheet)` sees the rows after each pass. UserError for empty prompts, for those that leave no room, and
    for settings that look at other tokens of the text.
    """
    each = [samplings] * len(prompts) if isinstance(samplings, Sampling) else list(samplings)
    if len(each) != len(prompts):
        raise UserError(f"{len(each)} settings for {len(prompts)} prompts: give one for all, or one each")
    if batch < 1:
        raise UserError(f"batch is {batch}: give 1 or more")
    rooms = [_room(model, marks, prompt, sampling) for prompt, sampling in zip(prompts, each)]
    out: list[Written] = []
    for first in range(0, len(prompts), batch):
        part = slice(first, first + batch)
        chance = Chance(each[part], first, source)
        out += _write(model, marks, prompts[part], passes, rooms[part], chance, watch)
    return out


def _write(
    model: Any, marks: Marks, prompts: Sequence[Sequence[int]], passes: Passes, rooms: Sequence[int], chance: Chance,
    watch: Callable[[int, Sheet], object] | None,
) -> list[Written]:  # fmt: skip
    told = marks.length == "predicted"
    laid = lay(prompts, lengths(model, marks, prompts, rooms, chance).tolist() if told else rooms, marks)
    shape, reads = laid.slots.shape, np.full(len(prompts), int(told))
    sheet = Sheet(laid, np.full(shape, marks.mask), np.zeros(shape, np.float32), laid.open.copy(), reads, chance)
    columns = _columns(chance.samplings)
    for number in range(passes.number):
        opened = WAYS[passes.way](sheet, number, passes.number)
        if not opened.any():
            continue
        rows, slots = np.nonzero(opened)
        logits_NV = read(model, marks, laid, sheet.tokens, ~sheet.masked, rows, slots)
        law_NV = shaped(logits_NV, columns, rows)
        chosen = chance.tokens(law_NV, rows, slots, number)
        at_N1 = torch.from_numpy(chosen).to(logits_NV.device)[:, None]
        sheet.tokens[rows, slots] = chosen
        sheet.sure[rows, slots] = log_law(logits_NV).gather(1, at_N1)[:, 0].cpu().numpy()
        sheet.reads += opened.any(axis=1)
        if passes.way != "confident":
            sheet.masked[rows, slots] = False
        if watch is not None:
            watch(number, sheet)
    return [_finished(sheet, row, sampling) for row, sampling in enumerate(chance.samplings)]


def read(
    model: Any, marks: Marks, laid: Laid, tokens: np.ndarray, known: np.ndarray, rows: np.ndarray, slots: np.ndarray
) -> Tensor:
    """Logits (N, V) of the tokenizer's tokens at these slots, given the source and, of `tokens` (B, S) in the slots,
    those that are known (B, S)."""
    ids = laid.ids.copy()
    at = np.nonzero(laid.open & known)
    ids[at[0], laid.slots[at]] = tokens[at]
    need = np.unique(rows)  # a row that waits in this pass is not read
    place = np.searchsorted(need, rows)
    hidden = _hidden(model, ids[need], None if laid.documents is None else laid.documents[need])
    return model.logits(hidden[torch.from_numpy(place), torch.from_numpy(laid.slots[rows, slots])])[:, : marks.tokens]


def lengths(
    model: Any, marks: Marks, prompts: Sequence[Sequence[int]], rooms: Sequence[int], chance: Chance
) -> np.ndarray:
    """How many slots each row gets, by the model's own law of lengths, at most its room: (B,)."""
    asked = lay([[*prompt, marks.ask] for prompt in prompts], [0] * len(prompts), marks)
    hidden = _hidden(model, asked.ids, asked.documents)
    rows = np.arange(len(prompts))
    last = torch.tensor([len(prompt) for prompt in prompts])
    logits_BL = model.logits(hidden[torch.from_numpy(rows), last])[:, marks.ask + 1 :]
    beyond = torch.arange(1, marks.longest + 1)[None, :] > torch.tensor(list(rooms))[:, None]
    logits_BL = logits_BL.masked_fill(beyond.to(logits_BL.device), -torch.inf)
    law_BL = shaped(logits_BL, _columns(chance.samplings), rows)
    return 1 + chance.tokens(law_BL, rows, np.zeros_like(rows), LENGTH)


def _hidden(model: Any, ids: np.ndarray, documents: np.ndarray | None) -> Tensor:
    device = getattr(model, "device", "cpu")
    kept = None if documents is None or not documents.any() else torch.from_numpy(documents).to(device)
    hidden: Tensor = model.hidden(torch.from_numpy(ids).to(device), documents=kept)
    return hidden


def mask_predict(sheet: Sheet, k: int, number: int) -> np.ndarray:
    """Pass 0 writes all n slots; pass k masks the least certain floor(n (N - k) / N) and writes them again."""
    least = sheet.counts * (number - k) // number
    sheet.masked = sheet.laid.open & (_rank(np.where(sheet.laid.open, sheet.sure, np.inf)) < least[:, None])
    return sheet.masked.copy()


def confident(sheet: Sheet, k: int, number: int) -> np.ndarray:
    """Before pass k, of what pass k - 1 wrote, the most certain are kept, so that floor(n (N - k) / N) stay masked.

    The last pass keeps all. A row of which a pass would keep nothing is left out of it.
    """
    now, then = (sheet.counts * (number - at) // number for at in (k, k + 1))
    more = sheet.masked.sum(axis=1) - now
    sheet.masked = sheet.masked & (_rank(np.where(sheet.masked, -sheet.sure, np.inf)) >= more[:, None])
    return sheet.masked & (now > then)[:, None]


def ancestral(sheet: Sheet, k: int, number: int) -> np.ndarray:
    """Every slot opens in one pass, all N as likely: that is what (t - s) / t for a masked slot comes to."""
    when = sheet.chance.among(number, sheet.laid.slots.shape[1], WHEN)
    return sheet.laid.open & (when == k)


# What a pass does before it reads: it may mask or keep slots of the sheet, and says which are written: (B, S) bool.
WAYS: dict[str, Callable[[Sheet, int, int], np.ndarray]] = {
    "mask-predict": mask_predict, "confident": confident, "ancestral": ancestral,
}  # fmt: skip


def _rank(values: np.ndarray) -> np.ndarray:
    """The place of each of (B, N) in its row's ascending order; of equals the first comes first."""
    order = np.argsort(values, axis=1, kind="stable")
    return np.argsort(order, axis=1, kind="stable")


def _columns(samplings: Sequence[Sampling]) -> dict[str, Tensor]:
    """The settings that some row uses, (B,) each."""
    default = Sampling()
    found = {name: [getattr(s, name) for s in samplings] for name in SHAPING}
    return {
        name: torch.tensor(values, dtype=torch.float32)
        for name, values in found.items()
        if any(value != getattr(default, name) for value in values)
    }


def shaped(logits_NV: Tensor, columns: dict[str, Tensor], rows: np.ndarray) -> Tensor:
    """Each law by the settings of its row."""
    for name, process in SHAPING.items():
        if name in columns:
            logits_NV = process(logits_NV, columns[name][torch.from_numpy(rows)].to(logits_NV.device))
    return logits_NV


def _room(model: Any, marks: Marks, prompt: Sequence[int], sampling: Sampling) -> int:
    """Slots that this prompt may have. UserError where there are none, or for a setting that is not honoured."""
    odd = sorted(set(sampling.changes()) - set(HONOURED))
    if odd:
        raise UserError(f"{', '.join(odd)} cannot shape places that are written at once: leave it out")
    if not prompt:
        raise UserError("a prompt is empty: give one token or more, the end token for a text from nothing")
    low, high = min(prompt), max(prompt)
    if low < 0 or high >= marks.tokens:
        raise UserError(f"the prompt holds token {low if low < 0 else high}: the tokenizer has 0 to {marks.tokens - 1}")
    context = getattr(getattr(model, "config", None), "context", len(prompt) + marks.longest)
    fixed = marks.length == "end"  # it has learnt this number of slots and no other
    room = marks.longest if fixed else min(marks.longest, context - len(prompt), max(1, sampling.max_tokens))
    if room < 1 or len(prompt) + room > context:
        need = f"{room} slots" if fixed else "an answer"
        raise UserError(f"{len(prompt)} tokens leave no room for {need} in a context of {context}: shorten the prompt")
    return room


def _finished(sheet: Sheet, row: int, sampling: Sampling) -> Written:
    """The row's text, cut behind its first stop token."""
    count = int(sheet.counts[row])
    ids = sheet.tokens[row, :count].tolist()
    ids = ids[: sampling.max_tokens]
    stops = [place for place, id in enumerate(ids) if id in sampling.stop_ids]
    end = stops[0] + 1 if stops else len(ids)
    logprobs = sheet.sure[row, :end].tolist()
    return Written(tuple(ids[:end]), tuple(logprobs), "stop" if stops else "length", count, int(sheet.reads[row]))


def seeded(sampling: Sampling, n: int) -> list[Sampling]:
    """Settings of n draws, each with a seed of its own: the first m are those of n = m."""
    return [replace(sampling, seed=noise.seed_of(sampling.seed, "draw", i)) for i in range(n)]
