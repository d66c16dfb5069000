"""JSON that keeps what it is given: plain values, and nan and inf in a form that is still valid JSON.

``loads(dumps(x)) == plain(x)`` for every x that ``plain`` accepts. A number JSON cannot hold is written as
``{"$float": "nan"}``; a dict that happens to look like that gets one more ``$``, which reading takes off.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

MARK = "$float"


def plain(value: Any) -> Any:
    """A copy in JSON's own types: tuples, arrays, numpy numbers, paths' strings and dataclasses are unfolded.

    Raises TypeError for anything else, rather than writing its ``repr`` and losing it.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float | str):
        kind = int if isinstance(value, int) else float if isinstance(value, float) else str
        return kind(value)
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if hasattr(value, "tolist"):  # numpy and torch, without importing either
        return plain(value.tolist())
    if hasattr(value, "__fspath__"):
        return str(value)
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")


def dumps(value: Any, indent: int | None = None, ascii: bool = False) -> str:
    """Valid JSON for every reader, on one line unless ``indent`` is given."""
    return json.dumps(_pack(plain(value)), ensure_ascii=ascii, indent=indent, allow_nan=False)


def loads(text: str | bytes) -> Any:
    """The inverse of ``dumps``; reads any other JSON as well. Raises ValueError for what is not JSON."""
    try:
        return json.loads(text, object_hook=_unpack)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str(key)
    if isinstance(key, int) and not isinstance(key, bool):
        return str(int(key))
    raise TypeError(f"cannot write a {type(key).__name__} as a JSON key")


def _looks_packed(value: dict[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)).lstrip("$") == MARK[1:] and next(iter(value)).startswith("$")


def _pack(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {MARK: repr(value)}
    if isinstance(value, dict):
        extra = "$" if _looks_packed(value) else ""
        return {extra + key: _pack(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_pack(item) for item in value]
    return value


def _unpack(value: dict[str, Any]) -> Any:
    if not _looks_packed(value):
        return value
    ((key, item),) = value.items()
    return float(item) if key == MARK else {key[1:]: item}
