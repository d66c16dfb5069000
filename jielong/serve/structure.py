"""What an answer must look like, as grammars: JSON, JSON of a schema, calls of tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jielong.serve.schema import Format, NamedChoice, ToolFunction

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
    from jielong.infer.grammar.calls import calls_grammar

    return (grammar.lark(codec, calls_grammar(tools, parallel, free=not forced)),)
