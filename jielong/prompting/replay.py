"""What a trace tells afterwards: the same again without a model, what it cost, how two of them differ.

    again = repeat("t.jsonl")            # the strategies' code on the recorded replies: the same nodes, or what is not
    cost("t.jsonl", prices)              # tokens of every strategy and model, priced after the run
    diff("a.jsonl", "b.jsonl")           # answers beside one another, and the first call that was another one
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from jielong.base.errors import UserError
from jielong.lm.money import Prices
from jielong.lm.prompts import key_of
from jielong.lm.protocol import Usage, gather
from jielong.prompting import spec
from jielong.prompting.problems import unpack
from jielong.prompting.trace import Run, Trace, hash_of, read

Nodes = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Repeated:
    """`other`: nodes that were not recorded: decisions that came out differently. `lost`: recorded nodes that did not
    come again, as those of a run that was cut off."""

    hash: str
    other: int
    lost: int
    runs: int
    calls: int
    seconds: float


def repeat(path: str | Path, given: spec.Given = spec.NOTHING) -> Repeated:
    """Run all strategies of a trace again on what was recorded; `given` as in `spec`. NotRecorded for a call that the
    trace does not hold: the strategies have changed since. UserError for a run without a text form."""
    trace = Trace(path, replay=True)
    nodes = list(read(path))
    problems = {each["problem"]: unpack(each) for each in nodes if each["node"] == "problem"}
    runs = {each["run"]: each for each in nodes if each["node"] == "run"}
    if any(not each["strategy"] for each in runs.values()):
        raise UserError(f"{path} holds runs of strategies without a text form: replay it in Python, Trace(path, "
                        "replay=True)")  # fmt: skip
    made = {each["strategy"]: spec.parse(each["strategy"], given) for each in runs.values()}
    answers = [each for each in nodes if each["node"] == "answer"]

    async def all_of_them() -> None:
        calls = []
        for each in answers:
            about = runs[each["run"]]
            run = Run(about["strategy"], about["settings"], tuple(about["place"]))
            calls.append(trace.run(made[run.strategy], None, problems[each["problem"]], run))
        await gather(*calls)

    began = time.perf_counter()
    asyncio.run(all_of_them())
    seconds = time.perf_counter() - began
    calls = sum(each["node"] == "call" for each in nodes)
    other, lost = len(trace.met - trace.recorded), len(trace.recorded - trace.met)
    return Repeated(hash_of(trace.recorded), other, lost, len(answers), calls, seconds)


@dataclass
class Line:
    """What one strategy used of one model. `again`: tokens of prompts that this model had read before."""

    strategy: str
    model: str
    usage: Usage = field(default_factory=Usage)
    again: int = 0
    money: Decimal | None = None


def cost(path: str | Path, prices: Prices | None = None) -> list[Line]:
    """A line for each strategy and model, in the order of the trace. UserError where a model has no price."""
    strategies: dict[str, str] = {}
    lines: dict[tuple[str, str], Line] = {}
    seen: set[str] = set()
    for node in read(path):
        if node["node"] == "run":
            strategies[node["run"]] = node["strategy"] or "?"
        if node["node"] != "call":
            continue
        place = (strategies.get(node["run"], "?"), node["model"])
        line = lines.setdefault(place, Line(*place))
        used = Usage(**node["usage"])
        line.usage += used
        if node["verb"] == "sample":
            asked = key_of(node["model"], node["prompt"])
            line.again += used.prompt if asked in seen else 0
            seen.add(asked)
    for line in lines.values():
        line.money = None if prices is None else prices.of(line.model).of(line.usage)
    return list(lines.values())


@dataclass(frozen=True)
class Difference:
    """One run of one problem in two traces: the answers (None: not there), and whether they are right where known;
    `call`: the first call of the one that the other does not have."""

    problem: str
    strategy: str
    first: Mapping[str, Any] | None
    second: Mapping[str, Any] | None
    call: str = ""

    @property
    def same(self) -> bool:
        """Whether both gave the same answer."""
        return self.first is not None and self.second is not None and self.first["value"] == self.second["value"]


def diff(first: str | Path, second: str | Path) -> list[Difference]:
    """All runs of both traces, those of the first before those that only the second has."""
    one, other = _answers(first), _answers(second)
    found = []
    for key in dict.fromkeys([*one, *other]):
        problem, strategy, _ = key
        mine, theirs = one.get(key), other.get(key)
        call = _first_other(mine[1], theirs[1]) if mine and theirs else ""
        found.append(Difference(problem, strategy, mine and mine[0], theirs and theirs[0], call))
    return found


def _answers(path: str | Path) -> dict[tuple[str, str, str], tuple[Mapping[str, Any], Nodes]]:
    """(problem, strategy, branch) -> its answer and its calls."""
    nodes = list(read(path))
    runs = {each["run"]: each for each in nodes if each["node"] == "run"}
    calls: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in nodes:
        if each["node"] == "call":
            calls.setdefault((each["run"], each["problem"]), []).append(each)
    found: dict[tuple[str, str, str], tuple[Mapping[str, Any], Nodes]] = {}
    for each in nodes:
        if each["node"] == "answer":
            about = runs[each["run"]]
            key = (each["problem"], about["strategy"], str(about["place"]))
            found[key] = (each, calls.get((each["run"], each["problem"]), []))
    return found


def _first_other(mine: Nodes, theirs: Nodes) -> str:
    """The first call with a reply that the other trace has not: its last turn and what came back."""

    def said(node: Mapping[str, Any]) -> tuple[str, ...]:
        replies = [each.get("text", "") if isinstance(each, Mapping) else "" for each in node["replies"]]
        return (key_of(node.get("prompt"), node["path"]), *replies)

    known = {said(each) for each in theirs}
    for each in mine:
        if said(each) not in known:
            prompt = each.get("prompt") or ""
            turn = prompt if isinstance(prompt, str) else prompt[-1]
            asked = str(turn["content"] if isinstance(turn, Mapping) else turn)
            return f"{' '.join(asked.split())[-60:]} -> {' '.join(' '.join(said(each)[1:]).split())[:60]}"
    return ""
