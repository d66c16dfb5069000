"""What a model said, written down, and said again without the model.

    recorder = Recorder(lm, "trace.jsonl")       # use it as the model; every call is appended
    Replay("trace.jsonl").sample(...)            # the same calls, no model

The trace is JSONL, one line a draw, score or embedding, written as the calls return. Draws are found by
model, request and index, so a replay may ask for fewer, in another order, or all at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError, WorkFailed
from jielong.base.files import append_jsonl, read_jsonl
from jielong.lm.meter import Budget, Meter
from jielong.lm.prompts import Prompt, canonical, key_of
from jielong.lm.protocol import LM, Draw, Score, Usage, check_draws, settings

if TYPE_CHECKING:
    import numpy as np

ABLE = ("sample", "stream", "score", "embed", "fork", "logprobs", "seed")


class NotRecorded(WorkFailed):
    """A replay was asked for something that its trace does not hold."""


class Recorder(LM):
    """Passes every call on to `lm` and appends what came back to the trace at `path`."""

    def __init__(self, lm: LM, path: str | Path) -> None:
        self.lm, self.path = lm, Path(path)
        self.name, self.capabilities = lm.name, lm.capabilities

    @property
    def usage(self) -> Usage:
        return self.lm.usage

    async def asample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        draws = await self.lm.asample(prompt, n, start, **sampling)
        for index, draw in enumerate(draws, start):
            self._write("sample", sample_request(prompt, sampling, index), draw)
        return draws

    async def astream(self, prompt: Prompt, start: int = 0, **sampling: Any) -> AsyncIterator[str]:
        pieces = []
        async for piece in self.lm.astream(prompt, start, **sampling):
            pieces.append(piece)
            yield piece
        self._write("stream", sample_request(prompt, sampling, start), pieces)

    async def ascore(self, prompt: Prompt, continuations: Sequence[str]) -> list[Score]:
        scores = await self.lm.ascore(prompt, continuations)
        for text, score in zip(continuations, scores):
            self._write("score", {"prompt": canonical(prompt), "continuation": text}, score)
        return scores

    async def aembed(self, texts: Sequence[str]) -> np.ndarray:
        vectors = await self.lm.aembed(texts)
        for text, vector in zip(texts, vectors):
            self._write("embed", {"text": text}, vector)
        return vectors

    def _write(self, verb: str, request: Mapping[str, Any], reply: Any) -> None:
        append_jsonl(self.path, {"call": verb, "model": self.name, **request, "reply": reply})


class Replay(LM):
    """A model that only repeats a trace. `name` chooses one model of a trace of several.

    NotRecorded names a call that the trace does not hold; UserError a trace that cannot be read.
    """

    def __init__(self, path: str | Path, name: str = "", budget: Budget | None = None) -> None:
        self.path = Path(path)
        self.replies: dict[str, Any] = {}
        names: dict[str, None] = {}
        verbs = {"fork"}
        for number, line in enumerate(read_jsonl(self.path, tolerate_tail=True), 1):
            try:
                verb, model, reply = line.pop("call"), line.pop("model"), line.pop("reply")
            except KeyError as error:
                raise UserError(f"{path}: record {number} is not a call: {error} is missing") from None
            names[model] = None
            if name in ("", model):
                verbs.add(verb)
                self.replies[key_of(verb, line)] = reply
        if not name and len(names) > 1:
            raise UserError(f"{path} holds calls of {', '.join(names)}: choose one with name=")
        if name and name not in names:
            raise UserError(f"{path} holds no call of {name}: it has {', '.join(names) or 'none'}")
        self.name = name or next(iter(names), "replay")
        self.capabilities = frozenset(verbs & set(ABLE))
        self.meter = Meter(budget)

    @property
    def usage(self) -> Usage:
        """What the repeated calls used when they were recorded."""
        return self.meter.usage

    async def asample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        check_draws(n, start)
        found = [self._find("sample", sample_request(prompt, sampling, i)) for i in range(start, start + n)]
        draws = [draw_of(record) for record in found]
        read, written = draws[0].usage.prompt, sum(d.usage.completion for d in draws)
        with self.meter.call(read + written) as bill:
            bill.add(prompt=read, completion=written)
        await asyncio.sleep(0)  # give way, as a model would
        return draws

    async def astream(self, prompt: Prompt, start: int = 0, **sampling: Any) -> AsyncIterator[str]:
        for piece in self._find("stream", sample_request(prompt, sampling, start)):
            yield piece

    async def ascore(self, prompt: Prompt, continuations: Sequence[str]) -> list[Score]:
        request = canonical(prompt)
        found = [self._find("score", {"prompt": request, "continuation": c}) for c in continuations]
        return [Score(tuple(f["logprobs"]), tuple(f["ids"]), f["bytes"]) for f in found]

    async def aembed(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        return np.array([self._find("embed", {"text": t}) for t in texts], dtype=np.float32)

    def _find(self, verb: str, request: Mapping[str, Any]) -> Any:
        try:
            return self.replies[key_of(verb, request)]
        except KeyError:
            told = ", ".join(f"{name} {_short(value)}" for name, value in request.items())
            raise NotRecorded(f"{self.path} holds no {verb} of {self.name} for {told}") from None


def sample_request(prompt: Prompt, sampling: Mapping[str, Any], index: int) -> dict[str, Any]:
    """What decides a draw. A setting that is given its default is the same as one not given."""
    law = {name: value for name, value in sampling.items() if name != "grammar"}
    form = {"grammar": list(sampling["grammar"])} if sampling.get("grammar") else {}
    return {"prompt": canonical(prompt), "sampling": {**settings(law).changes(), **form}, "index": index}


def draw_of(record: Mapping[str, Any]) -> Draw:
    """A draw that was written down."""
    top = tuple(tuple((int(i), float(p)) for i, p in place) for place in record["top"])
    return Draw(record["text"], tuple(record["ids"]), tuple(record["logprobs"]), record["reason"],
                record["key"], Usage(**record["usage"]), top)


def _short(value: Any, width: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= width else text[: width - 1] + "…"
