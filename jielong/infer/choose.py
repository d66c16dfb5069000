"""The next token of each of some rows: their settings as columns, one draw, and why a row ends.

A chooser is made for a set of rows and serves as long as the set stays the same; what it computes is arrays over the
rows. Chance is addressed by (seed, index of the draw, position), so neither the set nor the order matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jielong.base import noise
from jielong.base.errors import UserError, WorkFailed
from jielong.infer import law
from jielong.infer.law import Crest
from jielong.infer.pieces import Pieces, Stops
from jielong.infer.request import Request, Top
from jielong.infer.sample import LAWLESS, Rows, lawless, log_law, process, weights
from jielong.infer.sampling import Sampling
from jielong.infer.schedule import Row


class Token(NamedTuple):
    """What one step gave one row. `reason` is "" while it goes on; `id` is None for a row
    that ends without one: nothing was to be written, or an `error`."""

    row: Row
    id: int | None
    logprob: float = 0.0  # natural log, by the model's own law (before any setting)
    top: Top = ()
    reason: str = ""
    stopped_by: int | str | None = None
    error: Exception | None = None


class Chooser:
    """`source` takes the place of the seeds: a choice is `source.choose(probabilities, row number, position)`.

    `apart` 1: all rows are one row, at places that follow each other (see `along`)."""

    def __init__(self, rows: Sequence[Row], size: int, device: torch.device, rules: Rules, apart: int = 0) -> None:
        self.rows, self.size, self.rules, self.apart = list(rows), size, rules, apart
        samplings = [r.request.sampling for r in rows]
        bans = [rules.bans(s) for s in samplings]
        self.settings = Rows.of(samplings, bans, size, device)
        self.greedy = all(s.temperature == 0 for s in samplings)
        if self.greedy and rules.source is None:  # what only sharpens a law does not move its top
            for name in ("temperature", "top_k", "top_p", "min_p", "typical"):
                self.settings.columns.pop(name, None)
        self.tops_of = [s.logprobs for s in samplings]
        self.tops = max(self.tops_of, default=0)
        # the length at which a text ends that nothing else can end; 0 for the others
        self.plain = [
            0 if s.stop or s.stop_ids or r.request.processors else len(r.request.prompt) + r.limit
            for r, s in zip(rows, samplings)
        ]
        self.places_B5 = np.stack([noise.gumbel_place(r.request.sampling.seed, r.request.index, 0) for r in rows])
        self.longest_ban = max((len(w) for words in bans for w in words), default=0)
        self.masked = [i for i, r in enumerate(rows) if r.request.processors]
        self.seen_BV = self.written_BV = None
        if self.settings.needs_seen:
            self.seen_BV = torch.stack([_counts(r.text, size) for r in rows]).to(device) > 0
        if self.settings.needs_counts:
            texts = [r.text[len(r.request.prompt) :] for r in rows]
            self.written_BV = torch.stack([_counts(text, size) for text in texts]).to(device)

    @torch.no_grad()
    def choose(self, logits_BV: Tensor) -> list[Token]:
        """A token for every row, written to its text."""
        failed: dict[int, Exception] = {}
        crest = law.crest(logits_BV)
        law_BV = self.law(logits_BV, failed)
        ids = self._pick(law_BV, crest if law_BV is logits_BV else None, failed)
        return self._write(ids, logits_BV, crest, failed)

    @property
    def still(self) -> bool:
        """Whether what a place's law is made of does not change with what was written just before."""
        moving = (self.seen_BV, self.written_BV, self.rules.source)
        return not self.masked and self.longest_ban <= 1 and all(each is None for each in moving)

    @torch.no_grad()
    def along(self, guesses: Sequence[int], logits_PV: Tensor) -> list[Token]:
        """The tokens of one row at places that follow each other, as `choose` would write them one by one: up to the
        first that is not what was guessed, or that ends the text. For a chooser that is `still`, and 1 `apart`."""
        failed: dict[int, Exception] = {}
        row, crest = self.rows[0], law.crest(logits_PV)
        law_PV = self.law(logits_PV, failed)
        ids = self._pick(law_PV, crest if law_PV is logits_PV else None, failed)
        n = 1 + next((i for i, id in enumerate(guesses) if i in failed or id != ids[i]), len(guesses))
        before = len(row.text)
        tokens = self._write(ids[:n], logits_PV[:n], Crest(*(each[:n] for each in crest)), failed)
        last = next((i for i, t in enumerate(tokens) if t.reason or t.error is not None), n - 1)
        del row.text[before + last + (tokens[last].error is None) :]
        return tokens[: last + 1]

    @torch.no_grad()
    def put(self, ids: Sequence[int], logits_BV: Tensor) -> list[Token]:
        """These tokens, chosen elsewhere, written to the rows' texts."""
        return self._write(np.array(ids, dtype=np.int64), logits_BV, law.crest(logits_BV), {})

    def law(self, logits_BV: Tensor, failed: dict[int, Exception]) -> Tensor:
        """What all settings and rules of the rows make of the logits; who fails on the way is noted."""
        law_BV = self._mask(logits_BV, failed)
        tails = [r.text[-self.longest_ban :] for r in self.rows] if self.longest_ban > 1 else None
        return process(law_BV, self.settings, self.seen_BV, tails, self.written_BV)

    def _write(
        self, ids: np.ndarray, logits_BV: Tensor, crest: Crest, failed: dict[int, Exception]
    ) -> list[Token]:  # fmt: skip
        at_B1 = torch.from_numpy(ids).to(logits_BV.device)[:, None]
        logprobs = (logits_BV.gather(1, at_B1)[:, 0] - crest.total).tolist()
        if self.seen_BV is not None:
            self.seen_BV.scatter_(1, at_B1, True)
        if self.written_BV is not None:
            self.written_BV.scatter_add_(1, at_B1, torch.ones_like(at_B1, dtype=self.written_BV.dtype))
        tops = self._tops(logits_BV)
        out = []
        for i, (row, id, logprob) in enumerate(zip(self.rows, ids.tolist(), logprobs)):
            if i in failed:
                out.append(Token(row, None, error=failed[i]))
                continue
            row.text.append(id)
            if self.plain[i]:
                reason = "length" if len(row.text) >= self.plain[i] else ""
                out.append(Token(row, id, logprob, tops[i][: self.tops_of[i]] if tops else (), reason))
                continue
            try:
                end = self._end(row, id)
            except Exception as error:  # somebody else's code: a fault in it is that row's alone
                row.text.pop()
                out.append(Token(row, None, error=error))
                continue
            top = tops[i][: self.tops_of[i]] if tops else ()
            out.append(Token(row, id, logprob, top, *end))
        return out

    def _mask(self, logits_BV: Tensor, failed: dict[int, Exception]) -> Tensor:
        """What the requests' own processors make of the logits. A fault in one is that row's alone."""
        if not self.masked:
            return logits_BV
        logits_BV = logits_BV.clone()
        for i in self.masked:
            row = self.rows[i]
            try:
                if not row.states:
                    row.states = [p.start(row.request.prompt) for p in row.request.processors]
                for processor, state in zip(row.request.processors, row.states):
                    logits_BV[i] = processor.process(state, logits_BV[i])
            except Exception as error:  # somebody else's code
                failed[i] = error
        return logits_BV

    def _pick(self, law_BV: Tensor, crest: Crest | None, failed: dict[int, Exception]) -> np.ndarray:
        if self.greedy and self.rules.source is None:
            crest = crest or law.crest(law_BV)
            self._fail(~crest.most.isfinite(), failed)
            return crest.best.cpu().numpy()
        bad_B = lawless(law_BV)
        if self._fail(bad_B, failed):
            law_BV = law_BV.masked_fill(bad_B[:, None], 0.0)
        if self.rules.source is not None:
            probs_BV = weights(law_BV)
            choose = self.rules.source.choose
            return np.array([choose(p, r.number, r.written) for p, r in zip(probs_BV, self.rows)], dtype=np.int64)
        self.places_B5[:, 3] = [r.written + i * self.apart for i, r in enumerate(self.rows)]
        return law.race(law_BV, self.places_B5)

    @staticmethod
    def _fail(bad_B: Tensor, failed: dict[int, Exception]) -> bool:
        """Rows from which no token can be drawn have failed; whether there are any."""
        bad = bad_B.nonzero()[:, 0].tolist()
        for i in bad:
            failed.setdefault(i, WorkFailed(LAWLESS))
        return bool(bad)

    def _tops(self, logits_BV: Tensor) -> list[Top]:
        if not self.tops:
            return []
        best = log_law(logits_BV).topk(min(self.tops, self.size), dim=-1)
        return [tuple(zip(i, p)) for i, p in zip(best.indices.tolist(), best.values.tolist())]

    def _end(self, row: Row, id: int) -> tuple[str, int | str | None]:
        """Why the row ends with this token, if it does, and what ended it."""
        sampling = row.request.sampling
        if id in sampling.stop_ids:
            return "stop", id
        if sampling.stop:
            stop = self.rules.stops(sampling.stop).found(row.text[len(row.request.prompt) :])
            if stop is not None:
                return "stop", stop
        if row.states:
            processors = row.request.processors
            row.states = [p.advance(s, id) for p, s in zip(processors, row.states)]
            if any(p.done(s) for p, s in zip(processors, row.states)):
                return "stop", None
        return ("length", None) if row.written >= row.limit else ("", None)


class Rules:
    """What choosers of one model share: the tokenizer's pieces, found stops, and where chance comes from."""

    def __init__(self, pieces: Pieces | None, source: noise.Source | None = None) -> None:
        self.pieces, self.source = pieces, source
        self.stops = lru_cache(maxsize=256)(lambda stops: Stops(pieces, stops))

    def bans(self, sampling: Sampling) -> tuple[tuple[int, ...], ...]:
        """Bad words as token sequences."""
        out: list[tuple[int, ...]] = []
        for word in sampling.bad_words:
            if isinstance(word, tuple):
                out.append(word)
            elif self.pieces is None:
                raise UserError("bad words given as strings need the tokenizer: pass pieces=Pieces(codec)")
            else:
                out += self.pieces.words(word)
        return tuple(out)

    def check(self, request: Request, size: int) -> None:
        """UserError for settings that name what the model or the tokenizer lacks."""
        sampling = request.sampling
        if sampling.stop:
            self.stops(sampling.stop)
        if sampling.logit_bias or sampling.bad_words:
            Rows.of([sampling], [self.bans(sampling)], size, torch.device("cpu"))


def _counts(ids: Sequence[int], size: int) -> Tensor:
    """How often each token stands in a text, (V,)."""
    return torch.from_numpy(np.bincount(np.asarray(ids, dtype=np.int64), minlength=size)[:size])
