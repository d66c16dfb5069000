"""`jielong data world`: what is written, what is said, and wrong input."""

from __future__ import annotations

import json

import pytest

from jielong.base.files import digest, read_jsonl
from jielong.cli.main import main
from jielong.world import World
from jielong.world.world import KINDS


def run(*words: str) -> int:
    return main(["data", "world", *words])


def test_texts(in_tmp, capsys):
    assert run("--kind", "facts", "--n", "50", "--people", "20", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    lines = list(read_jsonl("facts-texts.jsonl"))
    assert told["lines"] == len(lines) == 50 and told["digest"] == digest(in_tmp / "facts-texts.jsonl")
    for line, text in zip(lines, World(0, 20).texts("facts", 50)):
        assert line["text"] == text.text and line["origin"]["fact"] == text.origin.fact
        assert "extra" not in line["origin"]
    assert run("--kind", "facts") == 2
    assert "exists" in capsys.readouterr().err
    assert run("--kind", "facts", "--n", "9", "--overwrite", "--seed", "3", "--draw", "1") == 0
    assert "next: jielong train lm --data facts-texts.jsonl" in capsys.readouterr().err
    written = [line["text"] for line in read_jsonl("facts-texts.jsonl")]
    assert written == [text.text for text in World(3).texts("facts", 9, draw=1)]


def test_chats(in_tmp, capsys):
    assert run("--kind", "facts", "--form", "chats", "--n", "30", "--lang", "zh", "--out", "c.jsonl") == 0
    assert "next: jielong train sft --data c.jsonl" in capsys.readouterr().err
    for line in read_jsonl("c.jsonl"):
        assert [set(message) for message in line["messages"]] == [{"role", "content"}] * len(line["messages"])
        assert line["origin"]["lang"] == "zh"


def test_questions_are_fewer_where_there_are_fewer(in_tmp, capsys):
    assert (
        run("--kind", "common", "--form", "questions", "--n", "500", "--split", "test", "--out", "q.jsonl")
        == 0
    )
    assert "only 60 different questions" in capsys.readouterr().err
    lines = list(read_jsonl("q.jsonl"))
    assert len(lines) == 60 and set(lines[0]) == {"prompt", "answer", "accept", "origin"}
    assert run("--kind", "unknown", "--n", "2", "--quiet") == 0  # the first form that the kind has
    assert capsys.readouterr().err == ""


def test_without_a_kind_all_are_listed(in_tmp, capsys):
    assert run() == 0
    said = capsys.readouterr()
    assert all(kind in said.err + said.out for kind in KINDS)
    assert run("--json") == 0
    assert set(json.loads(capsys.readouterr().out)["kinds"]) == set(KINDS)
    assert not list(in_tmp.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--kind", "fact"), "has no kind 'fact'"),
        (("--kind", "facts", "--n", "0"), "--n must be 1 or more"),
        (("--kind", "facts", "--people", "2"), "people must lie between"),
        (("--kind", "bios", "--form", "chats"), "has no chats"),
        (("--kind", "facts", "--lang", "de"), "lang"),
        (("--kind", "facts", "--out", "."), "is a folder"),
    ],
)
def test_wrong_input_is_told_in_one_line(in_tmp, capsys, words, message):
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not list(in_tmp.rglob("*.jsonl"))
