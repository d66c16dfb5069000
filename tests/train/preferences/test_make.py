"""Preferences from feedback: what is kept, what is left and why, and a trace that a kill does not hurt."""

from __future__ import annotations

import asyncio
import json
import math
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.base.errors import UserError, WorkFailed
from jielong.base.talk import Talk
from jielong.lm.protocol import BadPrompt
from jielong.lm.scripted import Scripted
from jielong.train.preferences import best_of, constitution, journal, make
from jielong.train.preferences.asked import Asked, read_asked
from jielong.train.preferences.data import read_labelled, read_pairs
from jielong.train.preferences.feedback import RewardJudge
from jielong.train.preferences.judge import Judge, PairJudge, PointJudge
from jielong.train.preferences.make import Keep

QUIET = Talk(verbosity=-1)
WRITTEN = {
    "good": ["1", "3", "2", "3"], "same": ["7", "7", " 7", "7\n"], "none": ["", " ", "", "\n"],
    "two": ["5", "", "4", "5"],
}  # fmt: skip


def asked_of(*words: str) -> list[Asked]:
    return [Asked([{"role": "user", "content": word}], id=word) for word in words]


def policy() -> Scripted:
    def reply(prompt: str, index: int) -> str:
        word = prompt.removeprefix("user: ")
        if word == "long":
            raise BadPrompt("the prompt has 900 tokens and the model's context is 512")
        return WRITTEN[word][index]

    return Scripted(reply)


def worth(prompts: list[Any], completions: list[str], **columns: Any) -> list[float | None]:
    return [float(text) for text in completions]


WORTH = RewardJudge(worth)


def larger(prompt: str, index: int) -> str:
    a = prompt.split("<answer_A>\n")[1].split("\n")[0]
    b = prompt.split("<answer_B>\n")[1].split("\n")[0]
    return f"Verdict: {'tie' if a == b else 'A' if float(a) > float(b) else 'B'}"


def run(tmp: Path, judge: Judge, words: tuple[str, ...], keep: Keep = "pairs", **more: Any) -> make.Harvest:
    asked = asked_of(*words)
    work = make.judging(policy(), judge, 4)
    trace = tmp / f"{len(list(tmp.iterdir()))}.trace.jsonl"
    return make.harvest(journal.write(asked, work, {}, trace, QUIET, "test"), keep, **more)


@pytest.mark.parametrize("judge", [WORTH, PairJudge(Scripted(larger))])
def test_every_prompt_gives_lines_or_a_reason(tmp_path: Path, judge: Judge) -> None:
    words = ("good", "same", "none", "two", "long")
    found = run(tmp_path, judge, words)
    assert [(line["prompt"][0]["content"], line["chosen"][0]["content"], line["rejected"][0]["content"])
            for line in found.kept] == [("good", "3", "1"), ("two", "5", "4")]  # fmt: skip
    assert [(line["id"], line["why"]) for line in found.left] == [
        ("same", "equal"), ("none", "empty"), ("long", "unfit")]  # fmt: skip
    assert "900 tokens" in found.left[2]["told"]
    counts = found.counts
    assert (counts["draws"], counts["empty_draws"], counts["distinct"]) == (16, 5, 6)
    assert counts["comparisons"] == {"decided": 4, "ties": 0, "swayed": 0, "unread": 0, "silent": 0}
    every = run(tmp_path, judge, words, "every")
    assert [(line["chosen"][0]["content"], line["rejected"][0]["content"]) for line in every.kept] == [
        ("3", "1"), ("2", "1"), ("3", "2"), ("5", "4")]  # fmt: skip


def test_the_best_and_the_labelled(tmp_path: Path) -> None:
    best = run(tmp_path, WORTH, ("good", "same", "two"), "best")
    assert [line["messages"][-1]["content"] for line in best.kept] == ["3", "7", "5"]
    few = run(tmp_path, WORTH, ("good", "same", "two"), "best", threshold=4)
    assert [line["messages"][-1]["content"] for line in few.kept] == ["7", "5"]
    assert [(line["id"], line["why"]) for line in few.left] == [("good", "threshold")]
    labelled = run(tmp_path, WORTH, ("good", "same"), "labelled", threshold=2)
    assert [(line["completion"][0]["content"], line["label"]) for line in labelled.kept] == [
        ("1", False), ("3", True), ("7", True)]  # fmt: skip
    compared = run(tmp_path, PairJudge(Scripted(larger)), ("good", "same"), "labelled")
    assert [(line["completion"][0]["content"], line["label"]) for line in compared.kept] == [("1", False), ("3", True)]
    assert [(line["id"], line["why"]) for line in compared.left] == [("same", "equal")]


def test_what_is_written_is_read_by_the_trainers(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    make.write_lines(path, run(tmp_path, WORTH, ("good", "two")).kept)
    assert [example.answers[0][0]["content"] for example in read_pairs(str(path))] == ["3", "5"]  # type: ignore[index]
    make.write_lines(path, run(tmp_path, WORTH, ("good",), "labelled", threshold=2).kept)
    assert [example.label for example in read_labelled(str(path))] == [False, True]


def test_nonsense_ties_and_silence_are_kept_apart(tmp_path: Path) -> None:
    nonsense = run(tmp_path, PairJudge(Scripted(lambda p, i: "Hm.")), ("good", "two"))
    assert not nonsense.kept and [line["why"] for line in nonsense.left] == ["unread"] * 2
    assert nonsense.left[0]["judged"]["pairs"][0]["said"] == ["Hm.", "Hm."]
    first = run(tmp_path, PairJudge(Scripted(lambda p, i: "Verdict: A")), ("good", "two"))
    assert not first.kept and [line["why"] for line in first.left] == ["tie"] * 2
    assert first.counts["comparisons"]["swayed"] == 4 and first.counts["first_place"] == 1.0
    equal = run(tmp_path, RewardJudge(lambda prompts, completions, **c: [1.0] * len(completions)), ("good",))
    assert [line["why"] for line in equal.left] == ["tie"]
    lost = run(tmp_path, RewardJudge(lambda prompts, completions, **c: [math.nan] * len(completions)), ("good",))
    assert [line["why"] for line in lost.left] == ["unread"]
    alone = run(tmp_path, PointJudge(Scripted(lambda p, i: "?")), ("same",), "best")
    assert [line["why"] for line in alone.left] == ["unread"]


def test_a_dead_judge_ends_the_run_and_is_asked_again(tmp_path: Path) -> None:
    """Nothing that was drawn is drawn again, and what is resumed is what an undisturbed run gives."""
    dead = True

    def moody(prompt: str, index: int) -> str:
        if dead:
            raise WorkFailed("http://judge did not answer within 5 s in 5 tries")
        return larger(prompt, index)

    asked, trace = asked_of(*["good", "two"] * 6), tmp_path / "a.trace.jsonl"
    writer, judge = policy(), PairJudge(Scripted(moody))
    with pytest.raises(WorkFailed, match=r"8 times in a row .*did not answer within 5 s"):
        journal.write(asked, make.judging(writer, judge, 4), {}, trace, QUIET, "test", window=1)
    some = journal.entries(trace)
    assert len(some) == 8 and make.harvest(some, "pairs").counts["left"] == {"silent": 8}
    dead = False
    drawn = len(writer.calls)
    entries = journal.write(asked, make.judging(writer, judge, 4), {}, trace, QUIET, "test", resume=True)
    assert len(writer.calls) == drawn + 4
    whole = journal.write(asked, make.judging(policy(), judge, 4), {}, tmp_path / "b.jsonl", QUIET, "test")
    assert make.harvest(entries, "pairs") == make.harvest(whole, "pairs") and make.harvest(whole, "pairs").kept


@pytest.mark.parametrize("lines", [0, 1, 2, 4])
@pytest.mark.parametrize("torn", [0, 25])
def test_killed_at_any_line_it_goes_on(tmp_path: Path, lines: int, torn: int) -> None:
    asked = asked_of("good", "same", "none", "two")
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    expected = journal.write(asked, make.judging(policy(), WORTH, 4), {"n": 4}, whole, QUIET, "test")
    every = whole.read_bytes().splitlines(keepends=True)
    cut.write_bytes(b"".join(every[:lines]) + every[lines][:torn])
    writer = policy()
    found = journal.write(asked, make.judging(writer, WORTH, 4), {"n": 4}, cut, QUIET, "test", resume=True)
    assert found == expected and cut.read_bytes() == whole.read_bytes()
    assert len(writer.calls) == 4 - max(0, lines - 1)


def test_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    trace = tmp_path / "a.jsonl"
    work = make.judging(policy(), WORTH, 4)
    journal.write(asked_of("good"), work, {"n": 4, "judge": "x"}, trace, QUIET, "test")
    with pytest.raises(UserError, match=r"other settings \(judge\)"):
        journal.write(asked_of("good"), work, {"n": 4, "judge": "y"}, trace, QUIET, "test", resume=True)
    trace.write_text('{"a": 1}\n')
    with pytest.raises(UserError, match="not a trace"):
        journal.write(asked_of("good"), work, {"n": 4}, trace, QUIET, "test", resume=True)


def test_the_expected_best_is_exact_over_all_draws() -> None:
    """Unbiased: averaged over every possible n draws it is the exact expectation of the best of k."""
    probabilities, values, gold = [0.5, 0.3, 0.2], [1.0, 2.0, 2.0], [0.0, 3.0, -1.0]
    for n, k in ((1, 1), (3, 1), (3, 2), (4, 3), (4, 4)):
        mean = {id(values): 0.0, id(gold): 0.0}
        for drawn in product(range(3), repeat=n):
            p = math.prod(probabilities[i] for i in drawn)
            for worths in (values, gold):
                mean[id(worths)] += p * best_of.expected_best([values[i] for i in drawn], k, [worths[i] for i in drawn])
        law = best_of.law(probabilities, values, k)
        assert sum(law) == pytest.approx(1)
        for worths in (values, gold):
            assert mean[id(worths)] == pytest.approx(sum(p * w for p, w in zip(law, worths)), abs=1e-12)


def test_the_law_of_the_best_by_enumeration() -> None:
    probabilities, values = [0.4, 0.35, 0.25], [0.0, 1.0, 1.0]
    for n in (1, 2, 4):
        exact = [0.0] * 3
        for drawn in product(range(3), repeat=n):
            first = max(drawn, key=lambda i: values[i])  # max keeps the first among equals
            exact[first] += math.prod(probabilities[i] for i in drawn)
        assert best_of.law(probabilities, values, n) == pytest.approx(exact, abs=1e-12)


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6), st.integers(1, 30), st.booleans())
def test_the_kl_is_below_its_bound(weights: list[float], n: int, ties: bool) -> None:
    p = [w / sum(weights) for w in weights]
    law = best_of.law(p, [i // 2 if ties else i for i in range(len(p))], n)
    kl = sum(q * math.log(q / r) for q, r in zip(law, p) if q > 0)
    assert kl <= best_of.kl_bound(n) + 1e-9


def test_the_bound_is_reached_by_many_different_answers() -> None:
    law = best_of.law([1e-3] * 1000, list(range(1000)), 4)
    kl = sum(q * math.log(q * 1e3) for q in law if q > 0)
    assert kl == pytest.approx(best_of.kl_bound(4), abs=1e-2)


def test_the_estimate_is_the_mean_over_subsets() -> None:
    values = [0.3, -1.0, 2.5, 2.0, 0.1]
    for k in range(1, 6):
        subsets = [max(some) for some in combinations(values, k)]
        assert best_of.expected_best(values, k) == pytest.approx(sum(subsets) / len(subsets))
    for wrong in (0, 6):
        with pytest.raises(UserError, match="best of"):
            best_of.expected_best(values, wrong)


def test_the_best_is_chosen_and_undecided_is_none() -> None:
    chosen = asyncio.run(best_of.achoose(policy(), WORTH, asked_of("good")[0], 4))
    assert chosen.text == "3" and len(chosen.draws) == 4 and chosen.answers == ("1", "3", "2")
    nobody = PairJudge(Scripted(lambda p, i: "?"))
    assert asyncio.run(best_of.achoose(policy(), nobody, asked_of("good")[0], 4)).text is None
    assert asyncio.run(best_of.achoose(policy(), nobody, asked_of("same")[0], 4)).text == "7"
    assert asyncio.run(best_of.achoose(policy(), nobody, asked_of("none")[0], 4)).text is None


def revised(tmp: Path, reply: Any, rounds: int = 2, keep: Any = "pairs") -> tuple[make.Harvest, list[Any], Scripted]:
    lm = Scripted(reply)
    work = constitution.revising(lm, lm, ("be kind", "be short"), rounds, "en")
    entries = journal.write(asked_of("hello"), work, {}, tmp / "trace.jsonl", QUIET, "test")
    return constitution.harvest(entries, keep), entries, lm


def script(prompt: str, index: int) -> str:
    if prompt.endswith("Write the answer only."):
        return f"better {prompt.count('Write the answer only.')}{' kind' if 'be kind' in prompt else ''}"
    return "it is rude" if "principle in mind" in prompt else "go away"


def test_answers_are_criticised_and_revised(tmp_path: Path) -> None:
    found, (entry,), lm = revised(tmp_path, script)
    assert {each["principle"] for each in entry["rounds"]} == {"be kind", "be short"}
    (line,) = found.kept
    assert line["rejected"] == [{"role": "assistant", "content": "go away"}]
    assert line["chosen"] == [{"role": "assistant", "content": entry["rounds"][1]["revision"]}]
    second = lm.calls[3].prompt  # the critique of the second round is of the first revision, without the first round
    assert [turn["content"] for turn in second[:2]] == ["hello", entry["rounds"][0]["revision"]]
    assert len(lm.calls) == 5 and found.counts["rounds"] == 2
    json.dumps(entry)


def test_the_order_of_principles_is_drawn_once_and_none_comes_twice_before_all() -> None:
    names = ("a", "b", "c")
    assert constitution.order(names, 5, 1, "x") == constitution.order(names, 5, 1, "x")
    assert constitution.order(names, 5, 1, "x")[:2] == constitution.order(names, 2, 1, "x")
    assert all(set(constitution.order(names, 3, 0, str(i))) == set(names) for i in range(9))
    assert len({tuple(constitution.order(names, 3, 0, str(i))) for i in range(60)}) == 6


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (lambda p, i: "the same", "equal"), (lambda p, i: "", "empty"),
        (lambda p, i: "" if "principle in mind" in p else "x", "empty"),
        (lambda p, i: "" if "Write the answer only" in p else "x", "empty"),
    ],
)  # fmt: skip
def test_a_revision_that_is_none_is_left(tmp_path: Path, reply: Any, why: str) -> None:
    found, _, _ = revised(tmp_path, reply)
    assert not found.kept and [line["why"] for line in found.left] == [why]


def test_a_silent_critic_is_told(tmp_path: Path) -> None:
    def reply(prompt: str, index: int) -> str:
        if "principle in mind" in prompt:
            raise WorkFailed("the line is dead")
        return "x"

    with pytest.raises(WorkFailed, match=r"not answered 1 times in a row .the line is dead"):
        revised(tmp_path, reply)
    assert [e["answers"] for e in journal.entries(tmp_path / "trace.jsonl")] == [["x"]]


def test_principles_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("# ours\nBe kind.\n\nBe short.\nBe kind.\n")
    assert constitution.read_principles(str(path), "en") == ("Be kind.", "Be short.")
    (tmp_path / "mine.jsonl").write_text('{"principle": "Be kind."}\n')
    assert constitution.read_principles(str(tmp_path / "mine.jsonl"), "en") == ("Be kind.",)
    assert len(constitution.read_principles("default", "zh")) == len(constitution.read_principles("default", "en")) == 6
    path.write_text("# nothing\n")
    with pytest.raises(UserError, match="no principle"):
        constitution.read_principles(str(path), "en")
    with pytest.raises(UserError, match="no such file"):
        constitution.read_principles("absent.txt", "en")


@pytest.mark.parametrize(
    ("line", "question", "answer"),
    [
        ({"prompt": "a?", "chosen": "b", "rejected": "c"}, "a?", None),
        ({"prompt": [{"role": "user", "content": "a?"}], "chosen": []}, "a?", None),
        ({"question": "a?", "answer": "b"}, "a?", "b"),
        ({"messages": [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]}, "a?", "b"),
        ({"messages": [{"role": "user", "content": "a?"}], "answer": "c"}, "a?", "c"),
        ({"messages": [{"role": "user", "content": "a?"}]}, "a?", None),
        ({"conversations": [{"from": "human", "value": "a?"}, {"from": "gpt", "value": "b"}]}, "a?", "b"),
        ({"conversations": [{"from": "human", "value": "a?"}], "chosen": {"from": "gpt", "value": "b"}}, "a?", None),
        ({"instruction": "a?", "input": "x", "output": "b"}, "a?\n\nx", None),
    ],
)
def test_prompts_are_found_in_every_shape(
    tmp_path: Path, line: dict[str, Any], question: str, answer: str | None
) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(line) + "\n")
    (asked,) = read_asked(str(path))
    assert asked.question == question and asked.prompt[-1] == {"role": "user", "content": question}
    assert asked.columns.get("answer") == answer


def test_a_file_without_prompts_is_told(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"x": 1}\n')
    with pytest.raises(UserError, match="line 1: it has x; understood are"):
        read_asked(str(path))
    (tmp_path / "p.txt").write_text("first\n\nsecond\n")
    assert [asked.question for asked in read_asked(str(tmp_path / "p.txt"))] == ["first", "second"]
    assert read_asked(str(tmp_path / "p.txt"), text=True)[0].prompt == "first"
