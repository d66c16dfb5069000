"""Fields that requests share: those that shape the tokens, and the written list of those that need no deed.

`Harmless` is that list. What stands in it asks for nothing that this server does otherwise; a value that would
ask for something (`store: true`) is refused like any field that is not implemented.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from jielong.serve.errors import wrong
from jielong.serve.strict import Strict, without_nulls

MOST_STOPS = 32
MOST_DRAWS = 128
MOST_TOP = 20
SEEDS = 1 << 63  # seeds are taken modulo this: OpenAI's are signed, the noise's are not

Count = Annotated[int, Field(ge=0, lt=1 << 31)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Share = Annotated[float, Field(ge=0, le=1)]
Words = Annotated[list[str], Field(max_length=MOST_STOPS)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Ids = list[Annotated[int, Field(ge=0, lt=1 << 31)]]
Metadata = Annotated[dict[str, Annotated[str, Field(max_length=512)]], Field(max_length=16)]


def listed(value: Any) -> Any:
    """One string stands for a list of one."""
    return [value] if isinstance(value, str) else value


Stop = Annotated[Words, BeforeValidator(listed)]


class Harmless(Strict):
    """Accepted and of no effect, because what they ask for is so already or concerns only OpenAI's own house."""

    user: str | None = None
    "Who asks: for OpenAI's abuse monitoring."
    safety_identifier: str | None = None
    "The same under its new name."
    metadata: Metadata | None = None
    "Notes of the caller's; the Responses API gives them back."
    store: Literal[False] | None = None
    "Nothing is stored here: false is so already."
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    'There is one tier; the answer says "default".'
    prompt_cache_key: str | None = None
    "The prefix cache needs no key: it compares tokens."
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    "What is cached stays as long as there is room."


class StreamOptions(Strict):
    """`include_usage`: one more chunk at the end, with the usage. Nothing is obfuscated."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


Options = Annotated[StreamOptions, BeforeValidator(without_nulls)]


class Sampled(Strict):
    """What shapes the tokens: OpenAI's fields, then the sampler's own (as vLLM names them)."""

    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Share = 1.0
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    stop: Stop = Field(default_factory=list)
    logit_bias: dict[str, Bias] = Field(default_factory=dict)
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    n: Annotated[int, Field(ge=1, le=MOST_DRAWS)] = 1
    stream: bool = False
    stream_options: Options | None = None
    top_k: Annotated[int, Field(ge=-1, lt=1 << 31)] = 0
    "Extension: only the k most probable tokens (0 and -1: all)."
    min_p: Share = 0.0
    "Extension: only tokens at least this share as probable as the most probable one."
    typical_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    "Extension: locally typical sampling (1: off)."
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] = 1.0
    "Extension: makes tokens that were there before less probable (1: off)."
    bad_words: Words = Field(default_factory=list)
    "Extension: strings that are not written."
    stop_token_ids: Ids = Field(default_factory=list)
    "Extension: the text also ends at one of these tokens."
    ignore_eos: bool = False
    "Extension: the model's own end tokens do not end the text."

    draft: Annotated[str, Field(max_length=200)] | None = None
    'Extension: which of the drafters of `--draft` may guess ahead for this request, or "none".'
    guess: Annotated[int, Field(ge=0, le=1 << 10)] | None = None
    "Extension: at most so many guesses a step."

    def check_stream(self) -> None:
        """ApiError for stream options without a stream."""
        if self.stream_options is not None and not self.stream:
            raise wrong("stream_options", "only allowed when stream is true")

    def biases(self, size: int) -> dict[int, float]:
        """Token id -> what is added to its logit. ApiError for what is no token of this model."""
        found: dict[int, float] = {}
        for name, value in self.logit_bias.items():
            if not (name.isascii() and name.isdigit() and len(name) < 10 and int(name) < size):
                raise wrong("logit_bias", f"{name[:20]!r} is no token id: this model has 0 to {size - 1}")
            found[int(name)] = float(value)
        return found
