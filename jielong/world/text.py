"""What the world writes: documents, chats and questions, each with where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a sentence came from: the true statement behind it and the pattern that worded it.

    `fact`, `template` and `person` are stable names ("p017.home", "home.en.03", "p017"); `split` is the
    split the item belongs to; `extra` holds what a kind adds (tags, parses, operands), in a fixed order.
    """

    kind: str
    lang: str
    fact: str = ""
    template: str = ""
    split: str = "train"
    person: str = ""
    extra: tuple[tuple[str, Any], ...] = ()

    def get(self, name: str, default: Any = None) -> Any:
        """The value of `name` in `extra`, or `default`."""
        for key, value in self.extra:
            if key == name:
                return value
        return default


@dataclass(frozen=True, slots=True)
class Text:
    """One document of running text."""

    text: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat; `role` is system, user, assistant or tool."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation."""

    messages: tuple[Message, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Question:
    """A question with a right answer.

    `answer` is a full right reply; `accept` are the strings of which a right reply must contain one
    (empty where declining is the right reply). `world.check` decides.
    """

    prompt: str
    answer: str
    accept: tuple[str, ...]
    origin: Origin
