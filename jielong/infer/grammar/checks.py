"""What a grammar may cost, and whether any text meets it: looked at before llguidance is given it."""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from jielong.base.errors import UserError
from jielong.infer.grammar.larkrules import rules
from jielong.units.codec import check_unicode

CHARACTERS = 100_000  # of a grammar as text
REPEATS = 20_000  # places of an expression with its counted repetitions written out
DEPTH = 100  # schemas inside schemas
MULTIPLE = 10_000  # the largest multipleOf: it becomes an automaton of so many states
RULES = 1_000


def check_text(text: str, name: str) -> None:
    """UserError for what is not text, or too much of it."""
    if not isinstance(text, str):
        raise UserError(f"the {name} is not text but {type(text).__name__}")
    check_unicode(text, f"the {name}")
    if len(text) > CHARACTERS:
        raise UserError(f"the {name} has {len(text):,} characters: at most {CHARACTERS:,} are taken")


def check_repeats(pattern: str) -> None:
    """UserError for counted repetitions that write out to more than ``REPEATS`` places."""
    places = written_out(pattern)
    if places > REPEATS:
        raise UserError(f"the regular expression repeats {places:,} places: at most {REPEATS:,}; lower the counts")


def written_out(pattern: str) -> int:
    """How many characters and classes an expression has when x{9} is written as nine x. Never fails."""
    stack: list[int] = []
    total = last = 0
    for piece in re.finditer(r"\\[pPxuU]\{[^}]*\}|\\.|\[|\{(\d+)(,?)(\d*)\}|.", _without_classes(pattern), re.DOTALL):
        token = piece[0]
        if token == "(":
            stack.append(total)
            total = last = 0
        elif token == ")":
            last = total
            total += stack.pop() if stack else 0
        elif piece[1]:
            times = max(1, int(piece[3] or piece[1]) if len(piece[1] + piece[3]) < 20 else REPEATS + 1)
            total += last * (times - 1)
            last *= times
        elif token not in "*+?|^$":
            last = 1
            total += 1
    return total + sum(stack)


def _without_classes(pattern: str) -> str:
    """The expression with each class [...], which may hold brackets and other classes, as one letter."""
    out, depth = [], 0
    for piece in re.finditer(r"\\.|\[\^?\]?|\]|.", pattern, re.DOTALL):
        token = piece[0]
        if token[0] == "[":
            depth += 1
        elif token == "]" and depth:
            depth -= 1
            if not depth:
                out.append("a")
        elif not depth:
            out.append(token)
    return "".join(out)


def read_schema(text: str) -> Any:
    """A schema's JSON text."""
    check_text(text, "JSON schema")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the JSON schema is not JSON ({error})") from error


def check_schema(schema: Any) -> None:
    """UserError where it is no schema, is too large, or describes nothing that ever ends."""
    if not isinstance(schema, Mapping | bool):
        raise UserError(f"a JSON schema is an object or a boolean, not {type(schema).__name__}")
    _check_depth(schema)
    try:
        check_text(json.dumps(schema, allow_nan=False), "JSON schema")
    except (TypeError, ValueError) as error:
        raise UserError(f"the JSON schema is not JSON ({error})") from error
    for node in _nodes(schema):
        if isinstance(node.get("pattern"), str):
            check_repeats(node["pattern"])
        step = node.get("multipleOf")
        if isinstance(step, int | float) and abs(step) > MULTIPLE:
            raise UserError(f"multipleOf {step} is too large: at most {MULTIPLE:,}")
    targets = {ref: _target(schema, ref) for ref in _refs(schema)}
    uses = {ref: _refs(target) for ref, target in targets.items()}
    met = least(uses, lambda ref, known: _ends(targets[ref], known))
    for ref in targets:
        if ref not in met:
            raise UserError(f"the JSON schema cannot be met: {ref} needs itself inside itself without an end")


def check_lark(text: str) -> None:
    """UserError where an expression is too large or a rule has no way to come to an end."""
    found = rules(text)
    if len(found) > RULES:
        raise UserError(f"the grammar has {len(found):,} rules: at most {RULES:,}")
    for rule in found.values():
        for pattern in rule.patterns:
            check_repeats(pattern)
        for schema in rule.schemas:
            check_schema(read_schema(schema))
    met = least({name: rule.uses for name, rule in found.items()}, lambda name, known: found[name].ends(known))
    for name in found:
        if name not in met:
            raise UserError(f"the grammar cannot be met: rule {name!r} always needs itself again and never ends")


def least(uses: Mapping[str, Collection[str]], holds: Callable[[str, Collection[str]], bool]) -> set[str]:
    """The least set with ``holds(name, set)`` for each of its names, which depends on ``uses[name]`` only."""
    users = defaultdict(list)
    for name, used in uses.items():
        for other in used:
            users[other].append(name)
    known: set[str] = set()
    waiting = deque(uses)
    while waiting:
        name = waiting.popleft()
        if name not in known and holds(name, known):
            known.add(name)
            waiting.extend(users[name])
    return known


def _check_depth(schema: Any) -> None:
    level = [schema]
    for _ in range(DEPTH):
        level = [inner for each in level if isinstance(each, Mapping | list) for inner in
                 (each.values() if isinstance(each, Mapping) else each)]  # fmt: skip
        if not level:
            return
        if len(level) > CHARACTERS:
            break
    raise UserError(f"the JSON schema is too large: at most {DEPTH} levels and {CHARACTERS:,} characters")


def _nodes(schema: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            yield node
        if isinstance(node, Mapping | list):
            waiting.extend(node.values() if isinstance(node, Mapping) else node)


def _refs(schema: Any) -> set[str]:
    found = (node.get("$ref") for node in _nodes(schema))
    return {ref for ref in found if isinstance(ref, str) and ref.startswith("#")}


def _target(schema: Any, ref: str) -> Any:
    """What ``#/a/b`` points to; True (anything) where there is nothing, which llguidance then names."""
    node = schema
    for step in unquote(ref[1:]).split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping) and step in node:
            node = node[step]
        elif isinstance(node, list) and step.isdecimal() and int(step) < len(node):
            node = node[int(step)]
        else:
            return True
    return node


def _ends(schema: Any, known: Collection[str]) -> bool:
    """Whether some value of finite size meets a schema, where the references in ``known`` can be met.

    Wrong only towards yes: what is not looked at here is taken to be possible.
    """
    if not isinstance(schema, Mapping):
        return True
    ref, kind = schema.get("$ref"), schema.get("type")
    if isinstance(ref, str) and ref.startswith("#") and ref not in known:
        return False
    for word, enough in (("allOf", all), ("anyOf", any), ("oneOf", any)):
        several = schema.get(word)
        if isinstance(several, list) and several and not enough(_ends(each, known) for each in several):
            return False
    if kind == "object":
        properties, required = schema.get("properties"), schema.get("required")
        if isinstance(properties, Mapping) and isinstance(required, list):
            return all(_ends(properties.get(name, True), known) for name in required if isinstance(name, str))
    if kind == "array" and isinstance(schema.get("minItems"), int) and schema["minItems"] > 0:
        first = schema.get("prefixItems")
        needed = [*first[: schema["minItems"]]] if isinstance(first, list) else []
        if schema["minItems"] > len(needed):
            needed.append(schema.get("items", True))
        return all(_ends(each, known) for each in needed)
    return True
