"""`jielong train tokenizer`, whole: what is written, what is said, and wrong input."""

from __future__ import annotations

import json

import pytest

from jielong.cli.main import main
from jielong.units import codec

EN = "the cat sat on the mat and the cat had a hat\n" * 20
ZH = "玉山是臺灣最高的山。玉山很高。\n" * 20


@pytest.fixture
def texts(in_tmp):
    lines = [
        json.dumps({"text": t, "lang": lang}, ensure_ascii=False) for t, lang in ((EN, "en"), (ZH, "zh"))
    ]
    (in_tmp / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (in_tmp / "plain.txt").write_text(ZH, encoding="utf-8")
    return in_tmp


def document(capsys):
    return json.loads(capsys.readouterr().out)


def test_bpe(texts, capsys):
    assert main(["train", "tokenizer", "--data", "texts.jsonl", "--size", "290", "--json"]) == 0
    told = document(capsys)
    made = codec.load("runs/tokenizer")
    assert told["size"] == made.size == 290 and told["fingerprint"] == made.fingerprint
    assert told["bytes"] == len((EN + ZH).encode()) and set(told["languages"]) == {"en", "zh"}
    ids = made.encode(EN)
    assert told["languages"]["en"]["bytes_per_token"] == pytest.approx(len(EN) / len(ids))
    assert told["languages"]["zh"]["characters_per_token"] == pytest.approx(len(ZH) / len(made.encode(ZH)))
    assert main(["train", "tokenizer", "--data", "texts.jsonl", "--size", "290"]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["train", "tokenizer", "--data", "texts.jsonl", "--size", "280", "--overwrite"]) == 0
    said = capsys.readouterr().err
    assert "280 tokens" in said and "longest tokens" in said and "next: jielong train lm" in said
    assert codec.load("runs/tokenizer").size == 280


def test_larger_than_the_text(texts, capsys):
    common = ["train", "tokenizer", "--data", "plain.txt", "--size", "9000", "--out", "t"]
    assert main(common) == 2
    said = capsys.readouterr().err
    assert "ask for" in said and "Traceback" not in said and not (texts / "t").exists()
    assert main([*common, "--at-most", "--json"]) == 0
    assert 259 < document(capsys)["size"] < 400


def test_characters_and_list(texts, capsys):
    assert main("train tokenizer --data plain.txt --kind characters --out c --json".split()) == 0
    told = document(capsys)
    assert told["languages"]["zh"]["characters_per_token"] == 1.0
    assert codec.load("c").decode(codec.load("c").encode(ZH)) == ZH
    (texts / "list.txt").write_text("玉山\n高\n", encoding="utf-8")
    assert main("train tokenizer --data plain.txt --kind list --tokens list.txt --out l".split()) == 0
    assert len(codec.load("l").encode("玉山高")) == 2


def test_limits_and_dry_run(texts, capsys):
    words = "train tokenizer --data texts.jsonl --data plain.txt --out d".split()
    assert main([*words, "--dry-run", "--json"]) == 0
    assert document(capsys)["dry_run"] is True and not (texts / "d").exists()
    assert main([*words, "--dry-run"]) == 0
    assert "size: 2048" in capsys.readouterr().out
    assert main([*words, "--megabytes", "0.001", "--size", "270", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["cut"] is True and json.loads(captured.out)["texts"] == 1
    assert "only the first" in captured.err


@pytest.mark.parametrize(
    "words, said",
    [
        ("--data plain.txt --kind list", "belong together"),
        ("--data plain.txt --tokens plain.txt", "belong together"),
        ("--data plain.txt --megabytes 0", "above 0"),
        ("--data nowhere.txt", "nowhere.txt"),
        ("--data plain.txt --size 100", "too small"),
    ],
)
def test_wrong_input(texts, capsys, words, said):
    assert main(["train", "tokenizer", *words.split()]) == 2
    captured = capsys.readouterr().err
    assert said in captured and "Traceback" not in captured
    assert not (texts / "runs").exists()
