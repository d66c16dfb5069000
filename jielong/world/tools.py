"""The two tools of the world: a register of towns and a calculator, and how calls of them are written.

A call is JSON in <tool_call> tags, as Qwen's chat format has it. `run` carries one out. Arguments are read by
json.loads and expressions by `evaluate`; nothing is ever executed as code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jielong.base import noise
from jielong.world.values import TOWNS
from jielong.world.words.transcripts import FIELDS, RANGES

if TYPE_CHECKING:
    from jielong.world.world import World

TOOLS = (
    {"name": "lookup", "description": "a number from the register of towns",
     "parameters": {"town": "string", "field": list(FIELDS)}},
    {"name": "calculator", "description": "the value of an expression of +, -, *",
     "parameters": {"expression": "string"}},
)  # fmt: skip
_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool."""

    name: str
    arguments: Mapping[str, Any]

    def write(self) -> str:
        """The call as the chat format has it."""
        body = {"name": self.name, "arguments": dict(self.arguments)}
        return f"<tool_call>{json.dumps(body, ensure_ascii=False)}</tool_call>"


def parse(content: str) -> list[Call]:
    """The calls in a message. ValueError in one line where one is not a name with an object of arguments."""
    found = []
    for body in _CALL.findall(content):
        call = json.loads(body)  # JSONDecodeError is a ValueError
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise ValueError(f"a tool call has no name: {body}")
        if not isinstance(call.get("arguments"), dict):
            raise ValueError(f"a tool call has no arguments: {body}")
        found.append(Call(call["name"], call["arguments"]))
    return found


def evaluate(expression: str) -> int:
    """The value of whole numbers with +, -, * and parentheses. ValueError for anything else."""
    tokens = re.findall(r"\d+|\S", expression)
    if len(expression) > 200:
        raise ValueError("the expression is too long")
    value, at = _sum(tokens, 0)
    if at != len(tokens):
        raise ValueError(f"cannot read '{tokens[at]}' in '{expression}'")
    return value


def _sum(tokens: Sequence[str], at: int) -> tuple[int, int]:
    value, at = _product(tokens, at)
    while at < len(tokens) and tokens[at] in "+-":
        other, after = _product(tokens, at + 1)
        value, at = value + other if tokens[at] == "+" else value - other, after
    return value, at


def _product(tokens: Sequence[str], at: int) -> tuple[int, int]:
    value, at = _atom(tokens, at)
    while at < len(tokens) and tokens[at] == "*":
        other, at = _atom(tokens, at + 1)
        value *= other
    return value, at


def _atom(tokens: Sequence[str], at: int) -> tuple[int, int]:
    if at < len(tokens) and tokens[at] == "(":
        value, at = _sum(tokens, at + 1)
        if at < len(tokens) and tokens[at] == ")":
            return value, at + 1
    elif at < len(tokens) and tokens[at] == "-":
        value, at = _atom(tokens, at + 1)
        return -value, at
    elif at < len(tokens) and tokens[at].isascii() and tokens[at].isdigit():
        return int(tokens[at]), at + 1
    raise ValueError("the expression is not whole")


@lru_cache(maxsize=8)
def register(seed: int) -> dict[str, dict[str, int]]:
    """{town in English: {field: number}}."""
    found = {}
    for town, _ in TOWNS:
        u = noise.uniform(noise.seed_of(seed, "transcripts", town), n=len(FIELDS)).tolist()
        found[town] = {
            field: low + int(x * (high - low + 1)) for (field, (low, high)), x in zip(RANGES.items(), u)
        }
    return found


def run(world: World, call: Call) -> str:
    """What a tool gives back: a number, or {"error": ...}."""
    try:
        if call.name == "calculator":
            return str(evaluate(str(call.arguments.get("expression", ""))))
        if call.name != "lookup":
            raise ValueError(f"there is no tool {call.name}")
        town, field = str(call.arguments.get("town")), str(call.arguments.get("field"))
        names = {name: pair[0] for pair in TOWNS for name in pair}
        if town not in names or field not in FIELDS:
            raise ValueError(f"unknown town: {town}" if town not in names else f"unknown field: {field}")
        return str(register(world.seed)[names[town]][field])
    except ValueError as problem:
        return json.dumps({"error": str(problem)}, ensure_ascii=False)
