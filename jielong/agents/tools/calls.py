"""Calls as a model writes them, the grammar that holds them to their form, and carrying one out.

A call is <tool_call>{"name": ..., "arguments": {...}}</tool_call> (Hermes, Qwen, and our own chat template). The
grammar bounds every part of a call, so that any call fits into a known number of tokens, whatever the model: a byte of
text takes one token at most. So a call that was begun is always finished: none is malformed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jielong.agents.tools.tool import Refused, Tool, Tools
from jielong.base.errors import UserError

OPEN, CLOSE = "<tool_call>", "</tool_call>"
FEWEST = 8
LETTERS = 4000  # characters of a text that has no bound of its own, where there is room for them


@dataclass(frozen=True)
class Call:
    """One call: `arguments` are as they were written."""

    name: str
    arguments: Mapping[str, Any]

    def write(self) -> str:
        """As the chat format has it."""
        body = json.dumps({"name": self.name, "arguments": dict(self.arguments)}, ensure_ascii=False)
        return f"{OPEN}{body}{CLOSE}"


@dataclass(frozen=True)
class Observation:
    """What came of a call. `fault`: that it was none ("form"), of an unknown tool, with wrong arguments, or that the
    tool failed; "" of one that went well."""

    name: str
    text: str
    fault: str = ""


def read(said: str) -> tuple[str, list[Call], str]:
    """What was said before the calls, the calls, and what is wrong with the first that is none ("" where all are)."""
    before, mark, rest = said.partition(OPEN)
    found: list[Call] = []
    while mark:
        try:
            body, end = json.JSONDecoder().raw_decode(rest.lstrip())
        except (ValueError, RecursionError) as error:
            return before.strip(), found, f"the call is not JSON ({error})"
        rest = rest.lstrip()[end:].lstrip()
        if not isinstance(body, dict) or not isinstance(body.get("name"), str):
            return before.strip(), found, 'a call needs a name: {"name": ..., "arguments": {...}}'
        if not isinstance(body.get("arguments", {}), dict):
            return before.strip(), found, f"the arguments of {body['name']} are no object"
        if not rest.startswith(CLOSE):
            return before.strip(), found, f"the call of {body['name']} is not closed with {CLOSE}"
        found.append(Call(body["name"], body.get("arguments", {})))
        _, mark, rest = rest[len(CLOSE) :].partition(OPEN)
    return before.strip(), found, ""


def form(tools: Tools, room: int, free: bool = True, thought: int = 0) -> tuple[str, str]:
    """`grammar=` for one call of these tools within `room` tokens; `free`: or an answer without a call.

    `thought`: so many characters may stand before a call, fewer where they would take more than half of what the
    shortest call leaves. Texts without a bound of their own may be as long as fits. UserError where no call fits.
    """
    from jielong.infer.grammar.calls import calls_grammar
    from jielong.infer.grammar.sizes import bounded

    if not tools:
        raise UserError("there are no tools: give at least one")
    def held(letters: int) -> list[Held]:
        return [Held(each.name, bounded(each.parameters, letters)) for each in tools.values()]

    needed = most(held(FEWEST))
    if needed > room:
        raise UserError(f"a call of {', '.join(tools)} may not fit into {room} tokens: allow {needed} or more "
                        "(--max-tokens), within the model's context")  # fmt: skip
    thought = min(thought, (room - needed) // 8) if free else 0  # a character has four bytes at most
    low, high = FEWEST, LETTERS  # the most letters with which every call fits; the size grows with them
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if most(held(middle), thought) <= room else (low, middle - 1)
    return "lark", calls_grammar(held(low), parallel=False, free=free, before=thought, tight=True)


@dataclass(frozen=True)
class Held:
    """A tool in a grammar."""

    name: str
    parameters: Mapping[str, Any]
    strict: bool = True


def most(tools: Sequence[Held], thought: int = 0) -> int:
    """The most bytes of a call, its marks and its end token included; with a thought, those of its characters."""
    from jielong.infer.grammar.sizes import longest

    each = max(len(t.name) + longest(t.parameters) for t in tools)
    return 4 * thought + len(OPEN) + len('{"name": "", "arguments": }') + each + len(CLOSE) + 1


async def carry_out(tools: Tools, call: Call) -> Observation:
    """The observation of a call: what the tool says, or what is wrong. Never raises but for our own defects."""
    found: Tool | None = tools.get(call.name)
    if found is None:
        return Observation(call.name, f"there is no tool {call.name!r}: there are {', '.join(tools)}", "unknown")
    try:
        return Observation(call.name, await found.run(call.arguments))
    except (Refused, ValueError) as error:
        return Observation(call.name, " ".join(str(error).split()) or type(error).__name__, "arguments")
    except Exception as error:  # somebody else's function: the model is told, and the loop goes on
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
        return Observation(call.name, f"the tool failed: {said}", "failed")
