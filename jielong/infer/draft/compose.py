"""Guessing composes: every drafter with every feature, by every verifier, through the engine's own step.

    found = compose.run(Setup())

In each cell requests, greedy and sampled, are written with guesses under one feature (put off, cut in chunks, held to a
grammar, ...). With `coupled` each must be what it is alone, without guesses and without company: the same tokens,
log-probabilities and ending, to the bit. The other verifiers keep the law only: what they wrote is written again
without guesses, token by token, and all but the choice of the tokens must be the same to the bit; the tokens are held
against the laws they should be drawn from. A cell that refuses says why; one in which nobody guessed, or in which what
it is about did not happen, is not right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.base.stats import holm, ks
from jielong.infer.core import Core
from jielong.infer.draft.drafting import Drafting
from jielong.infer.draft.features import GUESS, Feature, Make, Setup, Truth, Written, drafters, features
from jielong.infer.draft.types import Floats
from jielong.infer.draft.verify import VERIFIERS
from jielong.infer.request import Request
from jielong.infer.schedule import Row

REFUSED = 0.1  # share of the cells that may be refused
NEAR = 0.02  # in fast mode int8 keys may round the other way: log-probabilities move by so much at most
RARE = 1e-3  # family-wise: so seldom a right engine is taken for a wrong one
Waves = Sequence[Sequence[Request]]


@dataclass(frozen=True)
class Cell:
    """One drafter, feature and verifier. `said`: why it is refused, or what is wrong; empty where all is right.
    `places`: where each sampled token stands in the law it should be drawn from, uniform in [0, 1)."""

    drafter: str
    feature: str
    verifier: str
    state: str  # right, refused, wrong
    said: str = ""
    texts: int = 0
    tokens: int = 0
    proposed: int = 0
    accepted: int = 0
    places: tuple[float, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Composed:
    """All cells."""

    cells: Sequence[Cell]
    seconds: float

    def count(self, state: str) -> int:
        return sum(cell.state == state for cell in self.cells)

    @property
    def right(self) -> bool:
        """No cell is wrong, few are refused, every drafter had guesses accepted, and the sampled tokens follow their
        laws."""
        few = self.count("refused") <= REFUSED * len(self.cells)
        return not self.count("wrong") and few and not self.idle() and min(self.laws().values(), default=1.0) > RARE

    def idle(self) -> list[str]:
        """Drafters of which not one guess was accepted in any cell, but for the one that is always wrong."""
        sums: dict[str, int] = {}
        for cell in self.cells:
            if cell.state != "refused" and cell.drafter != "all wrong":
                sums[cell.drafter] = sums.get(cell.drafter, 0) + cell.accepted
        return [name for name, n in sums.items() if not n]

    def laws(self) -> dict[str, float]:
        """p of the sampled tokens under their laws (Kolmogorov-Smirnov), adjusted for all of these tests together
        (Holm): one for each drafter and verifier, and for each feature and verifier."""
        groups: dict[str, list[float]] = {}
        for cell in self.cells:
            for name in (cell.drafter, cell.feature) if cell.places else ():
                groups.setdefault(f"{name}, {cell.verifier}", []).extend(cell.places)
        return dict(zip(groups, holm([ks(places, "uniform") for places in groups.values()])))

    def groups(self) -> list[dict[str, Any]]:
        """One line for each drafter: its cells by feature, and how many guesses stayed."""
        lines = []
        for drafter in dict.fromkeys(cell.drafter for cell in self.cells):
            own = [cell for cell in self.cells if cell.drafter == drafter]
            proposed = sum(cell.proposed for cell in own)
            states: dict[str, dict[str, int]] = {}
            for cell in own:
                counts = states.setdefault(cell.feature, {})
                counts[cell.state] = counts.get(cell.state, 0) + 1
            lines.append({
                "drafter": drafter, "cells": len(own), "features": states,
                **{state: sum(cell.state == state for cell in own) for state in ("right", "refused", "wrong")},
                "accepted": sum(cell.accepted for cell in own) / proposed if proposed else None,
            })  # fmt: skip
        return lines

    def document(self) -> dict[str, Any]:
        """Everything as JSON has it; the cells that are not right one by one."""
        laws = self.laws()
        odd = [{k: v for k, v in asdict(c).items() if k != "places"} for c in self.cells if c.state != "right"]
        return {
            "all_right": self.right, "cells": len(self.cells), "bar": REFUSED,
            **{state: self.count(state) for state in ("right", "refused", "wrong")},
            "texts": sum(c.texts for c in self.cells), "tokens": sum(c.tokens for c in self.cells),
            "idle": self.idle(), "law_tests": len(laws), "p": min(laws.values(), default=1.0),
            "worst_law": min(laws, key=lambda name: laws[name], default=""), "odd": odd, "groups": self.groups(),
            "features": list(dict.fromkeys(c.feature for c in self.cells)), "verifiers": list(VERIFIERS),
            "seconds": self.seconds,
        }  # fmt: skip


def run(setup: Setup, tell: Callable[[int], None] = lambda n: None) -> Composed:
    """All cells; `tell` hears how many are done."""
    began, out = time.monotonic(), list[Cell]()
    for each in cells(setup):
        out.append(each)
        tell(len(out))
    return Composed(out, time.monotonic() - began)


def number(setup: Setup) -> int:
    """How many cells there are."""
    return len(features()) * len(drafters(setup)) * len(VERIFIERS)


def cells(
    setup: Setup, makers: Mapping[str, Make] | None = None, asked: Sequence[Feature] | None = None,
    verifiers: Sequence[str] = tuple(VERIFIERS),
) -> Iterator[Cell]:  # fmt: skip
    """Every drafter with every feature, by each verifier."""
    for feature in features() if asked is None else asked:
        waves, core = feature.waves(setup), _core(setup, feature, **_cache(feature))
        plain, guessing = alone(core, waves), _core(setup, feature, **feature.options)
        truth = {id(request): out[0] for request, out in zip(flat(waves), plain)}
        for name, make in (drafters(setup) if makers is None else makers).items():
            for verifier in verifiers:
                guessing.clear()
                yield _cell(setup, feature, waves, guessing, (core, plain), name, make, truth, verifier)


def _cell(setup: Setup, feature: Feature, waves: Waves, core: Core, without: tuple[Core, Sequence[Written]],
          name: str, make: Make, truth: Truth, verifier: str) -> Cell:  # fmt: skip
    """`without`: a core without guesses, and what it writes."""
    about = name, feature.name, verifier
    if verifier != "coupled":  # seeds of their own: two cells must not tell the same twice
        waves, truth = reseeded(waves, truth, about)
    try:
        drafting = Drafting(make(getattr(setup, feature.weights), truth), VERIFIERS[verifier], guess=GUESS)
        core.drafting = drafting
        found = write(core, waves)
        plain, places = without[1], tuple[float, ...]()
        if verifier != "coupled":
            plain, places = again(*without, waves, found, noise.seed_of(*about))
    except UserError as error:
        return Cell(*about, "refused", str(error))
    except Exception as error:  # whatever it is, the cell is wrong
        return Cell(*about, "wrong", f"{type(error).__name__}: {error}")
    tally = drafting.tally
    said = next((why for why in map(differs if feature.exact else apart, plain, found) if why), "")
    said = said or ("" if feature.happened(core, found) else f"there was no {feature.name}")
    said = said or next(iter(drafting.reasons), "") or ("" if sum(tally.proposed) else "nobody guessed")
    counts = len(found), sum(len(out[0]) for out in found), sum(tally.proposed), sum(tally.accepted)
    return Cell(*about, "wrong" if said else "right", said, *counts, places)


def write(core: Core, waves: Waves) -> list[Written]:
    """What comes of the requests, in their order. An error of a row is raised, and pages that do not come back are."""
    out: list[Written] = []
    for wave in waves:
        rows = [core.submit(request) for request in wave]
        tokens: dict[Row, list[Any]] = {row: [] for row in rows}
        while core.busy:
            for token in core.step():
                if token.error is not None:
                    raise token.error
                tokens[token.row].append(token)
        if core.scheduler.blocks.used:
            raise RuntimeError(f"{core.scheduler.blocks.used} pages did not come back")
        for row, came in tokens.items():
            ids, logprobs = tuple(t.id for t in came), tuple(t.logprob for t in came)
            if tuple(row.text) != row.request.prompt + ids:
                raise RuntimeError("what was told is not what stands in the text")
            out.append((ids, logprobs, tuple(t.top for t in came), came[-1].reason, came[-1].stopped_by, row.report))
    return out


def alone(core: Core, waves: Waves) -> list[Written]:
    """Each request by itself, with nothing in the cache."""
    out: list[Written] = []
    for request in flat(waves):
        core.clear()
        out += write(core, [[request]])
    return out


def again(
    core: Core, plain: Sequence[Written], waves: Waves, found: Sequence[Written], seed: int
) -> tuple[list[Written], tuple[float, ...]]:
    """What was found, written again without guesses: of greedy texts the plain ones, of sampled ones by taking the
    tokens found. And where these tokens stand in the laws they should come from."""
    sampled = [i for i, request in enumerate(flat(waves)) if request.sampling.temperature > 0]
    forced = Forced([found[i][0] for i in sampled], seed)
    core.clear()
    core.rules.source = forced
    try:
        wrote = iter(write(core, [[flat(waves)[i] for i in sampled]]))
    finally:
        core.rules.source = None
    return [next(wrote) if i in set(sampled) else out for i, out in enumerate(plain)], tuple(forced.places)


class Forced:
    """A source that takes known tokens; `places`: where each stands in its law, the likeliest tokens first."""

    def __init__(self, texts: Sequence[Sequence[int]], seed: int = 0) -> None:
        self.texts, self.seed = texts, seed
        self.places: list[float] = []

    def choose(self, probs: Sequence[float] | Floats, *position: Any) -> int:
        row, place = position
        token, law = self.texts[row][place], np.asarray(probs)
        if law[token] <= 0:
            raise ValueError(f"token {token} was written where it has no probability")
        before = law[law > law[token]].sum() + law[:token][law[:token] == law[token]].sum()
        self.places.append(float(min(before + noise.uniform(self.seed, row, place) * law[token], 1.0)))
        return token


def differs(plain: Written, found: Written) -> str:
    """Where a text is not the other to the bit; empty where it is."""
    names = ("tokens", "log-probabilities", "likeliest tokens", "ending", "stop", "report of the prompt")
    return next((f"other {name}" for name, a, b in zip(names, plain, found) if a != b), "")


def apart(plain: Written, found: Written) -> str:
    """The same with a tolerance: as long as the texts are one their laws are `NEAR`, and a token that another has
    taken its place in was as probable as that, up to this much. All tokens must be reported."""
    for a, b, token, own in zip(plain[2], found[2], plain[0], found[0]):
        left, right = dict(a), dict(b)
        most = max(abs(left[each] - right[each]) for each in left if left[each] > np.log(NEAR))
        if most > NEAR:
            return f"log-probabilities {most:.2g} apart"
        if token != own:
            return ""
    return differs((plain[0], (), (), *plain[3:]), (found[0], (), (), *found[3:]))


def reseeded(waves: Waves, truth: Truth, about: tuple[str, ...]) -> tuple[Waves, Truth]:
    """The same requests with other seeds; scripted drafters are told what came of the old ones."""
    new = [[replace(r, sampling=r.sampling.with_(seed=noise.seed_of(*about, r.sampling.seed))) for r in wave]
           for wave in waves]  # fmt: skip
    return new, {id(b): truth[id(a)] for a, b in zip(flat(waves), flat(new))}


def flat(waves: Waves) -> list[Request]:
    """All requests."""
    return [request for wave in waves for request in wave]


def _core(setup: Setup, feature: Feature, **options: Any) -> Core:
    model = getattr(setup, feature.weights)
    return Core(model, setup.pieces, mode="exact" if feature.exact else "fast", **options)


def _cache(feature: Feature) -> dict[str, Any]:
    return {name: value for name, value in feature.options.items() if name in ("bits", "adapters")}
