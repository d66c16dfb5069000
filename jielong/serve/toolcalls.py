"""Tool calls in a model's text, found while it is being written.

A call is `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` (Hermes, Qwen, and our own template). Its
name is told as soon as it is known and its arguments as they come; text around calls is content. What begins
like a call and is none is content again.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from jielong.serve.service import new_id

OPEN, CLOSE = "<tool_call>", "</tool_call>"
HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\{)')


@dataclass
class Call:
    """One call: `arguments` is JSON text."""

    name: str
    arguments: str = ""
    id: str = field(default_factory=lambda: new_id("call_"))


@dataclass(frozen=True)
class News:
    """What has become certain: content, or the beginning or more arguments of call `index`."""

    content: str = ""
    index: int = -1
    call: Call | None = None  # with the beginning
    arguments: str = ""


class Finder:
    """`push` text as it comes and `close` at the end; `calls` are those found so far.

    `names`: the tools there are; a call of any other name is content. `one`: stop at the first call.
    """

    def __init__(self, names: frozenset[str], one: bool = False) -> None:
        self.names, self.one = names, one
        self.calls: list[Call] = []
        self.held = ""  # not yet told
        self.inside = False  # a call, after OPEN
        self.begun = False  # its name was told
        self.scan = Braces()

    @property
    def full(self) -> bool:
        """Whether nothing more is wanted: one call was asked for, and it is complete."""
        return self.one and bool(self.calls) and not self.inside

    def push(self, text: str) -> list[News]:
        """What the next text makes certain."""
        self.held += text
        found: list[News] = []
        while not self.full and (news := self._step()):
            found += news
        return [n for n in found if n.content or n.call or n.arguments]

    def close(self) -> list[News]:
        """What is left at the end: an unfinished call without a name is content."""
        if self.full or (self.inside and self.begun):
            return []
        rest = (OPEN if self.inside else "") + self.held
        self.held = ""
        if self.calls:
            rest = rest.rstrip()
        return [News(rest)] if rest else []

    def _step(self) -> list[News]:
        """Go on by one stage; nothing when more text is needed."""
        if not self.inside:
            return self._content()
        return self._arguments() if self.begun else self._head()

    def _content(self) -> list[News]:
        at = self.held.find(OPEN)
        if at >= 0:
            before, self.held = self.held[:at], self.held[at + len(OPEN) :]
            self.inside, self.begun = True, False
            # The line break between calls, and before the first, is the template's, not something said.
            return [News(before.rstrip())]
        keep = next((n for n in range(len(OPEN) - 1, 0, -1) if self.held.endswith(OPEN[:n])), 0)
        keep += len(self.held[: len(self.held) - keep]) - len(self.held[: len(self.held) - keep].rstrip())
        ready, self.held = self.held[: len(self.held) - keep], self.held[len(self.held) - keep :]
        return [News(ready)] if ready else []

    def _head(self) -> list[News]:
        match = HEAD.match(self.held)
        end = self.held.find(CLOSE)
        if match is None:
            return self._whole(end) if end >= 0 else []
        name = json.loads(match[1], strict=False)
        if name not in self.names:
            return self._no_call(end) if end >= 0 else []
        self.begun, self.scan = True, Braces()
        self.calls.append(Call(name))
        self.held = self.held[match.end() :]
        return [News(index=len(self.calls) - 1, call=self.calls[-1])]

    def _arguments(self) -> list[News]:
        if self.scan.closed:  # only the end of the call is still to come
            end = self.held.find(CLOSE)
            if end < 0:
                return []
            self.held, self.inside = self.held[end + len(CLOSE) :], False
            return [News()]
        ready = self.scan.take(self.held)
        self.held = self.held[len(ready) :]
        self.calls[-1].arguments += ready
        return [News(index=len(self.calls) - 1, arguments=ready)] if ready else []

    def _whole(self, end: int) -> list[News]:
        """A call written in another order: read when it is complete."""
        try:
            read: Any = json.loads(self.held[:end])
            name, arguments = read["name"], read.get("arguments", {})
            fine = name in self.names and isinstance(arguments, dict)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            fine = False
        if not fine:
            return self._no_call(end)
        call = Call(name, json.dumps(arguments, ensure_ascii=False))
        self.calls.append(call)
        self.held, self.inside = self.held[end + len(CLOSE) :], False
        index = len(self.calls) - 1
        return [News(index=index, call=Call(name, "", call.id)), News(index=index, arguments=call.arguments)]

    def _no_call(self, end: int) -> list[News]:
        text = OPEN + self.held[: end + len(CLOSE)]
        self.held, self.inside = self.held[end + len(CLOSE) :], False
        return [News(text)]


class Braces:
    """Finds the end of a JSON object that comes in pieces."""

    def __init__(self) -> None:
        self.depth, self.quoted, self.escaped, self.closed = 0, False, False, False

    def take(self, text: str) -> str:
        """The part of `text` that belongs to the object."""
        for place, letter in enumerate(text):
            if self.quoted:
                self.quoted = letter != '"' or self.escaped
                self.escaped = letter == "\\" and not self.escaped
            elif letter == '"':
                self.quoted = True
            elif letter in "{[":
                self.depth += 1
            elif letter in "}]":
                self.depth -= 1
                if self.depth == 0:
                    self.closed = True
                    return text[: place + 1]
        return text
