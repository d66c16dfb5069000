"""What is asked of the engine and what comes back. No torch here.

Request(prompt=(1, 2, 3), sampling=Sampling(max_tokens=20, seed=7))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from jielong.infer.sampling import Sampling

if TYPE_CHECKING:
    from torch import Tensor

NOBODY = "none"  # what a request calls it that nobody guesses ahead
Top = tuple[tuple[int, float], ...]  # the likeliest (id, natural log of its probability) at one place


class Processor(Protocol):
    """A rule over the text written so far, such as a grammar. Pure: a state is a value and is never changed."""

    def start(self, prompt: tuple[int, ...]) -> Any:
        """The state before the first new token."""
        ...

    def process(self, state: Any, logits_V: Tensor) -> Tensor:
        """New logits (V,), -inf for what may not come next. The logits given are left as they are."""
        ...

    def advance(self, state: Any, token: int) -> Any:
        """The state after one more token."""
        ...

    def done(self, state: Any) -> bool:
        """Whether nothing more may follow: the text ends here."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One text to be continued.

    `index` is the number of the draw: its noise is addressed by (seed, index, position), so draw i is the same
    however many are asked for. `echo` also reports log-probabilities of the prompt's own tokens. Slots are shared
    among `client`s; `key` is for logs and metrics only. `draft`: which of the engine's drafters may guess ahead for
    this text, by its name, or "none"; None: all. `guess`: at most so many tokens a step. `adapter`: which of the
    engine's adapters writes, by its name; "": the base alone.
    """

    prompt: tuple[int, ...]
    sampling: Sampling
    index: int = 0
    processors: tuple[Processor, ...] = ()
    echo: bool = False
    client: str = ""
    key: str = ""
    draft: str | None = None
    guess: int | None = None
    adapter: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """What a stream yields: text in whole characters only, and the tokens since the piece before.

    `reason` is on the last piece: "stop", "length" or "cancelled"; `stopped_by` is the stop string or stop token that
    ended the text (its token is the last of `ids`, its text is not shown). The first piece carries what is
    known of the prompt: `prompt_logprobs` (the first token has None) and `prompt_top` when `echo` was asked for, and
    how many of its tokens were `cached`.
    """

    text: str
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    top: tuple[Top, ...] = ()
    reason: str = ""
    stopped_by: int | str | None = None
    prompt_logprobs: tuple[float | None, ...] = ()
    prompt_top: tuple[Top, ...] = ()
    cached: int = 0
