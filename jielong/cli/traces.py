"""``jielong replay``, ``cost`` and ``diff``: what a trace tells afterwards, without a model."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from jielong.cli.common import Common

SHOWN = 20  # differing answers in the table


def replay(trace: Path, *, common: Common = Common()) -> None:
    """Run the strategies of a trace again on what was recorded, without a model, a tool or a sandbox.

    Fails where a strategy now asks for something else, or comes to another decision.

    Parameters
    ----------
    trace
        What `jielong ask --trace` or `jielong compare` wrote.
    """
    from jielong.base.errors import WorkFailed
    from jielong.cli.acting import hands
    from jielong.prompting.replay import repeat

    talk = common.talk()
    with hands(replay=True) as given:
        found = repeat(trace, given)
    if found.other:
        raise WorkFailed(f"{trace}: the strategies came to other decisions than were recorded: they have changed since")
    talk.answer(f"the same: {found.runs} runs, {found.calls} calls, none to a model, in {found.seconds:.2f} s "
                f"({found.calls / max(found.seconds, 1e-9):.0f} calls/s)")  # fmt: skip
    if found.lost:
        talk.warn(f"{found.lost} nodes belong to runs that did not end: go on with the trace")
    talk.answer(f"hash {found.hash}")
    talk.document(found)
    talk.next_command(f"jielong cost {trace}")


def cost(trace: Path, *, prices: Path | None = None, common: Common = Common()) -> None:
    """What a trace used: calls and tokens of every strategy and model, and their price.

    Tokens of prompts that the same model had read before are also told apart: an engine that keeps them, ours or a
    vendor's with a cache, does not read them again.

    Parameters
    ----------
    trace
        What `jielong ask --trace` or `jielong compare` wrote.
    prices
        A TOML file: [models."NAME"] with prompt = and completion =, for a million tokens.
    """
    from jielong.lm.money import load, shown
    from jielong.prompting.replay import cost as priced

    talk = common.talk()
    known = None if prices is None else load(prices)
    lines = priced(trace, known)
    currency = known.currency if known else ""
    rows = [(each.strategy, each.model, each.usage.calls, each.usage.prompt, each.again, each.usage.completion,
             "" if each.money is None else shown(each.money, currency)) for each in lines]  # fmt: skip
    total = sum((each.usage for each in lines[1:]), lines[0].usage) if lines else None
    money = sum((each.money for each in lines if each.money is not None), Decimal(0)) if known else None
    if total is not None and len(lines) > 1:
        rows.append(("all", "", total.calls, total.prompt, sum(each.again for each in lines), total.completion,
                     "" if money is None else shown(money, currency)))  # fmt: skip
    from jielong.base.talk import table_text

    talk.answer(table_text(("strategy", "model", "calls", "read", "of it again", "written", "cost"), rows))
    listed = [{"strategy": each.strategy, "model": each.model, "usage": each.usage, "again": each.again,
               "cost": None if each.money is None else str(each.money)} for each in lines]  # fmt: skip
    talk.document({"trace": trace, "lines": listed, "usage": total, "currency": currency,
                   "cost": None if money is None else str(money)})  # fmt: skip
    talk.next_command(f"jielong replay {trace}" if known else f"jielong cost {trace} --prices prices.toml")


def diff(first: Path, second: Path, *, common: Common = Common()) -> None:
    """How two traces differ: answers beside one another, and the first call that was another one.

    Parameters
    ----------
    first
        A trace.
    second
        Another, of the same problems.
    """
    from jielong.base import stats
    from jielong.base.talk import table_text
    from jielong.prompting.replay import diff as differences

    talk = common.talk()
    found = differences(first, second)
    other = [each for each in found if not each.same]
    both = [(bool(each.first["right"]), bool(each.second["right"])) for each in found
            if each.first and each.second and "right" in each.first and "right" in each.second]  # fmt: skip
    counts = {name: sum(pair == each for each in both) for name, pair in PAIRS.items()}
    talk.answer(f"{len(found)} runs, {len(found) - len(other)} with the same answer, {len(other)} not")
    if other:
        rows = [(each.problem, each.strategy, _value(each.first), _value(each.second), each.call)
                for each in other[:SHOWN]]  # fmt: skip
        talk.answer(table_text(("problem", "strategy", "first", "second", "first other call"), rows))
        if len(other) > SHOWN:
            talk.say(f"and {len(other) - SHOWN} more")
    p = stats.exact_sign(counts["only first"], counts["only second"]) if both else None
    if both:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        talk.answer(f"right: {told}; p {p:.3g} that both are right equally often")
    listed = [{"problem": each.problem, "strategy": each.strategy, "first": each.first and each.first["value"],
               "second": each.second and each.second["value"], "call": each.call} for each in other]  # fmt: skip
    talk.document({"runs": len(found), "same": len(found) - len(other), "right": counts, "p": p, "other": listed})
    talk.next_command(f"jielong cost {second}")


PAIRS = {"both": (True, True), "only first": (True, False), "only second": (False, True), "neither": (False, False)}


def _value(answer: object) -> str:
    value = answer["value"] if isinstance(answer, dict) else None
    return "(none)" if value is None else str(value)[:40]
