"""What strategies did, written down as it happens: to read, to price, to compare, to repeat without a model.

    trace = Trace("runs/ask.jsonl")
    answer = await trace.run(cot, lm, problem)             # every call and every decision becomes a line
    trace.hash                                             # the same at any concurrency, and after kill -9 and resume

A trace is append-only JSONL, one node a line: `call` (what a model was sent and what came back), `tool`, `retrieve`,
`vote`, `decide` (what a strategy made of it), `answer`, and of each run its `model`, `problem` and `run`. A node's id
is a hash of all that is in it but the time `at`; `parents` are the nodes it followed from. The hash of a trace is that
of its set of ids, so the order in which things ended does not matter.

What was recorded is not asked again: a trace that is there is gone on with, and one that is opened with
`replay=True` needs no model. A strategy says what it decides with `note`; where nobody writes, that does nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError
from jielong.base.files import append_jsonl, read_jsonl
from jielong.base.plain import plain
from jielong.lm.meter import Budget, BudgetSpent, Meter
from jielong.lm.prompts import key_of
from jielong.lm.protocol import LM, BadPrompt
from jielong.prompting.strategy import Answer, Branch, Problem, Strategy

if TYPE_CHECKING:
    from jielong.prompting.traced import Traced

FORMAT = 1
KINDS = ("model", "problem", "run", "call", "tool", "retrieve", "vote", "decide", "spent", "answer")
LAST: ContextVar[tuple[str, ...]] = ContextVar("last", default=())  # the nodes that this task's next one follows


@dataclass(frozen=True)
class Run:
    """How a strategy was run. `strategy`: its text form, empty where it has none; `settings` of sampling; `place`: the
    branch of the model on which it ran, none where it is the only one."""

    strategy: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    place: tuple[Any, ...] = ()

    @property
    def key(self) -> str:
        """What stands for it in the nodes."""
        return key_of(self.strategy, self.settings, self.place)[:12]


class Trace:
    """The nodes of a file, and what follows. Without a `path` it is kept in memory only.

    UserError for a file that is no trace; with `replay`, NotRecorded for a call that it does not hold.
    """

    def __init__(self, path: str | Path | None = None, *, replay: bool = False) -> None:
        self.path, self.replay = None if path is None else Path(path), replay
        self.ids: set[str] = set()  # of all nodes in the file
        self.met: set[str] = set()  # of those that this process came by
        self.replies: dict[str, Any] = {}  # request -> what came back
        self.spent: set[tuple[str, str, str]] = set()  # (run, problem, request) that a budget refused
        self.over: set[tuple[str, str]] = set()  # the runs of these
        self.models: dict[str, list[Mapping[str, Any]]] = {}  # run -> its models' nodes, its own first
        self.asked: dict[str, asyncio.Future[Any]] = {}
        if self.path is not None and (replay or self.path.exists()):
            for node in read(self.path):
                self._know(node)
        self.recorded = frozenset(self.ids)

    def _know(self, node: Mapping[str, Any]) -> None:
        self.ids.add(identity(node))
        if node["node"] == "call":
            self.replies.update(zip(node["requests"], node["replies"]))
        elif "request" in node and "reply" in node:  # a tool's, see `once`
            self.replies[node["request"]] = node["reply"]
        elif node["node"] == "model":
            self.models.setdefault(node["run"], []).append(node)
        elif node["node"] == "spent":
            self.spent.add((node["run"], node["problem"], node["request"]))
            self.over.add((node["run"], node["problem"]))

    @property
    def hash(self) -> str:
        """64 hex digits for all that happened."""
        return hash_of(self.ids)

    def ended(self, run: str, problem: str) -> bool:
        """Whether a budget ended this run when it was recorded."""
        return (run, problem) in self.over

    def add(self, kind: str, **content: Any) -> str:
        """A node; its id. One that is there already is not written again."""
        node = {"node": kind, **plain(content)}
        name = identity(node)
        self.met.add(name)
        if name not in self.ids:
            self.ids.add(name)
            if self.path is not None and not self.replay:
                append_jsonl(self.path, {"id": name, **node, "at": round(time.time(), 3)})
        return name

    async def recall(self, requests: Sequence[str], ask: Callable[[int, int], Awaitable[Sequence[Any]]]) -> list[Any]:
        """The replies to requests: the recorded ones, those that another task is just asking for, and of the others
        what `ask(first, count)` gives for neighbours among them. The same request is never asked twice."""
        mine = [i for i, each in enumerate(requests) if each not in self.replies and each not in self.asked]
        for i in mine:
            self.asked[requests[i]] = asyncio.get_running_loop().create_future()
        try:
            for first, count in _stretches(mine):
                for i, reply in enumerate(await ask(first, count), first):
                    self.replies[requests[i]] = plain(reply)
                    self.asked[requests[i]].set_result(None)
        finally:
            for i in mine:
                waited = self.asked.pop(requests[i])
                if not waited.done():
                    waited.cancel()
        for each in requests:
            while each not in self.replies:
                others = self.asked.get(each)
                if others is None:  # who asked has failed or gone
                    return await self.recall(requests, ask)
                await asyncio.wait([others])
        return [self.replies[each] for each in requests]

    async def run(
        self, strategy: Strategy, lm: LM | None, problem: Problem, about: Run = Run(), budget: Budget | None = None
    ) -> Answer:  # fmt: skip
        """The strategy's answer, all of its nodes written. A prompt that the model cannot read, and a budget that is
        spent, are answers without a value, with a note."""
        from jielong.prompting.problems import pack
        from jielong.prompting.traced import Traced

        LAST.set(())
        self.add("problem", problem=problem.id, **pack(problem))
        self.add("run", format=FORMAT, run=about.key, strategy=about.strategy, settings=about.settings,
                 place=about.place)  # fmt: skip
        traced = Traced(self, lm, about.key, problem.id, Meter(budget))
        try:
            answer = await strategy(Branch(traced, about.place, about.settings), problem)
        except (BudgetSpent, BadPrompt) as error:
            answer = Answer(None, note=str(error))
        judged = {"right": problem.right(answer)} if problem.gold is not None or problem.check is not None else {}
        traced.node("answer", (), value=answer.value, text=answer.text, votes=answer.votes, note=answer.note, **judged,
                    usage=traced.usage)  # fmt: skip
        return answer


def note(lm: LM, kind: str, **content: Any) -> None:
    """Write down what a strategy did between its calls: kind "tool", "retrieve", "vote" or "decide".

    Its parents are the last nodes of the branch `lm`. Without a trace this does nothing.
    """
    traced = _traced(lm)
    if traced is not None:
        traced.node(kind, tuple(getattr(lm, "path", ())), **content)


async def once(lm: LM, work: Callable[[], Awaitable[Any]], **what: Any) -> Any:
    """What `work` gives, as plain values, written down as a "tool" that was asked for `what`. Asked for again on the
    same branch, or when the trace is gone on with or replayed, it is not done again. Without a trace it is just done.
    """
    traced = _traced(lm)
    if traced is None:
        return plain(await work())
    return await traced.once(tuple(getattr(lm, "path", ())), what, work)


def beside(lm: LM, other: LM) -> LM:
    """Another model for the same run: in the same trace and from the same budget as `lm`, on its branch."""
    from jielong.prompting.traced import Traced

    traced = _traced(lm)
    if traced is not None:
        inner = None if traced.trace.replay else other
        other = Traced(traced.trace, inner, traced.run, traced.problem, traced.meter, like=traced, named=other.name)
    return Branch(other, lm.path, lm.defaults) if isinstance(lm, Branch) else other


def _traced(lm: LM) -> Traced | None:
    """Who writes down what `lm` is asked, if anybody does."""
    from jielong.prompting.traced import Traced

    inner: LM | None = lm
    while inner is not None and not isinstance(inner, Traced):
        inner = getattr(inner, "lm", None)
    return inner


def read(path: str | Path) -> Iterator[dict[str, Any]]:
    """The nodes of a file, a torn last line left out. UserError for a file that holds something else, or a node whose
    id is not that of its content."""
    for number, node in enumerate(read_jsonl(path, tolerate_tail=True), 1):
        if node.get("node") not in KINDS or "id" not in node:
            raise UserError(f"{path} line {number} is no node of a trace: make the trace with `jielong ask --trace`")
        if identity(node) != node["id"]:
            raise UserError(f"{path} line {number} was changed after it was written: its id is not that of its content")
        yield node


def identity(node: Mapping[str, Any]) -> str:
    """The id of a node: of all but its time."""
    return key_of({name: value for name, value in node.items() if name not in ("id", "at")})


def hash_of(ids: Iterable[str]) -> str:
    """What stands for a set of nodes."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def _stretches(places: Sequence[int]) -> list[tuple[int, int]]:
    """Rising numbers as (first, count) of neighbours."""
    found: list[tuple[int, int]] = []
    for place in places:
        if found and sum(found[-1]) == place:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((place, 1))
    return found
