"""One hash whatever runs beside it and however often it was killed; replay without a model; budgets that hold."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.lm.meter import Budget
from jielong.lm.noisy import NoisyOracle
from jielong.lm.protocol import LM, Draw, Score, gather
from jielong.lm.replay import NotRecorded
from jielong.prompting import spec, trace
from jielong.prompting.readers import number
from jielong.prompting.strategy import Answer, Problem, branch, solve
from jielong.prompting.trace import Run, Trace, note

TEXTS = ["direct", "vote(cot, n=5)", "vote(vote(zero_shot_cot, n=3), n=3)", "vote(refine(direct), n=3)",
         "reflexion(least_to_most)", "critique(self_check(direct, checks=3))", "spells(vote(direct, n=2))"]  # fmt: skip
PROBLEMS = [Problem(f"What is {i} + {i}?", f"p{i}", str(2 * i), number, meta={"read": "number"}) for i in range(4)]


class Restless(NoisyOracle):
    """Ends its calls in an order that depends on the run, at most `at_once` of them together; counts them."""

    capabilities = NoisyOracle.capabilities | {"embed"}

    def __init__(self, at_once: int = 32, seed: int = 0) -> None:
        wrong = ["1. Yes, 3?", "no 5", "Nothing to mend"]
        super().__init__(lambda prompt: "The answer is 4.", 0.5, lambda prompt: wrong)
        self.gate, self.mood, self.made = asyncio.Semaphore(at_once), seed, 0

    async def asample(self, prompt: Any, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        async with self.gate:
            self.made += 1
            for _ in range(int(noise.uniform(self.mood, self.made) * 12)):
                await asyncio.sleep(0)
            return await super().asample(prompt, n, start, **sampling)

    async def aembed(self, texts: Sequence[str]) -> np.ndarray:
        self.made += 1
        return np.array([[len(t), 1.0] for t in texts], dtype=np.float32)


def run(path: Path | None, lm: LM | None, *, texts: Sequence[str] = TEXTS, replay: bool = False) -> Trace:
    """All strategies on all problems at once."""
    found = Trace(path, replay=replay)

    async def everything() -> list[Answer]:
        return await gather(*(found.run(spec.parse(text), lm, each, Run(text, {"temperature": 0.5}))
                              for text in texts for each in PROBLEMS))  # fmt: skip

    asyncio.run(everything())
    return found


def test_the_hash_does_not_depend_on_concurrency() -> None:
    hashes = {run(None, Restless(at_once, mood)).hash for at_once in (1, 4, 32) for mood in (1, 2)}
    assert len(hashes) == 1
    other = NoisyOracle(lambda prompt: "The answer is 4.", 0.5, seed=1)
    assert run(None, other).hash not in hashes


def random_text(number: int) -> str:
    """A strategy of strategies, up to three deep, drawn by its number."""
    inner = ["direct", "cot", "zero_shot_cot", "least_to_most(most=2)"]
    outer = ["vote({}, n=2)", "self_check({}, tries=2)", "refine({}, rounds=2)", "reflexion({}, tries=2)",
             "critique({}, rounds=1)", "spells({}, 'tip')", "context({}, 'so')", "vote({}, n=3)"]  # fmt: skip
    drawn = noise.integers(noise.seed_of("random strategies"), number, below=len(outer), n=4).tolist()
    text = inner[drawn[0] % len(inner)]
    for each in drawn[1 : 2 + number % 3]:
        text = outer[each].format(text)
    return text


def test_random_strategies_have_one_hash_too() -> None:
    texts = list(dict.fromkeys(random_text(number) for number in range(40)))
    assert len(texts) > 30
    assert len({run(None, Restless(at_once, at_once), texts=texts).hash for at_once in (1, 4, 32)}) == 1


def test_memory_and_file_agree_and_the_file_holds_the_hash(tmp_path: Path) -> None:
    kept = run(tmp_path / "t.jsonl", Restless())
    assert kept.hash == run(None, Restless()).hash == Trace(tmp_path / "t.jsonl").hash
    nodes = list(trace.read(tmp_path / "t.jsonl"))
    assert trace.hash_of({trace.identity(n) for n in reversed(nodes)}) == kept.hash
    assert {n["node"] for n in nodes} == {"model", "problem", "run", "call", "vote", "decide", "answer"}


def test_parents_make_a_graph_that_says_what_followed_from_what(tmp_path: Path) -> None:
    run(tmp_path / "t.jsonl", Restless(), texts=["vote(zero_shot_cot, n=3)"])
    nodes = {n["id"]: n for n in trace.read(tmp_path / "t.jsonl")}
    votes = [n for n in nodes.values() if n["node"] == "vote"]
    assert len(votes) == len(PROBLEMS)
    for each in votes:
        seconds = [nodes[parent] for parent in each["parents"]]
        assert len(seconds) == 3 and {len(n["prompt"]) for n in seconds} == {3}
        firsts = [nodes[n["parents"][0]] for n in seconds]
        assert [n["parents"] for n in firsts] == [[]] * 3
        assert all(first["replies"][0]["text"] == second["prompt"][1]["content"]
                   for first, second in zip(firsts, seconds))  # fmt: skip
    answers = [n for n in nodes.values() if n["node"] == "answer"]
    assert all(nodes[n["parents"][0]]["node"] == "vote" for n in answers)
    assert all(n["usage"]["calls"] == 6 for n in answers)


def test_a_replay_makes_no_call_and_says_the_same(tmp_path: Path) -> None:
    made = run(tmp_path / "t.jsonl", Restless())
    again = run(tmp_path / "t.jsonl", None, replay=True)
    assert again.met == made.met and again.hash == made.hash
    with pytest.raises(NotRecorded, match="other strategies"):
        run(tmp_path / "t.jsonl", None, texts=["vote(cot, n=6)"], replay=True)


def test_going_on_asks_only_what_is_missing(tmp_path: Path) -> None:
    first = run(tmp_path / "t.jsonl", Restless(), texts=TEXTS[:3])
    lm = Restless()
    assert run(tmp_path / "t.jsonl", lm, texts=TEXTS[:3]).hash == first.hash and lm.made == 0
    whole = run(tmp_path / "t.jsonl", lm)
    assert lm.made > 0 and whole.hash == run(None, Restless()).hash
    lines = (tmp_path / "t.jsonl").read_text("utf-8").splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == len(lines)


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import jielong.prompting.trace as trace
from test_trace import Restless, run
left, append = [{lines}], trace.append_jsonl
def until(path, record):
    append(path, record)
    left[0] -= 1
    if not left[0]:
        with open(path, "a") as file:
            file.write('{{"node": "call", "torn')
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
trace.append_jsonl = until
run(Path({path!r}), Restless(8))
"""


@pytest.mark.parametrize("lines", [3, 60, 150])
def test_killed_and_gone_on_with_is_as_if_never_killed(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "t.jsonl"
    code = KILLED.format(tests=str(Path(__file__).parent), lines=lines, path=str(path))
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(path.read_text("utf-8").splitlines()) == lines + 1
    assert run(path, Restless()).hash == run(None, Restless()).hash == Trace(path).hash


def test_one_request_is_asked_once_by_whoever_is_first() -> None:
    kept, lm = Trace(), Restless()

    async def twice() -> list[Answer]:
        return await gather(*(kept.run(spec.parse("direct"), lm, PROBLEMS[0], Run(f"{i}")) for i in range(5)))

    assert len({a.text for a in asyncio.run(twice())}) == 1 and lm.made == 1


def test_who_waits_for_another_asks_himself_when_that_one_fails() -> None:
    class Failing(Restless):
        async def asample(self, prompt: Any, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
            found = await super().asample(prompt, n, start, **sampling)
            if self.made == 1:
                raise OSError("gone")
            return found

    kept, lm = Trace(), Failing()

    async def both() -> list[Any]:
        calls = [kept.run(spec.parse("direct"), lm, PROBLEMS[0], Run(f"{i}")) for i in range(2)]
        return await asyncio.gather(*calls, return_exceptions=True)

    failed, answered = asyncio.run(both())
    assert isinstance(failed, OSError) and answered.text and lm.made == 2


def test_more_draws_begin_with_the_recorded_ones_and_scores_and_vectors_repeat(tmp_path: Path) -> None:
    async def wide(lm: LM, problem: Problem, n: int = 3) -> Answer:
        draws = await lm.asample(problem.text, n)
        scores: list[Score] = await lm.ascore(problem.text, ["The answer is 4.", "never"])
        vectors = await lm.aembed([problem.text, "x"])
        return Answer(f"{[d.text for d in draws]} {[s.total for s in scores]} {vectors.tolist()}")

    async def wider(lm: LM, problem: Problem) -> Answer:
        return await wide(lm, problem, 5)

    path, lm = tmp_path / "t.jsonl", Restless()
    first = asyncio.run(Trace(path).run(wide, lm, PROBLEMS[0]))
    asyncio.run(Trace(path).run(wider, lm, PROBLEMS[0]))
    assert lm.made == 3  # three draws, their vectors, and the two draws that were missing
    replay = Trace(path, replay=True)
    assert asyncio.run(replay.run(wide, None, PROBLEMS[0])).value == first.value
    assert "-inf" in (first.value or "") and replay.met <= replay.ids


def test_another_model_beside_is_written_down_and_paid_too(tmp_path: Path) -> None:
    small, large = NoisyOracle(lambda p: "3", 0.0, name="small"), NoisyOracle(lambda p: "4", 0.0, name="large")

    async def cascade(lm: LM, problem: Problem) -> Answer:
        (draft,) = await lm.asample(problem.text)
        note(lm, "decide", keep=False)
        (final,) = await trace.beside(branch(lm, 1), large).asample(problem.text)
        return Answer(final.text, draft.text)

    path = tmp_path / "t.jsonl"
    assert asyncio.run(Trace(path).run(cascade, small, PROBLEMS[0])).value == "4"
    nodes = list(trace.read(path))
    assert [n["model"] for n in nodes if n["node"] == "call"] == ["small", "large"]
    assert next(n for n in nodes if n["node"] == "answer")["usage"]["calls"] == 2
    replay = Trace(path, replay=True)
    assert asyncio.run(replay.run(cascade, None, PROBLEMS[0])).value == "4" and replay.hash == Trace(path).hash
    assert solve(cascade, small, PROBLEMS[0]).value == "4"  # and without a trace


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("tokens", [0, 700, 3000])
def test_where_a_budget_ends_does_not_depend_on_concurrency(text: str, tokens: int, tmp_path: Path) -> None:
    def with_budget(kept: Trace, lm: LM | None) -> list[Budget]:
        budgets = [Budget(tokens) for _ in PROBLEMS]

        async def everything() -> list[Answer]:
            return await gather(*(kept.run(spec.parse(text), lm, each, Run(text), budget)
                                  for each, budget in zip(PROBLEMS, budgets)))  # fmt: skip

        asyncio.run(everything())
        return budgets

    kept = [Trace(tmp_path / f"{i}.jsonl") for i in range(3)]
    left = [[b.left for b in with_budget(t, Restless(n, n))] for t, n in zip(kept, (1, 4, 32))]
    assert len({t.hash for t in kept}) == 1 and left[0] == left[1] == left[2]
    assert all(0 <= each <= tokens for each in left[0])
    if tokens == 0:
        answers = [n for n in trace.read(tmp_path / "0.jsonl") if n["node"] == "answer"]
        assert all(n["value"] is None and "budget" in n["note"] and not n["right"] for n in answers)
    replay = Trace(tmp_path / "0.jsonl", replay=True)

    async def again() -> list[Answer]:
        return await gather(*(replay.run(spec.parse(text), None, each, Run(text)) for each in PROBLEMS))

    asyncio.run(again())
    assert replay.met == kept[0].met


def test_a_prompt_that_cannot_be_read_is_no_answer_and_no_end() -> None:
    from jielong.lm.protocol import BadPrompt

    async def long(lm: LM, problem: Problem) -> Answer:
        raise BadPrompt("too long")

    answer = asyncio.run(Trace().run(long, Restless(), PROBLEMS[0]))
    assert answer.value is None and answer.note == "too long"


def test_a_file_that_is_no_trace_or_was_changed_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    run(path, Restless(), texts=["direct"])
    whole = path.read_text("utf-8")
    path.write_text(whole.replace("The answer is 4.", "The answer is 5.", 1), "utf-8")
    with pytest.raises(UserError, match="changed after it was written"):
        Trace(path)
    path.write_text('{"a": 1}\n', "utf-8")
    with pytest.raises(UserError, match="no node of a trace"):
        Trace(path)
    with pytest.raises(UserError, match="cannot read"):
        Trace(tmp_path / "none.jsonl", replay=True)
