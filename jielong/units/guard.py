"""What people wrote must not become a control token, whatever the template does with it.

A template mixes its own marks with people's words in one text, in which "<|im_end|>" is the same whoever
wrote it. So the first character of every control token that stands in a message is replaced by a private
stand-in before rendering; only marks that the template wrote are left, and the stand-ins are turned back into
text piece by piece afterwards.

A mark could also arise from two halves that the template brings together. Therefore, when a message holds
the first character of any mark at all, the conversation is rendered once more with all such characters
replaced: in that text only the template can have written marks. If the two do not have the same marks, the
second is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jielong.units.codec import Tokenizer

PRIVATE = 0xF0000  # the first of 65,534 characters that Unicode leaves to private agreement


@dataclass(frozen=True)
class Guarded:
    """A rendered text whose ``marks`` (begin, end) are the template's own.

    ``replaced``: stand-in -> character. ``messages`` and ``tools`` are those that gave the text.
    """

    text: str
    marks: tuple[tuple[int, int], ...]
    replaced: Mapping[int, str]
    messages: Sequence[Any]
    tools: Any

    def restore(self, text: str) -> str:
        """``text`` as people wrote it."""
        return text.translate(self.replaced) if self.replaced else text


def guarded(codec: Tokenizer, messages: Sequence[Any], tools: Any, write: Callable[..., str]) -> Guarded:
    """Render with ``write(messages, tools)`` such that the only marks are the template's."""
    firsts = {name[0] for name in codec.special}
    said = list(_texts([messages, tools]))
    if not any(first in text for first in firsts for text in said):
        return _made(codec, write, messages, tools, {})
    stand_in = _stand_ins(firsts, said)
    back = {ord(new): old for old, new in stand_in.items()}

    def whole_marks(text: str) -> str:
        return codec.written.sub(lambda match: stand_in[match[0][0]] + match[0][1:], text)

    def all_firsts(text: str) -> str:
        return text.translate({ord(old): new for old, new in stand_in.items()})

    marked = any(codec.written.search(text) for text in said)
    few = _made(codec, write, *_changed(messages, tools, whole_marks, whole_marks), back if marked else {})
    none = _made(codec, write, *_changed(messages, tools, all_firsts, whole_marks), back)
    same = [few.text[a:b] for a, b in few.marks] == [none.text[a:b] for a, b in none.marks]
    return few if same else none


def _made(
    codec: Tokenizer, write: Callable[..., str], messages: Sequence[Any], tools: Any, back: Mapping[int, str]
) -> Guarded:
    text = write(messages, tools)
    marks = tuple(match.span() for match in codec.written.finditer(text))
    return Guarded(text, marks, back, messages, tools)


def _texts(value: Any) -> Iterator[str]:
    """Every text in ``value``, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _changed(
    messages: Sequence[Any], tools: Any, text: Callable[[str], str], key: Callable[[str], str]
) -> tuple[list[Any], Any]:
    """Copies with ``text`` applied to every text and ``key`` to every key; only the roles, ours, stay."""

    def changed(value: Any) -> Any:
        if isinstance(value, str):
            return text(value)
        if isinstance(value, Mapping):
            return {key(k) if isinstance(k, str) else k: changed(item) for k, item in value.items()}
        return [changed(item) for item in value] if isinstance(value, list | tuple) else value

    return [{**changed(message), "role": message["role"]} for message in messages], changed(tools)


def _stand_ins(firsts: set[str], said: Sequence[str]) -> dict[str, str]:
    """A private character for each of ``firsts`` that nobody used."""
    used = {character for text in said for character in text if ord(character) >= PRIVATE}
    free = (chr(code) for code in range(PRIVATE, PRIVATE + 0xFFFE) if chr(code) not in used)
    return {first: next(free) for first in sorted(firsts)}
