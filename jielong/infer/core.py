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

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.infer.blocks import Blocks
from jielong.infer.choose import Chooser, Rules, Token
from jielong.infer.feeding import Feeding
from jielong.infer.pieces import Pieces
from jielong.infer.request import NOBODY, Request
from jielong.infer.runner import CACHE_BYTES, NONE, Runner, context_of, has_cache, pages_for, runner
from jielong.infer.sample import log_law
from jielong.infer.schedule import Row, Scheduler
from jielong.nets.adapters.adapter import Adapter
from jielong.nets.adapters.thin import fingerprint
from jielong.nets.pages import SIZE, page_bytes

if TYPE_CHECKING:
    from jielong.infer.draft.drafting import Drafting

Mode = Literal["fast", "exact"]


class Core:
    """`streams` texts run together in a cache of `memory` bytes; a step feeds about `chunk` tokens.

    `length`: the longest text expected, for a cache no larger than needed. `bits` 8 keeps the cache in int8.
    `source` takes the place of the seeds; `tap` is handed to the model. `sinks`: a text that fills the context runs on,
    keeping its first `sinks` tokens (rounded up to pages) and the latest (StreamingLLM, Xiao et al. 2024): a quarter of
    the rest is let go, and what stays is turned back to earlier positions. `drafting`: who guesses ahead, and how
    guesses are verified; the law of the texts stays what it is. `adapters`: not attached, by the names that requests
    give; rows of one step may have different ones (LoRA and its kin, IA3, BitFit: `nets/adapters/thin.py`).
    """

    def __init__(self, model: Any, pieces: Pieces | None = None, *, mode: Mode = "fast", streams: int = 32,
                 memory: int = CACHE_BYTES, chunk: int = 512, length: int | None = None, bits: int = 32,
                 source: noise.Source | None = None, tap: Any = None, sinks: int | None = None,
                 drafting: Drafting | None = None, adapters: Mapping[str, Adapter] = NONE) -> None:  # fmt: skip
        if mode not in ("fast", "exact"):
            raise UserError(f"mode is {mode!r}: give fast or exact")
        if min(streams, chunk) < 1:
            raise UserError(f"streams is {streams} and chunk is {chunk}: give 1 or more")
        self.context, self.vocab = context_of(model), getattr(getattr(model, "config", None), "vocab", None)
        longest = min(length or 1 << 16, self.context or 1 << 16)
        count = streams * pages_for(longest) + 1
        if has_cache(model):
            count = min(count, max(2, memory // page_bytes(model.config, bits)))
        self.runner: Runner = runner(model, count, exact=mode == "exact", tap=tap, bits=bits, adapters=adapters)
        self.roots, self.layouts = _roots(adapters), _layouts(adapters)
        if not self.runner.keeps:
            count, chunk = streams * pages_for(1 << 20) + 1, 1 << 30
        self.rules = Rules(pieces, source)
        self.keeps = self.runner.keeps and tap is None
        self.shape, self.sinks = (count, streams, chunk), sinks
        self.drafting: Drafting | None = None
        if sinks is not None:
            self._can_slide()
        self.clear()
        if mode == "exact":
            from jielong.infer.selfcheck import check

            check(self)
            self.clear()
        if drafting is not None and drafting.watches and not self.runner.keeps:
            raise UserError(f"the drafter {drafting.drafter.name!r} watches a model's stream, and this model reads its "
                            "text anew: give another --draft, or none")  # fmt: skip
        self.drafting = drafting

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
        row = Row(self.submitted if number is None else number, request, limit, root=self.roots[request.adapter])
        if request.echo:
            row.report = ([], [])
        self.submitted += 1
        self.scheduler.add(row)
        return row

    def cancel(self, row: Row) -> None:
        """Nobody wants this text any more; its pages are free."""
        self._leave(row)

    def check(self, request: Request) -> int:
        """The most tokens that this request can have. UserError when it cannot be served."""
        prompt = request.prompt
        if request.adapter not in self.roots:
            names = ", ".join(name for name in self.roots if name) or "none"
            raise UserError(f"no adapter {request.adapter[:100]!r} here; there are: {names}")
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
        if request.draft not in (None, NOBODY):
            if self.drafting is None:
                raise UserError(f"draft {request.draft!r}: nobody guesses ahead here; start it with --draft")
            self.drafting.check(request.draft)
        return most

    def step(self) -> list[Token]:
        """Feed what is due and choose what comes next; tokens of the rows that got one (with drafts, several)."""
        began = time.perf_counter()
        drafting = self.drafting if self.drafting is not None and self.drafting.wakes() else None
        if drafting is not None:
            drafting.propose(self)
        work = self.scheduler.plan()
        if not work:
            return []
        branches = drafting.fork(self, work) if drafting is not None and drafting.others else []
        due = self.feeding.feed([*work, *branches])
        if drafting is not None and drafting.watches:
            logits, hidden_ND = self.runner.look(due.feed)
            drafting.saw(self, dict(work), due.order, hidden_ND)
        else:
            logits = self.runner.step(due.feed)
        for row, first, size in due.echoed:
            again = max(0, len(row.report[0]) - row.read)  # a text that was put off reads its prompt a second time
            coming = list(row.request.prompt[row.read + 1 + again : row.read + 1 + size])
            _note(row, logits[first + again : first + again + len(coming)], coming)
        self.scheduler.done(work)
        tokens = self._next(due.ready, logits, drafting) if due.ready else []
        if drafting is not None:
            drafting.watch(work, time.perf_counter() - began)
        return self._close(tokens)

    def room(self, row: Row) -> int:
        """The most guesses that a row can be fed beside its next token."""
        each = max(1, len(self.scheduler.running))
        spare = min(SIZE * self.scheduler.blocks.room, self.scheduler.chunk) // each - 1
        room = min(row.limit - row.written - 1, spare)
        if self.context is not None:
            room = min(room, self.context - row.held - 1)
        return max(0, room)

    def _next(self, ready: list[tuple[Row, int]], logits_RV: Tensor, drafting: Drafting | None) -> list[Token]:
        """Tokens of the rows that have read all; others with the same prompt begin here as well."""
        firsts = dict(ready)
        if self.scheduler.waiting and self.runner.keeps:
            for row, first in ready:
                if not row.written:
                    for twin, source, copy in list(self.scheduler.twins(row)):
                        self.runner.copy(*([source], [copy]) if copy else ([], []))
                        firsts[twin] = first
        silent = [Token(row, None, reason="length") for row in firsts if row.limit == 0]
        rows = [row for row in firsts if row.limit > 0 and row.trunk is None]
        if drafting is None or not drafting.drafts:
            return silent + self.choose(rows, logits_RV, [firsts[row] for row in rows])
        return silent + drafting.settle(self, rows, logits_RV, firsts)

    def choose(self, rows: list[Row], logits_RV: Tensor, places: list[int]) -> list[Token]:
        """A token for each of these rows, from the logits in these places."""
        if not rows:
            return []
        if places != list(range(len(logits_RV))):
            logits_RV = logits_RV[torch.tensor(places, device=logits_RV.device)]
        if self._chooser is None or self._chooser.rows != rows:
            self._chooser = Chooser(rows, logits_RV.shape[1], logits_RV.device, self.rules)
        with torch.inference_mode():
            return self._chooser.choose(logits_RV)

    def wrote(self) -> None:
        """Tokens were written elsewhere: what the chooser at hand has counted is not all."""
        self._chooser = None

    def _close(self, tokens: list[Token]) -> list[Token]:
        """Rows that are over leave; what a fault may have left in the cache is not found again."""
        for token in tokens:
            if token.error is not None:
                self.runner.clear(self.scheduler.blocks.forget(token.row.table))
            if token.error is not None or token.reason:
                self._leave(token.row)
        return tokens

    def _leave(self, row: Row) -> None:
        self.scheduler.leave(row)
        if self.drafting is not None:
            self.drafting.forget(row)

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


def _roots(adapters: Mapping[str, Adapter]) -> dict[str, int]:
    """What stands before the first page of each one's texts, by name: adapters that do the same share theirs."""
    if "" in adapters:
        raise UserError("an adapter needs a name: \"\" is the base alone")
    prints = {name: fingerprint(adapter) for name, adapter in adapters.items()}
    numbers = {each: -number for number, each in enumerate(dict.fromkeys(prints.values()), 1)}
    return {"": 0, **{name: numbers[each] for name, each in prints.items()}}


def _layouts(adapters: Mapping[str, Adapter]) -> list[str]:
    """The base, and one adapter of each layout: of those with the same, one proves as much as all."""
    shapes: dict[str, str] = {}
    for name, adapter in adapters.items():
        shape = [tuple(p.shape) for p in adapter.parameters()]
        shapes.setdefault(repr((type(adapter.config).__name__, adapter.targets, shape)), name)
    return ["", *shapes.values()]


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
