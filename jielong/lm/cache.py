"""A completion cache: what was said once is not paid for again. One SQLite file, safe for threads and processes.

    lm = Cached(Remote(url, "small"), "cache.db")     # use it as the model
    lm.sample(prompt, n=5); lm.sample(prompt, n=10)   # the second asks for five draws

Exact by default: a draw is found by the model's identity, the canonical request (prompt and all settings) and its
index. So ten draws are ten draws, not one draw ten times, and what is cached is what would be said again. With
`similar=` (see `lm.similar`) a prompt near enough to one that was asked is given that one's draws: cheaper, and
sometimes wrong; `similar.rates` measures how often.

Where two ask for the same thing at once, one asks and both get its answer; between processes, the one that was first to
store it. A cache that cannot be written loses nothing: the answer is returned and `warn` told.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError
from jielong.lm.cache_file import MOST, File, Form
from jielong.lm.prompts import Prompt, canonical, key_of, text_of
from jielong.lm.protocol import LM, Draw, Score, Usage, check_draws
from jielong.lm.replay import draw_of
from jielong.lm.replay import sample_request as request_of

if TYPE_CHECKING:
    import numpy as np

    from jielong.lm.similar import Similar


class Cached(LM):
    """See above. `identity` names the model where its name and seed do not say all (default: `identity_of`); `most`:
    bytes of the file, beyond which what was not asked for longest is forgotten. UserError for a file that is no cache.
    Several may share one `File`.

    `hits`, `near` and `misses` count draws and scores; `saved` is what the hits used when they were paid for.
    """

    def __init__(self, lm: LM, path: str | Path | File, *, identity: str = "", most: int = MOST,
                 similar: Similar | None = None, warn: Callable[[str], object] | None = None) -> None:  # fmt: skip
        self.lm, self.similar = lm, similar
        self.name, self.capabilities = lm.name, lm.capabilities
        self.file = path if isinstance(path, File) else File(path, most, warn)
        self._identity = identity
        self.hits = self.near = self.misses = 0
        self.saved = Usage(0)
        # A model that repeats its seeds shares the reading of a prompt among the draws of a call; of any other a draw
        # is a request of its own, and is kept as soon as it is there, whatever becomes of its neighbours.
        self.together = "seed" in lm.capabilities
        self._flights: weakref.WeakKeyDictionary[Any, dict[bytes, asyncio.Event]] = weakref.WeakKeyDictionary()

    @property
    def identity(self) -> str:
        """What stands for the model in a key."""
        return self._identity or identity_of(self.lm)

    @property
    def usage(self) -> Usage:
        """What was really used: hits use nothing."""
        return self.lm.usage

    async def asample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        check_draws(n, start)
        keys = {_key("sample", self.identity, request_of(prompt, sampling, i)): i for i in range(start, start + n)}
        forms = await self._forms(prompt, n, start, sampling)
        found: dict[int, Draw] = {}
        while len(found) < n:
            for key, index in keys.items():
                if index not in found and (draw := self._find(key, forms.get(index))) is not None:
                    found[index] = draw
            left = {key: index for key, index in keys.items() if index not in found}
            with self._claimed(left) as (mine, theirs):
                await self._ask(prompt, {left[key]: key for key in mine}, sampling, found, forms)
            if theirs and not mine:
                await theirs[0].wait()
        return [found[index] for index in range(start, start + n)]

    async def _ask(self, prompt: Prompt, keys: Mapping[int, bytes], sampling: Mapping[str, Any], found: dict[int, Draw],
                   forms: Mapping[int, Form]) -> None:  # fmt: skip
        """Draw what is missing and keep it; the first error is raised when all that came is kept."""

        async def run(first: int, count: int) -> None:
            draws = await self.lm.asample(prompt, count, first, **sampling)
            for index, draw in enumerate(draws, first):
                form = forms.get(index)
                found[index] = draw_of(self.file.put(keys[index], draw, form))
                self.misses += 1

        calls = (run(first, count) for first, count in _runs(list(keys), self.together))
        for error in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(error, BaseException):
                raise error

    async def astream(self, prompt: Prompt, start: int = 0, **sampling: Any) -> AsyncIterator[str]:
        """A draw that is there comes at once; what is streamed otherwise is not kept, since a stream tells no usage."""
        draw = self._find(_key("sample", self.identity, request_of(prompt, sampling, start)), None)
        if draw is not None:
            yield draw.text
            return
        self.misses += 1
        async for piece in self.lm.astream(prompt, start, **sampling):
            yield piece

    async def ascore(self, prompt: Prompt, continuations: Sequence[str]) -> list[Score]:
        request = canonical(prompt)
        keys = [_key("score", self.identity, {"prompt": request, "continuation": text}) for text in continuations]
        found = {key: _score(value) for key in keys if (value := self.file.get(key)) is not None}
        self.hits += len(found)
        left = {key: text for key, text in zip(keys, continuations) if key not in found}
        if left:
            for key, score in zip(left, await self.lm.ascore(prompt, list(left.values()))):
                found[key] = _score(self.file.put(key, score))
                self.misses += 1
        return [found[key] for key in keys]

    async def aembed(self, texts: Sequence[str]) -> np.ndarray:
        return await self.lm.aembed(texts)

    def close(self) -> None:
        """Write down what was used, and let go of the file."""
        self.file.close()

    def _find(self, key: bytes, form: Form | None) -> Draw | None:
        value = self.file.get(key)
        near = False
        if value is None and form is not None and self.similar is not None:
            value = self.file.nearest(form, self.similar.threshold)
            near = True
        if value is None:
            return None
        draw = draw_of(value)
        self.hits, self.near = self.hits + 1, self.near + near
        self.saved += draw.usage
        return draw

    async def _forms(self, prompt: Prompt, n: int, start: int, sampling: Mapping[str, Any]) -> dict[int, Form]:
        """By similarity: for each draw where prompts of the same settings and index stand, and this prompt's vector."""
        if self.similar is None:
            return {}
        vector = (await self.similar.embed([text_of(prompt)]))[0]
        laws = {i: {**request_of(prompt, sampling, i), "prompt": None} for i in range(start, start + n)}
        return {i: (_key("near", self.similar.name, self.identity, law), vector) for i, law in laws.items()}

    @contextmanager
    def _claimed(self, keys: Mapping[bytes, int]) -> Iterator[tuple[list[bytes], list[asyncio.Event]]]:
        """Of these keys those that nobody in this loop is asking for, now ours, and when the others will be there."""
        flights = self._flights.setdefault(asyncio.get_running_loop(), {})
        theirs = [flights[key] for key in keys if key in flights]
        mine = [key for key in keys if key not in flights]
        done = asyncio.Event()
        flights.update(dict.fromkeys(mine, done))
        try:
            yield mine, theirs
        finally:
            for key in mine:
                del flights[key]
            done.set()


def identity_of(lm: LM) -> str:
    """What stands for a model: weights where they are known, else its name; its seed; what a fork or a branch of it
    puts before. UserError for a server whose model is not named: nobody could tell whose words were kept."""
    if getattr(lm, "transparent", False):
        return identity_of(lm.lm)  # type: ignore[attr-defined]
    name = getattr(lm, "fingerprint", None) or lm.name
    if name.endswith("#"):
        raise UserError(f"{name} names no model, and a cache must know whose words it keeps: write URL#MODEL")
    inner = getattr(lm, "lm", None)
    if inner is None:
        lead = getattr(lm, "lead", None)
        return key_of(name, getattr(lm, "seed", None), None if lead is None else canonical(lead))
    prefix, path = getattr(lm, "prefix", None), getattr(lm, "path", None)
    lead, places = None if prefix is None else canonical(prefix), path if isinstance(path, tuple) else ()
    return key_of(identity_of(inner), lead, list(map(repr, places)), getattr(lm, "defaults", None))


def _key(*parts: Any) -> bytes:
    return bytes.fromhex(key_of(*map(_ordered, parts)))


def _ordered(value: Any) -> Any:
    """Alike for messages that differ in the order of their fields."""
    if isinstance(value, Mapping):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(each) for each in value] if isinstance(value, list) else value


def _score(value: Mapping[str, Any]) -> Score:
    return Score(tuple(value["logprobs"]), tuple(value["ids"]), value["bytes"])


def _runs(indices: Sequence[int], together: bool) -> list[tuple[int, int]]:
    """(first, count) of neighbours, or of each alone."""
    found: list[tuple[int, int]] = []
    for index in sorted(indices):
        if together and found and sum(found[-1]) == index:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((index, 1))
    return found
