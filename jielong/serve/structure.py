"""What an answer must look like, as grammars: JSON, JSON of a schema, calls of tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError
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
    """In llguidance's Lark: calls, one or (`parallel`) more; `free`: text may stand before and between them.

    The lexer never goes back, so text before a call is one lexeme with the mark that opens it, which ends at the
    first such mark.
    """
    from jielong.infer.grammar.checks import check_schema
    from jielong.infer.grammar.mask import guided

    opened = "opened" if free else json.dumps(OPEN)
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
        lines += [f'call_{i}: {head} args_{i} "}}"', f"args_{i}: %json {guided(schema)}"]
    if free:
        lines += [f"opened[lazy]: /(.|\\n)*{OPEN}/", f"TEXT: /(.|\\n)*/ & ~/(.|\\n)*{OPEN}(.|\\n)*/"]
    return "\n".join(lines) + "\n"
