"""What an expression is worth: exact with whole numbers and decimals, by IEEE doubles where a function needs them.

The text is parsed by `ast` and walked; nothing is evaluated, and no step may grow without a bound.
"""

from __future__ import annotations

import ast
import math
import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated

from pydantic import Field

from jielong.agents.tools.tool import Refused

Number = Fraction | float
BITS = 10_000  # of a result: three thousand digits
SIGNS = str.maketrans({"×": "*", "÷": "/", "−": "-", "^": "**", "·": "*"})
CONSTANTS = {"pi": math.pi, "e": math.e}
FUNCTIONS: dict[str, Callable[..., float]] = {
    "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "ln": math.log, "log10": math.log10, "log2": math.log2,
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin, "acos": math.acos, "atan": math.atan,
}  # fmt: skip
EXACT: dict[str, Callable[..., Number]] = {"abs": abs, "min": min, "max": max,
                                           "floor": lambda x: Fraction(math.floor(x)),
                                           "ceil": lambda x: Fraction(math.ceil(x)),
                                           "round": lambda x, n=Fraction(0): _rounded(x, n)}  # fmt: skip


def calculator(expression: Annotated[str, Field(max_length=200)]) -> str:
    """The value of an arithmetic expression: + - * / // % ** and parentheses, sqrt, exp, log, sin, round, min, max, pi.

    Parameters
    ----------
    expression
        For example (3.5 + 4) * 2**10 or sqrt(2).
    """
    text = unicodedata.normalize("NFKC", expression).translate(SIGNS)
    text = re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))", "", text).strip()
    try:
        tree = ast.parse(text, mode="eval")
        return shown(_value(tree.body))
    except (SyntaxError, RecursionError, MemoryError):
        raise Refused(f"cannot read {expression!r}: write an expression such as (3 + 4) * 2") from None
    except ZeroDivisionError:
        raise Refused("division by zero") from None
    except (ValueError, OverflowError, TypeError) as error:
        raise Refused(f"{expression!r} has no value ({error})") from None


def shown(value: Number) -> str:
    """A whole number or a decimal that ends as it is; all else to 12 digits."""
    if isinstance(value, float):
        return f"{value:.12g}"
    if value.denominator == 1:
        return str(value.numerator)
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    places = value.denominator.bit_length()
    if rest == 1 and places <= 60:
        scaled = value * 10**places
        sign, digits = "-" if scaled < 0 else "", str(abs(scaled.numerator)).rjust(places + 1, "0")
        return f"{sign}{digits[:-places]}.{digits[-places:]}".rstrip("0")
    return f"{float(value):.12g}"


def _value(node: ast.expr) -> Number:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        if math.isinf(node.value):
            raise Refused("the number has too many digits")
        return _small(Fraction(repr(node.value)))  # a decimal as it was written, not its double
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        return _small(_operation(node.op, _value(node.left), _value(node.right)))
    if isinstance(node, ast.Name) and node.id in CONSTANTS:
        return CONSTANTS[node.id]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        values = [_value(each) for each in node.args]
        if node.func.id in EXACT:
            return _small(EXACT[node.func.id](*values))
        if node.func.id in FUNCTIONS:
            return FUNCTIONS[node.func.id](*values)
    there = ", ".join([*EXACT, *FUNCTIONS, *CONSTANTS])
    raise Refused(f"cannot work out {ast.unparse(node)!r}: there are + - * / // % ** and {there}")


def _operation(op: ast.operator, left: Number, right: Number) -> Number:
    if isinstance(op, ast.Add):
        return left + right
    if isinstance(op, ast.Sub):
        return left - right
    if isinstance(op, ast.Mult):
        return left * right
    if isinstance(op, ast.Div):
        return left / right
    if isinstance(op, ast.FloorDiv):
        return Fraction(left // right)
    if isinstance(op, ast.Mod):
        return left % right
    if isinstance(op, ast.Pow):
        return _power(left, right)
    raise Refused(f"there is no {type(op).__name__} here: use + - * / // % **")


def _power(base: Number, to: Number) -> Number:
    if isinstance(base, Fraction) and isinstance(to, Fraction) and to.denominator == 1:
        size = max(base.numerator.bit_length(), base.denominator.bit_length())
        if size > 1 and abs(to) * size > BITS:
            raise Refused("the result has too many digits")
        return base ** int(to)
    result = float(base) ** float(to)
    if isinstance(result, complex):
        raise Refused("the result is no real number")
    return result


def _small(value: Number) -> Number:
    if isinstance(value, Fraction) and max(value.numerator.bit_length(), value.denominator.bit_length()) > BITS:
        raise Refused("the result has too many digits")
    if isinstance(value, complex):
        raise Refused("the result is no real number")
    return value


def _rounded(value: Number, places: Number) -> Number:
    if not -50 <= places <= 50:
        raise Refused("round to 50 places at most")
    return Fraction(round(Fraction(value) * 10 ** int(places))) / Fraction(10) ** int(places)
