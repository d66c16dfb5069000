"""Tokens as the API shows them: text, bytes, log-probabilities and alternatives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jielong.units.stream import Stream

if TYPE_CHECKING:
    from jielong.units.codec import Tokenizer

LEAST = -9999.0  # OpenAI's word for a token that cannot be; JSON has no infinity


def finite(logprob: float) -> float:
    """A log-probability that JSON can hold."""
    return max(float(logprob), LEAST) if math.isfinite(logprob) else LEAST


def shown(codec: Tokenizer, id: int) -> str:
    r"""A token as text; one that is part of a character as `bytes:\xe7\x8e`, so that no two look alike."""
    data = codec.bytes_of(id) if id < codec.size else b""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def own(logprob: float, id: int, top: Iterable[tuple[int, float]]) -> float:
    """A token's log-probability: where it is among the alternatives, exactly the number that stands there."""
    return finite(next((other for one, other in top if one == id), logprob))


def chat_logprobs(codec: Tokenizer, ids: Sequence[int], logprobs: Sequence[float], top: Sequence[Any]) -> list[Any]:
    """`logprobs.content` of a chat: one entry a token."""

    def entry(id: int, logprob: float) -> dict[str, Any]:
        return {"token": shown(codec, id), "logprob": finite(logprob), "bytes": list(codec.bytes_of(id))}

    tops = top or [()] * len(ids)
    return [
        {**entry(id, own(p, id, t)), "top_logprobs": [entry(*pair) for pair in t]}
        for id, p, t in zip(ids, logprobs, tops)
    ]


class Offsets:
    """Where each token begins in the text that all tokens so far make."""

    def __init__(self, codec: Tokenizer) -> None:
        self.stream, self.at = Stream(codec), 0

    def next(self, id: int) -> int:
        """The place of one more token; those of one character share its place."""
        place = self.at
        self.at += len(self.stream.add(id))
        return place


def completion_logprobs(
    codec: Tokenizer,
    offsets: Offsets,
    ids: Sequence[int],
    logprobs: Sequence[float | None],
    top: Sequence[Any],
    wanted: int,
) -> dict[str, list[Any]]:
    """`logprobs` of a completion, for the next tokens of one text. The very first token of a prompt has None.

    `top_logprobs` holds the `wanted` likeliest and the token itself.
    """
    found: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    tops = top or [()] * len(ids)
    for id, logprob, others in zip(ids, logprobs, tops):
        found["tokens"].append(shown(codec, id))
        found["text_offset"].append(offsets.next(id))
        if logprob is None:
            found["token_logprobs"].append(None)
            found["top_logprobs"].append(None)
            continue
        mine = own(logprob, id, others)
        best: dict[str, float] = {}
        for one, p in (*others[:wanted], (id, mine)):
            name = shown(codec, one)
            best[name] = max(best.get(name, LEAST), finite(p))
        found["token_logprobs"].append(mine)
        found["top_logprobs"].append(best)
    return found
