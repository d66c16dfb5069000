"""Rows that run together: one forward pass, one choice and one round of bookkeeping for each token.

All bookkeeping is arrays over the rows in the batch. A row that ends stays as a dead row until enough of
them have ended to be worth a copy of the cache; what is computed for dead rows is thrown away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.infer.pieces import Pieces, Stops
from jielong.infer.runner import Runner
from jielong.infer.sample import Rows, log_law, pick, process, weights
from jielong.infer.sampling import Sampling

RUNNING, STOP_ID, STOP_STRING, LENGTH, CANCELLED = range(5)
LEAVE = 0.75  # dead rows leave when fewer than this share is alive

Top = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class Step:
    """One new token for each running row."""

    rows: np.ndarray  # (R,) which prompts
    position: int  # how many tokens these rows had drawn before
    ids: np.ndarray  # (R,)
    logprobs: np.ndarray  # (R,) natural log, by the model's own law (before any setting)
    reasons: np.ndarray  # (R,) RUNNING, or why the row ends here
    stops: dict[int, str]  # row -> the stop string that ended it
    top: Top | None = None  # (R, K) ids and logprobs of the likeliest tokens


@dataclass(frozen=True, slots=True)
class Request:
    """One row to run: its number in the caller's list, its prompt, its settings, its most new tokens."""

    number: int
    prompt: tuple[int, ...]
    sampling: Sampling
    limit: int


class Wave:
    """Some requests run together, each step with the `tops` likeliest tokens.

    `cancelled` holds numbers of requests to end; it may grow meanwhile.
    """

    def __init__(self, runner: Runner, requests: Sequence[Request], pieces: Pieces | None = None,
                 tops: int = 0, source: noise.Source | None = None, cancelled: Collection[int] = ()) -> None:
        self.runner, self.requests, self.pieces = runner, list(requests), pieces
        self.tops, self.source, self.cancelled = tops, source, cancelled
        most = max(r.limit for r in requests)
        self.rows = np.array([r.number for r in requests])
        self.limits = np.array([r.limit for r in requests])
        self.alive = np.ones(len(requests), dtype=bool)
        self.written = np.zeros((len(requests), most), dtype=np.int64)
        self.uniforms = np.zeros((len(requests), most))
        if source is None:
            for row, r in zip(self.uniforms, requests):
                row[: r.limit] = noise.uniform(r.sampling.seed, n=r.limit)

    def run(self) -> Iterator[Step]:
        """A step for each position, until no row is alive."""
        logits_BV = self._start()
        for position in range(self.uniforms.shape[1]):
            if self.cancelled:
                self.alive &= ~np.isin(self.rows, list(self.cancelled))
            if not self.alive.any():
                return
            ids, logprobs, top = self._choose(logits_BV, position)
            self.written[:, position] = ids
            yield self._close(position, logprobs, top)
            if self.alive.any():
                self._leave()
                logits_BV = self._forward(self.written[:, position])

    @torch.no_grad()
    def _start(self) -> Tensor:
        """Read the prompts; the logits of each row's first token."""
        length = max(len(r.prompt) + r.limit for r in self.requests)
        logits_BV = self.runner.start([r.prompt for r in self.requests], self.rows, length).float()
        self.size = logits_BV.shape[1]
        self.seen_BV = torch.zeros_like(logits_BV, dtype=torch.bool)
        for row, r in enumerate(self.requests):
            self.seen_BV[row, list(r.prompt)] = True
        self._settings()
        return logits_BV

    def _settings(self) -> None:
        """What follows from the requests in the batch."""
        samplings = [r.sampling for r in self.requests]
        bans = [_bans(s, self.pieces) for s in samplings]
        self.settings = Rows.of(samplings, bans, self.size, self.seen_BV.device)
        self.stops = Stops(self.pieces, [s.stop for s in samplings])
        self.ends = np.zeros((len(samplings), self.size), dtype=bool)
        for row, s in enumerate(samplings):
            self.ends[row, [i for i in s.stop_ids if i < self.size]] = True
        self.longest_ban = max((len(w) for words in bans for w in words), default=0)

    @torch.no_grad()
    def _choose(self, logits_BV: Tensor, position: int) -> tuple[np.ndarray, np.ndarray, Top | None]:
        """Tokens and their log-probabilities for every row of the batch, and the likeliest tokens."""
        device = logits_BV.device
        if not self.alive.all():  # what stands in dead rows must not disturb
            logits_BV = logits_BV.masked_fill(~torch.from_numpy(self.alive).to(device)[:, None], 0.0)
        law_BV = process(logits_BV, self.settings, self.seen_BV, self._tails(position))
        ids = self._pick(law_BV, position)
        at_B1 = torch.from_numpy(ids).to(device)[:, None]
        logprobs_B1 = logits_BV.gather(1, at_B1) - logits_BV.logsumexp(dim=-1, keepdim=True)
        if self.settings.needs_seen:
            self.seen_BV.scatter_(1, at_B1, True)
        top = None
        if self.tops:
            best = log_law(logits_BV).topk(min(self.tops, self.size), dim=-1)
            top = (best.indices.cpu().numpy(), best.values.cpu().numpy())
        return ids, logprobs_B1[:, 0].cpu().numpy(), top

    def _pick(self, law_BV: Tensor, position: int) -> np.ndarray:
        if self.source is None:
            return pick(law_BV, self.uniforms[:, position])
        ids = np.zeros(len(self.rows), dtype=np.int64)
        probs_BV = weights(law_BV)
        for row in np.flatnonzero(self.alive):
            ids[row] = self.source.choose(probs_BV[row], int(self.rows[row]), position)
        return ids

    def _close(self, position: int, logprobs: np.ndarray, top: Top | None) -> Step:
        """Decide which rows end here."""
        ids = self.written[:, position]
        live = np.flatnonzero(self.alive)
        reasons = np.where(position + 1 >= self.limits, LENGTH, RUNNING)
        found = {}
        for row in np.flatnonzero(self.stops.suspects(ids) & self.alive):
            stop = self.stops.found(int(row), self.written[row, : position + 1])
            if stop is not None:
                found[int(self.rows[row])] = stop
                reasons[row] = STOP_STRING
        reasons[self.ends[np.arange(len(ids)), ids]] = STOP_ID
        self.alive &= reasons == RUNNING
        tops = None if top is None else (top[0][live], top[1][live])
        return Step(self.rows[live], position, ids[live], logprobs[live], reasons[live], found, tops)

    def _leave(self) -> None:
        """Drop dead rows if they are many enough, else let them idle."""
        if self.alive.all():
            return
        if self.alive.mean() >= LEAVE:
            self.runner.retire(np.flatnonzero(~self.alive))
            return
        kept = np.flatnonzero(self.alive)
        self.runner.keep(kept)
        self.requests = [self.requests[row] for row in kept]
        self.rows, self.limits, self.alive = self.rows[kept], self.limits[kept], self.alive[kept]
        self.written, self.uniforms = self.written[kept], self.uniforms[kept]
        self.seen_BV = self.seen_BV[torch.from_numpy(kept).to(self.seen_BV.device)]
        self._settings()

    @torch.no_grad()
    def _forward(self, ids: np.ndarray) -> Tensor:
        return self.runner.step(ids).float()

    def _tails(self, position: int) -> list[tuple[int, ...]] | None:
        """Each row's last tokens, for bad words of several tokens; None where there are none."""
        if self.longest_ban < 2:
            return None
        texts = [(*r.prompt, *w[:position].tolist()) for r, w in zip(self.requests, self.written)]
        return [text[-self.longest_ban :] for text in texts]


def _bans(sampling: Sampling, pieces: Pieces | None) -> tuple[tuple[int, ...], ...]:
    """Bad words as token sequences."""
    out: list[tuple[int, ...]] = []
    for word in sampling.bad_words:
        if isinstance(word, tuple):
            out.append(word)
        elif pieces is None:
            raise UserError("bad words given as strings need the tokenizer: pass pieces=Pieces(codec)")
        else:
            out += pieces.words(word)
    return tuple(out)
