"""How far to guess: a model of what guesses cost and bring, fitted as the text is written.

    core = Core(model, drafting=Drafting(drafter, guess=Controller()))
    core.drafting.guess.speedup()    # what the model of costs promises, beside writing without guesses

With v the seconds of a step without guesses, a those of reading one guess more, d + c k those of making k guesses, and
r_i the probability that the i-th guess of a row stays if those before it did, k guesses bring r_1 + r_1 r_2 + ...
tokens (Leviathan et al. 2023, section 3, with a rate for each place) and are worth it where these take longer to write
one by one. Where they are not, nobody is asked, but for a trial now and then: so seldom that trials take a hundredth of
the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from jielong.infer.schedule import Row

FORGET = 0.97  # what a guess weighs one guess later
LATEST, SURE = 30.0, 5.0  # steps that a mean of seconds looks back on; and from which on it can be trusted
STRAY = 3.0  # a step that takes so many times what was expected was disturbed: it counts as that much
AFRESH = 64  # steps after which one without guesses is looked at again: it grows longer with the text
PRIOR, WEIGHT = 0.6, 2.0  # the rate of a place nobody has seen, and how many guesses that opinion is worth
SHARE = 0.01  # of the time that may go into trials while guesses do not pay
FEW, MANY = 4, 1024  # steps between two trials, at least and at most
TRIAL = 2  # guesses of a trial


class Line:
    """y = at + by x through the means of what was seen near each x, the latest counting most there: what was seen of
    one x is not forgotten while only others come. `by` is never negative."""

    def __init__(self) -> None:
        self.means: dict[int, tuple[float, float, float]] = {}  # by size of x: how many, mean x, mean y
        self.n, self.at, self.by = 0.0, 0.0, 0.0

    def add(self, x: float, y: float) -> None:
        """One more point."""
        size = int(x) if x < 4 else int(2 * math.log2(x))
        n, mean_x, mean_y = self.means.get(size, (0.0, 0.0, 0.0))
        if n >= SURE:
            y = min(y, STRAY * mean_y)
        n = min(n + 1, LATEST)
        self.means[size] = n, mean_x + (x - mean_x) / n, mean_y + (y - mean_y) / n
        self.n = sum(n for n, _, _ in self.means.values())
        x0 = sum(n * x for n, x, _ in self.means.values()) / self.n
        y0 = sum(n * y for n, _, y in self.means.values()) / self.n
        spread = sum(n * (x - x0) ** 2 for n, x, _ in self.means.values())
        self.by = max(0.0, sum(n * (x - x0) * (y - y0) for n, x, y in self.means.values()) / spread) if spread else 0.0
        self.at = max(0.0, y0 - self.by * x0)

    def __call__(self, x: float) -> float:
        return self.at + self.by * x


@dataclass
class Rates:
    """How often guesses stay, by place: kept and tried, the latest counting most."""

    kept: list[float] = field(default_factory=list)
    tried: list[float] = field(default_factory=list)

    def add(self, proposed: int, accepted: int) -> None:
        """One draft: the first `accepted` of its guesses stayed; of the others only the first was looked at."""
        for i in range(min(proposed, accepted + 1)):
            if i == len(self.tried):
                self.kept.append(0.0)
                self.tried.append(0.0)
            self.kept[i] = FORGET * self.kept[i] + (i < accepted)
            self.tried[i] = FORGET * self.tried[i] + 1.0

    def rate(self, i: int, prior: float) -> float:
        """The probability that the i-th guess stays."""
        kept, tried = (self.kept[i], self.tried[i]) if i < len(self.tried) else (0.0, 0.0)
        return (kept + WEIGHT * prior) / (tried + WEIGHT)

    def gain(self, k: int) -> float:
        """Tokens that k guesses bring, on average."""
        total, alive, prior = 0.0, 1.0, PRIOR
        for i in range(k):
            prior = self.rate(i, prior)
            alive *= prior
            total += alive
        return total


class Controller:
    """At most `most` guesses a row and step."""

    def __init__(self, most: int = 8) -> None:
        self.most = most
        self.step, self.draft = Line(), Line()  # seconds by guesses read, and by guesses made
        self.all = Rates()
        self.rows: WeakKeyDictionary[Row, Rates] = WeakKeyDictionary()
        self.found = 1.0  # share of the rows asked for guesses that got some
        self.running, self.seen, self.rest = 1, 0, 0
        self.trying = False

    def awake(self) -> bool:
        """Whether this step is looked at; asked once a step."""
        if self.rest:
            self.rest -= 1
            return False
        return True

    def __call__(self, row: Row, room: int) -> int:
        """How many guesses this row gets in a step that is looked at."""
        most = min(self.most, room)
        if most < 1 or self.seen < 2 or self.seen % AFRESH == 0:  # steps without guesses are seen first
            return 0
        return max(self.best(self.rows.get(row), most), min(TRIAL, most) if self.trying else 0)

    def best(self, rates: Rates | None, most: int) -> int:
        """The number with the most tokens a second."""
        each = self.step(0) / self.running  # seconds that a token takes without guesses
        cost, fixed = self.step.by + self.draft.by, self.draft(0) / self.running
        best, worth, gain, alive, prior = 0, 0.0, 0.0, 1.0, PRIOR
        for i in range(most):
            prior = self.all.rate(i, prior)
            alive *= rates.rate(i, prior) if rates else prior
            gain += alive
            if self.found * (gain * each - cost * (i + 1)) - fixed > worth:
                best, worth = i + 1, self.found * (gain * each - cost * (i + 1)) - fixed
        return best

    def speedup(self, k: int | None = None) -> float:
        """Tokens a second with k guesses for every row (by default the best number), over those without."""
        k = self.best(None, self.most) if k is None else k
        if not k or not self.step.n:
            return 1.0
        guesses = k * self.running * self.found
        took = self.step(guesses) + self.draft(guesses)
        return self.step(0) * (1 + self.found * self.all.gain(k)) / took if took else 1.0

    def watch(
        self, seconds: float, drafting: float, asked: int, results: Sequence[tuple[Row, int, int]], running: int
    ) -> None:  # fmt: skip
        """After a step that was looked at and fed no prompts: how long it took beside the seconds of `drafting`, how
        many rows were asked for guesses, and for each that got some how many there were and how many stayed."""
        self.seen += 1
        self.running = max(1, running)
        guesses = sum(proposed for _, proposed, _ in results)
        self.step.add(guesses, seconds)
        if asked:
            self.draft.add(guesses, drafting)
            self.found = FORGET * self.found + (1 - FORGET) * len(results) / asked
        for row, proposed, accepted in results:
            self.all.add(proposed, accepted)
            self.rows.setdefault(row, Rates()).add(proposed, accepted)
        if self.seen < 3:
            return
        pays = any(self.best(self.rows.get(row), self.most) for row, _, _ in results) or self.best(None, self.most) > 0
        if asked and not pays:  # this was a trial, and it failed
            cost = drafting + max(0.0, seconds - self.step(0))
            self.rest = max(FEW, min(MANY, round(cost / (SHARE * max(self.step(0), 1e-9)))))
        self.trying = not pays and not asked
