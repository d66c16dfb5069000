"""Money: exact sums, a purse that holds, and servers that stall, lie, babble and die."""

from __future__ import annotations

import asyncio
import io
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from jielong.base.errors import UserError, WorkFailed
from jielong.base.talk import Talk
from jielong.lm.meter import BudgetSpent
from jielong.lm.money import Paid, Price, Prices, Purse, load, longest, shown, watching
from jielong.lm.protocol import LM, Draw, Usage, gather
from jielong.lm.remote import Remote
from jielong.lm.scripted import Scripted
from tests.lm.faults import READ, TEXT, WRITTEN, Server, faulty

PRICE = Price(Decimal("0.15"), Decimal("0.60"), Decimal("0.0001"))
CHAT = [{"role": "user", "content": "What is the answer to everything?"}]


def paid(server: Server, most: Any = 1, **more: Any) -> Paid:
    timeout = 0.4 if "stall" in server.plan else 20
    lm = Remote(server.url, "m", **{"timeout": timeout, "retries": 1, "pause": 0.01, **more})
    return Paid(lm, PRICE, Purse(most))


def test_the_price_of_a_ledger_is_exact() -> None:
    usage = Usage(3, 1_234_567, 89)
    assert PRICE.of(usage) == Decimal("0.18518505") + Decimal("0.0000534") + Decimal("0.0003")
    assert sum((PRICE.of(Usage(0, 1, 0)) for _ in range(10)), Decimal(0)) == Decimal("0.0000015")  # floats miss this


def test_prices_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('currency = "TWD"\n[models."a/b"]\nprompt = 0.1\ncompletion = 2\ncall = 0.01\n')
    prices = load(path)
    assert prices.of("http://x/v1#a/b") == prices.of("a/b") == Price(Decimal("0.1"), Decimal(2), Decimal("0.01"))
    assert prices.currency == "TWD"
    with pytest.raises(UserError, match=r'no price of c \(only of a/b\): add \[models."c"\]'):
        prices.of("http://x/v1#c")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "has no models"),
        ("models = 3", "has no models"),
        ("[models", "is no TOML file"),
        ('[models."m"]\nprompt = 1', "needs prompt = and completion ="),
        ('[models."m"]\nprompt = -1\ncompletion = 1', "prompt of m is -1"),
        ('[models."m"]\nprompt = nan\ncompletion = 1', "prompt of m is NaN"),
        ('[models."m"]\nprompt = "1"\ncompletion = 1', "prompt of m is 1"),
        ('[models."m"]\nprompt = true\ncompletion = 1', "prompt of m is True"),
        ('[models."m"]\ninput = 1', "'input', which is no price"),
        ('currency = 3\n[models."m"]\nprompt = 1\ncompletion = 1', "currency is 3"),
    ],
)
def test_a_wrong_file_of_prices_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(UserError, match=line):
        load(tmp_path / "p.toml")
    with pytest.raises(UserError, match="cannot read"):
        load(tmp_path / "none.toml")


def test_a_purse_holds_no_nonsense_and_money_reads_well() -> None:
    for wrong in ("-1", "nan", "inf", "ten", None):
        with pytest.raises(UserError, match="a budget of"):
            Purse(wrong)
    assert [shown(Decimal(v)) for v in ("0", "12.345", "0.012345", "0.0000012")] == [
        "USD 0.00", "USD 12.34", "USD 0.01234", "USD 0.000001200"]  # fmt: skip


def test_nothing_is_sent_that_may_cost_more_than_is_left() -> None:
    lm = Scripted({"": "one two three"})
    most = PRICE.of(Usage(2, 2 * longest(lm, "hi"), 2 * 10))
    for sum_, fits in ((most, True), (most - Decimal("1e-12"), False)):
        lm = Scripted({"": "one two three"})
        wallet = Paid(lm, PRICE, Purse(sum_))
        if fits:
            assert len(wallet.sample("hi", 2, max_tokens=10)) == 2 and wallet.usage == Usage(2, 2, 6)
            assert wallet.spent == PRICE.of(wallet.usage) == sum_ - wallet.purse.left  # type: ignore[union-attr]
        else:
            with pytest.raises(BudgetSpent, match=r"may cost USD .* are left: raise the budget"):
                wallet.sample("hi", 2, max_tokens=10)
            assert lm.calls == [] and wallet.spent == 0 and wallet.purse.left == sum_  # type: ignore[union-attr]


class Odd(LM):
    """A model that uses what it is told to, whatever it was asked for."""

    name, capabilities = "odd", frozenset({"sample"})

    def __init__(self, uses: list[tuple[int, int]]) -> None:
        self.uses, self.sent = list(uses), 0

    async def asample(self, prompt: Any, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        self.sent += 1
        used = self.uses[min(self.sent, len(self.uses)) - 1]
        await asyncio.sleep(0)
        if used == (0, 0):
            raise WorkFailed("died")
        return [Draw("a b c", usage=Usage(1, *used))]


USES = some.tuples(some.integers(0, 500), some.integers(0, 500))


@given(some.lists(USES, min_size=1, max_size=40), some.integers(0, 400))
def test_a_budget_is_never_exceeded_by_more_than_one_call(uses: list[tuple[int, int]], most: int) -> None:
    """Any model, honest or not, asked one call after another: more than is allowed is spent by at most the call that
    lied, and nothing is sent after it. The purse and the ledger agree to the last digit."""
    lm = Odd(uses)
    wallet = Paid(lm, Price(Decimal(1), Decimal(1)), Purse(Decimal(most) / 10**6))
    before, largest = Decimal(0), max(sum(u) for u in uses)
    for _ in range(60):
        try:
            wallet.sample("hi", max_tokens=20)
        except BudgetSpent:
            break
        except WorkFailed:
            if wallet.lie:
                break
        before = wallet.spent
    purse = wallet.purse
    assert purse is not None and purse.most - purse.left == wallet.spent == before
    honest = all(p <= longest(lm, "hi") and c <= 20 for p, c in uses[: lm.sent])
    assert wallet.spent <= purse.most + (0 if honest else Decimal(largest) / 10**6)
    sent = lm.sent
    if wallet.lie:
        with pytest.raises(WorkFailed, match="so nothing more is sent"):
            wallet.sample("hi")
        assert lm.sent == sent


def test_calls_at_once_share_one_purse() -> None:
    most = PRICE.of(Usage(1, longest(Scripted(""), "hi"), 8))
    lm = Scripted({"": "a b c d e f g h"})
    wallet = Paid(lm, PRICE, Purse(most * 5))

    async def many() -> list[Any]:
        return await asyncio.gather(*(wallet.asample(p, max_tokens=8) for p in ["hi"] * 200), return_exceptions=True)

    found = asyncio.run(many())
    assert wallet.spent <= wallet.purse.most and len(lm.calls) >= 5  # type: ignore[union-attr]
    assert {type(each) for each in found} == {list, BudgetSpent}


@pytest.mark.parametrize("how", ["stall", "half", "garbage", "noise", "hang up", "429", "500"])
def test_a_server_that_fails_is_one_line_in_bounded_time_and_the_budget_holds(how: str) -> None:
    """Whatever may have been worked on counts as the most it can have cost, so that the purse holds in truth."""
    with faulty([how]) as server:
        wallet, began = paid(server), time.monotonic()
        with pytest.raises(WorkFailed, match=r"127\.0\.0\.1") as caught:
            wallet.sample(CHAT, max_tokens=9)
        assert time.monotonic() - began < 20 and "\n" not in str(caught.value)
        assert len(server.seen) == 2 or how == "stall"  # a slow machine may not even send it in time
        most = Usage(1, longest(wallet.lm, CHAT), 9)
        assert wallet.usage == Usage(0) and wallet.spent == wallet.unsettled == PRICE.of(most)


@pytest.mark.parametrize("how", ["stall", "half", "garbage", "noise", "hang up", "429", "500"])
def test_a_server_that_gets_well_loses_nothing(how: str) -> None:
    with faulty([how, "ok"]) as server:
        wallet = paid(server, retries=6)  # a slow machine may be late more than once
        assert wallet.sample(CHAT)[0].text == TEXT and wallet.usage == Usage(1, READ, WRITTEN)
        assert wallet.spent == PRICE.of(wallet.usage)


def test_retry_after_is_kept_to() -> None:
    with faulty(["429", "429", "ok"]) as server:
        began = time.monotonic()
        assert paid(server, retries=3).sample(CHAT)[0].text == TEXT
        assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("how", ["nothing", "negative"])
def test_a_server_that_understates_is_counted_by_our_words(how: str) -> None:
    with faulty([how]) as server:
        wallet = paid(server)
        assert wallet.sample(CHAT)[0].text == TEXT
        assert wallet.understated == (how == "nothing")  # what is below nothing `Remote` does not take
        assert wallet.usage == Usage(1, 9, 4) and wallet.purse.left < 1  # type: ignore[union-attr]


@pytest.mark.parametrize("how", ["words", "absent"])
def test_a_server_that_tells_no_usage_is_counted_by_our_words(how: str) -> None:
    with faulty([how]) as server:
        wallet = paid(server)
        assert wallet.sample(CHAT)[0].text == TEXT and wallet.usage == Usage(1, 9, 4)


def test_a_server_that_overstates_is_believed_once() -> None:
    with faulty(["billion"]) as server:
        wallet = paid(server)
        assert wallet.sample(CHAT)[0].text == TEXT  # the answer is there and paid for
        for _ in range(3):
            with pytest.raises(WorkFailed, match=r"claims \d+ tokens read and 1000000000 written.*more slack"):
                wallet.sample(CHAT)
        assert len(server.seen) == 1 and wallet.usage.completion == 10**9


def test_slack_is_for_what_is_thought_unseen() -> None:
    lm = Odd([(3, 70)])
    wallet = Paid(lm, PRICE, slack=4)
    wallet.sample("hi", max_tokens=20)
    assert not wallet.lie
    with pytest.raises(UserError, match="slack is 0"):
        Paid(lm, PRICE, slack=0.5)


def test_streams_are_bounded_and_counted() -> None:
    with faulty(["stream"]) as server:
        wallet = paid(server)
        assert "".join(wallet.stream(CHAT)) == TEXT
        assert wallet.usage == Usage(1, longest(wallet.lm, CHAT), len(TEXT)) and not wallet.unsettled
    bad = {"stream garbage": "not JSON", "stream dies": "not JSON|broke off", "stream endless": "beyond"}
    for how, line in bad.items():
        with faulty([how]) as server:
            wallet = paid(server)
            with pytest.raises(WorkFailed, match=line):
                list(wallet.stream(CHAT, max_tokens=9))
            assert wallet.spent == wallet.unsettled > 0 and wallet.purse.left >= 0  # type: ignore[union-attr]


def test_what_a_server_refuses_costs_nothing() -> None:
    wallet = Paid(Scripted({}), PRICE, Purse(1))
    with pytest.raises(UserError):
        wallet.sample("hi")
    assert wallet.spent == 0 and wallet.purse.left == 1  # type: ignore[union-attr]


def test_scores_and_forks_are_paid_for() -> None:
    lm = Paid(Scripted({"": "x"}, scores=lambda prompt, text: -1.0), PRICE)
    assert [s.total for s in lm.score("a", ["b", "c"])] == [-1.0, -1.0] and lm.usage.calls == 2
    lm.fork("before ").sample("a")
    assert lm.usage.calls == 3


def test_the_terminal_says_what_it_costs() -> None:
    stream = io.StringIO()
    lm = Paid(Scripted({"": "one two three"}), PRICE, Purse("0.01"))
    with watching(Talk(stream=stream), lm):
        lm.sample_many(["a b"] * 4, max_tokens=4)
    line = stream.getvalue().splitlines()[-1]
    assert "4 calls" in line and "cost USD 0.0004084" in line and "left USD 0.009592" in line and lm.tell is None
    assert lm.spent == Decimal("0.0004084")


def test_the_first_error_ends_the_others_and_all_is_settled() -> None:
    lm = Odd([(3, 3), (0, 0), (3, 3), (3, 3)])
    wallet = Paid(lm, Price(Decimal(1), Decimal(1)), Purse("1"))

    async def four() -> None:
        await gather(*(wallet.asample("hi", max_tokens=5) for _ in range(4)))

    with pytest.raises(WorkFailed, match="died"):
        asyncio.run(four())
    assert wallet.purse.most - wallet.purse.left == wallet.spent  # type: ignore[union-attr]


def test_prices_of_nothing_are_told() -> None:
    with pytest.raises(UserError, match=r"the prices: there is no price of x \(only of none\)"):
        Prices({}).of("x")
