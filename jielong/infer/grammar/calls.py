"""A grammar of tool calls: <tool_call>{"name": ..., "arguments": {...}}</tool_call> (Hermes, Qwen, our template)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jielong.base.errors import UserError
from jielong.infer.grammar.checks import check_schema
from jielong.infer.grammar.mask import guided

OPEN, CLOSE = "<tool_call>", "</tool_call>"
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


class Callable(Protocol):
    """What a call is made of: a name, the schema of its arguments (None: any), and whether they follow it even where
    text is free."""

    @property
    def name(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, Any] | None: ...
    @property
    def strict(self) -> bool | None: ...


def calls_grammar(
    tools: Sequence[Callable], parallel: bool, free: bool, before: int | None = None, tight: bool = False
) -> str:
    """In llguidance's Lark: one call, or (`parallel`) more; `free`: text may stand alone, and before a call, `before`
    characters of it at most (None: any number). `tight`: one blank at most between the parts of the arguments, and no
    new line.

    The lexer never goes back, so text before a call is one lexeme with the mark that opens it, which ends at the
    first such mark. UserError for parameters that are no object, or a schema that cannot be met.
    """
    lazy = free and before != 0
    opened = "opened" if lazy else json.dumps(OPEN)
    if free:
        start = "start: call* TEXT" if parallel else "start: call | TEXT"
    else:
        start = 'start: call ("\\n" call)*' if parallel else "start: call"
    names = " | ".join(f"call_{i}" for i in range(len(tools)))
    lines = [start, f"call: {opened} ({names}) {json.dumps(CLOSE)}"]
    for i, tool in enumerate(tools):
        loose = free and not tool.strict
        schema = ANY_OBJECT if loose or tool.parameters is None else {**ANY_OBJECT, **tool.parameters}
        if schema["type"] != "object":
            raise UserError(f"the parameters of {tool.name} are not of type object: arguments are one")
        check_schema(schema)
        head = json.dumps(f'{{"name": "{tool.name}", "arguments": ')
        lines += [f'call_{i}: {head} args_{i} "}}"', f"args_{i}: %json {_tight(schema) if tight else guided(schema)}"]
    if lazy:
        some = "*" if before is None else f"{{0,{before}}}"
        lines.append(f"opened[lazy]: /(.|\\n){some}{OPEN}/")
    if free:
        lines.append(f"TEXT: /(.|\\n)*/ & ~/(.|\\n)*{OPEN}(.|\\n)*/")
    return "\n".join(lines) + "\n"


def _tight(schema: Mapping[str, Any]) -> str:
    return json.dumps({**schema, "x-guidance": {"whitespace_pattern": " ?"}}, ensure_ascii=False)
