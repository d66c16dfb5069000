"""What drafters that compute laws have in common: logits to laws by the rows' settings, laws to guesses.

    guesses = [Guess(i, row, most, source(row), list(row.text)) ...]
    going = shaper.extend(guesses, logits_BV, depth)          # those that want more

Guesses are drawn from the law that a row's settings make of the drafter's logits (bad words and the request's own
processors are left to the target); at temperature 0 they are certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from jielong.infer.draft.along import counts, law
from jielong.infer.draft.types import Choose, Draft, Floats
from jielong.infer.law import crest
from jielong.infer.sample import Rows, process
from jielong.infer.schedule import Row

# what only sharpens a law does not move its top
BLUNT = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical": 1.0}


@dataclass(eq=False)
class Guess:
    """What one row gets in one call: `text` is the row's with the guesses at its end."""

    place: int  # among the rows asked for
    row: Row
    most: int
    choose: Choose
    text: list[int]
    tokens: list[int] = field(default_factory=list)
    laws: list[Floats] = field(default_factory=list)
    broken: bool = False  # the last law was none: the draft ends there, and says why

    def draft(self) -> Draft:
        """What was guessed so far."""
        return Draft(tuple(self.tokens), np.stack(self.laws) if self.laws else None)


class Shaper:
    """Of a drafter over a vocabulary of this size."""

    def __init__(self, vocab: int) -> None:
        self.vocab = vocab
        self._settings: tuple[list[Row], Rows | None] = ([], None)

    def extend(self, guesses: Sequence[Guess], logits_BV: Tensor, depth: int) -> list[Guess]:
        """One guess more for each, the `depth`-th; those that want another come back."""
        law_BV = self._shaped(logits_BV, guesses)
        top = crest(law_BV)
        bad_B, best_B = (~top.most.isfinite()).tolist(), top.best.tolist()
        cold = [guess.row.request.sampling.temperature == 0 for guess in guesses]
        probs_BV = None if all(cold) else law(law_BV)
        for i, guess in enumerate(guesses):
            if bad_B[i]:  # a law of NaN says why the draft ends here; what led to it is not read by anybody else
                guess.laws = [*(guess.laws or _certain(guess.tokens, self.vocab)), np.full(self.vocab, np.nan)]
                guess.tokens.append(0)
                guess.broken = True
            elif cold[i] or probs_BV is None:
                guess.tokens.append(best_B[i])
            else:
                guess.tokens.append(guess.choose(probs_BV[i], "draft", depth))
                guess.laws.append(probs_BV[i])
            guess.text.append(guess.tokens[-1])
        return [guess for guess in guesses if len(guess.tokens) < guess.most and not guess.broken]

    def spread(self, guesses: Sequence[Guess], logits_BKV: Tensor, first: int = 0) -> list[Guess]:
        """Guesses that do not wait for each other: the i-th logits of a row are of its guess `first` + i. Those that
        want more come back."""
        for i in range(logits_BKV.shape[1]):
            going = [j for j, g in enumerate(guesses) if len(g.tokens) == first + i < g.most and not g.broken]
            if not going:
                break
            self.extend([guesses[j] for j in going], logits_BKV[going, i], first + i)
        return [g for g in guesses if len(g.tokens) < g.most and not g.broken]

    def _shaped(self, logits_BV: Tensor, guesses: Sequence[Guess]) -> Tensor:
        """What the rows' settings make of the logits. The columns are made again when the rows are others."""
        rows = [guess.row for guess in guesses]
        known, settings = self._settings
        if settings is None or known != rows:
            samplings = [row.request.sampling for row in rows]
            if all(sampling.temperature == 0 for sampling in samplings):
                samplings = [sampling.with_(**BLUNT) for sampling in samplings]
            settings = Rows.of(samplings, [()] * len(rows), self.vocab, logits_BV.device)
            self._settings = (rows, settings)
        seen_BV = written_BV = None
        if settings.needs_seen:
            seen_BV = counts([guess.text for guess in guesses], self.vocab, logits_BV.device) > 0
        if settings.needs_counts:
            texts = [guess.text[len(guess.row.request.prompt) :] for guess in guesses]
            written_BV = counts(texts, self.vocab, logits_BV.device)
        return process(logits_BV, settings, seen_BV, None, written_BV)


def _certain(tokens: Sequence[int], size: int) -> list[Floats]:
    """The laws of guesses that were certain."""
    return list(np.eye(size)[list(tokens)]) if tokens else []
