"""The model of one run of a strategy: every call goes through its trace, and is paid from its budget.

With a budget the calls of a run are made one after the other, in the order in which they were asked for: what is left
for a call then never depends on which of its neighbours ended first, and runs of several problems still go on together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from jielong.base.plain import plain
from jielong.lm.cache import identity_of
from jielong.lm.meter import Bill, BudgetSpent, Meter, count_words
from jielong.lm.money import longest
from jielong.lm.prompts import Prompt, canonical, key_of, text_of
from jielong.lm.protocol import LM, Draw, Score, Usage, check_draws, settings
from jielong.lm.replay import NotRecorded, draw_of
from jielong.prompting.strategy import PATH
from jielong.prompting.trace import LAST, Trace

if TYPE_CHECKING:
    import numpy as np

REFUSED = "the budget was spent"
QUEUE = 8  # turns of the loop


class Traced(LM):
    """`lm`: None where the trace is replayed; `named`: then its name. `run` and `problem` say whose calls these are;
    `like`: another model's calls of the same run."""

    def __init__(
        self, trace: Trace, lm: LM | None, run: str, problem: str, meter: Meter, *, like: Traced | None = None,
        named: str = "",
    ) -> None:  # fmt: skip
        self.trace, self.inner, self.run, self.problem, self.meter = trace, lm, run, problem, meter
        self.turn: asyncio.Lock = asyncio.Lock() if like is None else like.turn
        self.refused: list[str] = [] if like is None else like.refused  # the request that was, if any
        # id -> (path, parents)
        self.nodes: dict[str, tuple[tuple[Any, ...], tuple[str, ...]]] = {} if like is None else like.nodes
        if lm is not None:
            self.name, self.capabilities = lm.name, lm.capabilities
            self.key = identity_of(lm)
        else:
            known = [each for each in trace.models.get(run, []) if named in ("", each["model"])]
            nobody: dict[str, Any] = {"model": named or "nobody", "capabilities": [], "key": ""}
            about = known[0] if known else nobody
            self.name, self.capabilities, self.key = about["model"], frozenset(about["capabilities"]), about["key"]
        trace.add("model", model=self.name, capabilities=sorted(self.capabilities), key=self.key, run=run)

    @property
    def usage(self) -> Usage:
        """What this run used, recorded calls included."""
        return self.meter.usage

    async def asample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        check_draws(n, start)
        wanted = settings(sampling)
        law = {**wanted.changes(), **({"grammar": list(sampling["grammar"])} if sampling.get("grammar") else {})}
        request = {"prompt": canonical(prompt), "sampling": law}
        base = key_of("sample", self.key, request)
        requests = [f"{base}-{i}" for i in range(start, start + n)]

        async def ask(first: int, count: int) -> list[Draw]:
            return await self._lm(requests[first]).asample(prompt, count, start + first, **sampling)

        async with self._turn():
            with self._paid(requests, self._most(prompt) + n * wanted.max_tokens) as bill:
                replies = await self.trace.recall(requests, ask)
                draws = [draw_of(each) for each in replies]
                once = "seed" in self.capabilities  # a server reads the prompt again for each draw
                read = draws[0].usage.prompt if once else sum(d.usage.prompt for d in draws)
                bill.add(read, sum(d.usage.completion for d in draws))
        self._call("sample", {**request, "start": start}, requests, replies, bill.usage)
        return draws

    async def astream(self, prompt: Prompt, start: int = 0, **sampling: Any) -> AsyncIterator[str]:
        """The whole reply at once."""
        yield (await self.asample(prompt, 1, start, **sampling))[0].text

    async def ascore(self, prompt: Prompt, continuations: Sequence[str]) -> list[Score]:
        base = key_of("score", self.key, canonical(prompt))
        requests = [f"{base}-{key_of(each)}" for each in continuations]

        sizes = [self._size(prompt) + count_words(each) for each in continuations]

        async def ask(first: int, count: int) -> list[dict[str, Any]]:
            scores = await self._lm(requests[first]).ascore(prompt, continuations[first : first + count])
            return [{**plain(score), "read": sizes[i]} for i, score in enumerate(scores, first)]

        async with self._turn():
            with self._paid(requests, len(continuations) * self._most(prompt) + sum(sizes)) as bill:
                replies = await self.trace.recall(requests, ask)
                bill.add(sum(each["read"] for each in replies))
        request = {"prompt": canonical(prompt), "continuations": list(continuations)}
        self._call("score", request, requests, replies, bill.usage)
        return [Score(tuple(each["logprobs"]), tuple(each["ids"]), each["bytes"]) for each in replies]

    async def aembed(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        requests = [key_of("embed", self.key, each) for each in texts]

        sizes = [self._size(each) for each in texts]

        async def ask(first: int, count: int) -> list[dict[str, Any]]:
            vectors = await self._lm(requests[first]).aembed(texts[first : first + count])
            return [{"vector": vector, "read": sizes[i]} for i, vector in enumerate(vectors, first)]

        async with self._turn():
            with self._paid(requests, sum(map(self._most, texts))) as bill:
                replies = await self.trace.recall(requests, ask)
                bill.add(sum(each["read"] for each in replies))
        self._call("embed", {"texts": list(texts)}, requests, replies, bill.usage)
        return np.array([each["vector"] for each in replies], dtype=np.float32)

    def node(self, kind: str, path: tuple[Any, ...], **content: Any) -> None:
        """A node that is no call: it follows from the last ones of its branch."""
        inside = {name: parents for name, (where, parents) in self.nodes.items() if where[: len(path)] == path}
        followed = {parent for parents in inside.values() for parent in parents}
        parents = tuple(sorted(set(inside) - followed)) or LAST.get()
        self._keep(kind, path, parents, content)

    async def once(self, path: tuple[Any, ...], what: Mapping[str, Any], work: Callable[[], Awaitable[Any]]) -> Any:
        """See `trace.once`."""
        request = key_of("tool", self.run, self.problem, path, what)

        async def done(first: int, count: int) -> list[Any]:
            if self.trace.replay:
                raise NotRecorded(f"{self.trace.path or 'the trace'} does not hold what came of {what} for "
                                  f"{self.problem!r}: the strategies have changed since")  # fmt: skip
            return [await work()]

        (reply,) = await self.trace.recall([request], done)
        self.node("tool", path, **what, request=request, reply=reply)
        return reply

    def _call(self, verb: str, request: Mapping[str, Any], requests: Sequence[str], replies: Sequence[Any],
              usage: Usage) -> None:  # fmt: skip
        content = {"verb": verb, "model": self.name, **request, "requests": requests, "replies": replies}
        self._keep("call", PATH.get(), LAST.get(), {**content, "usage": usage})

    def _keep(self, kind: str, path: tuple[Any, ...], parents: tuple[str, ...], content: Mapping[str, Any]) -> None:
        name = self.trace.add(kind, run=self.run, problem=self.problem, path=path, parents=parents, **content)
        self.nodes[name] = (path, parents)
        LAST.set((name,))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One call after the other where a budget may end the run, or did when it was recorded."""
        if self.meter.budget is None and (self.inner is not None or not self.trace.ended(self.run, self.problem)):
            yield
            return
        async with self.turn:
            for _ in range(QUEUE):  # also a recorded reply takes long enough for the others to stand in line
                await asyncio.sleep(0)
            yield

    @contextmanager
    def _paid(self, requests: Sequence[str], most: int) -> Iterator[Bill]:
        """Set aside what a call may use. The first refusal is written down, so that a replay refuses too, and ends the
        run: what else was waiting would be sent or not as chance has it."""
        place = (self.run, self.problem, requests[0])
        try:
            if self.refused or (self.inner is None and place in self.trace.spent):
                raise BudgetSpent(REFUSED)
            with self.meter.call(most) as bill:
                yield bill
        except BudgetSpent:
            if not self.refused:
                self.refused.append(requests[0])
                self.trace.add("spent", run=self.run, problem=self.problem, request=requests[0])
            raise BudgetSpent(REFUSED) from None

    def _lm(self, request: str) -> LM:
        """The model, where what was not recorded has to be asked."""
        if self.inner is None or self.trace.replay:
            where = self.trace.path or "the trace"
            raise NotRecorded(f"{where} does not hold call {request} of {self.name} for {self.problem!r}: it was made "
                              "by other strategies, prompts or settings")  # fmt: skip
        return self.inner

    def _most(self, prompt: Prompt) -> int:
        """Tokens that a prompt has at most, where a budget asks: to count them takes as long as to write some."""
        return 0 if self.inner is None or self.meter.budget is None else longest(self.inner, prompt)

    def _size(self, prompt: Prompt) -> int:
        """Tokens of a prompt; of a model elsewhere about as many, counted in words."""
        tokens = getattr(self.inner, "tokens", None)
        return len(tokens(prompt)) if callable(tokens) else count_words(text_of(prompt))
