"""The three forms of a prompt: text, chat messages, token ids."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from jielong.base.errors import UserError
from jielong.base.plain import dumps

Message = Mapping[str, str]  # {"role": ..., "content": ...}
Prompt = str | Sequence[Message] | Sequence[int]


def kind_of(prompt: Any) -> str:
    """ "text", "messages" or "ids". UserError for anything else."""
    if isinstance(prompt, str):
        return "text"
    if isinstance(prompt, Sequence) or hasattr(prompt, "tolist"):
        items = list(prompt)
        if not items:
            raise UserError("the prompt is empty: give text, messages or token ids")
        if all(hasattr(i, "__index__") for i in items):
            return "ids"
        for item in items:
            _message(item)
        return "messages"
    raise UserError(f"a prompt is text, messages or a list of token ids, not {type(prompt).__name__}")


def canonical(prompt: Any) -> Any:
    """The prompt in JSON's own types, alike for alike prompts."""
    kind = kind_of(prompt)
    if kind == "text":
        return prompt
    return [int(i) for i in prompt] if kind == "ids" else [_message(m) for m in prompt]


def _message(item: Any) -> dict[str, Any]:
    """A message as a dictionary; objects with role and content will do. UserError when either is missing."""
    if not isinstance(item, Mapping):
        item = {name: getattr(item, name, None) for name in ("role", "content")}
    calls = bool(item.get("tool_calls"))
    if isinstance(item.get("role"), str) and (isinstance(item.get("content"), str) or calls):
        return dict(item)
    raise UserError('a message needs role and content: {"role": "user", "content": "..."}')


def join(prefix: Any, prompt: Any) -> Any:
    """`prefix` and then `prompt`. UserError unless both are of one kind."""
    first, second = kind_of(prefix), kind_of(prompt)
    if first != second:
        raise UserError(f"the fork begins with {first} and the prompt is {second}: give both alike")
    return prefix + prompt if first == "text" else [*prefix, *prompt]


def text_of(prompt: Any) -> str:
    """The prompt as text for models that read text: messages as "role: content" lines."""
    kind = kind_of(prompt)
    if kind == "messages":
        return "\n".join(f"{m['role']}: {m['content'] or ''}" for m in map(_message, prompt))
    return str(prompt) if kind == "text" else " ".join(map(str, prompt))


def key_of(*parts: Any) -> str:
    """32 hex digits that stand for a request."""
    return hashlib.blake2b(dumps(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
