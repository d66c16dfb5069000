"""POST /v1/responses for text: items in, items out, whole or as typed events.

The work is the chat endpoint's; only the form differs. Nothing is stored, so `store` may only be false, and
there is no `previous_response_id`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from jielong.infer.request import Piece
from jielong.serve import chat
from jielong.serve.http import Answer
from jielong.serve.http import Call as HttpCall
from jielong.serve.responses_schema import ResponseRequest
from jielong.serve.schema import ChatRequest, Format, Tool
from jielong.serve.service import Service, new_id, usage
from jielong.serve.strict import parse
from jielong.serve.toolcalls import Call, News

Event = dict[str, Any]


async def respond(service: Service, call: HttpCall) -> Answer:
    """The endpoint. A whole answer is what the last of its events holds."""
    body = parse(ResponseRequest, call.body)
    body.check()
    service.adapter(body.model)
    made = await service.prepare(chat.plan, service, as_chat(service, body), call)
    answer = Response(service, body, made)
    if body.stream:
        return answer.events()
    async with aclosing(answer.events()) as events:
        async for _ in events:
            pass
    return answer.body()


def as_chat(service: Service, body: ResponseRequest) -> ChatRequest:
    """The same request to the chat endpoint."""
    form = body.text.format
    shown = "message.output_text.logprobs" in body.include or body.top_logprobs is not None
    return ChatRequest(
        model=body.model or service.name,
        messages=body.messages(),
        max_tokens=body.max_output_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        logprobs=shown,
        top_logprobs=body.top_logprobs,
        tools=[Tool(type="function", function=f) for f in body.functions()],
        tool_choice=body.choice(),
        parallel_tool_calls=body.parallel_tool_calls,
        response_format=Format(type=form.type, json_schema=form.schema_of()),
    )


class Response:
    """One answer coming together: `events` as its pieces come, `body` at any moment."""

    def __init__(self, service: Service, body: ResponseRequest, made: chat.Plan) -> None:
        self.service, self.asked, self.made = service, body, made
        self.id, self.created, self.done = new_id("resp_"), int(service.clock()), 0
        self.status, self.output = "in_progress", list[dict[str, Any]]()
        self.text = chat.Streamed(service, made)
        self.count = 0
        self.waiting: list[Any] = []

    async def events(self) -> AsyncGenerator[Event, None]:
        """Created, the items part by part, and the end."""
        async with aclosing(self.service.pieces(self.made.ask)) as coming:
            async for _, piece in coming:
                if self.text.written.first is None:
                    yield self._event("response.created", response=self.body())
                    yield self._event("response.in_progress", response=self.body())
                for event in self._piece(piece):
                    yield event
        for event in self._finish():
            yield event
        yield self._event(f"response.{self.status}", response=self.body())

    def body(self) -> dict[str, Any]:
        """The response as it stands."""
        asked, ended = self.asked, self.status != "in_progress"
        cut = {"reason": "max_output_tokens"} if self.status == "incomplete" else None
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "completed_at": self.done if self.status == "completed" else None,
            "status": self.status,
            "error": None,
            "incomplete_details": cut,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {},
            "model": self.service.called(self.made.ask.adapter),
            "output": [dict(item) for item in self.output],
            "parallel_tool_calls": asked.parallel_tool_calls,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "service_tier": "default",
            "store": False,
            "temperature": asked.temperature,
            "text": {"format": asked.text.format.model_dump(by_alias=True, exclude_none=True)},
            "tool_choice": asked.model_dump()["tool_choice"] or "auto",
            "tools": [{"strict": None, "parameters": None, **t.model_dump()} for t in asked.tools],
            "top_logprobs": asked.top_logprobs or 0,
            "top_p": asked.top_p,
            "truncation": "disabled",
            "background": False,
            "usage": self._usage() if ended else None,
            "user": asked.user,
        }

    def _usage(self) -> dict[str, Any]:
        found = usage(self.made.ask.prompts, [self.text.written])
        cached = found["prompt_tokens_details"]["cached_tokens"]
        return {
            "input_tokens": found["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": found["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": found["total_tokens"],
        }

    def _event(self, kind: str, **parts: Any) -> Event:
        self.count += 1
        return {"type": kind, "sequence_number": self.count - 1, **parts}

    def _piece(self, piece: Piece) -> Iterator[Event]:
        logprobs = chat.content_logprobs(self.service, piece) if self.made.logprobs else []
        for news in self.text.news(piece):
            yield from self._news(news, logprobs)
            logprobs = []
        self.waiting += logprobs  # of tokens whose characters are not whole yet, or that are part of a call

    def _news(self, news: News, logprobs: list[Any]) -> Iterator[Event]:
        if news.call is not None:
            yield from self._close()
            yield from self._open_call(news.call)
        if news.index >= 0:
            if news.arguments:
                self.output[-1]["arguments"] += news.arguments
                yield self._delta("response.function_call_arguments.delta", news.arguments)
            return
        if self._item("message") is None:
            yield from self._close()
            yield from self._open_message()
        logprobs, self.waiting = self.waiting + logprobs, []
        part = self.output[-1]["content"][0]
        part["text"] += news.content
        part["logprobs"] += logprobs
        yield self._delta("response.output_text.delta", news.content, content_index=0, logprobs=logprobs)

    def _item(self, kind: str) -> dict[str, Any] | None:
        """The last item, when it is open and of this kind."""
        last = self.output[-1] if self.output else {}
        return last if last.get("type") == kind and last["status"] == "in_progress" else None

    def _delta(self, kind: str, text: str, **more: Any) -> Event:
        return self._event(kind, item_id=self.output[-1]["id"], output_index=len(self.output) - 1, delta=text, **more)

    def _open_message(self) -> Iterator[Event]:
        item: dict[str, Any] = {
            "id": new_id("msg_"),
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }
        self.output.append(item)
        place = {"output_index": len(self.output) - 1}
        yield self._event("response.output_item.added", item=dict(item, content=[]), **place)
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        item["content"] = [part]
        yield self._event("response.content_part.added", item_id=item["id"], content_index=0, part=dict(part), **place)

    def _open_call(self, call: Call) -> Iterator[Event]:
        named = {"call_id": call.id, "name": call.name, "arguments": ""}
        item = {"id": new_id("fc_"), "type": "function_call", "status": "in_progress", **named}
        self.output.append(item)
        yield self._event("response.output_item.added", item=dict(item), output_index=len(self.output) - 1)

    def _close(self, status: str = "completed") -> Iterator[Event]:
        """Finish the open item."""
        if not self.output or self.output[-1]["status"] != "in_progress":
            return
        item = self.output[-1]
        item["status"] = status
        place = {"item_id": item["id"], "output_index": len(self.output) - 1}
        if item["type"] == "message":
            part = item["content"][0]
            said = {"text": part["text"], "logprobs": part["logprobs"]}
            yield self._event("response.output_text.done", content_index=0, **said, **place)
            yield self._event("response.content_part.done", content_index=0, part=part, **place)
        else:
            given = {"name": item["name"], "arguments": item["arguments"]}
            yield self._event("response.function_call_arguments.done", **given, **place)
        yield self._event("response.output_item.done", item=dict(item), output_index=len(self.output) - 1)

    def _finish(self) -> Iterator[Event]:
        """The last item ends, and the response with it; an empty answer is an empty message."""
        whole = self.text.written.reason == "stop"
        if not self.output:
            yield from self._open_message()
        yield from self._close("completed" if whole else "incomplete")
        self.status, self.done = ("completed" if whole else "incomplete"), int(self.service.clock())
