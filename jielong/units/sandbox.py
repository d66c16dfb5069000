"""Jinja templates from strangers, rendered so that they can neither reach out nor run away.

jinja2's immutable sandbox keeps a template from Python's inside, but not from looping for hours or filling
the memory. So the parsed template is changed before it is compiled (``_guard``): every turn of a loop, call
and filter costs a step, and every text or list that is made is charged by its size (``limits.Budget``).
Names, filters and white space are those that transformers gives to chat templates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache, wraps
from typing import Any

from jinja2 import TemplateError, nodes, pass_context
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from jielong.base.errors import UserError
from jielong.units.limits import CHARACTERS, Budget, check_call, check_operator

TEMPLATE_CHARACTERS = 200_000
BUDGET = "jielong budget"  # a variable that no template can name, because of the space
GLOBALS = ("range", "dict", "namespace", "cycler", "joiner")


class _Refused(Exception):
    """The template itself says no (``raise_exception``): its message is for the user."""


class _Generation(Extension):
    """``{% generation %}`` marks what the assistant wrote; the text is the same without the mark."""

    tags = {"generation"}  # noqa: RUF012  (as jinja2 declares it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        budget: Budget = context[BUDGET]
        budget.step()
        name = getattr(obj, "__name__", "")
        owner = getattr(getattr(obj, "__wrapped__", obj), "__self__", None)  # the sandbox wraps str.format
        if isinstance(obj, Macro):
            budget.charge(budget.template)
        elif isinstance(owner, str) and name == "join" and args:
            return _join(context, args[0], owner)
        check_call(owner, name, args, kwargs)
        return budget.weigh(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        check_operator(operator, left, right)
        return context[BUDGET].weigh(super().call_binop(context, operator, left, right))


def render(template: str, variables: Mapping[str, Any]) -> str:
    """The text of ``template``. Raises UserError, in one line, for any fault, refusal or excess of it."""
    parts: list[str] = []
    length = 0
    try:
        for part in _compiled(template).generate({**variables, BUDGET: Budget(len(template))}):
            parts.append(part)
            length += len(part)
            if length > CHARACTERS:
                raise SecurityError(f"it writes more than {CHARACTERS:,} characters")
    except _Refused as error:
        raise UserError(f"the chat template refuses these messages: {_line(error)}") from error
    except TemplateSyntaxError as error:
        raise UserError(f"the chat template is broken at line {error.lineno}: {_line(error)}") from error
    except SyntaxError as error:  # what Python would not compile, such as a break outside a loop
        raise UserError(f"the chat template is broken: {error.msg}") from error
    except (RecursionError, MemoryError) as error:
        raise UserError("the chat template failed: it is nested too deep or grows too large") from error
    except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"the chat template failed: {_line(error)}") from error
    return "".join(parts)


@lru_cache(maxsize=32)
def _compiled(template: str) -> Any:
    if len(template) > TEMPLATE_CHARACTERS:
        raise UserError(f"the chat template has more than {TEMPLATE_CHARACTERS:,} characters")
    environment = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, "jinja2.ext.loopcontrols"],
        finalize=_written,
    )
    filters = {name: _charged(function) for name, function in environment.filters.items()}
    own = {"_steps": _steps, "_glued": _glued, "_weighed": _weighed}  # for _guard
    environment.filters = {**filters, "tojson": _charged(_tojson), "join": _join, **own}
    environment.globals = {name: environment.globals[name] for name in GLOBALS}
    environment.globals |= {"raise_exception": _raise, "strftime_now": _now}
    tree = environment.parse(template)
    _guard(tree)
    return environment.from_string(tree)


def _guard(node: nodes.Node) -> None:
    """Change the tree below ``node``: loops count their turns; what makes texts and lists is weighed."""
    for name, value in list(node.iter_fields()):
        if isinstance(value, nodes.Node):
            setattr(node, name, _guarded(value))
        elif isinstance(value, list):
            setattr(node, name, [_guarded(item) if isinstance(item, nodes.Node) else item for item in value])


def _guarded(node: nodes.Node) -> nodes.Node:
    _guard(node)
    if isinstance(node, nodes.For):
        if node.recursive:
            raise SecurityError("recursive loops are not allowed")
        data = sum(len(part.data) for part in node.find_all(nodes.TemplateData))
        node.iter = _filter(node.iter, "_steps", nodes.Const(data))
    elif isinstance(node, nodes.Output):  # what is fixed need not be weighed each time
        node.nodes = [_fixed(child) for child in node.nodes]
    elif isinstance(node, nodes.AssignBlock):
        node.filter = _filter(node.filter, "_weighed")
    elif isinstance(node, nodes.Concat):
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "_glued")
    elif isinstance(node, nodes.List | nodes.Dict) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
        return _filter(node, "_weighed")
    return node


def _fixed(node: nodes.Expr) -> nodes.Expr:
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        return nodes.TemplateData(node.value, lineno=node.lineno)
    return node


def _filter(node: nodes.Node | None, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno if node else 0)


def _charged(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that pays for itself. jinja2's own wishes for a first argument are met from the context."""
    wish = str(getattr(function, "jinja_pass_arg", ""))

    @wraps(function)
    def charged(context: Context, *args: Any, **kwargs: Any) -> Any:
        context[BUDGET].step()
        check_call(args[0] if args else None, function.__name__.removeprefix("do_"), args[1:], kwargs)
        first = {"context": context, "eval_context": context.eval_ctx, "environment": context.environment}
        lead = [first[key] for key in first if wish.endswith("." + key)]
        return context[BUDGET].weigh(function(*lead, *args, **kwargs))

    return pass_context(charged)


@pass_context
def _written(context: Context, value: Any) -> Any:
    """What ``{{ }}`` writes: inside a macro or a set block it is kept before anything is given out."""
    return context[BUDGET].weigh(value)


@pass_context
def _steps(context: Context, items: Iterable[Any], data: int) -> Iterator[Any]:
    budget: Budget = context[BUDGET]
    for item in items:
        budget.step()
        budget.charge(data)
        yield item


@pass_context
def _weighed(context: Context, value: Any) -> Any:
    return context[BUDGET].weigh(value)


@pass_context
def _glued(context: Context, items: Iterable[Any]) -> str:
    return "".join(str(context[BUDGET].weigh(item)) for item in items)


@pass_context
def _join(context: Context, value: Iterable[Any], d: Any = "", attribute: Any = None) -> str:
    """jinja2's join, paid for item by item."""
    if attribute is not None:
        named = {"attribute": attribute}
        value = context.environment.call_filter("map", value, kwargs=named, context=context)
    parts = []
    for item in value:
        context[BUDGET].step()
        parts.append(str(context[BUDGET].weigh(item)))
        context[BUDGET].charge(len(str(d)))
    return str(d).join(parts)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    allowed = {key: options[key] for key in ("separators", "sort_keys") if key in options}
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **allowed)


def _raise(message: Any) -> None:
    raise _Refused(str(message))


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
