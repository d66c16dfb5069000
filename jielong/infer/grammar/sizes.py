"""How long a text of a JSON schema may be, and the same schema with a bound on it.

`bounded` holds texts, lists and numbers to a size; `longest` is then the most bytes that any text of the schema has in
the form in which `calls` writes it, tight. A token is a byte or more, so that many tokens always finish one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jielong.base.errors import UserError

BLANK = 1  # bytes between two parts at most, as calls.calls_grammar(tight=True) has it
LETTER = 6  # bytes of a character of text at most: \u001f, else at most four
ITEMS = 8
FORMATS = {"date": 12, "uuid": 38}  # in quotes; texts of other formats have no bound and become plain texts
# What bounds nothing, or is said elsewhere; a validator still looks at the whole.
KEPT = frozenset({"type", "enum", "const", "description", "pattern", "minLength", "minimum", "maximum", "required",
                  "exclusiveMinimum", "exclusiveMaximum", "minItems"})  # fmt: skip


def bounded(schema: Mapping[str, Any], letters: int, digits: int = 12, depth: int = 8) -> dict[str, Any]:
    """The schema with references written out (a schema inside itself `depth` deep at most), texts of `letters`
    characters, numbers of `digits` digits and lists of ITEMS at most, where it says no less, and no other properties.

    UserError for a kind of schema whose texts have no bound that is known here.
    """
    return _bounded(schema, schema, letters, digits, depth)


def longest(schema: Mapping[str, Any]) -> int:
    """The most bytes of a text of a `bounded` schema."""
    if "const" in schema or "enum" in schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        blanks = [0 if isinstance(each, str | int | None) else 200 for each in values]
        return max(len(json.dumps(each)) + more for each, more in zip(values, blanks))
    if "anyOf" in schema:
        return max(longest(each) for each in schema["anyOf"])
    kind = schema["type"]
    if kind == "string":
        return FORMATS.get(schema.get("format", ""), 2 + LETTER * schema.get("maxLength", 0))
    if kind in ("integer", "number"):
        ends = max(abs(schema["minimum"]), abs(schema["maximum"]))
        return len(str(int(ends))) + 1 + (8 if kind == "number" else 0)
    if kind in ("boolean", "null"):
        return 5
    if kind == "array":
        each = [longest(one) for one in schema.get("prefixItems", ())]
        rest = schema.get("maxItems", 0) - len(each)
        whole = sum(each) + (rest * longest(schema["items"]) if rest > 0 else 0)
        return 2 + whole + (2 * schema.get("maxItems", 0) + 2) * (BLANK + 1)
    sizes = [len(json.dumps(name).encode()) + longest(each) for name, each in schema["properties"].items()]
    return 2 + sum(sizes) + (3 * len(sizes) + 2) * (BLANK + 1)


def _bounded(schema: Any, root: Mapping[str, Any], letters: int, digits: int, depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise UserError("a tool's parameter may be anything, so its calls have no bound: give it a type")
    if "$ref" in schema:
        if depth == 0:
            raise UserError(f"{schema['$ref']} has itself inside itself: a call has no bound; use a flat type")
        return _bounded(_found(root, schema["$ref"]), root, letters, digits, depth - 1)

    def inner(one: Any) -> dict[str, Any]:
        return _bounded(one, root, letters, digits, depth)

    if "const" in schema or "enum" in schema:
        return {name: schema[name] for name in ("const", "enum", "type") if name in schema}
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return {"anyOf": [inner(each) for each in schema[word]]}
    if "allOf" in schema and len(schema["allOf"]) == 1:
        return inner(schema["allOf"][0])
    kind = schema.get("type")
    if isinstance(kind, list):
        return {"anyOf": [inner({**schema, "type": each}) for each in kind]}
    found = {name: value for name, value in schema.items() if name in KEPT}
    if kind == "string":
        return _string(schema, found, letters)
    if kind in ("integer", "number"):
        return _number(found, kind, digits)
    if kind in ("boolean", "null"):
        return {"type": kind}
    if kind == "array":
        return _array(schema, found, inner)
    if kind == "object":
        return _object(schema, inner)
    raise UserError(f"a tool's parameter of type {kind!r} has no bound: give it a type of JSON schema")


def _found(root: Mapping[str, Any], ref: str) -> Any:
    node: Any = root
    for step in ref.removeprefix("#/").split("/"):
        node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
    if node is None:
        raise UserError(f"the schema has no {ref}")
    return node


def _string(schema: Mapping[str, Any], found: dict[str, Any], letters: int) -> dict[str, Any]:
    if schema.get("format") in FORMATS:
        return {"type": "string", "format": schema["format"]}
    length = max(min(schema.get("maxLength", letters), letters), schema.get("minLength", 0))
    return {**found, "maxLength": length}


def _number(found: dict[str, Any], kind: str, digits: int) -> dict[str, Any]:
    """Whole numbers by their ends; others have three places after the point at most, which bounds them too."""
    most = 10 ** min(digits, 6 if kind == "number" else digits) - 1
    low = found.pop("exclusiveMinimum", None)
    high = found.pop("exclusiveMaximum", None)
    step = 1 if kind == "integer" else 0.001
    low = found.get("minimum", -most) if low is None else low + step
    high = found.get("maximum", most) if high is None else high - step
    return {**found, "minimum": low, "maximum": high, **({"multipleOf": 0.001} if kind == "number" else {})}


def _array(schema: Mapping[str, Any], found: dict[str, Any], inner: Any) -> dict[str, Any]:
    first = [inner(each) for each in schema.get("prefixItems", ())]
    most = min(schema.get("maxItems", max(ITEMS, schema.get("minItems", 0))), max(ITEMS, schema.get("minItems", 0)))
    if first:
        return {**found, "prefixItems": first, "items": False, "minItems": len(first), "maxItems": len(first)}
    if "items" not in schema:
        raise UserError("a list of anything has no bound: say what is in it, as in list[str]")
    return {**found, "items": inner(schema["items"]), "maxItems": most}


def _object(schema: Mapping[str, Any], inner: Any) -> dict[str, Any]:
    properties = {name: inner(each) for name, each in schema.get("properties", {}).items()}
    if not properties and schema.get("additionalProperties", True) not in (False, None) and "properties" not in schema:
        raise UserError("a mapping with any keys has no bound: use a dataclass or a list of pairs")
    return {"type": "object", "properties": properties, "required": list(schema.get("required", ())),
            "additionalProperties": False}  # fmt: skip
