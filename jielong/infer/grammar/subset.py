r"""A part of JSON schema written as a regular expression, for ``teach``.

``const``, ``enum``, ``anyOf``; strings with ``minLength`` and ``maxLength``; integers, numbers, booleans, null; arrays
of ``items`` with ``minItems`` and ``maxItems``; objects of ``properties``, in their order, with
``additionalProperties`` false. JSON with references is not regular (brackets nest), so it is refused here;
``grammar.json_schema`` takes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jielong.base.errors import UserError

BLANK = r"(?: |\n[ \t]{0,24})?"
LETTER = r'(?:[^"\\\u0000-\u001f\u007f]|\\["\\bfnrt]|\\u00(?:[01][0-9a-fA-F]|7[fF]))'.replace(
    r"\u0000-\u001f\u007f", "\0-\x1f\x7f"
)
INTEGER = "-?(?:0|[1-9][0-9]*)"
SIMPLE = {
    "integer": INTEGER,
    "number": INTEGER + r"(?:\.[0-9]+)?(?:[eE][\+\-]?[0-9]+)?",
    "boolean": "(?:true|false)",
    "null": "null",
}
TITLES = frozenset({"title", "description", "$schema", "default", "examples"})
KNOWN = {
    "string": {"minLength", "maxLength"},
    "array": {"items", "minItems", "maxItems"},
    "object": {"properties", "required", "additionalProperties"},
}


def expression(schema: Mapping[str, Any]) -> str:
    """The expression of a schema's texts. UserError names what is beyond this part of JSON schema."""
    for word in ("const", "enum", "anyOf"):
        if word in schema:
            _only(schema, {word, "type"})
            several = [schema[word]] if word == "const" else schema[word]
            return "(?:" + "|".join(expression(s) if word == "anyOf" else _literal(s) for s in several) + ")"
    kind = schema.get("type")
    if kind not in {*SIMPLE, *KNOWN}:
        raise UserError(f"this part of JSON schema needs a type that it knows, not {kind!r}")
    _only(schema, {"type", *KNOWN.get(kind, ())})
    if kind == "string":
        return f'"{LETTER}{_times(schema.get("minLength", 0), schema.get("maxLength"))}"'
    if kind == "array":
        return _array(schema)
    return _object(schema) if kind == "object" else SIMPLE[kind]


def _literal(value: Any) -> str:
    if not isinstance(value, str | int | bool | None):
        raise UserError("this part of JSON schema has only simple values in const and enum")
    return re.sub(r"([\\.^$*+?{}\[\]|()&~\-])", r"\\\1", json.dumps(value, ensure_ascii=False))


def _times(fewest: int, most: int | None) -> str:
    return f"{{{fewest},{'' if most is None else most}}}"


def _array(schema: Mapping[str, Any]) -> str:
    if "items" not in schema:
        raise UserError("this part of JSON schema needs the items of an array")
    item, fewest, most = expression(schema["items"]), schema.get("minItems", 0), schema.get("maxItems")
    if most == 0:
        return rf"\[{BLANK}\]"
    more = f"(?:{BLANK},{BLANK}{item})" + _times(max(fewest - 1, 0), None if most is None else most - 1)
    inside = f"{item}{more}{BLANK}"
    return rf"\[{BLANK}{inside}\]" if fewest else rf"\[{BLANK}(?:{inside})?\]"


def _object(schema: Mapping[str, Any]) -> str:
    if schema.get("additionalProperties") is not False:
        raise UserError("this part of JSON schema needs additionalProperties: false")
    properties, required = schema.get("properties", {}), schema.get("required", [])
    pairs = [(f"{_literal(k)}{BLANK}:{BLANK}{expression(v)}", k in required) for k, v in properties.items()]
    inside = _first(pairs)
    return rf"\{{{BLANK}{inside}\}}"


def _first(pairs: Sequence[tuple[str, bool]]) -> str:
    """What may stand in an object before anything else does: a first property, or (none required) nothing."""
    ways = []
    for number, (pair, needed) in enumerate(pairs):
        ways.append(pair + "".join(_next(*each) for each in pairs[number + 1 :]) + BLANK)
        if needed:
            return "(?:" + "|".join(ways) + ")"
    return "(?:" + "|".join([*ways, ""]) + ")"


def _next(pair: str, needed: bool) -> str:
    return f"(?:{BLANK},{BLANK}{pair})" + ("" if needed else "?")


def _only(schema: Mapping[str, Any], words: set[str]) -> None:
    beyond = sorted(set(schema) - words - TITLES)
    if beyond:
        raise UserError(f"this part of JSON schema lacks {', '.join(beyond)}")
