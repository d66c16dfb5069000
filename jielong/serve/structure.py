"""What an answer must look like, as grammars: JSON, JSON of a schema, calls of tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jielong.serve.schema import Format, NamedChoice, ToolFunction
from jielong.serve.toolcalls import CLOSE, OPEN

if TYPE_CHECKING:
    from jielong.infer.request import Processor
    from jielong.units.codec import Tokenizer

ANY_OBJECT = {"type": "object"}


def formatted(codec: Tokenizer, form: Format | None) -> tuple[Processor, ...]:
    """The rules of `response_format`. UserError for a schema that cannot be met or is not implemented."""
    if form is None or form.type == "text":
        return ()
    from jielong.infer import grammar

    schema = ANY_OBJECT if form.json_schema is None else form.json_schema.schema_
    return (grammar.json_schema(codec, schema),)


def called(codec: Tokenizer, tools: Sequence[ToolFunction], choice: Any, parallel: bool) -> tuple[Processor, ...]:
    """The rules of `tools`: with "required" or a named function nothing but calls; with "auto" calls may
    stand after text, and those of strict tools follow their schema. UserError as above."""
    if isinstance(choice, NamedChoice):
        tools, parallel = [t for t in tools if t.name == choice.function.name], False
    forced = choice == "required" or isinstance(choice, NamedChoice)
    if not forced and not any(t.strict for t in tools):
        return ()
    from jielong.infer import grammar

    return (grammar.lark(codec, calls_grammar(tools, parallel, free=not forced)),)


def calls_grammar(tools: Sequence[ToolFunction], parallel: bool, free: bool) -> str:
    """In llguidance's Lark: calls, one or (`parallel`) more; `free`: text may stand before and between them."""
    if free:
        start = "start: TEXT (call TEXT)*" if parallel else "start: TEXT call?"
    else:
        start = 'start: call ("\\n" call)*' if parallel else "start: call"
    names = " | ".join(f"call_{i}" for i in range(len(tools)))
    lines = [start, f"call: {json.dumps(OPEN)} ({names}) {json.dumps(CLOSE)}"]
    for i, tool in enumerate(tools):
        schema = tool.parameters if tool.parameters is not None else ANY_OBJECT
        head = json.dumps(json.dumps({"name": tool.name}, ensure_ascii=False)[:-1] + ', "arguments": ')
        lines.append(f'call_{i}: {head} args_{i} "}}"')
        loose = free and not tool.strict
        lines.append(f"args_{i}: %json {json.dumps(ANY_OBJECT if loose else schema)}")
    if free:
        lines.append(f"TEXT: /(.|\\n)*/ & ~/(.|\\n)*{OPEN}(.|\\n)*/")
    return "\n".join(lines) + "\n"
