"""A model behind any server that speaks OpenAI's API: ours, vLLM, llama.cpp, or a vendor's.

    lm = Remote("http://127.0.0.1:8000/v1", "demo")     # the key, if one is needed, stands in $JIELONG_REMOTE_KEY
    lm.sample([{"role": "user", "content": "2 + 3?"}], n=3, temperature=0.8, max_tokens=20)

Messages go to /chat/completions, text and token ids to /completions. Each draw is a request with a seed of its own, so
that n=10 begins with n=5's draws as far as the server keeps to seeds (best effort: "seed" is no capability). Scoring
needs a server that echoes prompts with their log-probabilities (ours and vLLM do; vendors' mostly do not), vectors one
that has /embeddings.

What may pass is tried again with growing pauses: no connection, no answer in time, 408, 409, 425, 429, 5xx, and what is
no JSON; then WorkFailed. What the server refuses about this request is BadPrompt; a wrong address or key UserError.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jielong.base import noise
from jielong.base.errors import UserError, WorkFailed
from jielong.data.records import whole_characters
from jielong.infer.sampling import Sampling
from jielong.lm.meter import Budget, Meter, count_words
from jielong.lm.prompts import Prompt, canonical, key_of, kind_of, text_of
from jielong.lm.protocol import LM, BadPrompt, Draw, Score, Usage, check_draws, gather, settings

if TYPE_CHECKING:
    import httpx
    import numpy as np

KEY = "JIELONG_REMOTE_KEY"
OPENAI = ("temperature", "top_p", "max_tokens", "presence_penalty", "frequency_penalty")  # always said
OTHERS = {  # servers' own names for what OpenAI's API lacks: said only where it is asked for
    "top_k": "top_k", "min_p": "min_p", "typical": "typical_p", "repetition_penalty": "repetition_penalty",
    "bad_words": "bad_words", "stop_ids": "stop_token_ids",
}  # fmt: skip
PASSING = (408, 409, 425, 429)
REFUSED = (400, 413, 422)
LONGEST = 60.0  # seconds of a pause
TOLD = 200  # characters of what a server says that are repeated


class Remote(LM):
    """`url` is what OpenAI's clients call base_url; `model` may be left out where the server has one model only.

    `timeout`: seconds for a whole answer (of a stream, for its next piece); `retries` more tries after a first one, the
    pauses doubling from `pause` seconds; `at_once` requests under way. The key is read from the environment variable
    `key`, sent to this server only, and never written anywhere.
    """

    def __init__(
        self, url: str, model: str = "", *, key: str = KEY, timeout: float = 120.0, retries: int = 4,
        pause: float = 0.5, at_once: int = 8, seed: int = 0, budget: Budget | None = None,
    ) -> None:  # fmt: skip
        self.url, self.model, self.key = _base(url), model, key
        self.timeout, self.retries, self.pause, self.at_once, self.seed = timeout, retries, pause, at_once, seed
        self.meter = Meter(budget)
        self.capabilities = frozenset({"sample", "stream", "score", "embed", "fork"})
        self._gates: weakref.WeakKeyDictionary[Any, asyncio.Semaphore] = weakref.WeakKeyDictionary()

    @property
    def name(self) -> str:  # type: ignore[override]
        """Model and server."""
        return f"{self.url}#{self.model}"

    @property
    def usage(self) -> Usage:
        return self.meter.usage

    async def asample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        check_draws(n, start)
        path, body, wanted = await self._request(prompt, sampling)
        request = key_of(self.name, self.seed, canonical(prompt), wanted.law(), sampling.get("grammar"))
        return list(await gather(*(self._draw(path, body, prompt, wanted, f"{request}-{i}")
                                   for i in range(start, start + n))))  # fmt: skip

    async def _draw(self, path: str, body: dict[str, Any], prompt: Prompt, wanted: Sampling, key: str) -> Draw:
        with self.meter.call(_guess(prompt) + wanted.max_tokens) as bill:
            answer = await self.post(path, {**body, "seed": _seed(key)}, _first_choice)
            choice, used = answer["choices"][0], _used(answer, prompt)
            text = _text(choice)
            written = used[1] if used[1] is not None else count_words(text)
            bill.add(prompt=used[0], completion=written)
        reason = "length" if choice.get("finish_reason") == "length" else "stop"
        return Draw(text, reason=reason, key=key, usage=Usage(1, used[0], written))

    async def astream(self, prompt: Prompt, start: int = 0, **sampling: Any) -> AsyncIterator[str]:
        """Draw `start` as it comes; a stream that breaks off is not begun again."""
        path, body, wanted = await self._request(prompt, sampling)
        request = key_of(self.name, self.seed, canonical(prompt), wanted.law(), sampling.get("grammar"))
        body |= {"seed": _seed(f"{request}-{start}"), "stream": True}
        with self.meter.call(_guess(prompt) + wanted.max_tokens) as bill:
            bill.add(prompt=count_words(text_of(prompt)))
            async with self._client() as client:
                try:
                    async with client.stream("POST", self.url + path, json=body) as response:
                        if response.status_code != 200:
                            await response.aread()
                            raise self._refused(response)
                        async for line in response.aiter_lines():
                            if text := self._piece(line):
                                bill.add(completion=count_words(text))
                                yield text
                except _broken() as error:
                    raise WorkFailed(f"{self.url} broke off: {self._line(error)}") from None

    def _piece(self, line: str) -> str:
        """The text in a line of a stream."""
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or not data or data == "[DONE]":
            return ""
        try:
            found = json.loads(data)
        except ValueError:
            raise WorkFailed(f"{self.url} sent a piece that is not JSON: {self._short(data)}") from None
        if isinstance(found, dict) and "error" in found:
            raise WorkFailed(f"{self.url} broke off: {self._short(_message(found))}")
        try:
            choices = found["choices"]
            return _text({"message": choices[0]["delta"]} if "delta" in choices[0] else choices[0]) if choices else ""
        except (KeyError, IndexError, TypeError):
            raise WorkFailed(f"{self.url} sent a piece of another form: {self._short(data)}") from None

    async def ascore(self, prompt: Prompt, continuations: Sequence[str]) -> list[Score]:
        """After text only: of a chat the API tells no probabilities. UserError where the server tells none."""
        if not isinstance(prompt, str):
            raise UserError(f"{self.name} can score what follows a text, not what follows {kind_of(prompt)}: OpenAI's "
                            "API has no way to ask for it")  # fmt: skip
        return list(await gather(*(self._score(prompt, text) for text in continuations)))

    async def _score(self, prompt: str, continuation: str) -> Score:
        whole = prompt + continuation
        await self.named()
        body = {"model": self.model, "prompt": whole, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0.0}
        with self.meter.call(_guess(whole) + 1) as bill:
            answer = await self.post("/completions", body, _first_choice)
            bill.add(prompt=_used(answer, whole)[0], completion=1)
        told = answer["choices"][0].get("logprobs") or {}
        logprobs, places = told.get("token_logprobs"), told.get("text_offset")
        if not isinstance(logprobs, list) or not isinstance(places, list) or len(logprobs) != len(places):
            raise UserError(f"{self.name} does not echo a prompt with its log-probabilities, so it cannot score")
        ends = [*places[1:], len(whole)]
        inside = [i for i, (at, end) in enumerate(zip(places, ends))
                  if at < len(whole) and (at >= len(prompt) or end > len(prompt))]  # fmt: skip
        found = tuple(float(logprobs[i]) for i in inside if logprobs[i] is not None)
        begin = places[inside[0]] if inside else len(prompt)
        return Score(found, bytes=len(whole[begin:].encode()))

    async def aembed(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D) float32, as the server gives them. WorkFailed for what is no vectors, or not one for each text."""
        from jielong.lm.embeddings import served

        return await served(self, texts)

    async def _request(self, prompt: Prompt, sampling: dict[str, Any]) -> tuple[str, dict[str, Any], Sampling]:
        """The path, the body without its seed, and the settings."""
        wanted = settings(sampling)
        if wanted.logprobs:
            raise UserError(f"{self.name} tells no tokens, so no log-probabilities of draws: leave out logprobs")
        await self.named()
        body: dict[str, Any] = {"model": self.model, **{name: getattr(wanted, name) for name in OPENAI}}
        body |= {name: value for name, value in (("stop", list(wanted.stop)),) if value}
        body |= {"logit_bias": {str(i): b for i, b in wanted.logit_bias}} if wanted.logit_bias else {}
        changed = wanted.changes()
        body |= {theirs: changed[ours] for ours, theirs in OTHERS.items() if ours in changed}
        if form := sampling.get("grammar"):
            if form[0] != "json_schema":
                raise UserError(f"{self.name} cannot hold a text to a {form[0]}: OpenAI's API takes a JSON schema only")
            schema = {"name": "answer", "schema": json.loads(form[1]), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if kind_of(prompt) == "messages":
            return "/chat/completions", body | {"messages": canonical(prompt)}, wanted
        return "/completions", body | {"prompt": canonical(prompt)}, wanted

    async def named(self) -> None:
        """Ask which model there is, where none was named."""
        if self.model:
            return
        found = await self.post("/models", None, lambda answer: answer["data"])
        names = [str(each["id"]) for each in found["data"]]
        if len(names) != 1:
            raise UserError(f"{self.url} has {', '.join(names[:8]) or 'no model'}: say which, as {self.url}#NAME")
        self.model = names[0]

    async def post(self, path: str, body: dict[str, Any] | None, check: Any) -> dict[str, Any]:
        """The server's answer (without a body: to a GET), once it has the form that `check` reads."""
        gate = self._gates.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.at_once))
        failed = ""
        for attempt in range(self.retries + 1):
            wait = min(LONGEST, self.pause * 2 ** (attempt - 1)) if attempt else 0.0
            async with gate:
                await asyncio.sleep(wait)
                try:
                    async with asyncio.timeout(self.timeout), self._client() as client:
                        asked = client.get(self.url + path) if body is None else client.post(self.url + path, json=body)
                        response = await asked
                except TimeoutError:
                    failed = f"did not answer within {self.timeout:g} s"
                    continue
                except _broken() as error:
                    failed = f"cannot be reached ({self._line(error)})"
                    continue
                if response.status_code in PASSING or response.status_code >= 500:
                    failed = f"answered {response.status_code} ({self._short(_said(response))})"
                    await asyncio.sleep(_asked_to_wait(response) if attempt < self.retries else 0.0)
                    continue
            if response.status_code != 200:
                raise self._refused(response)
            try:
                answer: dict[str, Any] = json.loads(response.content)
                check(answer)
                return answer
            except (ValueError, KeyError, IndexError, TypeError, AttributeError):
                failed = f"answered what is not OpenAI's form ({self._short(response.text)})"
        tries = f" in {self.retries + 1} tries" if self.retries else ""
        raise WorkFailed(f"{self.url} {failed}{tries}; is the server well, and the address right?")

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        import httpx

        key = os.environ.get(self.key, "")
        head = {"Authorization": f"Bearer {key}"} if key else {}
        async with httpx.AsyncClient(headers=head, timeout=self.timeout, verify=self._trust) as client:
            yield client

    @cached_property
    def _trust(self) -> ssl.SSLContext | bool:
        """Whom to believe; read once, since it takes longer than a short answer."""
        return ssl.create_default_context() if self.url.startswith("https:") else True

    def _refused(self, response: httpx.Response) -> Exception:
        """The error for a status that trying again does not mend."""
        status, said = response.status_code, self._short(_said(response))
        if status in (401, 403):
            return UserError(f"{self.url} refuses the key in ${self.key} ({status}): {said}")
        if status in REFUSED:
            return BadPrompt(f"{self.url} refused the request ({status}): {said}")
        if status in PASSING or status >= 500:
            return WorkFailed(f"{self.url} answered {status}: {said}")
        return UserError(f"{self.url} answered {status}, so path or model are wrong: {said}")

    def _short(self, text: str) -> str:
        """What a server said, on one line and without the key."""
        key = os.environ.get(self.key, "")
        line = " ".join((text.replace(key, "***") if key else text).split())
        return whole_characters(line if len(line) <= TOLD else line[:TOLD] + "…") or "nothing"

    def _line(self, error: Exception) -> str:
        return self._short(str(error) or type(error).__name__)


def _base(url: str) -> str:
    """The address that paths are put behind. UserError for one that is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{url!r} is no address of a server: write http://HOST:PORT/v1")
    if parts.username or parts.password:
        raise UserError(f"the address of {parts.hostname} holds a password: put the key into ${KEY} instead")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def _broken() -> tuple[type[Exception], ...]:
    import httpx

    return (httpx.HTTPError, httpx.InvalidURL, OSError)


def _seed(key: str) -> int:
    """31 bits: some servers take no more."""
    return noise.seed_of("draw", key) >> 32


def _first_choice(answer: Any) -> str:
    return _text(answer["choices"][0])


def _text(choice: Any) -> str:
    """What was written; null (a refusal, a call of a tool) is nothing. TypeError for anything else."""
    text = choice["message"].get("content") if "message" in choice else choice["text"]
    if text is not None and not isinstance(text, str):
        raise TypeError("content is no text")
    return whole_characters(text or "")


def _used(answer: dict[str, Any], prompt: Prompt) -> tuple[int, int | None]:
    """Tokens read and written as the server counts them; words of the prompt and None where it does not, or lies: a
    negative number would fill a budget up again."""
    used = answer.get("usage")
    used = used if isinstance(used, dict) else {}
    read, written = (each if isinstance(each, int) and each >= 0 else None
                     for each in (used.get("prompt_tokens"), used.get("completion_tokens")))  # fmt: skip
    return count_words(text_of(prompt)) if read is None else read, written


def _guess(prompt: Prompt) -> int:
    """About how many tokens a prompt has, rather too many: known only to the server."""
    return 16 + len(text_of(prompt).encode("utf-8", "replace")) // 2


def _said(response: httpx.Response) -> str:
    try:
        return _message(json.loads(response.content))
    except ValueError:
        return response.text


def _message(answer: Any) -> str:
    """The message in an error of OpenAI's shape, or all of it."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    found = error.get("message") if isinstance(error, dict) else None
    return str(found if found is not None else error)


def _asked_to_wait(response: httpx.Response) -> float:
    """Seconds of Retry-After, none where it is a date or nonsense."""
    try:
        return min(LONGEST, max(0.0, float(response.headers.get("retry-after", "0"))))
    except ValueError:
        return 0.0
