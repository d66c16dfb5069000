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
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from weakref import WeakKeyDictionary

from jielong.infer.schedule import Row

FORGET, SLOWLY = 0.97, 0.995  # what a guess of a row weighs one guess later; and one of all rows
LATEST, SURE = 15, 5  # steps whose mean is taken, and from which on it can be trusted
STRAY = 2.0  # a step that takes so many times the median was disturbed: it does not count
AFRESH, EARLY = 256, (16, 32, 64, 128)  # steps after which one without guesses is looked at: it grows with the text
SETTLED = 2  # steps before it in which nothing is done about guesses
PRICE = 4  # steps with guesses after which it is worked out anew what they take
PROBE = 8  # steps between two that guess twice as far as seems best, until it is known what that costs
PRIOR, WEIGHT = 0.6, 2.0  # the rate of a place nobody has seen, and how many guesses that opinion is worth
MARGIN = 1.02  # promised speed-ups below this are not worth the noise
SHARE = 0.005  # of the time that may go into trials while guesses do not pay
FEW, MANY = 4, 1024  # steps between two trials, at least and at most
TRIAL = 2  # guesses of a trial, twice as many after one that was right
CREDIT = 3.0  # steps that trials may have won and lose again


class Line:
    """A rising curve through what was seen last near each x (means, without what a hiccup of the machine made much
    larger than the median): what was seen of one x is not forgotten while only others come. Where little was seen the
    curve leans on the straight line through all, `at + by x`, along which it also goes on; `by` is never negative."""

    def __init__(self) -> None:
        self.seen: dict[int, deque[tuple[float, float]]] = {}  # by size of x: the latest (x, y)
        self.middles: dict[int, tuple[int, float, float]] = {}  # how many, mean x, mean y
        self.at, self.by = 0.0, 0.0
        self.points: list[tuple[float, float]] = []  # of the curve; none before it is asked for

    def add(self, x: float, y: float) -> None:
        """One more point."""
        size = _size(x)
        self.seen.setdefault(size, deque(maxlen=LATEST)).append((x, y))
        self.middles.pop(size, None)
        self.points = []

    def knows(self, x: float) -> bool:
        """Whether enough was seen near x."""
        return len(self.seen.get(_size(x), ())) >= SURE

    def _fit(self) -> None:
        for size in self.seen.keys() - self.middles.keys():
            latest = self.seen[size]
            most = STRAY * statistics.median(y for _, y in latest)
            usual = [(x, y) for x, y in latest if y <= most]
            x, y = (sum(column) / len(usual) for column in zip(*usual))
            self.middles[size] = len(latest), x, y
        found = sorted(self.middles.values(), key=lambda middle: middle[1])
        count = sum(n for n, _, _ in found)
        x0 = sum(n * x for n, x, _ in found) / count
        y0 = sum(n * y for n, _, y in found) / count
        spread = sum(n * (x - x0) ** 2 for n, x, _ in found)
        self.by = max(0.0, sum(n * (x - x0) * (y - y0) for n, x, y in found) / spread) if spread else 0.0
        self.at = max(0.0, y0 - self.by * x0)
        ys = [y + (self.at + self.by * x - y) / (n * n + 1) for n, x, y in found]
        up, down = accumulate(ys, max), [*accumulate(reversed(ys), min)][::-1]  # between these two it rises
        self.points = [(x, (a + b) / 2) for (_, x, _), a, b in zip(found, up, down)]

    def __call__(self, x: float) -> float:
        if not self.points:
            if not self.seen:
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
        self.trying = self.pays = False
        self.fresh = True  # the next step that is looked at goes without guesses
        self.trial = TRIAL
        self.share = 1.0  # of the latest steps, those that asked for guesses
        self.calm = 0  # steps since somebody was asked
        self.debt = 0.0  # seconds that trials took and did not bring back
        self.own = 0.0  # seconds that the controller itself takes
        self.took = [0.0] * (most + 1)  # seconds of a step in which all rows are asked for so many guesses

    def awake(self) -> bool:
        """Whether this step is looked at; asked once a step."""
        self.share *= SLOWLY
        if self.rest:
            self.rest -= 1
            self.calm += 1
            return False
        self.asked.clear()
        self.pays = False
        return True

    def __call__(self, row: Row, room: int) -> int:
        """How many guesses this row gets in a step that is looked at."""
        most = min(self.most, room)
        if most < 1 or self.fresh:
            return 0
        k = min(self.best(self.rows.get(row), most), max(1, 2 * self.far))
        self.pays |= k > 0
        if k and self.seen % (AFRESH if self.step.knows(2 * k * self.running) else PROBE) == PROBE - 1:
            k = min(2 * k, most)
        elif not k and self.trying:
            k = min(self.trial, most, max(1, 2 * self.far))
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
        """Tokens a second with k guesses for every row in every step, over those without. By default the best number,
        in as many steps as somebody has been asked for guesses lately."""
        share = self.share if k is None else 1.0
        k = self.best(None, self.most) if k is None else k
        if not k or not self.took[k]:
            return 1.0
        tokens, took = 1 + self.gains(None, k)[k], self.took[k] / self.took[0]
        return (share * tokens + 1 - share) / (share * took + 1 - share)

    def watch(
        self, seconds: float, drafting: float, asked: int, results: Sequence[tuple[Row, int, int]], running: int
    ) -> None:  # fmt: skip
        """After a step that was looked at and fed no prompts: how long it took beside the seconds of `drafting`, how
        many rows were asked for guesses, and for each that got some how many there were and how many stayed."""
        began = time.perf_counter()
        self.seen += 1
        self.running = max(1, running)
        guesses = sum(proposed for _, proposed, _ in results)
        if guesses or self.calm >= SETTLED:
            self.step.add(guesses, seconds)
        fresh, self.calm = self.fresh, 0 if asked else self.calm + 1
        self._refresh()
        if asked:
            self.share += 1 - SLOWLY
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
        if not fresh:
            self._turn(drafting, guesses, asked, results)
        took = time.perf_counter() - began
        self.own += 0.1 * (min(took, 2 * self.own or took) - self.own)

    def _refresh(self) -> None:
        """Whether what a plain step takes is to be seen anew: a few steps after anything was done about guesses, or
        looking itself would slow it (caches, and threads that slept meanwhile)."""
        if self.fresh and self.calm > SETTLED:
            self.fresh = False
        elif self.fresh or (self.pays and self.seen >= PROBE and self.seen % AFRESH in (0, *EARLY)):
            self.fresh, self.rest = True, max(0, SETTLED - self.calm)

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
        whole = all(proposed == accepted for _, proposed, accepted in results)
        self.trial = min(2 * self.trial, self.most) if results and whole else TRIAL  # more may pay where these do not
        each = self.step(0)
        brought = each * sum(accepted for _, _, accepted in results) / self.running
        self.debt = max(-CREDIT * each, self.debt + drafting + self.step(guesses) - each - brought)
        if self.debt > 0:
            self.rest, self.debt = min(MANY, round(self.debt / (SHARE * max(each, 1e-9)))), 0.0
        self.rest = max(FEW, self.rest)
