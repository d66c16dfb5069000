"""Problems from the world, from GSM8K's files and from people's own; and back from a trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jielong.base.errors import UserError
from jielong.prompting import problems
from jielong.prompting.strategy import Answer, Problem


def write(path: Path, *lines: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    return str(path)


@pytest.mark.parametrize("kind", ["sums", "sums_direct", "sums_words", "facts", "yesno", "compare", "copy", "loose"])
def test_the_worlds_right_replies_are_right_and_others_are_not(kind: str) -> None:
    from jielong.world.world import World

    found = problems.load(f"world:{kind}", 20)
    replies = World(0).questions(kind, 20, split="test", lang=None)
    assert [each.text for each in found] == [each.prompt for each in replies]
    for each, question in zip(found, replies):
        value = each.read(question.answer)
        assert value is not None and each.right(Answer(value, question.answer))
        assert each.right(Answer(value))  # as a vote gives it
        assert not each.right(Answer(None, question.answer))
        assert not each.right(Answer("1234567", "1234567"))
    assert len({each.id for each in found}) == 20


def test_declining_is_an_answer_that_can_be_voted_for() -> None:
    (found,) = problems.load("world:unknown:1")
    assert found.read("I do not know that.") == "declined"
    assert found.right(Answer("declined", "I do not know that."))
    assert not found.right(Answer("fox", "It is a fox."))


def test_examples_are_of_training_and_in_the_questions_language() -> None:
    for each in problems.load("world:sums:10"):
        assert len(each.examples) > 5 and all(example.steps for example in each.examples)
        assert {problems._lang(example.question) for example in each.examples} == {problems._lang(each.text)}


def test_gsm8k_is_read_as_it_is(data: Path) -> None:
    path = data / "gsm8k" / "train.jsonl"
    if not path.exists():
        pytest.skip("no GSM8K")
    found = problems.load(str(path), 50)
    assert len(found) == 50 == len({each.id for each in found})
    assert all(each.right(Answer(each.read(f"so it is {each.gold}"))) for each in found)
    assert not any("<<" in str(each.meta["steps"]) or "####" in str(each.meta["steps"]) for each in found)
    shown = problems.load(str(path), 3, examples=str(path))[0].examples
    assert len(shown) == 32 and shown[0].answer == "72" and shown[0].steps.endswith("altogether in April and May.")


@pytest.mark.parametrize("answers, read", [
    (["4", "1,234", "$5.50", "-3"], "number"), (["yes", "no", "yes", "no", "no", "yes"], "one_of('yes', 'no')"),
    (["4", "about 4"], "whole"), (["Tarn", "Tiko"], "whole"), (["r2d2", "5"], "whole"),
])  # fmt: skip
def test_how_answers_are_read_is_seen_from_them(tmp_path: Path, answers: list[str], read: str) -> None:
    path = write(tmp_path / "q.jsonl", *({"question": f"q{i}", "answer": a} for i, a in enumerate(answers)))
    found = problems.load(path)
    assert {each.meta["read"] for each in found} == {read}
    assert all(each.right(Answer(each.read(str(each.gold)))) for each in found)


def test_a_reader_can_be_said(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = [{"question": "a", "answer": "b 3"}]
    path = write(tmp_path / "q.jsonl", *lines, {"question": "c", "answer": 4, "read": "whole"})
    assert [each.meta["read"] for each in problems.load(path, read="number")] == ["number", "number"]
    assert [each.meta["read"] for each in problems.load(path)] == ["whole", "whole"]
    assert problems.load(path, read="number")[0].right(Answer("3"))


def test_some_of_a_file_are_drawn_by_the_seed(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", *({"question": f"q{i}", "answer": i} for i in range(30)))
    first, other = problems.load(path, 5), problems.load(path, 5, seed=1)
    assert first == problems.load(path, 5) and [e.text for e in first] != [e.text for e in other]


def test_a_problem_comes_back_from_json() -> None:
    (found,) = problems.load("world:facts:1")
    again = problems.unpack({"problem": found.id, **json.loads(json.dumps(problems.pack(found)))})
    assert (again.text, again.id, again.gold, again.examples) == (found.text, found.id, found.gold, found.examples)
    assert again.read(str(found.gold)) == found.read(str(found.gold)) is not None
    assert problems.pack(again) == problems.pack(found) and again.check is not None
    for value in (found.gold, "nothing"):
        assert again.right(Answer(value, value)) == found.right(Answer(value, value))
    with pytest.raises(UserError, match="in Python only"):
        problems.unpack({"problem": "x", **problems.pack(Problem("x"))})
    own = Problem("x", meta={"read": "whole"}, check=lambda answer: True)
    with pytest.raises(UserError, match="in Python only"):
        problems.unpack({"problem": "x", **problems.pack(own)})


@pytest.mark.parametrize("source", ["world:", "world:nothing", "world:sums:x", "none.jsonl", "a.txt"])
def test_a_wrong_source_is_one_line(source: str, in_tmp: Path) -> None:
    with pytest.raises(UserError) as told:
        problems.load(source)
    assert "\n" not in str(told.value)


def test_a_wrong_record_is_named(tmp_path: Path) -> None:
    for line in ({"question": "a"}, {"question": 1, "answer": "b"}, {"question": "a", "answer": True}):
        with pytest.raises(UserError, match="record 1"):
            problems.load(write(tmp_path / "q.jsonl", line))
    with pytest.raises(UserError, match="no question"):
        problems.load(write(tmp_path / "q.jsonl"))
    with pytest.raises(UserError, match="1 or more"):
        problems.load("world:sums", 0)
    with pytest.raises(UserError, match="no question"):
        problems.ask(" ")
