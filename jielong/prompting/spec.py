"""Strategies and readers as text: `vote(cot, n=40)`, `retrieve(cot, index="papers.db")`, `one_of("yes", "no")`.

    strategy = parse("vote(cot, n=40)")
    listed = parse_many('direct, cot, vote("mine.py:think", n=5)')    # {canonical text: strategy}

The text is read by `ast` and walked here, never evaluated: it may hold names, calls, and literal numbers, strings,
lists and tuples. A name is a function of a file in `prompting/` that is a strategy by its types, (LM, Problem) ->
Answer, or makes one, -> Strategy: nobody has to list them. "FILE.py:FUNCTION" is one of your own.

`given` is what whoever reads the text adds to it by name: parameters that have no default and are not in the text, as
the `run` of program_aided (which sandbox there is is no matter of the text), and makers of strategies (-> Strategy)
from rooms above.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jielong.base.errors import UserError
from jielong.prompting import readers
from jielong.prompting.strategy import Reader, Strategy, whole

LONGEST = 4000  # characters of a text form
OWN = re.compile(r"^(.+\.py):(\w+)$")
ARGUMENTS = r"(?:[^()]|\([^()]*\))*"
TYPES = (
    re.compile(rf"^def ([a-z]\w*)\({ARGUMENTS}\) -> Strategy:", re.MULTILINE),
    re.compile(rf"^async def ([a-z]\w*)\(\s*lm: LM,\s*problem: Problem\b{ARGUMENTS}\) -> Answer:", re.MULTILINE),
)
READERS = ("number", "first_number", "last_line", "one_of", "after")
Given = Mapping[str, Any]
NOTHING: Given = MappingProxyType({})


def parse(text: str, given: Given = NOTHING) -> Strategy:
    """The strategy that the text says. UserError, with what is wrong, for anything else."""
    return _strategy(_node(text), text, given)


def parse_many(text: str, given: Given = NOTHING) -> dict[str, Strategy]:
    """Several, apart by commas or semicolons, by their canonical texts. UserError where one stands twice."""
    if OWN.match(text.strip()):
        return {text.strip(): parse(text, given)}
    node = _node(text.replace(";", ","))
    found: dict[str, Strategy] = {}
    for each in node.elts if isinstance(node, ast.Tuple) else [node]:
        name = ast.unparse(each)
        if name in found:
            raise UserError(f"{name} stands twice among the strategies: name each once")
        found[name] = _strategy(each, text, given)
    if not found:
        raise UserError('no strategy is named: give some, as in "direct, vote(cot, n=5)"')
    return found


def canonical(text: str) -> str:
    """The same text for the same strategy, whatever its spaces."""
    return text.strip() if OWN.match(text.strip()) else ast.unparse(_node(text))


def reader(text: str) -> Reader:
    """The reader that the text says: number, last_line, whole, one_of("a", "b"), after("so", number), or one that
    `problems` makes, value_of("town")."""
    return _reader(_node(text), text)


def names() -> dict[str, str]:
    """The strategies that there are, and the module of each (read off their sources: most need not be imported)."""
    found: dict[str, str] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source = "" if path == Path(__file__) else path.read_text(encoding="utf-8")
        found |= {name: f"jielong.prompting.{path.stem}" for pattern in TYPES for name in pattern.findall(source)}
    return dict(sorted(found.items()))


def _node(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise UserError(f"a strategy's text has {len(text)} characters: write at most {LONGEST}")
    if OWN.match(text.strip()):
        return ast.Constant(text.strip())
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"cannot read {text!r} ({error}): write a strategy as vote(cot, n=5)") from None


def _strategy(node: ast.expr, text: str, given: Given) -> Strategy:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and (own := OWN.match(node.value)):
        return _made(own_function(Path(own[1]), own[2]), (), {}, node.value, given)
    if isinstance(node, ast.Name):
        return _made(_find(node.id, given), (), {}, node.id, given)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        values = [_value(each, text, given) for each in node.args]
        if any(each.arg is None for each in node.keywords):
            raise UserError(f"** has no place in {text!r}: name each parameter")
        named = {str(each.arg): _value(each.value, text, given) for each in node.keywords}
        return _made(_find(node.func.id, given), tuple(values), named, node.func.id, given)
    raise UserError(f"{ast.unparse(node)!r} is no strategy: write a name, or a call as vote(cot, n=5)")


def _made(
    function: Callable[..., Any], values: tuple[Any, ...], named: Mapping[str, Any], name: str, given: Given
) -> Strategy:  # fmt: skip
    """The function with its parameters: itself if it takes a model and a problem, else what it makes."""
    leaf = inspect.iscoroutinefunction(function)
    signature = inspect.signature(function)
    open_ = list(signature.parameters.values())[len(values) + (2 if leaf else 0) :]
    added = {each.name: given[each.name] for each in open_
             if each.default is each.empty and each.name in given and each.name not in named}  # fmt: skip
    named = {**named, **added}
    try:
        signature.bind(None, None, *values, **named) if leaf else signature.bind(*values, **named)
    except TypeError as error:
        takes = ", ".join(str(p) for p in list(signature.parameters.values())[2 if leaf else 0 :]) or "nothing"
        raise UserError(f"{name}: {error}; it takes {takes}") from None
    if leaf:
        return partial(function, **_bound(signature, values, named)) if values or named else function
    try:
        made = function(*values, **named)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {error}; look at its parameters") from None
    if not callable(made):
        raise UserError(f"{name} makes no strategy: it has to give an async function of a model and a problem")
    return made


def _bound(signature: inspect.Signature, values: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters by name."""
    return {k: v for k, v in signature.bind(None, None, *values, **named).arguments.items()
            if k not in list(signature.parameters)[:2]}  # fmt: skip


def _value(node: ast.expr, text: str, given: Given) -> Any:
    """A parameter: a literal, a list of parameters, a reader, or a strategy."""
    if isinstance(node, ast.Constant):
        own = isinstance(node.value, str) and OWN.match(node.value)
        return _strategy(node, text, given) if own else node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = getattr(node.operand, "value", None)
        if isinstance(number, int | float):
            return -number
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_value(each, text, given) for each in node.elts)
    if isinstance(node, ast.Name | ast.Call):
        name = node.id if isinstance(node, ast.Name) else getattr(node.func, "id", "")
        return _reader(node, text) if name in READERS else _strategy(node, text, given)
    raise UserError(f"{ast.unparse(node)!r} in {text!r} is neither a number, a string, a list nor a strategy")


def _reader(node: ast.expr, text: str) -> Reader:
    if isinstance(node, ast.Name) and node.id == "whole":
        return whole
    if isinstance(node, ast.Name) and node.id in ("number", "first_number", "last_line"):
        return getattr(readers, node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        values = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        if node.func.id == "one_of" and len(values) == len(node.args) > 1:
            return readers.one_of(values)
        if node.func.id == "value_of" and len(values) == len(node.args) == 1:
            from jielong.prompting.problems import value_of

            return value_of(values[0])
        if node.func.id == "after" and len(values) == 1 and len(node.args) == 2:
            return readers.after(values[0], _reader(node.args[1], text))
    raise UserError(f'no reader {ast.unparse(node)!r}: give {", ".join(READERS[:3])}, whole, one_of("a", "b") or '
                    'after("so", number)')  # fmt: skip


def _find(name: str, given: Given) -> Callable[..., Any]:
    """The strategy, or the maker of one, of that name."""
    known = names()
    if name not in known:
        if name in given and _makes(made := given[name]):
            return made
        raise UserError(f"no strategy {name!r}: there are {', '.join(known)}, and FILE.py:FUNCTION")
    found: Callable[..., Any] = getattr(importlib.import_module(known[name]), name)
    return found


def _makes(value: Any) -> bool:
    """Whether it makes a strategy, by its types."""
    return inspect.isfunction(value) and value.__annotations__.get("return") in ("Strategy", Strategy)


def own_function(file: Path, name: str, what: str = "strategy") -> Callable[..., Any]:
    """A function of a person's own file, which is run as a module. UserError where there is none."""
    found = importlib.util.spec_from_file_location(f"jielong_own_{file.stem}", file.expanduser())
    if not file.expanduser().is_file() or found is None or found.loader is None:
        raise UserError(f"{file}: no such Python file; a {what} of your own is FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except Exception as error:  # somebody else's code
        raise UserError(f"{file} cannot be read: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"{file} has no function {name!r}: a {what} of your own is FILE.py:FUNCTION")
    made: Callable[..., Any] = function
    return made
