"""How the next token is chosen: the settings of one request, checked once, here.

This file holds only the settings (no torch), so that a command can show its help in no time.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from jielong.base.errors import UserError

Words = str | tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The settings of one request. Lists and mappings given for tuples are turned into tuples.

    They are applied in this order: bias and bad words, repetition, presence and frequency penalty, temperature,
    top_k, top_p, min_p, typical; what is left is drawn from by Gumbel numbers, one for each token of the vocabulary,
    addressed by (`seed`, index of the draw, position).
    `law()` is the part that shapes the distribution of the tokens; the rest only cuts or describes.

    Raises UserError on a value outside its range, naming it.
    """

    temperature: float = 1.0
    "0 takes the most probable token; 1 is the model's own law."
    top_k: int = 0
    "Keep the k most probable tokens (0: all)."
    top_p: float = 1.0
    "Keep the fewest most probable tokens that hold this share of the probability (1: all)."
    min_p: float = 0.0
    "Keep tokens at least this share as probable as the most probable one (0: all)."
    typical: float = 1.0
    "Keep the tokens whose surprise is nearest to the expected one, up to this share of the probability (1: all)."
    repetition_penalty: float = 1.0
    "Divide the positive and multiply the negative logits of tokens seen before by this (1: off)."
    presence_penalty: float = 0.0
    "Subtract this from the logits of tokens that were written before, the prompt not counted (0: off)."
    frequency_penalty: float = 0.0
    "Subtract this times the number of times a token was written before, the prompt not counted (0: off)."
    logit_bias: tuple[tuple[int, float], ...] = ()
    "(token id, number added to its logit); -inf forbids it."
    bad_words: tuple[Words, ...] = ()
    "Strings, or token id sequences, that are not written: the last token of each is forbidden in place."
    max_tokens: int = 256
    "At most this many new tokens; the end of the context also ends a text."
    stop: tuple[str, ...] = ()
    "The text ends before the first of these strings."
    stop_ids: tuple[int, ...] = ()
    "The text ends at the first of these tokens."
    seed: int = 0
    "The address of the randomness: the same seed gives the same text, whatever else runs beside it."
    logprobs: int = 0
    "Report this many most probable alternatives a token, by the model's own law."

    def __post_init__(self) -> None:
        put = object.__setattr__
        bias: Any = self.logit_bias
        pairs = bias.items() if isinstance(bias, Mapping) else bias
        put(self, "logit_bias", tuple(sorted((int(i), float(b)) for i, b in pairs)))
        put(self, "bad_words", tuple(w if isinstance(w, str) else tuple(w) for w in _several(self.bad_words)))
        put(self, "stop", _several(self.stop))
        put(self, "stop_ids", tuple(int(i) for i in self.stop_ids))
        _check_numbers(self)
        _check_lists(self)

    def law(self) -> tuple[tuple[str, Any], ...]:
        """The settings that shape the tokens' distribution, as (name, value) pairs in a fixed order.

        Length, stops and reports are left out, so a longer draw begins with the shorter one.
        """
        return tuple((f.name, getattr(self, f.name)) for f in fields(self) if f.name not in NOT_LAW)

    def changes(self) -> dict[str, Any]:
        """The settings that differ from the defaults, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    def with_(self, **changes: Any) -> Sampling:
        """A copy with some settings changed; UserError names an unknown one."""
        known = {f.name for f in fields(self)}
        for name in changes:
            if name not in known:
                raise UserError(f"unknown sampling setting {name!r}: there are {', '.join(sorted(known))}")
        return replace(self, **changes)


REAL = ("temperature", "top_p", "min_p", "typical", "repetition_penalty", "presence_penalty", "frequency_penalty")
NOT_LAW = ("max_tokens", "stop", "stop_ids", "logprobs")


def _check_numbers(s: Sampling) -> None:
    """Every number in its range, whatever type it came as."""
    for name in REAL:
        object.__setattr__(s, name, _real(name, getattr(s, name)))
    for name in ("top_k", "max_tokens", "seed", "logprobs"):
        object.__setattr__(s, name, _whole(name, getattr(s, name)))
    _need(s.temperature >= 0, f"temperature is {s.temperature}: give 0 (greedy) or more")
    _need(s.top_k >= 0, f"top_k is {s.top_k}: give 0 (all) or more")
    _need(0 < s.top_p <= 1, f"top_p is {s.top_p}: give more than 0 and at most 1")
    _need(0 <= s.min_p <= 1, f"min_p is {s.min_p}: give 0 to 1")
    _need(0 < s.typical <= 1, f"typical is {s.typical}: give more than 0 and at most 1")
    _need(s.repetition_penalty > 0, f"repetition_penalty is {s.repetition_penalty}: give more than 0")
    _need(s.max_tokens >= 0, f"max_tokens is {s.max_tokens}: give 0 or more")
    _need(s.logprobs >= 0, f"logprobs is {s.logprobs}: give 0 or more")


def _check_lists(s: Sampling) -> None:
    for i, b in s.logit_bias:
        fine = i >= 0 and not math.isnan(b) and b < math.inf
        _need(fine, f"logit_bias of token {i} is {b}: give a number or -inf")
    once = len({i for i, _ in s.logit_bias}) == len(s.logit_bias)
    _need(once, "logit_bias names a token twice: give each once")
    _need(all(s.stop), "a stop string is empty: leave it out")
    _need(all(s.bad_words), "a bad word is empty: leave it out")


def _need(right: bool, message: str) -> None:
    if not right:
        raise UserError(message)


def _several(value: Any) -> tuple[Any, ...]:
    """One string stands for a list of one."""
    return (value,) if isinstance(value, str) else tuple(value)


def _real(name: str, value: Any) -> float:
    if not isinstance(value, bool) and isinstance(value, numbers.Real) and math.isfinite(value):
        return float(value)
    raise UserError(f"{name} is {value!r}: give a finite number")


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, bool) and isinstance(value, numbers.Integral):
        return int(value)
    raise UserError(f"{name} is {value!r}: give a whole number")
