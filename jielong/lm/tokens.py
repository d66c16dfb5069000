"""Prompts as tokens, and where a continuation begins."""

from __future__ import annotations

from typing import Any

from jielong.base.errors import UserError
from jielong.lm.prompts import kind_of


def prompt_ids(codec: Any, prompt: Any, reply: bool = True) -> list[int]:
    """The tokens of a prompt of any form. `reply`: messages end where the assistant begins to speak."""
    if isinstance(prompt, str):
        return [*opening(codec), *codec.encode(prompt)]
    if kind_of(prompt) == "ids":
        return [int(i) for i in prompt]
    from jielong.units import chat

    return chat.encode_prompt(codec, prompt) if reply else chat.encode_chat(codec, prompt)[0]


def scored_ids(codec: Any, prompt: Any, continuation: str) -> tuple[list[int], int]:
    """Prompt and continuation as tokens, and the place from which they are scored.

    Text is tokenised as a whole; scoring begins at the first token that the prompt alone does not have. So
    where the prompt's end and the continuation's beginning merge into one token, that token is scored. The
    very first token of a text has nothing before it and is not scored. After messages the continuation is
    what the assistant says, without the end of its turn; after ids it is encoded by itself.
    """
    before = prompt_ids(codec, prompt)
    if isinstance(prompt, str):
        ids = [*opening(codec), *codec.encode(prompt + continuation)]
    elif kind_of(prompt) == "ids":
        ids = before + list(codec.encode(continuation))
    else:
        ids = _turn(codec, [*prompt, {"role": "assistant", "content": continuation}])
    if not ids:
        raise UserError("nothing to score: prompt and continuation are empty")
    shared = next((i for i, (a, b) in enumerate(zip(before, ids)) if a != b), min(len(before), len(ids)))
    return ids, max(1, shared)


def opening(codec: Any) -> tuple[int, ...]:
    """What stands before every text in the codec's family (<s>, <bos>); a chat template writes it itself."""
    return tuple(getattr(codec, "opening", ()))


def _turn(codec: Any, messages: Any) -> list[int]:
    """A chat up to the last word of its last turn, before the mark that ends it."""
    from jielong.units import chat

    ids, trained = chat.encode_chat(codec, messages)
    last = max(i for i, mark in enumerate(trained) if mark)
    return ids[:last] if ids[last] in codec.special.values() else ids[: last + 1]
