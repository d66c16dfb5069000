"""One model, many texts: the step that everything that writes text takes.

    core = Core(model, pieces)
    row = core.submit(Request((1, 2, 3), Sampling(max_tokens=20)))
    while core.busy:
        for token in core.step(): ...

`generate` runs it to its end, the engine runs it in a thread for as long as it lives. In `exact` mode a request's bytes
do not depend on what runs beside it, on how its prompt was cut, nor on what was in the cache: every row of a matrix
is multiplied by one routine whatever the number of rows, attention sums in fixed tiles, and a self-check at the start
proves it on this machine or refuses. `fast` promises the law, not the bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.infer.blocks import Blocks
from jielong.infer.choose import Chooser, Rules, Token
from jielong.infer.feeding import Feeding
from jielong.infer.pieces import Pieces
from jielong.infer.request import Request
from jielong.infer.runner import CACHE_BYTES, Runner, context_of, has_cache, pages_for, runner
from jielong.infer.sample import log_law
from jielong.infer.schedule import Row, Scheduler, Work
from jielong.nets.pages import SIZE, page_bytes

Mode = Literal["fast", "exact"]


class Core:
    """`streams` texts run together in a cache of `memory` bytes; a step feeds about `chunk` tokens.

    `length`: the longest text expected, for a cache no larger than needed. `bits` 8 keeps the cache in int8.
    `source` takes the place of the seeds; `tap` is handed to the model. `sinks`: a text that fills the context runs on,
    keeping its first `sinks` tokens (rounded up to pages) and the latest (StreamingLLM, Xiao et al. 2024): a quarter of
    the rest is let go, and what stays is turned back to earlier positions.
    """

    def __init__(self, model: Any, pieces: Pieces | None = None, *, mode: Mode = "fast", streams: int = 32,
                 memory: int = CACHE_BYTES, chunk: int = 512, length: int | None = None, bits: int = 32,
                 source: noise.Source | None = None, tap: Any = None, sinks: int | None = None) -> None:  # fmt: skip
        if mode not in ("fast", "exact"):
            raise UserError(f"mode is {mode!r}: give fast or exact")
        if min(streams, chunk) < 1:
            raise UserError(f"streams is {streams} and chunk is {chunk}: give 1 or more")
        self.context, self.vocab = context_of(model), getattr(getattr(model, "config", None), "vocab", None)
        longest = min(length or 1 << 16, self.context or 1 << 16)
        count = streams * pages_for(longest) + 1
        if has_cache(model):
            count = min(count, max(2, memory // page_bytes(model.config, bits)))
        self.runner: Runner = runner(model, count, exact=mode == "exact", tap=tap, bits=bits)
        if not self.runner.keeps:
            count, chunk = streams * pages_for(1 << 20) + 1, 1 << 30
        self.rules = Rules(pieces, source)
        self.keeps = self.runner.keeps and tap is None
        self.shape, self.sinks = (count, streams, chunk), sinks
        if sinks is not None:
            self._can_slide()
        self.clear()
        if mode == "exact":
            from jielong.infer.selfcheck import check

            check(self)
            self.clear()

    def clear(self) -> None:
        """Begin anew: nothing runs, nothing waits, nothing is known."""
        count, streams, chunk = self.shape
        slide = None if self.sinks is None else self._slide
        self.scheduler = Scheduler(Blocks(count, SIZE, self.keeps), streams, chunk, self.context, slide)
        self.submitted = 0
        self._chooser: Chooser | None = None
        self.feeding = Feeding(self.runner)

    @property
    def busy(self) -> bool:
        """Whether any text runs or waits."""
        return len(self.scheduler) > 0

    def submit(self, request: Request, number: int | None = None) -> Row:
        """A text to write, from the next step on; `number` is what a tap and a source call it. UserError when it
        cannot be served."""
        limit = self.check(request)
        row = Row(self.submitted if number is None else number, request, limit)
        row.chance = self.rules.chance(request, limit)
        if request.echo:
            row.report = ([], [])
        self.submitted += 1
        self.scheduler.add(row)
        return row

    def cancel(self, row: Row) -> None:
        """Nobody wants this text any more; its pages are free."""
        self.scheduler.leave(row)

    def check(self, request: Request) -> int:
        """The most tokens that this request can have. UserError when it cannot be served."""
        prompt = request.prompt
        if not prompt:
            raise UserError("the prompt is empty: give the model at least one token to go on from")
        if min(prompt) < 0 or (self.vocab is not None and max(prompt) >= self.vocab):
            wrong = next(i for i in prompt if i < 0 or (self.vocab is not None and i >= self.vocab))
            last = self.vocab - 1 if self.vocab else "n"
            raise UserError(f"the prompt holds token {wrong}: the model has 0 to {last}")
        most = request.sampling.max_tokens
        if self.context is not None and self.sinks is None:
            if len(prompt) + (most > 0) > self.context:
                raise UserError(f"the prompt has {len(prompt)} tokens and the model's context is {self.context}: "
                                f"shorten the prompt to at most {self.context - 1}")  # fmt: skip
            most = min(most, self.context - len(prompt))
        room = (self.scheduler.blocks.count - 1) * SIZE
        if self.sinks is None and len(prompt) + most > room:
            raise UserError(f"prompt and answer may have {len(prompt) + most} tokens and the cache holds {room}: "
                            "give the engine more memory, or ask for fewer tokens")  # fmt: skip
        self.rules.check(request, self.vocab or 1 << 31)
        return most

    def step(self) -> list[Token]:
        """Feed what is due and choose what comes next; tokens of the rows that got one."""
        work = self.scheduler.plan()
        if not work:
            return []
        feed, ready = self.feeding.feed(work)
        logits = self.runner.step(feed)
        logits = self._report(work, logits)
        self.scheduler.done(work)
        return self._close(self._choose(ready, logits)) if ready else []

    def _choose(self, ready: list[Row], logits_BV: Tensor) -> list[Token]:
        """Tokens of the rows that have read all; others with the same prompt begin here as well."""
        rows, index = list(ready), list(range(len(ready)))
        if self.scheduler.waiting and self.runner.keeps:
            for i, row in enumerate(ready):
                if not row.written:
                    for twin, source, copy in list(self.scheduler.twins(row)):
                        self.runner.copy(*([source], [copy]) if copy else ([], []))
                        rows.append(twin)
                        index.append(i)
        if len(rows) > len(ready):
            logits_BV = logits_BV[torch.tensor(index, device=logits_BV.device)]
        silent = [Token(row, None, reason="length") for row in rows if row.limit == 0]
        if silent:
            kept = [i for i, row in enumerate(rows) if row.limit > 0]
            rows, logits_BV = [rows[i] for i in kept], logits_BV[torch.tensor(kept, dtype=torch.long)]
        if not rows:
            return silent
        if self._chooser is None or self._chooser.rows != rows:
            self._chooser = Chooser(rows, logits_BV.shape[1], logits_BV.device, self.rules)
        with torch.inference_mode():
            return silent + self._chooser.choose(logits_BV)

    def _close(self, tokens: list[Token]) -> list[Token]:
        """Rows that are over leave; what a fault may have left in the cache is not found again."""
        for token in tokens:
            if token.error is not None:
                self.runner.clear(self.scheduler.blocks.forget(token.row.table))
            if token.error is not None or token.reason:
                self.scheduler.leave(token.row)
        return tokens

    def _can_slide(self) -> None:
        """UserError where a text cannot run past the context."""
        size = self.scheduler.blocks.count - 1 if hasattr(self, "scheduler") else self.shape[0] - 1
        kept = pages_for(self.sinks or 0)
        context = self.context or 0
        if (self.sinks or 0) < 0 or context % SIZE or kept + 2 > context // SIZE or size < context // SIZE + 1:
            raise UserError(f"sinks is {self.sinks}: the context of {context} must be a multiple of {SIZE} and "
                            f"hold them and {2 * SIZE} positions more; the cache must hold more than that")  # fmt: skip
        reason = self.runner.turns()
        if reason:
            raise UserError(f"a text cannot run past the context here: {reason}")

    def _slide(self, row: Row) -> None:
        """Let a quarter of what stands between the sinks and the end go; what stays moves to the earlier positions."""
        blocks, first = self.scheduler.blocks, pages_for(self.sinks or 0)
        gone = max(1, (len(row.table) - first) // 4)
        blocks.drop(row.table[first : first + gone])
        moved = row.table[first + gone :]
        shared = [page for page in moved if blocks.shared(page)]
        fresh = dict(zip(shared, blocks.take(len(shared)), strict=True))
        self.runner.copy(list(fresh), list(fresh.values()))
        blocks.drop(shared)
        blocks.forget([page for page in moved if page not in fresh])
        moved = [fresh.get(page, page) for page in moved]
        row.table[first:] = moved
        row.dropped += gone * SIZE
        self.runner.turn(moved, gone * SIZE)

    def _report(self, work: Sequence[Work], logits: Tensor) -> Tensor:
        """Take out what is wanted of prompts that are echoed; what is left are the ready rows' logits."""
        if all(w.row.report is None or w.row.read >= len(w.row.request.prompt) for w in work):
            return logits
        at, kept = 0, []
        for w in sorted(work, key=lambda w: w.width):
            row, size = w.row, 1
            if row.report is not None and row.read < len(row.request.prompt):
                size = w.width
                coming = row.text[row.read + 1 : row.read + 1 + size]
                _note(row, logits[at : at + len(coming)], coming)
            elif row.unread != w.width:
                continue
            if row.unread == w.width:
                kept.append(at + size - 1)
            at += size
        return logits[torch.tensor(kept, dtype=torch.long, device=logits.device)]


def _note(row: Row, logits_TV: Tensor, coming: list[int]) -> None:
    """Log-probabilities of a prompt's own tokens, and the likeliest in their places."""
    if not coming:
        return
    law_TV = log_law(logits_TV)
    logprobs, tops = row.report
    logprobs += law_TV.gather(1, torch.tensor(coming, device=law_TV.device)[:, None])[:, 0].tolist()
    most = row.request.sampling.logprobs
    if most:
        best = law_TV.topk(min(most, law_TV.shape[1]), dim=-1)
        tops += [tuple(zip(i, p)) for i, p in zip(best.indices.tolist(), best.values.tolist())]
