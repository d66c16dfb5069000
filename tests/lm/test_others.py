"""Scripted, NoisyOracle, Recorder and Replay, Fork, Budget: the models without weights."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.base.stats import g_test
from jielong.lm.local import Local
from jielong.lm.meter import Budget, BudgetSpent, Meter, count_words
from jielong.lm.noisy import NoisyOracle
from jielong.lm.prompts import canonical, join, kind_of, text_of
from jielong.lm.protocol import LM, Draw, Usage
from jielong.lm.replay import NotRecorded, Recorder, Replay
from jielong.lm.scripted import Scripted
from jielong.world.text import Message

CHAT = [{"role": "user", "content": "hi"}]


def texts(draws: list[Draw]) -> list[str]:
    return [d.text for d in draws]


def test_scripts_of_all_three_forms() -> None:
    by_function = Scripted(lambda prompt, index: f"{prompt}/{index}")
    assert texts(by_function.sample("q", 2, start=3)) == ["q/3", "q/4"]
    by_prompt = Scripted({"a": "one", "b": ["first", "second"], "": "other"})
    assert texts(by_prompt.sample("b", 4)) == ["first", "second", "second", "second"]
    assert texts(by_prompt.sample(CHAT)) == ["other"]
    in_order = Scripted(["x", "y", "z"])
    assert [texts(in_order.sample("p")), texts(in_order.sample("q", 2))] == [["x"], ["y", "z"]]
    with pytest.raises(UserError, match="used up"):
        in_order.sample("p")
    with pytest.raises(UserError, match="no reply to 'c'"):
        Scripted({"a": "one"}).sample("c")


def test_a_script_records_its_calls_and_obeys_stops_and_lengths() -> None:
    lm = Scripted(lambda prompt, index: "one two, three four")
    assert texts(lm.sample(CHAT, max_tokens=4)) == ["one two, three"]
    assert lm.sample(CHAT, max_tokens=4)[0].reason == "length"
    assert texts(lm.sample("q", stop=["four", ", "])) == ["one two"]
    assert [(c.verb, c.prompt, c.sampling) for c in lm.calls][::2] == [
        ("sample", CHAT, {"max_tokens": 4}), ("sample", "q", {"stop": ["four", ", "]})]
    with pytest.raises(UserError, match="temperature"):
        lm.sample("q", temperature=-1)
    assert "".join(lm.stream("q")) == "one two, three four"
    assert len(list(lm.stream("q"))) == 4


def test_what_has_no_grammar_goes_without_one() -> None:
    lm = Scripted(lambda prompt, index: "one two")
    assert lm.sample("q", grammar=("regex", "[0-9]"))[0].text == "one two"
    assert lm.calls[0].sampling == {"grammar": ("regex", "[0-9]")}
    assert NoisyOracle(lambda prompt: "4", 0.0, lambda prompt: []).sample("q", grammar=("regex", "a"))[0].text == "4"
    with pytest.raises(UserError, match="unknown sampling setting"):
        lm.sample("q", gramar=("regex", "a"))


def test_a_script_scores_only_if_told_how() -> None:
    with pytest.raises(UserError, match="scripted cannot score"):
        Scripted(["x"]).score("q", ["a"])
    lm = Scripted(["x"], scores=lambda prompt, text: -float(len(text)))
    assert [s.total for s in lm.score("q", ["a", "bcd"])] == [-1.0, -3.0]
    with pytest.raises(UserError, match="cannot embed"):
        lm.embed(["x"])


def oracle(rate: float = 0.3, **options: Any) -> NoisyOracle:
    return NoisyOracle(lambda prompt: "4", rate, lambda prompt: ["3", "5", "6"], **options)


def test_the_oracle_errs_as_often_as_it_says() -> None:
    counts = Counter(texts(oracle().sample("2+2", 6000)))
    law = oracle().law("2+2")
    assert law == pytest.approx({"4": 0.7, "3": 0.1, "5": 0.1, "6": 0.1})
    order = sorted(law)
    assert g_test(np.array([counts[a] for a in order]), np.array([law[a] for a in order])) > 0.001


def test_the_oracles_draws_have_addresses() -> None:
    lm = oracle(seed=3)
    ten = texts(lm.sample("q", 10))
    assert texts(oracle(seed=3).sample("q", 4, start=5)) == ten[5:9]
    assert texts(lm.sample("q", 200)) != texts(lm.sample("r", 200))
    assert texts(lm.sample("q", 200)) != texts(oracle(seed=4).sample("q", 200))
    assert [texts(d) for d in lm.sample_many(["q", "r", "q"], 10)][::2] == [ten, ten]


def test_enumeration_gives_a_strategys_exact_law() -> None:
    """A vote of three: the probability that two or three are right."""

    def vote(source: noise.Source) -> bool:
        draws = texts(NoisyOracle(lambda p: "4", 0.3, source=source).sample("q", 3))
        return draws.count("4") >= 2

    law = noise.law(noise.enumerate_choices(vote))
    assert law[True] == pytest.approx(0.7**3 + 3 * 0.7**2 * 0.3)


def test_the_oracles_scores_are_its_law() -> None:
    scores = oracle(lambda prompt: 0.5 if "hard" in prompt else 0.0).score("hard", ["4", "3", "9"])
    assert [s.total for s in scores] == pytest.approx([math.log(0.5), math.log(0.5 / 3), -math.inf])
    assert oracle(0.0).law("q") == {"4": 1.0}
    assert texts(oracle(1.0).sample("q", 50)).count("4") == 0
    for wrong in (oracle(1.5), NoisyOracle(lambda p: "4", 0.1, lambda p: [])):
        with pytest.raises(UserError):
            wrong.sample("q")
    assert list(oracle(0.0).stream("q")) == ["4"]


def test_a_trace_replays_without_the_model(lm: Local, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    recorder = Recorder(lm, path)
    recorded = recorder.sample("the cat", 4, max_tokens=6, logprobs=2)
    chat = recorder.sample(CHAT, max_tokens=3)
    streamed = list(recorder.stream("the", max_tokens=5))
    scores = recorder.score("the cat", [" sat", " ate"])
    vectors = recorder.embed(["a", "b"])
    replay = Replay(path)
    assert replay.sample("the cat", 4, max_tokens=6, logprobs=2) == recorded
    assert replay.sample("the cat", 2, start=1, logprobs=2, max_tokens=6, temperature=1) == recorded[1:3]
    assert replay.sample([Message("user", "hi")], max_tokens=3) == chat  # type: ignore[list-item]
    assert list(replay.stream("the", max_tokens=5)) == streamed
    assert replay.score("the cat", [" ate", " sat"]) == scores[::-1]
    np.testing.assert_array_equal(replay.embed(["b", "a"]), vectors[::-1])
    assert replay.capabilities == {"sample", "stream", "score", "embed", "fork"}
    written = [*recorded, *recorded[1:3], *chat]
    assert replay.usage.completion == sum(len(d.ids) for d in written)
    for missing in (
        lambda: replay.sample("the cat", 5, max_tokens=6, logprobs=2), lambda: replay.sample("dog"),
        lambda: replay.sample("the cat", max_tokens=7), lambda: replay.score("the cat", ["x"]),
        lambda: replay.embed(["z"]),
    ):  # fmt: skip
        with pytest.raises(NotRecorded, match=r"trace\.jsonl holds no"):
            missing()


def test_traces_of_several_models_and_of_killed_runs(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    for name in ("weak", "strong"):
        Recorder(Scripted([name], name=name), path).sample("q")
    with pytest.raises(UserError, match="choose one"):
        Replay(path)
    with pytest.raises(UserError, match="no call of other"):
        Replay(path, "other")
    assert texts(Replay(path, "weak").sample("q")) == ["weak"]
    with path.open("a") as file:
        file.write('{"call": "sample", "mod')  # killed while writing
    assert texts(Replay(path, "strong").sample("q")) == ["strong"]
    path.write_text('{"something": 1}\n')
    with pytest.raises(UserError, match="record 1 is not a call"):
        Replay(path)


def test_replay_obeys_a_budget(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    Recorder(Scripted(["one two three"]), path).sample("a b")
    replay = Replay(path, budget=Budget(7))
    replay.sample("a b")
    assert (replay.usage, replay.meter.budget.left) == (Usage(1, 2, 3), 2)  # type: ignore[union-attr]
    with pytest.raises(BudgetSpent):
        replay.sample("a b")


def test_a_fork_of_any_model_joins_its_prefix() -> None:
    lm = Scripted(lambda prompt, index: prompt.upper(), scores=lambda prompt, text: float(len(prompt)))
    fork = lm.fork("ab")
    assert texts(fork.sample("c")) == ["ABC"]
    assert "".join(fork.stream("c")) == "ABC"
    assert fork.score("c", ["x"])[0].total == 3.0
    assert texts(fork.fork("c").sample("d")) == ["ABCD"]
    assert fork.usage is lm.usage
    with pytest.raises(UserError, match="begins with text and the prompt is messages"):
        fork.sample(CHAT)


def test_a_budget_is_never_overdrawn_by_threads() -> None:
    budget, meter = Budget(1000), Meter()
    refused = []

    def spend() -> None:
        for _ in range(100):
            try:
                budget.reserve(7)
                budget.release(2)
            except BudgetSpent:
                refused.append(1)
            with meter.call(0) as bill:
                bill.add(1, 2)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert 0 <= budget.left < 7
    assert budget.left == 1000 - 5 * (800 - len(refused))
    assert meter.usage == Usage(800, 800, 1600)
    with pytest.raises(UserError, match="-1 tokens"):
        Budget(-1)


def test_errors_give_the_reservation_back() -> None:
    meter = Meter(Budget(10))


    def fails() -> None:
        with meter.call(8) as bill:
            bill.add(prompt=3)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert meter.budget is not None and meter.budget.left == 7


@given(st.text(max_size=20), st.text(max_size=20))
def test_word_counts_never_fall_as_a_text_grows(a: str, b: str) -> None:
    assert count_words(a) <= count_words(a + b)


def test_words_are_counted_in_both_languages() -> None:
    assert count_words("玉山 is high, 3952 m。") == 2 + 2 + 1 + 2 + 1


def test_prompts_of_every_form() -> None:
    assert [kind_of(p) for p in ("x", CHAT, [1], np.array([1, 2]), [Message("user", "a")])] == [
        "text", "messages", "ids", "ids", "messages"]
    assert canonical([Message("user", "hi")]) == canonical(CHAT) == CHAT
    assert canonical(np.array([1, 2])) == [1, 2]
    assert text_of([*CHAT, {"role": "assistant", "content": "ho"}]) == "user: hi\nassistant: ho"
    assert text_of([1, 2]) == "1 2"
    assert join([1], (2,)) == [1, 2]


def test_the_asynchronous_core_alone_gives_the_whole_face() -> None:
    class Echo(LM):
        name = "echo"
        capabilities = frozenset({"sample", "stream"})
        usage = Usage()

        async def asample(self, prompt: Any, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
            await asyncio.sleep(0)
            return [Draw(f"{prompt}{i}") for i in range(start, start + n)]

        async def astream(self, prompt: Any, start: int = 0, **sampling: Any) -> AsyncIterator[str]:
            try:
                for letter in prompt:
                    await asyncio.sleep(0)
                    yield letter
            finally:
                closed.append(True)

    closed: list[bool] = []
    echo = Echo()
    assert texts(echo.sample("a", 2, 1)) == ["a1", "a2"]
    assert list(echo.stream("abc")) == ["a", "b", "c"]
    stream = echo.stream("abc")
    assert next(stream) == "a"
    stream.close()  # type: ignore[attr-defined]
    assert len(closed) == 2

    async def notebook() -> list[str]:
        return list(echo.stream("xy"))

    assert asyncio.run(notebook()) == ["x", "y"]
    with pytest.raises(UserError, match="echo cannot score: it can sample, stream"):
        echo.score("a", ["b"])
    mute = type("Mute", (LM,), {"name": "mute", "capabilities": frozenset()})()
    with pytest.raises(UserError, match="mute cannot stream"):
        list(mute.stream("a"))
