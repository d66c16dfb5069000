"""How far to guess: a model of what guesses cost and bring, fitted as the text is written.

    core = Core(model, drafting=Drafting(drafter, guess=Controller()))
    core.drafting.guess.speedup()    # what the model of costs promises, beside writing without guesses

With v(k) the seconds of a step that reads k guesses, c(k) those of making them, f the share of askings that are
answered at all, and r_i the probability that the i-th guess of a row stays if those before it did, k guesses bring
f (r_1 + r_1 r_2 + ...) tokens more (Leviathan et al. 2023, section 3, with a rate for each place) and are worth it
where these take longer to write one by one. Both v and c are what was measured near k: reading two tokens may cost much
more than reading one, and reading eight no more than two. Where guesses do not pay, nobody is asked, but for a trial
now and then: so seldom that trials take less than a hundredth of the time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from jielong.infer.schedule import Row

FORGET, SLOWLY = 0.97, 0.995  # what a guess of a row weighs one guess later; and one of all rows
LATEST, SURE = 30.0, 5.0  # steps that a mean of seconds looks back on; and from which on it can be trusted
STRAY = 2.0  # a step that takes so many times what was expected was disturbed: it counts as that much
AFRESH = 128  # steps after which two without guesses are taken, and the second looked at: it grows with the text
PRICE = 4  # steps with guesses after which it is worked out anew what they take
PROBE = 8  # steps between two that guess twice as far as seems best, until it is known what that costs
PRIOR, WEIGHT = 0.6, 2.0  # the rate of a place nobody has seen, and how many guesses that opinion is worth
MARGIN = 1.02  # promised speed-ups below this are not worth the noise
SHARE = 0.007  # of the time that may go into trials while guesses do not pay
FEW, MANY = 4, 1024  # steps between two trials, at least and at most
TRIAL, CREDIT = 2, 3.0  # guesses of a trial; steps that trials may have won and lose again


class Line:
    """A rising curve through the means of what was seen near each x, the latest counting most there: what was seen of
    one x is not forgotten while only others come. Means of few points lean on the straight line through all of them,
    `at + by x`, along which the curve goes on; `by` is never negative."""

    def __init__(self) -> None:
        self.means: dict[int, tuple[float, float, float]] = {}  # by size of x: how many, mean x, mean y
        self.at, self.by = 0.0, 0.0
        self.points: list[tuple[float, float]] = []  # of the curve; none before it is asked for

    def add(self, x: float, y: float) -> None:
        """One more point."""
        n, mean_x, mean_y = self.means.get(_size(x), (0.0, 0.0, 0.0))
        if n >= SURE:
            y = min(y, STRAY * mean_y)
        n = min(n + 1, LATEST)
        self.means[_size(x)] = n, mean_x + (x - mean_x) / n, mean_y + (y - mean_y) / n
        self.points = []

    def knows(self, x: float) -> bool:
        """Whether enough was seen near x."""
        return self.means.get(_size(x), (0.0,))[0] >= SURE

    def _fit(self) -> None:
        means = sorted(self.means.values(), key=lambda mean: mean[1])
        count = sum(n for n, _, _ in means)
        x0 = sum(n * x for n, x, _ in means) / count
        y0 = sum(n * y for n, _, y in means) / count
        spread = sum(n * (x - x0) ** 2 for n, x, _ in means)
        self.by = max(0.0, sum(n * (x - x0) * (y - y0) for n, x, y in means) / spread) if spread else 0.0
        self.at = max(0.0, y0 - self.by * x0)
        self.points, most = [], 0.0
        for n, x, y in means:
            most = max(most, y + (self.at + self.by * x - y) / (n * n + 1))
            self.points.append((x, most))

    def __call__(self, x: float) -> float:
        if not self.points:
            if not self.means:
                return 0.0
            self._fit()
        left = right = self.points[0]
        for right in self.points:
            if right[0] >= x:
                break
            left = right
        if right[0] > left[0] and left[0] <= x <= right[0]:
            return left[1] + (right[1] - left[1]) * (x - left[0]) / (right[0] - left[0])
        return max(0.0, right[1] + self.by * (x - right[0]))


def _size(x: float) -> int:
    """What x counts as."""
    return int(x) if x < 4 else int(2 * math.log2(x))


@dataclass
class Rates:
    """How often guesses stay, by place: kept and tried, the latest counting most."""

    forget: float = FORGET
    kept: list[float] = field(default_factory=list)
    tried: list[float] = field(default_factory=list)

    def add(self, asked: int, proposed: int, accepted: int) -> None:
        """One draft: the first `accepted` of its guesses stayed; of the others only the first was looked at. A guess
        that was asked for and did not come is one that did not stay."""
        for i in range(min(asked, proposed + 1, accepted + 1)):
            if i == len(self.tried):
                self.kept.append(0.0)
                self.tried.append(0.0)
            self.kept[i] = self.forget * self.kept[i] + (i < accepted)
            self.tried[i] = self.forget * self.tried[i] + 1.0

    def rate(self, i: int, prior: float) -> float:
        """The probability that the i-th guess stays."""
        if i >= len(self.tried):
            return prior
        return (self.kept[i] + WEIGHT * prior) / (self.tried[i] + WEIGHT)


class Controller:
    """At most `most` guesses a row and step."""

    def __init__(self, most: int = 8) -> None:
        self.most = most
        self.step, self.draft = Line(), Line()  # seconds by guesses read, and by guesses made
        self.draft.add(0, 0.0)
        self.all = Rates(SLOWLY)
        self.rows: WeakKeyDictionary[Row, Rates] = WeakKeyDictionary()
        self.asked: dict[Row, int] = {}  # guesses that were asked for in this step
        self.found = 1.0  # share of the rows asked for guesses that got some
        self.running, self.seen, self.rest, self.far = 1, 0, 0, 0
        self.trying = self.pays = self.calm = False  # calm: nobody was asked in the step before
        self.debt = 0.0  # seconds that trials took and did not bring back
        self.own = 0.0  # seconds that the controller itself takes
        self.took = [0.0] * (most + 1)  # seconds of a step in which all rows are asked for so many guesses

    def awake(self) -> bool:
        """Whether this step is looked at; asked once a step."""
        if self.rest:
            self.rest -= 1
            return False
        self.asked.clear()
        self.pays = False
        return True

    def __call__(self, row: Row, room: int) -> int:
        """How many guesses this row gets in a step that is looked at."""
        most = min(self.most, room)
        if most < 1 or self.seen < 3 or self.seen % AFRESH < 2:  # steps without guesses are seen first, and again
            return 0
        k = min(self.best(self.rows.get(row), most), max(1, 2 * self.far))
        self.pays |= k > 0
        if k and self.seen % PROBE == 0 and not self.step.knows(2 * k * self.running):
            k = min(2 * k, most)
        elif not k and self.trying:
            k = min(TRIAL, most, max(1, 2 * self.far))
        self.asked[row] = k
        return k

    def best(self, rates: Rates | None, most: int) -> int:
        """The number with the most tokens a second: for this row, at the price that time has for all of them."""
        gains = self.gains(rates, most)
        every = gains if self.running == 1 else self.gains(None, most)
        plain = self.took[0]
        price = max((1 + g) / t for g, t in zip(every, self.took)) if plain > 0 else 0.0  # tokens a second, of a row
        worth = [g - price * (t - plain) for g, t in zip(gains, self.took)]
        k = max(range(most + 1), key=worth.__getitem__)
        return k if (1 + gains[k]) * plain >= MARGIN * self.took[k] else 0

    def gains(self, rates: Rates | None, most: int) -> list[float]:
        """Tokens that 0, 1, ..., `most` guesses bring, on average; what is not known of the row is as for all."""
        out, alive, prior, total = [0.0], self.found, PRIOR, 0.0
        for i in range(most):
            prior = self.all.rate(i, prior)
            alive *= rates.rate(i, prior) if rates else prior
            total += alive
            out.append(total)
        return out

    def speedup(self, k: int | None = None) -> float:
        """Tokens a second with k guesses for every row (by default the best number), over those without."""
        k = self.best(None, self.most) if k is None else k
        if not k or not self.took[k]:
            return 1.0
        return (1 + self.gains(None, k)[k]) * self.took[0] / self.took[k]

    def watch(
        self, seconds: float, drafting: float, asked: int, results: Sequence[tuple[Row, int, int]], running: int
    ) -> None:  # fmt: skip
        """After a step that was looked at and fed no prompts: how long it took beside the seconds of `drafting`, how
        many rows were asked for guesses, and for each that got some how many there were and how many stayed."""
        began = time.perf_counter()
        self.seen += 1
        self.running = max(1, running)
        guesses = sum(proposed for _, proposed, _ in results)
        if guesses or self.calm:  # after guessing, threads that waited have to be woken: not what a plain step takes
            self.step.add(guesses, seconds)
        self.calm = not asked
        if asked:
            drafting += self.own + (0.0 if guesses else max(0.0, seconds - self.step(0)))
            self.draft.add(guesses, drafting)
            self.found = FORGET * self.found + (1 - FORGET) * len(results) / asked
        for row, proposed, accepted in results:
            wanted = self.asked.get(row, proposed)
            self.far = max(self.far, proposed)
            self.all.add(wanted, proposed, accepted)
            self.rows.setdefault(row, Rates()).add(wanted, proposed, accepted)
        if self.seen % PRICE == 0 or not self.pays:
            self._price()
        if self.seen > 3:
            self._turn(drafting, guesses, asked, results)
        took = time.perf_counter() - began
        self.own = took if not self.own else min(0.9 * self.own + 0.1 * took, STRAY * self.own)

    def _price(self) -> None:
        """What steps take, by the number of guesses that each row is asked for."""
        none = (1 - self.found) ** self.running
        some = self.running * self.found / (1 - none) if none < 1 else 0.0  # rows that get guesses, if any does
        idle = none * (self.step(0) + self.draft(0))
        self.took = [self.step(0)] + [
            idle + (1 - none) * (self.step(some * k) + self.draft(some * k)) for k in range(1, self.most + 1)
        ]

    def _turn(self, drafting: float, guesses: int, asked: int, results: Sequence[tuple[Row, int, int]]) -> None:
        """Whether there is to be a trial, or rest after one."""
        if not asked:
            self.trying = not self.pays
            self.debt += drafting + self.own
            return
        self.trying = False
        lately = [None, *(self.rows[row] for row, _, _ in results)]
        if self.pays or any(self.best(rates, self.most) for rates in lately):
            return
        each = self.step(0)
        brought = each * sum(accepted for _, _, accepted in results) / self.running
        self.debt = max(-CREDIT * each, self.debt + drafting + self.step(guesses) - each - brought)
        if self.debt > 0:
            self.rest, self.debt = min(MANY, round(self.debt / (SHARE * max(each, 1e-9)))), 0.0
        self.rest = max(FEW, self.rest)
