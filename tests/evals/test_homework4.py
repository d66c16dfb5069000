"""Homework 4: the protocol against its formula, graders that must not be fooled, sets that must not meet."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.cli.main import main
from jielong.evals import homework4 as hw
from jielong.evals.errands import errand
from jielong.evals.homework4_problems import problem_sets
from jielong.lm.cache import Cached
from jielong.lm.noisy import NoisyOracle
from jielong.lm.scripted import Scripted
from jielong.prompting import readers
from jielong.prompting.strategy import Problem
from tests.lm.faults import faulty

SUM = Problem("2 + 2?", "p", "4", readers.number)
SAYS = "The answer"


def two_stages(p: float, copies: float = 1.0) -> Callable[[noise.Source], NoisyOracle]:
    """Reasons rightly with probability p; the second stage copies what was reasoned, with probability `copies`."""

    def answer(prompt: str) -> str:
        return re.findall(r"so (\d+)", prompt)[-1] if hw.EXTRACT["en"] in prompt else "so 4"

    def rate(prompt: str) -> float:
        return 1 - copies if hw.EXTRACT["en"] in prompt else 1 - p

    def wrong(prompt: str) -> list[str]:
        return ["9"] if hw.EXTRACT["en"] in prompt else ["so 3"]

    return lambda source: NoisyOracle(answer, rate, wrong, source=source)


@pytest.mark.parametrize(("p", "counts"), [(0.4, 0.352), (0.6, 0.648), (0.7, 0.784), (0.8, 0.896)])
def test_two_of_three_is_the_map_of_the_notes(p: float, counts: float) -> None:
    """By the law of all draws of the very protocol, and by the formula."""
    assert hw.voted(p) == pytest.approx(counts, abs=1e-12) == pytest.approx(p**3 + 3 * p * p * (1 - p))
    with asyncio.Runner() as loop:

        def one(source: noise.Source) -> bool:
            return loop.run(hw.marked(two_stages(p)(source), "{{question}}", SUM)).right

        law = noise.law(noise.enumerate_choices(one))
    assert law[True] == pytest.approx(counts, abs=1e-12)


def test_the_second_stage_draws_anew_for_each_of_the_three() -> None:
    """Three draws that reasoned alike still answer independently: with reasoning always right and copied with c, the
    share is that of two of three at c. (One answer for all three would give c.)"""
    c = 0.7
    with asyncio.Runner() as loop:
        law = noise.law(noise.enumerate_choices(
            lambda source: loop.run(hw.marked(two_stages(1.0, c)(source), "{{question}}", SUM)).right))
    assert law[True] == pytest.approx(hw.voted(c), abs=1e-12) != pytest.approx(c)


def test_the_same_three_draws_through_a_cache(tmp_path: Path) -> None:
    """The bug of a cache that gave three equal trials."""
    lm = Scripted(lambda prompt, index: str(4 + index % 2))
    plain = asyncio.run(hw.marked(lm, "{{question}}", SUM))
    cached = Cached(lm, tmp_path / "c.db")
    assert [asyncio.run(hw.marked(cached, "{{question}}", SUM)) for _ in range(2)] == [plain] * 2
    assert [t.value for t in plain.tries] == ["4", "5", "4"] and plain.right


def test_exactly_two_stages_with_the_question_in_its_place() -> None:
    lm = Scripted(lambda prompt, index: "4" if hw.EXTRACT["en"] in prompt else f"thought {index}")
    found = asyncio.run(hw.marked(lm, "Q: {{question}} Think of {{question}}.", SUM, max_tokens=77))
    first, *others = lm.calls
    assert first.prompt == [{"role": "user", "content": "Q: 2 + 2? Think of 2 + 2?."}]
    assert (first.n, first.sampling) == (3, {"temperature": 1.0, "max_tokens": 77})
    asks = {"role": "user", "content": hw.EXTRACT["en"]}
    turns = [{"role": "assistant", "content": f"thought {i}"} for i in range(3)]
    assert [c.prompt[1:] for c in others] == [[turn, asks] for turn in turns]
    assert all(c.sampling["temperature"] == 1.0 and c.n == 1 for c in others) and found.right
    zh = Scripted({"": "4"})
    assert asyncio.run(hw.marked(zh, "{{question}}", Problem("二加二是多少？", "z", "4", readers.number))).right
    assert zh.calls[1].prompt[-1]["content"] == hw.EXTRACT["zh"]


@pytest.mark.parametrize(
    ("reply", "value"),
    [("4", "4"), ("4.", "4"), ("The answer is 4.00", "4"), ("$1,234", "1234"), ("４", "4"), ("4 (that is 4)", "4"),
     ("2 + 2 = 4", None), ("3 or 4", None), ("4, 5, 6", None), ("", None), ("four", None), ("14", "14"), ("-4", "-4"),
     ("答案是 4。", "4")],
)  # fmt: skip
def test_a_reply_counts_only_if_it_is_one_number(reply: str, value: str | None) -> None:
    assert hw.number_only(reply) == value


def anywhere(reply: str, gold: str) -> bool:
    """The course's grader: the right number somewhere in the reply."""
    return gold in reply


@pytest.mark.parametrize("reply", ["It is 3, or 4, or 5.", "14", "2 + 2 = 4", "40"])
def test_the_grader_of_the_course_would_be_fooled_and_ours_is_not(reply: str) -> None:
    assert anywhere(reply, "4")
    assert not asyncio.run(hw.marked(Scripted({"": reply}), "{{question}}", SUM)).right


def test_a_model_that_lists_all_numbers_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """And with the course's grader put in its place it gets everything: the test can fail."""
    lister = Scripted({"": " ".join(map(str, range(100)))})
    problems = [Problem(f"{n} + 0?", str(n), str(n), readers.number) for n in range(20)]
    assert hw.share(asyncio.run(hw.mark(lister, "{{question}}", problems))) == 0
    golds = iter([g for p in problems for g in [p.gold] * 3])
    monkeypatch.setattr(hw, "number_only", lambda reply: next(golds))
    assert hw.share(asyncio.run(hw.mark(lister, "{{question}}", problems))) == 1


def test_prompts_have_a_place_for_the_question_and_a_cap() -> None:
    lm = Scripted("")
    words = "word " * (hw.CAP - 5)
    assert hw.checked(lm, words + hw.FILL)
    wrongs = {"What?": r"no \{\{question\}\}", words + "x " * 9 + hw.FILL: r"has \d+ tokens.* allows 1024"}
    for wrong, line in wrongs.items():
        with pytest.raises(UserError, match=line):
            asyncio.run(hw.mark(lm, wrong, [SUM]))
    assert lm.calls == []
    assert all(hw.checked(lm, each) for each in hw.USUAL.values())


def test_points_and_intervals() -> None:
    assert [hw.points(s, hw.PRIVATE_POINTS) for s in (0.61, 0.62, 0.66, 0.67, 0.71, 0.72, 1.0)] == [0, 1, 1, 3, 3, 5, 5]
    assert [hw.points(s, hw.PUBLIC_POINTS) for s in (0.59, 18 / 30)] == [0, 5]

    def sheet(right: int, n: int) -> list[hw.Marked]:
        yes, no = (hw.Try("", "", "4", r) for r in (True, False))
        return [hw.Marked(SUM, (yes, yes, no) if i < right else (yes, no, no)) for i in range(n)]

    gap, inside = hw.overfit(sheet(56, 70), sheet(48, 80))  # Newcombe 1998, table II, contrast (a), method 10
    assert (gap, round(inside.low, 4), round(inside.high, 4)) == (pytest.approx(0.2), 0.0524, 0.3339)
    assert hw.share(sheet(56, 70)) == 0.8 and hw.single(sheet(35, 70)) == 0.5 and hw.unread(sheet(1, 2)) == 0
    difference, between, p = hw.compared(sheet(10, 10), sheet(4, 10))
    assert difference == pytest.approx(0.6) and p == pytest.approx(2 * 0.5**6) and 0 not in between


def test_public_chooses_and_private_reports() -> None:
    """A prompt that knows the public answers by heart: chosen, and found out."""
    public, private = problem_sets("world:errands", 12, 24)
    answers = {p.text: p.gold for p in public}

    def reply(prompt: str, index: int) -> str:
        known = next((gold for text, gold in answers.items() if text in prompt), None)
        return str(known) if "by heart" in prompt and known else "0"

    sheets = asyncio.run(hw.sat(Scripted(reply), ["{{question}}", "by heart {{question}}"], public, private))
    best = hw.best(sheets)
    assert best.prompt.startswith("by heart") and hw.share(best.public) == 1 and hw.share(best.private) == 0
    gap, inside = hw.overfit(best.public, best.private)
    assert gap == 1 and inside.low > 0.6


def test_errands_are_what_their_steps_say_and_do_not_repeat() -> None:
    made = [errand(i, lang=lang, draw=draw) for lang in ("en", "zh") for draw in (0, 1) for i in range(150)]
    for each in made:
        now = int(re.findall(r"\d+", each.text)[0])
        for step in each.steps:
            before, how, first, times, after = re.fullmatch(r"(\d+)([+\-*/])(\d+)(?:\*(\d+))?=(\d+)", step).groups()  # type: ignore[union-attr]
            change = int(first) * int(times or 1)
            assert int(before) == now
            now = {"+": now + change, "-": now - change, "*": now * change, "/": now // change}[how]
            assert now == int(after) and (how != "/" or int(before) % change == 0) and now > 0
        assert now == each.answer and 2 <= len(each.steps) <= 5
        assert ("{" not in each.text) and (each.lang == "zh") == bool(re.search("[一-鿿]", each.text))
    assert len({each.text for each in made}) > 590
    assert errand(7, lang="en") == errand(7, lang="en")


@pytest.mark.parametrize("source", ["world:errands", "world:sums_words", "world:sums_chain", "world:sums"])
def test_sets_do_not_meet_and_other_draws_are_others(source: str) -> None:
    public, private = problem_sets(source, 30, 100)
    again, other = problem_sets(source, 30, 100, draw=2)
    texts = [{p.text for p in part} for part in (public, private, other)]
    assert list(map(len, texts)) == [30, 100, 100] and [p.text for p in again] == [p.text for p in public]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and len(texts[1] & texts[2]) < 30
    assert all(readers.number(p.gold or "") is not None and p.check is None for p in public + private)
    assert {"zh", "en"} == {hw.tongue(p.text) for p in public}
    assert {"zh"} == {hw.tongue(p.text) for p in problem_sets(source, 5, 5, lang="zh")[0]}


def test_sets_from_a_file_and_what_cannot_be_asked(data: Path, tmp_path: Path) -> None:
    public, private = problem_sets(str(data / "gsm8k/train.jsonl"), 30, 100)
    _, other = problem_sets(str(data / "gsm8k/train.jsonl"), 30, 100, draw=2)
    assert len({p.text for p in public + private + other}) == 230 and readers.number(public[0].gold or "") is not None
    few = tmp_path / "few.jsonl"
    few.write_text('{"question": "1 + 1?", "answer": "2"}\n{"question": "Who?", "answer": "Ada"}\n')
    with pytest.raises(UserError, match=r"answer of few\.2 is no number"):
        problem_sets(str(few), 1, 1)
    few.write_text('{"question": "1 + 1?", "answer": "2"}\n')
    with pytest.raises(UserError, match="1 public and 0 other problems"):
        problem_sets(str(few), 1, 1)
    with pytest.raises(UserError, match="does not ask for a number"):
        problem_sets("world:facts", 5, 5)
    with pytest.raises(UserError, match="en, zh or both"):
        problem_sets("world:errands", lang="fr")


@pytest.mark.parametrize("name", ["sentences", "random", "ape", "opro"])
def test_searches_choose_by_the_homeworks_own_share(name: str) -> None:
    """A model that solves a problem only under an instruction with "step" in it: each search finds one."""
    public = [Problem(f"{n} and {n}?", str(n), str(2 * n), readers.number) for n in range(2, 8)]

    def reply(prompt: str, index: int) -> str:
        if "instruction" in prompt and " and " in prompt and "and 2?" in prompt and "Q:" in prompt:
            return f"[{'Step by step.' if index % 3 == 1 else f'Guess {index}.'}]"
        if "Write another instruction" in prompt:
            return "Just guess."
        n = int(re.findall(r"(\d+) and", prompt)[-1])
        return str(2 * n) if re.search("[Ss]tep", prompt) else "0"

    found = asyncio.run(hw.searching(name, 12)(Scripted(reply), public, hw.scoring()))
    assert "step" in found.instruction.lower() and found.dev == 1.0 and found.evaluations >= len(public)
    with pytest.raises(UserError, match="no search 'best'"):
        hw.searching("best", 3)
    with pytest.raises(UserError, match="0 instructions"):
        hw.searching(name, 0)


def test_the_verb_writes_its_page_and_one_document(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (in_tmp / "p.txt").write_text("{{question}} 請仔細算。")
    with faulty(["ok"]) as server:
        line = ["homework", "4", "p.txt", "--model", f"{server.url}#m", "--public", "2", "--private", "3", "--problems",
                "world:errands", "--search", "sentences", "--instructions", "2"]  # fmt: skip
        assert main([*line, "--json"]) == 0
        made = json.loads(capsys.readouterr().out)
        assert len(server.seen) == 6 * (2 * 2 + 5 * 3)
        assert main(line) == 2 and "exists; choose another name" in capsys.readouterr().err
        assert main([*line, "--overwrite", "-q"]) == 0
    rows = {(r["group"], r["name"]) for r in made["rows"]}
    assert {("public", "the bare question"), ("private", "prompt 1"), ("private", "prompt 2")} <= rows
    assert any(name.startswith("overfit of prompt") for _, name in rows)
    page = (in_tmp / "runs/homework4/report.html").read_text("utf-8")
    assert "<svg" in page and "私有題" in page
    assert len((in_tmp / "runs/homework4/answers.jsonl").read_text().splitlines()) == 15
    (in_tmp / "bad.txt").write_text("no place")
    assert main(["homework", "4", "bad.txt", "--model", "http://127.0.0.1:9/v1#m"]) == 2
    assert "has no {{question}}" in capsys.readouterr().err
