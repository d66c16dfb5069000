"""Reading a request so that nothing in it is ignored: strict types, and every unknown field named.

A field that is null is a field that is left out, as in OpenAI's schema. Whatever is wrong becomes one
`ApiError` that names the place.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from jielong.serve.errors import ApiError

M = TypeVar("M", bound="Strict")
SHOWN = 60  # characters of a wrong value that are said back


class Strict(BaseModel):
    """A JSON object whose fields are all known, of exactly their type; no NaN, no infinity."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True, protected_namespaces=())


def read_json(body: bytes) -> Any:
    """The body as JSON, by the letter: no NaN, no half characters, no name twice. ApiError otherwise."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_once)
    except RecursionError as error:
        raise ApiError(400, "the body is nested too deeply", code="invalid_json") from error
    except ValueError as error:  # also UnicodeDecodeError, and numbers of thousands of digits
        raise ApiError(400, f"the body is not JSON: {_line(error)}", code="invalid_json") from error
    if b"\\u" in body:
        check_text(value)
    return value


def check_text(value: Any) -> None:
    """ApiError when a text anywhere in `value` holds half of a surrogate pair, which no UTF-8 can write."""
    inside = [value]
    while inside:
        held = inside.pop()
        if isinstance(held, str):
            try:
                held.encode()
            except UnicodeEncodeError as error:
                raise ApiError(400, "a text holds half a character (a lone surrogate)", code="invalid_json") from error
        elif isinstance(held, Mapping):
            inside += [*held, *held.values()]
        elif isinstance(held, list):
            inside += held


def parse(kind: type[M], value: Any) -> M:
    """`value` as a request. ApiError naming the first field that is wrong."""
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object {...}", code="invalid_json")
    try:
        return kind.model_validate({name: item for name, item in value.items() if item is not None})
    except ValidationError as error:
        raise _told(error) from error
    except RecursionError as error:
        raise ApiError(400, "the body is nested too deeply", code="invalid_json") from error


def without_nulls(value: Any) -> Any:
    """A before-validator for objects inside a request: null is absent there too."""
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def _told(error: ValidationError) -> ApiError:
    """The error of a request with the most to say: a union reports one for each of its forms."""
    found = error.errors(include_url=False, include_context=False)
    first = max(found, key=lambda e: (len(e["loc"]), e["type"] == "extra_forbidden"))
    place = _place(first["loc"])
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])[:SHOWN]
        place = ".".join(filter(None, (_place(first["loc"][:-1]), name)))
        return ApiError(400, f"{place} is not implemented here: leave it out", place, "unsupported_parameter")
    if first["type"] == "missing":
        return ApiError(400, f"{place} is missing", place, "missing_required_parameter")
    given = repr(first["input"])
    given = given if len(given) <= SHOWN else given[:SHOWN] + "..."
    what = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return ApiError(400, f"{place} is {given}: {what[:1].lower() + what[1:]}", place, "invalid_value")


def _place(parts: tuple[int | str, ...]) -> str:
    """("messages", 0, "content") -> "messages[0].content"; the names pydantic gives to forms are left out."""
    out = ""
    for part in parts:
        if isinstance(part, int):
            out += f"[{part}]"
        elif part[:1].islower() and part.isidentifier() and part not in ("str", "int", "float", "bool"):
            out += f".{part}" if out else part
    return out


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of a name that stands there twice one value would be ignored."""
    found = dict(pairs)
    if len(found) < len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{name[:SHOWN]!r} stands there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
