"""What calls cost, and stopping before more is spent than was allowed.

    prices = load("prices.toml")
    lm = Paid(Remote(url, "small"), prices.of("small"), Purse("0.50"))
    with watching(talk, lm):                   # live: calls, cost, what is left
        lm.sample(...)

Tokens are the truth and prices are the user's, in a TOML file, since they change:

    currency = "USD"
    [models."small"]
    prompt = 0.15        # for a million tokens read
    completion = 0.60    # for a million tokens written
    call = 0.0           # for each request, where a vendor asks for it

Money is counted in decimals, so the price of a ledger of tokens is exact to the last digit.
"""

from __future__ import annotations

import threading
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError, WorkFailed
from jielong.lm.meter import BudgetSpent, count_words
from jielong.lm.prompts import Prompt, canonical, kind_of, text_of
from jielong.lm.protocol import LM, Draw, Score, Usage, check_draws, settings

if TYPE_CHECKING:
    import numpy as np

    from jielong.base.talk import Progress, Talk

NAMES = ("prompt", "completion", "call")
TEMPLATE, TURN = 64, 16  # tokens that a server may put around a text or a chat, and around each message
PACKED = 4  # more words than this are never one token


@dataclass(frozen=True)
class Price:
    """Of a million tokens read and written, and of one request."""

    prompt: Decimal = Decimal(0)
    completion: Decimal = Decimal(0)
    call: Decimal = Decimal(0)

    def of(self, usage: Usage) -> Decimal:
        """What these tokens and calls cost, exactly."""
        tokens = usage.prompt * self.prompt + usage.completion * self.completion
        return tokens.scaleb(-6) + usage.calls * self.call


@dataclass(frozen=True)
class Prices:
    """A price for each model's name."""

    models: Mapping[str, Price]
    currency: str = "USD"
    path: str = ""

    def of(self, name: str) -> Price:
        """The price of a model, by its whole name or the part after "#". UserError where there is none."""
        for key in (name, name.rpartition("#")[2]):
            if key in self.models:
                return self.models[key]
        short = name.rpartition("#")[2] or name
        known = ", ".join(self.models) or "none"
        where = self.path or "the prices"
        raise UserError(f'{where}: there is no price of {short} (only of {known}): add [models."{short}"]')


def load(path: str | Path) -> Prices:
    """The prices in a TOML file. UserError where it cannot be read, or a price is none."""
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no TOML file ({error}): mend it") from error
    models, currency = found.get("models"), found.get("currency", "USD")
    if not isinstance(models, dict) or not all(isinstance(m, dict) for m in models.values()):
        raise UserError(f'{path} has no models: write [models."NAME"] with prompt = and completion =')
    if not isinstance(currency, str):
        raise UserError(f'{path}: currency is {currency!r}: write currency = "USD"')
    priced = {name: _price(path, name, each) for name, each in models.items()}
    return Prices(priced, currency, str(path))


def _price(path: str | Path, name: str, told: Mapping[str, Any]) -> Price:
    for key, value in told.items():
        if key not in NAMES:
            raise UserError(f"{path}: {name} has {key!r}, which is no price: there are {', '.join(NAMES)}")
        right = isinstance(value, int | Decimal) and not isinstance(value, bool) and Decimal(value).is_finite()
        if not right or value < 0:
            raise UserError(f"{path}: {key} of {name} is {value}: give a number of 0 or more, for a million tokens")
    if not {"prompt", "completion"} <= set(told):
        raise UserError(f"{path}: {name} needs prompt = and completion =, for a million tokens each")
    return Price(**{key: Decimal(value) for key, value in told.items()})


def amount(value: Any) -> Decimal:
    """A sum of money. UserError unless it is a number of 0 or more."""
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        found = Decimal("nan")
    if not found.is_finite() or found < 0:
        raise UserError(f"a budget of {value!r}: give a number of 0 or more, such as 0.50")
    return found


def shown(value: Decimal, currency: str = "USD") -> str:
    """As people read it: two digits of cents, more where the sum is small."""
    digits = 2 if value == 0 or abs(value) >= 1 else min(10, 3 - value.adjusted())
    return f"{currency} {value:.{digits}f}"


class Purse:
    """A sum of money, shared by whatever is given it. Safe across threads."""

    def __init__(self, most: Any, currency: str = "USD") -> None:
        self.most = amount(most)
        self.left = self.most
        self.currency = currency
        self._lock = threading.Lock()

    def reserve(self, cost: Decimal) -> None:
        """Set money aside before a call. BudgetSpent if there is not as much."""
        with self._lock:
            if cost > self.left:
                left, most = (shown(each, self.currency) for each in (max(self.left, Decimal(0)), self.most))
                raise BudgetSpent(f"the call may cost {shown(cost, self.currency)} and {left} of {most} are left: "
                                  "raise the budget, or ask for fewer or shorter draws")  # fmt: skip
            self.left -= cost

    def release(self, cost: Decimal) -> None:
        """Give back what was set aside and not spent."""
        with self._lock:
            self.left += cost


@dataclass
class Bill:
    """What one call used; `told` is False while nobody has said."""

    usage: Usage = field(default_factory=Usage)
    told: bool = False

    def add(self, usage: Usage) -> None:
        self.usage, self.told = self.usage + usage, True


class Paid(LM):
    """`lm` with a price on every call: reserved before it is sent, settled when it is known what it used.

    Each draw is priced as a request of its own, which is what `Remote` sends. Whatever may have reached the server and
    brought no answer (it stalled, it died, we were cancelled) counts as the most it can have cost: `unsettled`. A
    server that says it read or wrote less than the text can have is counted by our words instead (`understated`
    times); one that claims more than was asked of it is believed, and nothing more is sent to it. `slack`: tokens that
    a draw may be billed for one that it shows, above 1 for models that are paid for thinking unseen. `tell` is called
    after each call.

    So an honest server never costs more than the purse holds, however many calls run at once; one that lies, at most
    the calls that were under way when it first did.
    """

    transparent = True  # to a cache: what is said does not depend on it

    def __init__(self, lm: LM, price: Price, purse: Purse | None = None, *, slack: float = 1.0,
                 tell: Callable[[], object] | None = None) -> None:  # fmt: skip
        if not slack >= 1:
            raise UserError(f"slack is {slack}: give 1 or more")
        self.lm, self.price, self.purse, self.slack, self.tell = lm, price, purse, slack, tell
        self.capabilities = lm.capabilities
        self.currency = purse.currency if purse else "USD"
        self.unsettled, self.understated, self.lie = Decimal(0), 0, ""
        self._usage = Usage()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.lm.name

    @property
    def usage(self) -> Usage:
        """The ledger: what the calls that came back used, each draw a request."""
        return self._usage

    @property
    def spent(self) -> Decimal:
        """The price of the ledger, and what is unsettled."""
        return self.price.of(self._usage) + self.unsettled

    async def asample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        check_draws(n, start)
        most = self._most(prompt, sampling)
        with self._call(Usage(n, n * most.prompt, n * most.completion)) as bill:
            draws = await self.lm.asample(prompt, n, start, **sampling)
            for draw in draws:
                bill.add(self._believed(prompt, draw))
        return draws

    async def astream(self, prompt: Prompt, start: int = 0, **sampling: Any) -> AsyncIterator[str]:
        """A stream tells no usage, so its tokens count as many as its bytes can be. One that goes on beyond what was
        asked for is WorkFailed."""
        most, text = self._most(prompt, sampling), ""
        with self._call(most) as bill:
            async for piece in self.lm.astream(prompt, start, **sampling):
                text += piece
                yield piece
                if count_words(text) > most.completion:
                    raise WorkFailed(f"{self.name} writes on beyond the {most.completion} tokens it was asked for: "
                                     "cut off, and counted whole")  # fmt: skip
            bill.add(Usage(1, most.prompt, min(most.completion, len(text.encode("utf-8", "replace")))))

    async def ascore(self, prompt: Prompt, continuations: Sequence[str]) -> list[Score]:
        """Scores tell no usage either: texts count as their bytes, or exactly where the tokenizer is ours."""
        read = sum(longest(self.lm, prompt) + _bytes(text) for text in continuations)
        with self._call(Usage(len(continuations), read, len(continuations))) as bill:
            scores = await self.lm.ascore(prompt, continuations)
            bill.add(Usage(len(continuations), read, len(continuations)))
        return scores

    async def aembed(self, texts: Sequence[str]) -> np.ndarray:
        most = Usage(1, sum(map(_bytes, texts)) + TEMPLATE * len(texts), 0)
        with self._call(most) as bill:
            vectors = await self.lm.aembed(texts)
            bill.add(most)
        return vectors

    def _most(self, prompt: Prompt, sampling: Mapping[str, Any]) -> Usage:
        """The most that one draw can use."""
        wanted = settings(sampling)
        return Usage(1, longest(self.lm, prompt), int(wanted.max_tokens * self.slack))

    def _believed(self, prompt: Prompt, draw: Draw) -> Usage:
        """What the draw says it used, or our count where it cannot be so few."""
        floors = (count_words(text_of(prompt)), count_words(draw.text))
        told = (draw.usage.prompt, draw.usage.completion)
        if all(claim * PACKED >= floor and claim >= 0 for claim, floor in zip(told, floors)):
            return Usage(1, *told)
        with self._lock:
            self.understated += 1
        return Usage(1, *(max(pair) for pair in zip(told, floors)))

    @contextmanager
    def _call(self, most: Usage) -> Iterator[Bill]:
        """Around one call that uses at most `most`."""
        if self.lie:
            raise WorkFailed(self.lie)
        cost = self.price.of(most)
        if self.purse is not None:
            self.purse.reserve(cost)
        bill, due = Bill(), Decimal(0)
        try:
            yield bill
        except (BudgetSpent, UserError):  # one of them was not sent, the other was refused
            bill.told = True
            raise
        finally:
            due = self.price.of(bill.usage) if bill.told else cost
            if self.purse is not None:
                self.purse.release(cost - due)
            with self._lock:
                self._usage += bill.usage
                self.unsettled += Decimal(0) if bill.told else cost
                if bill.usage.prompt > most.prompt or bill.usage.completion > most.completion:
                    self.lie = self._lied(bill.usage, most)
            if self.tell is not None:
                self.tell()

    def _lied(self, used: Usage, most: Usage) -> str:
        return (f"{self.name} claims {used.prompt} tokens read and {used.completion} written where {most.prompt} and "
                f"{most.completion} can be at most, so nothing more is sent to it: a model that thinks unseen needs "
                "more slack")  # fmt: skip


def longest(lm: LM, prompt: Prompt) -> int:
    """At most so many tokens are read: exactly where the tokenizer is at hand; no token is less than a byte."""
    own = getattr(lm, "tokens", None)
    if callable(own):
        return len(own(prompt))
    if kind_of(prompt) == "ids":
        return len(canonical(prompt)) + TEMPLATE
    turns = 0 if isinstance(prompt, str) else len(prompt)
    return _bytes(text_of(prompt)) + TEMPLATE + TURN * turns


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


@contextmanager
def watching(talk: Talk, lm: Paid, label: str = "asking") -> Iterator[Progress]:
    """One line that says, while calls are made, how many there were, what they cost, and what is left."""

    def tell() -> None:
        purse = {"left": shown(lm.purse.left, lm.currency)} if lm.purse else {}
        progress.update(lm.usage.calls, tokens=lm.usage.tokens, cost=shown(lm.spent, lm.currency), **purse)

    before = lm.tell
    with talk.progress(None, label, "calls") as progress:
        lm.tell = tell
        try:
            yield progress
        finally:
            lm.tell = before
            tell()
