"""POST /v1/completions: texts or token ids in, their continuations out; with `echo`, what is thought of the prompt."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from jielong.infer.request import Piece
from jielong.lm import tokens
from jielong.serve.errors import wrong
from jielong.serve.http import Answer, Call
from jielong.serve.schema import CompletionRequest
from jielong.serve.service import Ask, Service, Written, new_id, usage
from jielong.serve.strict import parse
from jielong.serve.tokens import Offsets, completion_logprobs


@dataclass(frozen=True)
class Plan:
    """A request made ready. `echoed`: each prompt's text, to stand before the new one ("": not asked for)."""

    ask: Ask
    logprobs: int | None
    echoed: tuple[str, ...]


async def complete(service: Service, call: Call) -> Answer:
    """The endpoint."""
    body = parse(CompletionRequest, call.body)
    body.check()
    service.adapter(body.model)
    made = await service.prepare(plan, service, body, call)
    if body.stream:
        wanted = body.stream_options is not None and body.stream_options.include_usage
        return chunks(service, made, wanted)
    written = await service.written(made.ask)
    choices = []
    for index, one in enumerate(written):
        text = Streamed(service, made, index)
        choices.append({"index": index, **text.choice(one.whole())})
    return {**head(service, made.ask), "choices": choices, "usage": usage(made.ask.prompts, written)}


def plan(service: Service, body: CompletionRequest, call: Call) -> Plan:
    """Prompts as tokens, settings as the engine's."""
    prompts = tuple(prompt_ids(service, one, at) for one, at in read_prompts(body.prompt, "prompt"))
    sampling = service.sampling(body, body.max_tokens, body.logprobs or 0)
    # The prompt's own numbers cost a pass over all its positions: only when they will be shown.
    scored = body.echo and body.logprobs is not None
    ask = Ask(prompts, sampling, body.max_tokens, body.n, echo=scored, key=call.id, client=call.client,
              draft=body.draft, guess=body.guess, adapter=service.adapter(body.model))  # fmt: skip
    given = body.prompt if isinstance(body.prompt[0], str) else None
    echoed = tuple(given) if given is not None else tuple(map(service.codec.decode, prompts))
    return Plan(ask, body.logprobs, echoed if body.echo else ("",) * len(prompts))


def read_prompts(given: Any, place: str) -> list[tuple[Any, str]]:
    """(text or ids, where it stands) of each prompt; a bare list of ids is one."""
    if isinstance(given[0], int):
        return [(given, place)]
    return [(one, place if len(given) == 1 else f"{place}[{i}]") for i, one in enumerate(given)]


def prompt_ids(service: Service, one: Any, place: str) -> tuple[int, ...]:
    """One prompt as tokens that the model can read."""
    if isinstance(one, str) and not one:
        raise wrong(place, "is empty: give at least one character (the end token's id begins a document)")
    return service.check_prompt(tokens.prompt_ids(service.codec, one) if isinstance(one, str) else one, place)


def head(service: Service, ask: Ask) -> dict[str, Any]:
    """What begins every answer and every chunk."""
    return {
        "id": new_id("cmpl-"),
        "object": "text_completion",
        "created": int(service.clock()),
        "model": service.called(ask.adapter),
        "system_fingerprint": service.print_of(ask.adapter),
    }


async def chunks(service: Service, made: Plan, with_usage: bool) -> AsyncGenerator[dict[str, Any], None]:
    """The answer piece by piece; with usage, one more chunk at the end that has no choices."""
    base = head(service, made.ask)
    count = len(made.ask.prompts) * made.ask.n
    texts = [Streamed(service, made, i) for i in range(count)]
    none = {"usage": None} if with_usage else {}
    async with aclosing(service.pieces(made.ask)) as coming:
        async for index, piece in coming:
            found = texts[index].choice(piece)
            if found["text"] or found["logprobs"] or found["finish_reason"]:
                yield {**base, "choices": [{"index": index, **found}], **none}
    if with_usage:
        yield {**base, "choices": [], "usage": usage(made.ask.prompts, [t.written for t in texts])}


class Streamed:
    """One text on its way: pieces in, choices out; the first brings the prompt when it is to be echoed."""

    def __init__(self, service: Service, made: Plan, index: int) -> None:
        self.service, self.made = service, made
        self.prompt = index // made.ask.n
        self.offsets = Offsets(service.codec)
        self.written = Written()

    def choice(self, piece: Piece) -> dict[str, Any]:
        """What one piece gives; the reason with the last."""
        first = self.written.first is None
        self.written.add(piece)
        text = (self.made.echoed[self.prompt] if first else "") + piece.text
        reason = {"": None, "stop": "stop"}.get(piece.reason, "length")
        return {"text": text, "logprobs": self._logprobs(piece, first), "finish_reason": reason}

    def _logprobs(self, piece: Piece, first: bool) -> dict[str, list[Any]] | None:
        if self.made.logprobs is None:
            return None
        # A token that ended the text is listed too: whoever scores an echoed prompt takes off the last one.
        ids, top = piece.ids, piece.top
        logprobs: tuple[float | None, ...] = piece.logprobs
        if first and self.made.ask.echo:
            ids = (*self.made.ask.prompts[self.prompt], *ids)
            logprobs = (*piece.prompt_logprobs, *logprobs)
            top = (*piece.prompt_top, *top) if piece.prompt_top else ()
        if not ids:
            return None
        return completion_logprobs(self.service.codec, self.offsets, ids, logprobs, top, self.made.logprobs)
