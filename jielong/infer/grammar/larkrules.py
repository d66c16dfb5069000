"""As much of a Lark grammar as is needed to see whether its rules can come to an end.

What is not understood here (parameters, nested grammars) counts as something that ends, so that no right grammar
is refused; llguidance reads the whole of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*"i?)|(?P<pattern>/(?:[^/\\\n]|\\.)+/[imslux]*)|(?P<comment>//[^\n]*)|
    (?P<count>\{\s*(?P<fewest>\d*)[\s,\d]*\}|~\s*(?P<times>\d+)(?:\s*\.\.\s*\d+)?)|(?P<alias>->\s*\w+)|
    (?P<special><[^>\n]*>)|(?P<directive>%\w+)|(?P<name>[A-Za-z_]\w*)|(?P<mark>[|()?*+\[\]{])|(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
HEAD = re.compile(r"^[ \t]*[?!]*([A-Za-z_]\w*)(\[[^\]\n]*\]|\.-?\d+)*[ \t]*:", re.MULTILINE)
DEEPEST = 200
Token = tuple[str, str, str]  # kind (of %json {...}: json, with the {...}), text, fewest of a count


@dataclass(frozen=True)
class Rule:
    """One rule (or terminal): the tokens of what it stands for."""

    name: str
    tokens: tuple[Token, ...]

    @cached_property
    def patterns(self) -> list[str]:
        """Its regular expressions, without the slashes and flags."""
        return [text[1 : text.rindex("/")] for kind, text, _ in self.tokens if kind == "pattern"]

    @cached_property
    def schemas(self) -> list[str]:
        """Its JSON schemas, as text."""
        return [text for kind, text, _ in self.tokens if kind == "json"]

    @cached_property
    def uses(self) -> frozenset[str]:
        """The names that stand in it."""
        return frozenset(text for kind, text, _ in self.tokens if kind == "name")

    @cached_property
    def tree(self) -> Any:
        """("any", parts), ("all", parts), a rule's name, or None for what always ends."""
        return _either(iter(self.tokens))

    def ends(self, known: Collection[str]) -> bool:
        """Whether it can come to an end, if the rules in ``known`` do."""
        return _ends(self.tree, known)


def rules(text: str) -> dict[str, Rule]:
    """The rules of a grammar by name; none at all where it has parameters."""
    if "::" in text:
        return {}
    heads = list(HEAD.finditer(text))
    found: dict[str, Rule] = {}
    for head, after in zip(heads, [*heads[1:], None]):
        body = text[head.end() : after.start() if after else len(text)]
        found[head[1]] = Rule(head[1], tuple(_tokens(body, {h[1] for h in heads})))
    return found


def _tokens(body: str, names: Collection[str]) -> Iterator[Token]:
    at = 0
    while at < len(body):
        match = TOKEN.match(body, at)
        if match is None:
            return
        at = match.end()
        kind = match.lastgroup or ""
        if match["count"]:
            yield "count", match[0], match["fewest"] or match["times"] or "0"
        elif match["directive"]:
            if match[0] not in ("%json", "%regex", "%lark"):  # another statement: the rule is over
                return
            closed = _closed(body, at)
            yield match[0][1:], body[at:closed], ""
            at = closed
        elif match["name"] and match[0] not in names:
            yield "other", match[0], ""
        elif not match["comment"] and not match["alias"] and not match[0].isspace():
            yield kind, match[0], ""


def _closed(body: str, at: int) -> int:
    """Past the {...} that begins here, strings in it skipped."""
    depth = 0
    for match in re.compile(r'"(?:[^"\\]|\\.)*"|[{}]', re.DOTALL).finditer(body, at):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth <= 0:
            return match.end()
    return len(body)


def _either(tokens: Iterator[Token]) -> Any:
    """Alternatives up to a closing bracket or the end; None (it ends) beyond a depth that llguidance refuses."""
    stack: list[tuple[str, list[list[Any]]]] = [("(", [[]])]
    for kind, text, fewest in tokens:
        choices = stack[-1][1]
        if kind == "mark" and text in "([":
            stack.append((text, [[]]))
            if len(stack) > DEEPEST:
                return None
        elif kind == "mark" and text in ")]" and len(stack) > 1:
            opened, inner = stack.pop()
            stack[-1][1][-1].append(_choice(inner) if opened == "(" else None)
        elif kind == "mark" and text == "|":
            choices.append([])
        elif (kind == "mark" and text in "?*") or (kind == "count" and int(fewest[:9]) == 0):
            if choices[-1]:
                choices[-1][-1] = None
        elif kind == "name":
            choices[-1].append(text)
        elif kind != "count" and text != "+":
            choices[-1].append(None)
    return _choice(stack[0][1]) if len(stack) == 1 else None


def _choice(choices: list[list[Any]]) -> Any:
    return ("any", [("all", [part for part in parts if part is not None]) for parts in choices])


def _ends(tree: Any, known: Collection[str]) -> bool:
    if tree is None:
        return True
    if isinstance(tree, str):
        return tree in known
    enough = any if tree[0] == "any" else all
    return enough(_ends(part, known) for part in tree[1])
