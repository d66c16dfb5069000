"""Proof that guessing ahead changes nothing: every text's probability with drafts, beside the exact one.

One step is enumerated from every text that can be reached: all that a drafter may propose, then all that the verifier
may decide, both by `noise.enumerate_choices` over the functions that the engine runs. A step depends on the text alone,
so the law of whole texts follows from those of the steps. The exact law comes from another road: each text read from
its beginning, the settings applied to one place at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jielong.base import noise
from jielong.infer.draft.along import along, finished, law
from jielong.infer.draft.cases import Chain, Small
from jielong.infer.draft.loop import Intervals, bound, by_place, drafts_of, kept, speculate, verdict
from jielong.infer.draft.scripted import Scripted
from jielong.infer.draft.types import Accepted, Draft, Drafter, Floats, Laws, Proposal, Verify
from jielong.infer.draft.verify import VERIFIERS
from jielong.infer.sample import Rows, process
from jielong.infer.schedule import Row

BAR = 1e-9  # total variation, and what acceptance may be off by
Text = tuple[int, ...]
TextLaw = dict[Text, float]
Known = dict[tuple[Any, ...], tuple[float, float, int]]  # what is known of the numbers of plain sampling
Proposals = list[tuple[float, tuple[Proposal, Known]]]
Along = Callable[[Row, Sequence[int], Tensor, Any], Floats]  # laws along a draft, (places, V)
SAME = "guesses by the numbers of plain sampling are for coupled only: another step would use the same again"
FIRST = {"token", "block"}  # these take a row's first draft only


@dataclass(frozen=True)
class Cell:
    """One drafter, verifier and chain of settings.

    `distance`: total variation between the law of whole texts and the exact one. `first`: the probability that the
    first guess of the first step stays, `theory` what it should be (None: no closed form); `accepted`: guesses that
    stay in that step, on average. `refused`: why these two do not go together.
    """

    drafter: str
    verifier: str
    chain: tuple[str, ...]
    distance: float
    first: float
    accepted: float
    theory: float | None = None
    refused: str = ""

    @property
    def right(self) -> bool:
        """Within the bar, or refused by name."""
        if self.refused:
            return True
        near = self.theory is None or abs(self.first - self.theory) <= BAR
        return self.distance <= BAR and near


def laws_along(row: Row, guesses: Sequence[int], logits_PV: Tensor, bans: Any) -> Floats:
    """The target's laws at the places of a draft, as the engine has them."""
    return law(along(row, guesses, logits_PV, bans).logits_PV)


@dataclass(eq=False)
class Stage:
    """One chain of settings over a small model: the exact law of its texts, and the steps that were enumerated.

    `along` can be exchanged, to show that a wrong one is found out.
    """

    small: Small
    chain: Chain
    along: Along = laws_along
    known: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.row = self.chain.row(self.small)
        self.prompt = tuple(self.row.request.prompt)

    def states(self, text: Text) -> tuple[Any, ...] | None:
        """The states of the request's rules after a whole text; None where they let no such text be written."""
        if ("states", text) not in self.known:
            self.known["states", text] = self._states(text)
        found: tuple[Any, ...] | None = self.known["states", text]
        return found

    def _states(self, text: Text) -> tuple[Any, ...] | None:
        rules, nothing_V = self.row.request.processors, torch.zeros(self.small.size)
        if text == self.prompt:
            return tuple(p.start(self.prompt) for p in rules)
        before, token = self.states(text[:-1]), text[-1]
        if before is None or finished(rules, before):
            return None
        if any(float(p.process(s, nothing_V)[token]) == -torch.inf for p, s in zip(rules, before)):
            return None
        return tuple(p.advance(s, token) for p, s in zip(rules, before))

    def law_of(self, text: Text) -> Floats | None:
        """The exact law after a whole text, by itself; None where the text is over."""
        if ("law", text) not in self.known:
            self.known["law", text] = self._law_of(text)
        found: Floats | None = self.known["law", text]
        return found

    def _law_of(self, text: Text) -> Floats | None:
        request, size = self.row.request, self.small.size
        logits_V, states = self.small.logits(text), self.states(text)
        if states is None or finished(request.processors, states):
            return None
        for rule, state in zip(request.processors, states):
            logits_V = rule.process(state, logits_V)
        counts = [[float(part.count(i)) for i in range(size)] for part in (text, text[len(self.prompt) :])]
        settings = Rows.of([request.sampling], [self.chain.bans], size, torch.device("cpu"))
        seen_BV, written_BV = torch.tensor(counts[:1]) > 0, torch.tensor(counts[1:])
        chosen: Floats = process(logits_V[None], settings, seen_BV, [list(text)], written_BV).softmax(-1)[0].numpy()
        return chosen

    def texts(self) -> TextLaw:
        """The exact law of whole texts: up to the horizon, or their end."""
        if "texts" not in self.known:
            self.known["texts"] = _flow(self, self._plain_step)
        found: TextLaw = self.known["texts"]
        return found

    def _plain_step(self, text: Text) -> Iterator[tuple[float, Text]]:
        chosen = self.law_of(text)
        if chosen is not None:
            yield from ((float(chosen[i]), (i,)) for i in np.flatnonzero(chosen).tolist())

    def at(self, row: Row, text: Text) -> Row:
        """The row, as the engine would have it after this text."""
        row.text, row.states = list(text), list(self.states(text) or ())
        return row

    def laws(self, text: Text, drafts: Sequence[Draft]) -> tuple[Laws, bytes]:
        """The target's laws after a text and guesses of the drafts, and all their bits."""
        tables = [(d.tokens, self._along(text, d.tokens)) for d in drafts] or [((), self._along(text, ()))]

        def laws(guesses: Text) -> Floats:
            return next(by_place(table)(guesses) for tokens, table in tables if tokens[: len(guesses)] == guesses)

        return laws, b"".join(table.tobytes() for _, table in tables)

    def _along(self, text: Text, guesses: Text) -> Floats:
        key = ("along", text, guesses)
        if key not in self.known:
            places = [(*text, *guesses[:i]) for i in range(len(guesses) + 1)]
            logits_PV = torch.stack([self.small.logits(place) for place in places])
            self.known[key] = self.along(self.at(self.row, text), guesses, logits_PV, self.chain.bans)
        found: Floats = self.known[key]
        return found

    def step(
        self, text: Text, most: int, proposal: Proposal, verify: Verify, known: Known
    ) -> list[tuple[float, Accepted]]:
        """What may become of a proposal, with probabilities: a step is enumerated once for all that look alike."""
        drafts, _ = drafts_of(proposal, self.small.size, most)
        laws, bits = self.laws(text, drafts)
        guessed = tuple((d.tokens, None if d.laws is None else d.laws.tobytes()) for d in drafts)
        key = (verify, guessed, bits, tuple(known.items()))
        if key not in self.known:
            written = len(text) - len(self.prompt)
            outcomes = noise.enumerate_choices(
                lambda source: verdict(laws, drafts, most, verify, bound(Intervals(source, known), 0, written))
            )
            self.known[key] = [(p, accepted) for accepted, p in noise.law(outcomes).items()]
        found: list[tuple[float, Accepted]] = self.known[key]
        return found


class Guesser:
    """All proposals of a drafter with their probabilities. A row is its own all along, so that what the drafter keeps
    about it has to follow a text that goes on and back."""

    def __init__(self, drafter: Drafter) -> None:
        self.drafter = drafter
        self.found: dict[Any, Proposals] = {}
        self.stage: Stage | None = None
        self.row: Row | None = None

    def proposals(self, stage: Stage, text: Text, most: int) -> Proposals:
        if stage is not self.stage:
            if self.row is not None:
                self.drafter.forget(self.row)
            if not isinstance(self.drafter, Scripted):  # others may look at the settings
                self.found.clear()
            self.stage, self.row = stage, stage.chain.row(stage.small)
        if (text, most) not in self.found and self.row is not None:
            row = stage.at(self.row, text)
            self.found[text, most] = noise.enumerate_choices(lambda source: self._propose(source, row, most))
        return self.found[text, most]

    def _propose(self, source: noise.Source, row: Row, most: int) -> tuple[Proposal, Known]:
        intervals = Intervals(source)
        (proposal,) = self.drafter.propose([row], [most], lambda r: bound(intervals, r.number, r.written))
        return proposal, intervals.known


def drafted(stage: Stage, guesser: Guesser, verify: Verify, only_first: bool = False) -> TextLaw:
    """The law of whole texts when this drafter guesses and this verifier decides."""

    def step(text: Text) -> Iterator[tuple[float, Text]]:
        if stage.law_of(text) is None:
            return
        for p, accepted in outcomes(stage, guesser, verify, text, only_first):
            yield p, kept(stage.law_of, text, accepted.tokens)

    return _flow(stage, step)


def outcomes(
    stage: Stage, guesser: Guesser, verify: Verify, text: Text, only_first: bool = False
) -> Iterator[tuple[float, Accepted]]:
    """What one step from a text may accept."""
    most = min(stage.small.guess, stage.small.horizon - (len(text) - len(stage.prompt)) - 1)
    for p, (proposal, known) in guesser.proposals(stage, text, most):
        if only_first and not isinstance(proposal, Draft):
            proposal = proposal[:1]
        for share, accepted in stage.step(text, most, proposal, verify, known):
            yield p * share, accepted


def _flow(stage: Stage, step: Callable[[Text], Iterator[tuple[float, Text]]]) -> TextLaw:
    """The law of whole texts from that of one step: the shorter texts hand their probability on to longer ones."""
    whole: TextLaw = {}
    by_length: list[TextLaw] = [{} for _ in range(stage.small.horizon + 1)]
    by_length[0][stage.prompt] = 1.0
    for written, texts in enumerate(by_length):
        for text, p in texts.items():
            moved = False
            if written < stage.small.horizon:
                for share, tokens in step(text):
                    moved, longer = True, (*text, *tokens)
                    at = by_length[written + len(tokens)]
                    at[longer] = at.get(longer, 0.0) + p * share
            if not moved:
                whole[text] = p
    return whole


def distance(a: Mapping[Text, float], b: Mapping[Text, float]) -> float:
    """Total variation."""
    return sum(abs(a.get(text, 0.0) - b.get(text, 0.0)) for text in {*a, *b}) / 2


def whole(stage: Stage, make: Callable[[], Drafter], verify: Verify, write: Callable[..., Any] = speculate) -> TextLaw:
    """The law of whole texts by enumerating the loop itself, from the first token to the last: for small cases."""

    def run(source: noise.Source) -> Text:
        row = stage.chain.row(stage.small)
        write(stage.law_of, make(), verify, Intervals(source), row, stage.small.horizon, stage.small.guess)
        return tuple(row.text)

    return noise.law(noise.enumerate_choices(run))


def cell(stage: Stage, guesser: Guesser, verifier: str, verify: Verify | None = None) -> Cell:
    """One cell of the matrix; `verify` can take the verifier's place, to show that a wrong one is found out."""
    names = (guesser.drafter.name, verifier, stage.chain.names)
    if verifier != "coupled" and any(known for _, (_, known) in guesser.proposals(stage, stage.prompt, 1)):
        return Cell(*names, nan, nan, nan, refused=SAME)
    verify, only_first = verify or VERIFIERS[verifier], verifier in FIRST
    off = distance(drafted(stage, guesser, verify, only_first), stage.texts())
    steps = list(outcomes(stage, guesser, verify, stage.prompt, only_first))
    first = sum(p for p, accepted in steps if accepted.drafted)
    mean = sum(p * accepted.drafted for p, accepted in steps)
    return Cell(*names, off, first, mean, theory(stage, guesser, verifier))


def theory(stage: Stage, guesser: Guesser, verifier: str) -> float | None:
    """How probably the first guess stays, of a drafter with one draft: sum min(p, q) with `token`; with `coupled` how
    much of what is known of the number lies where the target takes the same token."""
    p = stage.law_of(stage.prompt)
    most = min(stage.small.guess, stage.small.horizon - 1)
    total = 0.0
    for share, (proposal, known) in guesser.proposals(stage, stage.prompt, most):
        drafts, _ = drafts_of(proposal, stage.small.size, most)
        if p is None or not isinstance(proposal, Draft) or verifier not in ("token", "coupled"):
            return None
        if drafts and verifier == "token":
            total += share * float(np.minimum(p, drafts[0].law(0, len(p))).sum())
        elif drafts:
            low, high, _ = known.get((0, 0), (0.0, 1.0, 0))
            edges = np.append(0.0, np.cumsum(p))[drafts[0].tokens[0] :][:2]
            total += share * max(0.0, min(high, float(edges[1])) - max(low, float(edges[0]))) / (high - low)
    return total
