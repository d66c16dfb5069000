"""Expressions in whole numbers worked out exactly, in fractions: what a model wrote is parsed, never evaluated as code.

Dijkstra's shunting yard. 8 / (3 - 8 / 3) is 24, not 23.999.
"""

from __future__ import annotations

import re
from fractions import Fraction

LONGEST = 200  # characters of an expression
SIGNS = str.maketrans({"×": "*", "÷": "/", "−": "-", "－": "-", "＋": "+", "（": "(", "）": ")"})

_TOKEN = re.compile(r"\s*(?:([0-9]+)|([-+*/()]))")
_BINDS = {"+": 1, "-": 1, "*": 2, "/": 2, "neg": 3}


def evaluate(expression: str) -> Fraction | None:
    """The value of whole numbers with + - * / and brackets; None of anything else, and of a division by zero."""
    text = expression.translate(SIGNS).strip()
    if len(text) > LONGEST:
        return None
    values: list[Fraction] = []
    waiting: list[str] = []
    at, operand = 0, True  # whether an operand comes next
    try:
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None:
                return None
            at = token.end()
            operand = _shift(token[1], token[2], operand, values, waiting)
        while waiting:
            _reduce(waiting.pop(), values)
    except (ValueError, IndexError, ZeroDivisionError):
        return None
    return values[0] if len(values) == 1 and not operand else None


def _shift(number: str | None, sign: str, operand: bool, values: list[Fraction], waiting: list[str]) -> bool:
    """One token of Dijkstra's shunting yard; whether an operand comes next."""
    if operand != (number is not None or sign == "(" or (operand and sign == "-")):
        raise ValueError("an operand, or a sign, in the wrong place")
    if number is not None:
        values.append(Fraction(int(number)))
        return False
    if sign == "(" or (operand and sign == "-"):
        waiting.append("(" if sign == "(" else "neg")
        return True
    while waiting and waiting[-1] != "(" and (sign == ")" or _BINDS[waiting[-1]] >= _BINDS[sign]):
        _reduce(waiting.pop(), values)
    if sign == ")":
        waiting.pop()  # IndexError: it was never opened
        return False
    waiting.append(sign)
    return True


def _reduce(sign: str, values: list[Fraction]) -> None:
    if sign == "(":
        raise ValueError("a bracket is not closed")
    right = values.pop()
    if sign == "neg":
        values.append(-right)
        return
    left = values.pop()
    values.append({"+": left + right, "-": left - right, "*": left * right}[sign] if sign != "/" else left / right)
