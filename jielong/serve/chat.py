"""POST /v1/chat/completions: a chat in, the assistant's next turn out, whole or as chunks."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from jielong.infer.request import Piece
from jielong.serve import structure
from jielong.serve.errors import refused
from jielong.serve.http import Answer
from jielong.serve.http import Call as HttpCall
from jielong.serve.schema import ChatRequest, Message, ToolFunction
from jielong.serve.service import Ask, Service, Written, new_id, usage
from jielong.serve.strict import parse
from jielong.serve.tokens import chat_logprobs
from jielong.serve.toolcalls import CLOSE, OPEN, Call, Finder, News
from jielong.units import chat as turns

ENDLESS = 4096  # new tokens where neither the request nor the model's context says how many


@dataclass(frozen=True)
class Plan:
    """A request made ready: what is asked of the engine, and the calls that may come of it."""

    ask: Ask
    names: frozenset[str]  # of the tools that may be called
    parallel: bool = True
    logprobs: bool = False

    def finder(self) -> Finder | None:
        """What looks for calls in one text; None when there are no tools."""
        return Finder(self.names, one=not self.parallel) if self.names else None


async def chat(service: Service, call: HttpCall) -> Answer:
    """The endpoint."""
    body = parse(ChatRequest, call.body)
    body.check()
    service.adapter(body.model)
    made = await service.prepare(plan, service, body, call)
    if body.stream:
        wanted = body.stream_options is not None and body.stream_options.include_usage
        return chunks(service, made, wanted)
    written = await service.written(made.ask)
    return {
        **head(service, made.ask, "chat.completion"),
        "choices": [choice(service, made, i, w) for i, w in enumerate(written)],
        "usage": usage(made.ask.prompts, written),
    }


def plan(service: Service, body: ChatRequest, call: HttpCall) -> Plan:
    """Template, tokens and grammar. UserError and ApiError for what cannot be done."""
    tools = [] if body.tool_choice == "none" else [t.function for t in body.tools]
    form = body.response_format
    if tools and form is not None and form.type != "text":
        raise refused("response_format", "not implemented together with tools: leave one of them out")
    ids = prompt_ids(service, body.messages, tools)
    limit = body.limit()
    limit = room(service, ids) if limit is None else limit
    rules = structure.called(service.codec, tools, body.tool_choice, body.parallel_tool_calls) if tools else ()
    rules = rules or structure.formatted(service.codec, form)
    sampling = service.sampling(body, limit, body.top_logprobs or 0)
    if tools and not body.parallel_tool_calls:
        sampling = replace(sampling, stop=(*sampling.stop, CLOSE))
    ask = Ask((ids,), sampling, limit, body.n, rules, key=call.id, client=call.client,
              draft=body.draft, guess=body.guess, adapter=service.adapter(body.model))  # fmt: skip
    return Plan(ask, frozenset(t.name for t in tools), body.parallel_tool_calls, body.logprobs)


def room(service: Service, ids: Sequence[int]) -> int:
    """The most tokens that can follow."""
    return ENDLESS if service.context is None else service.context - len(ids)


def prompt_ids(service: Service, messages: Sequence[Message], tools: Sequence[ToolFunction]) -> tuple[int, ...]:
    """The chat as the model reads it, up to where the assistant begins to speak."""
    if tools and OPEN not in service.codec.template:
        raise refused("tools", f"not implemented for this model: its chat template writes no {OPEN}")
    kit = [{"type": "function", "function": t.model_dump(exclude_none=True, exclude={"strict"})} for t in tools]
    ids = turns.encode_prompt(service.codec, [turn(m) for m in messages], tools=kit or None)
    return service.check_prompt(ids, "messages")


def turn(message: Message) -> dict[str, Any]:
    """A message as templates know it: arguments as objects, `developer` under its old name."""
    role = "system" if message.role == "developer" else message.role
    found: dict[str, Any] = {"role": role, "content": message.text()}
    if message.tool_calls:
        found["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.function.name, "arguments": json.loads(call.function.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    return found


def choice(service: Service, made: Plan, index: int, written: Written) -> dict[str, Any]:
    """One whole answer."""
    said, calls = read_calls(made, written)
    message: dict[str, Any] = {"role": "assistant", "content": said, "refusal": None, "annotations": []}
    if calls:
        message["content"] = said or None
        message["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in calls
        ]
    logprobs = None
    if made.logprobs:
        logprobs = {"content": content_logprobs(service, written.whole()), "refusal": None}
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": reason(written.reason, bool(calls)),
    }


def read_calls(made: Plan, written: Written) -> tuple[str, list[Call]]:
    """What was said, and the calls in it."""
    finder = made.finder()
    if finder is None:
        return written.text, []
    news = finder.push(written.text)
    news += finder.push(CLOSE) if written.stopped_by == CLOSE else []
    news += finder.close()
    return "".join(n.content for n in news), finder.calls


def reason(engine: str, called: bool) -> str:
    """The engine's reason in OpenAI's words."""
    if engine == "stop":
        return "tool_calls" if called else "stop"
    return "length"


def content_logprobs(service: Service, piece: Piece) -> list[Any]:
    """The tokens that make the text; the one that ended it is none of them."""
    n = len(piece.ids) - isinstance(piece.stopped_by, int)
    return chat_logprobs(service.codec, piece.ids[:n], piece.logprobs[:n], piece.top[:n])


def head(service: Service, ask: Ask, kind: str) -> dict[str, Any]:
    """What begins every answer and every chunk."""
    return {
        "id": new_id("chatcmpl-"),
        "object": kind,
        "created": int(service.clock()),
        "model": service.called(ask.adapter),
        "system_fingerprint": service.print_of(ask.adapter),
        "service_tier": "default",
    }


async def chunks(service: Service, made: Plan, with_usage: bool) -> AsyncGenerator[dict[str, Any], None]:
    """The answer piece by piece; with usage, one more chunk at the end that has no choices."""
    base = head(service, made.ask, "chat.completion.chunk")
    texts = [Streamed(service, made) for _ in range(made.ask.n)]
    none = {"usage": None} if with_usage else {}
    async with aclosing(service.pieces(made.ask)) as coming:
        async for index, piece in coming:
            for delta in texts[index].deltas(piece):
                yield {**base, "choices": [{"index": index, **delta}], **none}
    if with_usage:
        yield {**base, "choices": [], "usage": usage(made.ask.prompts, [t.written for t in texts])}


class Streamed:
    """One answer on its way: pieces in, choices of chunks out."""

    def __init__(self, service: Service, made: Plan) -> None:
        self.service, self.made = service, made
        self.finder = made.finder()
        self.written = Written()

    def deltas(self, piece: Piece) -> list[dict[str, Any]]:
        """The choices that one piece gives: the role before the first, the reason with the last."""
        found = [] if self.written.first else [part({"role": "assistant", "content": "", "refusal": None})]
        told = [delta(n) for n in self.news(piece)]
        logprobs = None
        if self.made.logprobs and (listed := content_logprobs(self.service, piece)):
            logprobs = {"content": listed, "refusal": None}
            told = told or [{"content": ""}]
        found += [part(d, logprobs if i == 0 else None) for i, d in enumerate(told)]
        if piece.reason:
            called = self.finder is not None and bool(self.finder.calls)
            found.append(part({}, finish=reason(piece.reason, called)))
        return found

    def news(self, piece: Piece) -> list[News]:
        """What a piece brings: content, and calls as far as they are known."""
        self.written.add(piece)
        if self.finder is None:
            return [News(piece.text)] if piece.text else []
        news = self.finder.push(piece.text)
        if piece.stopped_by == CLOSE:
            news += self.finder.push(CLOSE)
        return news + (self.finder.close() if piece.reason else [])


def part(delta: dict[str, Any], logprobs: Any = None, finish: str | None = None) -> dict[str, Any]:
    """What stands in a chunk's choice beside its index."""
    return {"delta": delta, "logprobs": logprobs, "finish_reason": finish}


def delta(news: News) -> dict[str, Any]:
    """News as the client's library adds them up."""
    if news.index < 0:
        return {"content": news.content}
    begin = news.call
    if begin is not None:
        function = {"name": begin.name, "arguments": ""}
        return {"tool_calls": [{"index": news.index, "id": begin.id, "type": "function", "function": function}]}
    return {"tool_calls": [{"index": news.index, "function": {"arguments": news.arguments}}]}
