"""A typed Python function as a tool: its name, its docstring, and a JSON schema of its parameters, there and back.

    def area(width: float, height: float) -> float:
        '''The area of a rectangle.

        Parameters
        ----------
        width
            In metres.
        '''

    tools = toolbox(area)                                    # a plain mapping: {"area": Tool(...)}

Types are pydantic's, so whatever pydantic reads (numbers, texts, Literal, Enum, lists, dataclasses, optional ones) can
be a parameter. Docstrings are read in NumPy's, Google's and Sphinx's forms (docstring_parser).
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, get_type_hints

from jielong.base.errors import UserError

NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")  # what OpenAI's API and MCP both take


class Refused(Exception):
    """A tool's word to its caller about what cannot be done: one line, shown to the model."""


@dataclass(frozen=True)
class Tool:
    """`parameters`: JSON schema of an object. `run`: from arguments as the model wrote them to an observation; it
    raises `Refused` or `ValueError` where they are wrong. `returns`: schema of the observation, where it is known."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    run: Callable[[Mapping[str, Any]], Awaitable[str]]
    returns: Mapping[str, Any] | None = None

    @cached_property
    def shown(self) -> dict[str, Any]:
        """As a model is told of it: OpenAI's form."""
        about = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": about}


Tools = Mapping[str, Tool]


def tool(function: Callable[..., Any], name: str | None = None, description: str | None = None) -> Tool:
    """A tool from a typed function, plain or async. UserError for a name that cannot be called, a parameter without a
    type, *args or **kwargs, or a type that has no JSON schema."""
    from docstring_parser import parse

    called = name or str(getattr(function, "__name__", ""))
    if not NAME.match(called):
        raise UserError(f"{called!r} is no name of a tool: letters, digits, _ and -, 64 at most; give name=")
    said = parse(inspect.getdoc(function) or "")
    words = {each.arg_name: " ".join((each.description or "").split()) for each in said.params}
    model = _model(function, called, words)
    told = [" ".join(each.split()) for each in (said.short_description, said.long_description) if each]
    schema = tidy(model.model_json_schema())
    return Tool(called, description or "\n".join(told), MappingProxyType(schema), _runner(function, model, called),
                _returned(function))  # fmt: skip


def toolbox(*each: Callable[..., Any] | Tool) -> Tools:
    """Tools by their names; functions become tools. UserError where two have one name."""
    found: dict[str, Tool] = {}
    for one in each:
        made = one if isinstance(one, Tool) else tool(one)
        if made.name in found:
            raise UserError(f"two tools are named {made.name}: give one another name with tool(function, name=...)")
        found[made.name] = made
    return MappingProxyType(found)


def renamed(made: Tool, name: str) -> Tool:
    """The same tool under another name."""
    if not NAME.match(name):
        raise UserError(f"{name!r} is no name of a tool: letters, digits, _ and -, 64 at most")
    return replace(made, name=name)


def written(value: Any) -> str:
    """An observation as text: text as it is, all else as JSON."""
    from pydantic_core import to_json

    return value if isinstance(value, str) else to_json(value, fallback=str).decode()


def tidy(schema: Any) -> Any:
    """A schema without pydantic's titles of what already has a name (a property may be named "title")."""
    if isinstance(schema, list):
        return [tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key in ("properties", "$defs") and isinstance(value, dict):
            found[key] = {name: tidy(each) for name, each in value.items()}
        elif key in ("default", "const", "enum", "examples"):
            found[key] = value
        elif not (key == "title" and isinstance(value, str)):
            found[key] = tidy(value)
    return found


def _model(function: Callable[..., Any], called: str, words: Mapping[str, str]) -> Any:
    """A pydantic model of the function's parameters."""
    from pydantic import ConfigDict, Field, create_model
    from pydantic.errors import PydanticUserError

    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise UserError(f"the types of {called} cannot be read ({error}): define them where the function is") from error
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise UserError(f"{called} takes {parameter}: a tool's parameters are given by name, each with its type")
        if name not in hints:
            raise UserError(f"parameter {name} of {called} has no type: write one")
        default = ... if parameter.default is parameter.empty else parameter.default
        # An alias, so that any name will do: pydantic keeps model_ and names with _ for itself.
        fields[f"p{len(fields)}"] = (hints[name], Field(default, alias=name, description=words.get(name) or None))
    try:
        model = create_model(called, __config__=ConfigDict(extra="forbid", strict=False), **fields)
        model.model_json_schema()
    except (PydanticUserError, TypeError, ValueError) as error:
        line = str(error).strip().split("\n")[0]
        raise UserError(f"a parameter of {called} has a type without JSON schema ({line}): use plain types") from error
    return model


def _runner(function: Callable[..., Any], model: Any, called: str) -> Callable[[Mapping[str, Any]], Awaitable[str]]:
    import asyncio

    from pydantic import ValidationError

    alone = inspect.iscoroutinefunction(function)

    async def run(arguments: Mapping[str, Any]) -> str:
        try:
            # Through JSON: arguments come as JSON, and a date or an Enum is text there.
            read = model.model_validate_json(json.dumps(dict(arguments)))
        except ValidationError as error:
            raise Refused("; ".join(_fault(each) for each in error.errors(include_url=False))) from error
        given = {field.alias: getattr(read, key) for key, field in model.model_fields.items()}
        return written(await function(**given) if alone else await asyncio.to_thread(function, **given))

    return run


def _fault(found: Mapping[str, Any]) -> str:
    where = ".".join(str(each) for each in found["loc"]) or "the arguments"
    return f"{where}: {found['msg'][:1].lower()}{found['msg'][1:]}"


def _returned(function: Callable[..., Any]) -> Mapping[str, Any] | None:
    """The schema of what comes back; None where no type says it, or it has no schema."""
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    kind = get_type_hints(function, include_extras=True).get("return")
    if kind is None or kind is Any:
        return None
    try:
        return MappingProxyType(tidy(TypeAdapter(kind).json_schema(mode="serialization")))
    except (PydanticUserError, TypeError, ValueError):
        return None
