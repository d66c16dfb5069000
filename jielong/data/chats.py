"""Conversations from the shapes in which people keep them, all turned into messages.

    {"messages": [{"role", "content"}]}                                  ours, TRL's, OpenAI's
    {"instruction", "input", "output"}                                   Alpaca; also "system" and "history"
    {"conversations": [{"from", "value"}]}                               ShareGPT; also "system" and "tools"
    {"prompt", "completion"}                                             texts, or lists of messages

Calls of tools become the assistant's text `<tool_call>{...}</tool_call>`, one a line as in Qwen's and Hermes'
templates, and their results messages of role "tool". Everything else in a record is kept in `meta`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError
from jielong.data.records import Record, records, whole_characters
from jielong.data.sources import RECORDS, Files, Hub, Worldly, find, suffix

if TYPE_CHECKING:
    from jielong.world.world import World

ROLES = ("system", "user", "assistant", "tool")
SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
}
SHAPES = (
    '{"messages": [{"role", "content"}]}, {"instruction", "input", "output"}, '
    '{"conversations": [{"from", "value"}]} or {"prompt", "completion"}'
)
CALL = "<tool_call>\n{}\n</tool_call>"

Turn = dict[str, str]


@dataclass(frozen=True, slots=True)
class ChatRecord:
    """messages: [{"role": system | user | assistant | tool, "content"}]; `id` says where it came from."""

    messages: list[Turn]
    id: str
    meta: Mapping[str, Any] = dataclass_field(default_factory=dict)

    @property
    def text(self) -> str:
        """All turns as one string, by which equal chats are recognised."""
        return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in self.messages)


def read_chats(
    spec: str | Path, *, encoding: str = "utf-8", world: World | None = None
) -> Iterator[ChatRecord]:
    """The conversations of a .jsonl, .json or .parquet file, a folder of these, `hf:...` or `world:KIND[:N]`.

    Raises UserError naming the line for an unknown shape or role, an empty message, or a chat in which the
    assistant says nothing.
    """
    source = find(spec, RECORDS)
    if isinstance(source, Worldly):
        return _worldly(source, world)
    if isinstance(source, Files) and suffix(source.paths[0]) not in RECORDS:
        raise UserError(f"{source}: chats are kept in {', '.join(RECORDS)} files")
    return _from(source, encoding)


def to_chat(record: Record) -> ChatRecord:
    """A record of any of the shapes as a chat."""
    fields, where = record.fields, record.where
    if "messages" in fields:
        used, turns = {"messages"}, _messages(fields["messages"], where)
    elif "conversations" in fields:
        used, turns = {"conversations", "system"}, _system(fields) + _sharegpt(fields["conversations"], where)
    elif "instruction" in fields and "output" in fields:
        used, turns = {"instruction", "input", "output", "system", "history"}, _alpaca(fields, where)
    elif "prompt" in fields and "completion" in fields:
        used = {"prompt", "completion"}
        turns = _side(fields, "prompt", "user", where) + _side(fields, "completion", "assistant", where)
    else:
        names = ", ".join(fields) or "nothing"
        raise UserError(f"{where}: no known shape of chat; it has {names}; understood are {SHAPES}")
    _check(turns, fields, where)
    return ChatRecord(turns, record.id, {name: value for name, value in fields.items() if name not in used})


def _from(source: Files | Hub, encoding: str) -> Iterator[ChatRecord]:
    empty = True
    for record in records(source, encoding):
        empty = False
        yield to_chat(record)
    if empty:
        raise UserError(f"{source}: empty; there is no chat in it")


def _worldly(source: Worldly, world: World | None) -> Iterator[ChatRecord]:
    from jielong.world.world import World

    for i, chat in enumerate((world or World()).chats(source.kind, source.n)):
        turns = [{"role": message.role, "content": message.content} for message in chat.messages]
        yield ChatRecord(turns, f"world:{source.kind}:{i}", {"origin": chat.origin})


def _messages(value: Any, where: str) -> list[Turn]:
    turns = []
    for number, message in enumerate(_list(value, "messages", where), 1):
        turns.append(_message(message, f"{where}, message {number}"))
    return turns


def _message(message: Any, at: str) -> Turn:
    if not isinstance(message, dict) or "role" not in message:
        raise UserError(f'{at}: not a message {{"role": ..., "content": ...}}')
    if message["role"] not in ROLES:
        raise UserError(f"{at}: role {message['role']!r} is none of {', '.join(ROLES)}")
    content = _text(message.get("content"), at)
    calls = [_call(call, at) for call in _list(message.get("tool_calls") or [], "tool_calls", at)]
    return {"role": message["role"], "content": "\n".join([content, *calls] if content else calls)}


def _sharegpt(value: Any, where: str) -> list[Turn]:
    turns = []
    for number, message in enumerate(_list(value, "conversations", where), 1):
        at = f"{where}, message {number}"
        if isinstance(message, dict) and "role" in message:
            turns.append(_message(message, at))
            continue
        if not isinstance(message, dict) or "from" not in message or "value" not in message:
            raise UserError(f'{at}: not a message {{"from": ..., "value": ...}}')
        if message["from"] not in tuple(SPEAKERS):  # a tuple: what was read may not be hashable
            raise UserError(f"{at}: speaker {message['from']!r} is none of {', '.join(SPEAKERS)}")
        content = _text(message["value"], at)
        if message["from"] == "function_call" and content.strip():
            content = CALL.format(content)
        turns.append({"role": SPEAKERS[message["from"]], "content": content})
    return turns


def _alpaca(fields: Mapping[str, Any], where: str) -> list[Turn]:
    """The input follows the instruction after an empty line; `history` is a list of [asked, answered]."""
    turns = _system(fields)
    for pair in _list(fields.get("history") or [], "history", where):
        if not isinstance(pair, list) or len(pair) != 2:
            raise UserError(f"{where}: history must be a list of [asked, answered]")
        turns += [
            {"role": role, "content": _text(text, where)} for role, text in zip(("user", "assistant"), pair)
        ]
    asked = [_text(fields[name], where) for name in ("instruction", "input") if fields.get(name)]
    turns.append({"role": "user", "content": "\n\n".join(text for text in asked if text.strip())})
    turns.append({"role": "assistant", "content": _text(fields["output"], where)})
    return turns


def _side(fields: Mapping[str, Any], name: str, role: str, where: str) -> list[Turn]:
    if isinstance(fields[name], list):
        return _messages(fields[name], where)
    return [{"role": role, "content": _text(fields[name], where)}]


def _system(fields: Mapping[str, Any]) -> list[Turn]:
    system = fields.get("system")
    return [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []


def _check(turns: list[Turn], fields: Mapping[str, Any], where: str) -> None:
    for number, turn in enumerate(turns, 1):
        if not turn["content"].strip() and turn["role"] != "tool":  # a tool may well return nothing
            raise UserError(f"{where}, message {number}: the {turn['role']}'s message is empty")
    if not any(turn["role"] == "assistant" for turn in turns):
        pairs = " (chosen and rejected: preferences, which are not chats)" if "chosen" in fields else ""
        raise UserError(f"{where}: the assistant says nothing in this chat{pairs}")


def _list(value: Any, name: str, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"{where}: {name!r} is not a list")
    return value


def _text(value: Any, where: str) -> str:
    """A text, also one given in parts [{"type": "text", "text": ...}]; null is the empty text."""
    if isinstance(value, list) and all(
        isinstance(part, dict) and part.get("type") == "text" for part in value
    ):
        value = "".join(str(part.get("text", "")) for part in value)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f"{where}: a {type(value).__name__} where text is needed")
    return whole_characters(value)


def _call(call: Any, where: str) -> str:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise UserError(f"{where}: a tool call without a name")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            raise UserError(f"{where}: the arguments of {function['name']!r} are not JSON") from None
    return CALL.format(json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False))
