"""A model on this machine behind the common face.

    lm = load("runs/demo/assistant")
    print(lm.sample([{"role": "user", "content": "Where does 陳美玲 live?"}], temperature=0)[0].text)

All that is written goes through one engine, so concurrent calls run together and a prompt's beginning that was read
before is not read again. The noise of draw i of a request is addressed by
(run seed, model fingerprint, prompt tokens, settings that shape the law, i), so draws do not depend on what
runs beside them, and a longer draw begins with the shorter one.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.lm import work
from jielong.lm.batch import Collector
from jielong.lm.meter import Budget, Meter
from jielong.lm.prompts import Prompt, join, key_of, kind_of
from jielong.lm.protocol import LM, BadPrompt, Draw, Score, Usage, check_draws, gather, settings
from jielong.lm.sync import iterate
from jielong.lm.tokens import prompt_ids, scored_ids
from jielong.lm.work import ToScore

if TYPE_CHECKING:
    import numpy as np

    from jielong.infer.draft.drafting import Drafting
    from jielong.infer.engine import Engine
    from jielong.infer.pieces import Pieces
    from jielong.infer.request import Request
    from jielong.infer.score import Prefix


@dataclass(frozen=True)
class Parts:
    """A model and its tokenizer, for `Local` of what was not loaded from a folder."""

    model: Any
    codec: Any


def load(
    path: str | Path, *, device: str = "cpu", seed: int = 0, budget: Budget | None = None,
    adapter: str | Path | None = None,
) -> Local:  # fmt: skip
    """The model in a checkpoint folder, with the `adapter` in another. UserError when there is none or it cannot be
    read."""
    from jielong.infer import slots
    from jielong.nets import checkpoint

    loaded = checkpoint.load(path, device=device)
    slots.refuse(loaded.info, path)
    if adapter is not None:
        from jielong.nets.adapters.folder import with_adapter

        loaded = with_adapter(loaded, adapter)
    return Local(loaded, name=Path(path).name or str(path), seed=seed, budget=budget)


class Local(LM):
    """`loaded` has `.model` and `.codec` (what `nets.checkpoint.load` gives, or `Parts`).

    Beside the settings of `Sampling`, `grammar=(kind, text)` holds a text to a form: see `infer.grammar.make`.

    `seed` is the run's; `budget` limits all tokens read and written; `batch` the rows that run together; `mode` as in
    `infer.core`; `drafting`: who guesses ahead.
    The weights must not change while this object is used: its draws are named after them.
    """

    def __init__(
        self,
        loaded: Any,
        *,
        name: str = "local",
        seed: int = 0,
        budget: Budget | None = None,
        batch: int = 128,
        mode: Literal["fast", "exact"] = "fast",
        drafting: Drafting | None = None,
    ) -> None:
        self.model, self.codec = loaded.model, loaded.codec
        self.name, self.seed, self.batch, self.mode, self.drafting = name, seed, batch, mode, drafting
        self.meter = Meter(budget)
        self.lock = threading.Lock()  # one forward pass at a time: two would only slow each other
        self.lead: Prompt | None = None
        self.prefix: Prefix | None = None
        self._last: tuple[Any, tuple[int, ...]] | None = None  # the latest chat: forty draws of it are laid out once
        self._testing = Collector(self._score, self.lock)
        able = {"sample", "stream", "score", "fork", "logprobs", "seed"}
        self.capabilities = frozenset(able | {"embed"} if hasattr(self.model, "hidden") else able)

    @property
    def usage(self) -> Usage:
        return self.meter.usage

    @property
    def context(self) -> int | None:
        """The most tokens of prompt and reply together; None where there is no bound."""
        from jielong.infer.runner import context_of

        return context_of(self.model)

    @cached_property
    def pieces(self) -> Pieces:
        """The tokens' bytes."""
        from jielong.infer.pieces import Pieces

        return Pieces(self.codec)

    @cached_property
    def engine(self) -> Engine:
        """What writes for this model and all its forks."""
        from jielong.infer.engine import Engine

        engine = Engine(self.model, self.codec, mode=self.mode, streams=self.batch, pieces=self.pieces,
                        drafting=self.drafting)  # fmt: skip
        engine.lock = self.lock
        return engine

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits that stand for the weights and the tokenizer."""
        from jielong.infer.fingerprint import fingerprint

        return fingerprint(self.model, self.codec)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The tokens at which a reply is over: end of document, end of turn."""
        found: dict[int, None] = {}
        for name in ("end", "turn_end"):
            try:
                found[getattr(self.codec, name)] = None
            except (AttributeError, UserError):  # a tokenizer without such a token
                continue
        return tuple(found)

    def tokens(self, prompt: Prompt) -> tuple[int, ...]:
        """The prompt's tokens, those of the fork's prefix first, however many."""
        last = self._last
        if last is not None and isinstance(prompt, list) and last[0] == prompt:
            return last[1]
        ids = tuple(prompt_ids(self.codec, prompt if self.lead is None else join(self.lead, prompt)))
        if isinstance(prompt, list) and all(type(turn) is dict and _flat(turn) for turn in prompt):
            self._last = [dict(turn) for turn in prompt], ids  # a copy: the caller may go on with the list
        return ids

    def ids(self, prompt: Prompt) -> tuple[int, ...]:
        """`tokens` that leave room for a reply. UserError when there are none or too many."""
        ids = self.tokens(prompt)
        if not ids:
            raise BadPrompt("the prompt is empty: give the model at least one token to go on from")
        context = self.context
        if context is not None and len(ids) >= context:
            raise BadPrompt(
                f"the prompt has {len(ids)} tokens and the model's context is {context}: "
                f"shorten the prompt to at most {context - 1}"
            )
        return ids

    async def asample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        check_draws(n, start)
        request, asks = self._asks(prompt, n, start, sampling)
        read = len(asks[0].prompt)
        with self.meter.call(read + n * self._room(asks[0])) as bill:
            bill.add(prompt=read)
            found = await gather(*(self.engine.write(ask) for ask in asks))
            bill.add(completion=sum(len(g.ids) for g in found))
        return [
            Draw(g.text, g.ids, g.logprobs, g.reason, f"{request}-{index}", Usage(1, read, len(g.ids)), g.top)
            for index, g in enumerate(found, start)
        ]

    async def ascore(self, prompt: Prompt, continuations: Sequence[str]) -> list[Score]:
        tests = [self._test(prompt, text) for text in continuations]
        read = sum(len(t.ids) for t in tests)
        with self.meter.call(read) as bill:
            bill.add(prompt=read)
            found = await self._testing(tests)
        return [
            Score(tuple(logprobs.tolist()), t.ids[t.start :], len(self.pieces.bytes(t.ids[t.start :])))
            for t, logprobs in zip(tests, found)
        ]

    async def aembed(self, texts: Sequence[str]) -> np.ndarray:
        from jielong.infer.score import embed

        ids = [self.codec.encode(text) for text in texts]
        longest = max(map(len, ids), default=0)
        if self.context is not None and longest > self.context:
            raise BadPrompt(f"a text has {longest} tokens and the model's context is {self.context}: shorten it")

        def work() -> np.ndarray:
            with self.lock:
                return embed(self.model, ids)

        with self.meter.call(sum(map(len, ids))) as bill:
            bill.add(prompt=sum(map(len, ids)))
            return await asyncio.to_thread(work)

    def stream(self, prompt: Prompt, start: int = 0, **sampling: Any) -> Iterator[str]:
        """The text of draw `start` as it is written. Closing the iterator ends the reply."""
        return iterate(self.astream(prompt, start, **sampling))

    async def astream(self, prompt: Prompt, start: int = 0, **sampling: Any) -> AsyncIterator[str]:
        (ask,) = self._asks(prompt, 1, start, sampling)[1]
        with self.meter.call(len(ask.prompt) + self._room(ask)) as bill:
            bill.add(prompt=len(ask.prompt))
            async with aclosing(self.engine.stream(ask)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    bill.add(completion=len(piece.ids))
                    if piece.text:
                        yield piece.text

    def score_documents(self, texts: Sequence[str]) -> list[Score]:
        """How probable whole texts are: every token but the first; the end of a document is not counted.

        A text longer than the context is read in pieces of the context's length, each begun anew with the
        last token of the piece before.
        """
        from jielong.lm.sync import run

        most = self.context or max((len(t.encode()) for t in texts), default=0) + 2
        ids = [tuple(each) for each in self.codec.encode_batch(list(texts))]
        tests, owners = [], []
        for owner, each in enumerate(ids):
            for begin in range(0, len(each) - 1, most - 1):
                tests.append(ToScore(each[begin : begin + most], 1, None))
                owners.append(owner)
        read = sum(len(t.ids) for t in tests)
        with self.meter.call(read) as bill:
            bill.add(prompt=read)
            found = run(self._testing(tests))
        parts: list[list[float]] = [[] for _ in texts]
        for owner, logprobs in zip(owners, found):
            parts[owner] += logprobs.tolist()
        return [Score(tuple(p), i[1:], len(self.pieces.bytes(i[1:]))) for p, i in zip(parts, ids)]

    def fork(self, prefix: Prompt) -> Local:
        """The same model with `prefix` before every prompt; the prefix is read once, here."""
        from jielong.infer.score import read

        assert self.engine is not None  # one engine for all forks
        forked = copy.copy(self)
        forked._last = None
        forked.lead = prefix if self.lead is None else join(self.lead, prefix)
        kind_of(forked.lead)
        ids = prompt_ids(self.codec, forked.lead, reply=False)
        with self.meter.call(len(ids)) as bill, self.lock:
            bill.add(prompt=len(ids))
            forked.prefix = read(self.model, ids)
        return forked

    def likeliest(self, prompt: Prompt, k: int = 10) -> list[tuple[str, float]]:
        """The k most probable next tokens, as shown text, with their probabilities."""
        import numpy as np

        from jielong.infer.score import next_law

        ids = self.ids(prompt)
        with self.meter.call(len(ids)) as bill, self.lock:
            bill.add(prompt=len(ids))
            law = next_law(self.model, ids, self.prefix)
        best = np.argsort(-law, kind="stable")[:k]
        return [(self.codec.decode([int(i)]), float(law[i])) for i in best]

    def _room(self, ask: Request) -> int:
        """The most tokens a draw can have."""
        context = self.context
        most = ask.sampling.max_tokens
        return most if context is None else min(most, context - len(ask.prompt))

    def _asks(self, prompt: Prompt, n: int, start: int, sampling: Any) -> tuple[str, list[Request]]:
        """The request's name, and its draws with their seeds. `grammar` may stand among the settings."""
        from jielong.infer import grammar
        from jielong.infer.request import Request

        ids = self.ids(prompt)
        form = sampling.get("grammar")
        rules = () if form is None else (grammar.make(self.codec, *form),)
        wanted = settings(sampling)
        wanted = wanted.with_(stop_ids=tuple(dict.fromkeys((*wanted.stop_ids, *self.ends))))
        request = key_of(self.fingerprint, self.seed, ids, wanted.law(), *(rule.key for rule in rules))
        seeds = (noise.seed_of("draw", request, i) for i in range(start, start + n))
        return request, [Request(ids, wanted.with_(seed=seed), processors=rules) for seed in seeds]

    def _test(self, prompt: Prompt, continuation: str) -> ToScore:
        whole: Any = prompt if self.lead is None else join(self.lead, prompt)
        ids, start = scored_ids(self.codec, whole, continuation)
        if self.context is not None and len(ids) > self.context:
            raise BadPrompt(f"the text has {len(ids)} tokens and the model's context is {self.context}: shorten it")
        return ToScore(tuple(ids), start, self.prefix)

    def _score(self, tests: list[ToScore], cancelled: Collection[int]) -> list[np.ndarray]:
        return work.score(self.model, tests)


def _flat(turn: dict[str, Any]) -> bool:
    """Whether a copy of the turn shares nothing with it that may change."""
    return all(isinstance(value, str) for value in turn.values())
