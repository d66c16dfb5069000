"""The target's law at every place of a draft: the settings and rules of a request, replayed along the guesses.

What a place sees is the text as it would be if the guesses before it had been written: seen tokens, counts, the last
tokens, and the states of the request's own processors, advanced purely. Nothing of the row is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from jielong.infer.draft.types import Floats
from jielong.infer.sample import Rows, lawless, process
from jielong.infer.sampling import Sampling

if TYPE_CHECKING:
    from jielong.infer.request import Processor, Request
    from jielong.infer.schedule import Row

Bans = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Along:
    """Processed logits of the places that the text can reach, (P, V), and the processors' states at these.

    `over`: with the last guess that was read the text is over, so that no place follows it.
    """

    logits_PV: Tensor
    states: tuple[tuple[Any, ...], ...]
    over: bool = False


@torch.no_grad()
def along(row: Row, guesses: Sequence[int], logits_PV: Tensor, bans: Bans = ()) -> Along:
    """From the model's logits after the text and after each guess, (len(guesses) + 1, V), those to draw from.

    Fewer come back where a rule of the request forbids a guess, or lets the text end with it. `bans`: bad words as
    tokens. What a processor raises is raised.
    """
    masked_PV, states, ended = _ruled(row, guesses, logits_PV)
    reached = len(masked_PV)
    sampling, size = row.request.sampling, logits_PV.shape[1]
    settings = _settings(sampling, bans, reached, size, logits_PV.device)
    texts = [[*row.text, *guesses[:i]] for i in range(reached)]
    seen_PV = written_PV = tails = None
    if settings.needs_seen:
        seen_PV = counts(texts, size, logits_PV.device) > 0
    if settings.needs_counts:
        written_PV = counts([t[len(row.request.prompt) :] for t in texts], size, logits_PV.device)
    longest = max(map(len, bans), default=0)
    if longest > 1:
        tails = [t[-longest:] for t in texts]
    return Along(process(masked_PV, settings, seen_PV, tails, written_PV), states, ended)


def law(logits_PV: Tensor) -> Floats:
    """Laws (P, V) float64 on the host, each with sum 1; a place from which nothing can be drawn has nan.

    The softmax is taken as `sample.pick` takes it, in float32 (in float64 for logits of that type).
    """
    wide_PV = logits_PV if logits_PV.dtype == torch.float64 else logits_PV.float()
    laws_PV: Floats = wide_PV.softmax(dim=-1).double().cpu().numpy()
    laws_PV[lawless(logits_PV).cpu().numpy()] = np.nan
    return laws_PV / laws_PV.sum(axis=1, keepdims=True)


def _ruled(row: Row, guesses: Sequence[int], logits_PV: Tensor) -> tuple[Tensor, tuple[tuple[Any, ...], ...], bool]:
    """What the request's processors make of the places, their states there, and whether the text ended."""
    request = row.request
    if not request.processors:
        return logits_PV, ((),) * len(logits_PV), False
    state = tuple(row.states) or _start(request)
    out, states, ended = list[Tensor](), [state], False
    for i in range(len(guesses) + 1):
        logits_V = logits_PV[i]
        for processor, one in zip(request.processors, state):
            logits_V = processor.process(one, logits_V)
        out.append(logits_V)
        if i == len(guesses) or not bool(logits_V[guesses[i]] > -torch.inf):
            break
        state = tuple(p.advance(one, int(guesses[i])) for p, one in zip(request.processors, state))
        if finished(request.processors, state):
            ended = True
            break
        states.append(state)
    return torch.stack(out), tuple(states), ended


def finished(processors: Sequence[Processor], state: Sequence[Any]) -> bool:
    """Whether a rule of the request lets nothing follow."""
    return any(p.done(one) for p, one in zip(processors, state))


def _start(request: Request) -> tuple[Any, ...]:
    return tuple(p.start(request.prompt) for p in request.processors)


@lru_cache(maxsize=1024)
def _settings(sampling: Sampling, bans: Bans, places: int, size: int, device: torch.device) -> Rows:
    return Rows.of([sampling] * places, [bans] * places, size, device)


def counts(texts: Sequence[Sequence[int]], size: int, device: torch.device) -> Tensor:
    """How often each token stands in each text, (P, V)."""
    found = [np.bincount(np.asarray(t, dtype=np.int64), minlength=size)[:size] for t in texts]
    return torch.from_numpy(np.stack(found)).to(device)
