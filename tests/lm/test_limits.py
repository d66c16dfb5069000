"""Requests and tokens a minute, with a clock that is ours."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from jielong.base.errors import UserError
from jielong.lm.limits import Limited
from jielong.lm.money import longest
from jielong.lm.protocol import Draw, gather
from jielong.lm.scripted import Scripted

PROMPT = longest(Scripted(""), "hi")


class Clock:
    """Time passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        await asyncio.sleep(0)


class Timed(Scripted):
    """Notes when each draw was sent, and what it may use."""

    def __init__(self, clock: Clock) -> None:
        super().__init__({"": "a b c"})
        self.clock, self.sent = clock, []

    async def asample(self, prompt: Any, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        self.sent.append((self.clock(), PROMPT + sampling.get("max_tokens", 256)))
        return await super().asample(prompt, n, start, **sampling)


def limited(requests: int = 0, tokens: int = 0) -> tuple[Limited, Timed]:
    clock = Clock()
    lm = Timed(clock)
    return Limited(lm, requests, tokens, clock=clock, sleep=clock.sleep), lm


def test_ten_a_minute_are_sent_ten_a_minute() -> None:
    lm, inner = limited(requests=10)
    lm.sample("hi", 35)
    assert [when for when, _ in inner.sent] == pytest.approx([0.0] * 10 + [60.0] * 10 + [120.0] * 10 + [180.0] * 5)
    assert lm.waited == pytest.approx(180.0) and lm.usage.calls == 35


@given(some.lists(some.integers(1, 40), min_size=1, max_size=30), some.integers(1, 9))
def test_no_minute_wherever_it_begins_has_more_requests(sizes: list[int], requests: int) -> None:
    lm, inner = limited(requests)

    async def all_of_them() -> None:
        await gather(*(lm.asample("hi", max_tokens=size) for size in sizes))

    asyncio.run(all_of_them())
    assert [size for _, size in inner.sent] == [PROMPT + size for size in sizes]  # first come, first served
    for when, _ in inner.sent:
        assert sum(when <= at < when + 60 for at, _ in inner.sent) <= requests


def test_a_call_counts_as_the_most_it_may_use_until_it_is_back() -> None:
    """And then as what it used: so more of them fit into a minute than its tokens allow at once."""
    lm, inner = limited(tokens=PROMPT + 30)
    lm.sample("hi", max_tokens=20)  # used 1 + 3
    lm.sample("hi", max_tokens=20)  # 4 and PROMPT + 20 fit
    lm.sample("hi", max_tokens=22)
    assert [when for when, _ in inner.sent] == [0.0] * 3
    lm.sample("hi", max_tokens=22)  # 12 and PROMPT + 22 do not
    assert [when for when, _ in inner.sent] == [0.0] * 3 + [60.0]


def test_what_cannot_ever_be_sent_is_said_at_once() -> None:
    lm, inner = limited(tokens=100)
    with pytest.raises(UserError, match=r"may use \d+ tokens and 100 are allowed a minute"):
        lm.sample("hi", max_tokens=100)
    assert inner.sent == [] and lm.waited == 0
    with pytest.raises(UserError, match="limits of -1"):
        Limited(inner, -1)


def test_without_limits_nothing_waits_and_order_is_that_of_the_calls() -> None:
    lm, _ = limited()
    assert len(lm.sample("hi", 500)) == 500 and lm.waited == 0
    lm, inner = limited(requests=1)
    lm.sample_many(["a", "b", "c"])
    assert [call.prompt for call in inner.calls] == ["a", "b", "c"]


def test_streams_and_scores_wait_too() -> None:
    lm, inner = limited(requests=1)
    assert "".join(lm.stream("hi")) == "a b c" == "".join(lm.stream("hi")) and lm.waited == 60.0
    scored = Limited(Scripted("", scores=lambda p, c: -1.0), 1, clock=inner.clock, sleep=inner.clock.sleep)
    assert len(scored.score("a", ["b", "c"])) == 2 and scored.waited == 60.0
