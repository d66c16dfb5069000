"""chat, generate and score from the command line, on a checkpoint of a small random model."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from jielong.cli import chat as chatting
from jielong.cli.common import Common
from jielong.cli.drawing import bar
from jielong.cli.main import main
from jielong.lm.local import load
from jielong.nets import checkpoint
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.units import chars

TEXT = "the cat sat on the mat. 玉山很高。\nsystem user assistant ?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    codec = chars.train([TEXT])
    shape = {"dim": 32, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 32, "hidden": 32}
    config = TransformerConfig(vocab=codec.size, context=160, **shape)
    model = Transformer(config)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.4, generator=generator)
    path = tmp_path_factory.mktemp("models") / "small"
    checkpoint.save(path, model, codec)
    return path


def say(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + "\n" for line in lines)))


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    code = main([str(w) for w in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_generate_gives_the_continuation_only(folder: Path, capsys: Any, monkeypatch: Any) -> None:
    expected = load(folder).sample("the cat", 3, temperature=0.7, max_tokens=9)
    flags = ("--model", folder, "--max-tokens", 9, "-q")
    assert run(capsys, "generate", "the cat", *flags) == (0, expected[0].text + "\n", "")
    monkeypatch.setattr(sys, "stdin", io.StringIO("the cat\n"))
    assert run(capsys, "generate", *flags)[1] == expected[0].text + "\n"
    assert run(capsys, "generate", "the cat", "-n", 3, *flags)[1] == "".join(d.text + "\n" for d in expected)


def test_generate_in_json(folder: Path, capsys: Any) -> None:
    flags = ("--max-tokens", 5, "--logprobs", 2, "--seed", 4, "--json", "-n", 2, "--model", folder)
    code, out, err = run(capsys, "generate", "mat?", "--chat", "--system", "the cat", *flags)
    told = json.loads(out)
    asked = [{"role": "system", "content": "the cat"}, {"role": "user", "content": "mat?"}]
    draws = load(folder).sample(asked, 2, temperature=0.7, max_tokens=5, seed=4, logprobs=2)
    assert (code, err) == (0, "")
    assert [d["text"] for d in told["draws"]] == [d.text for d in draws]
    assert [len(d["top"][0]) for d in told["draws"]] == [2, 2]
    assert told["usage"]["completion"] == sum(len(d.ids) for d in draws)
    assert told["prompt"] == asked


@pytest.mark.parametrize("words, told", [
    (("generate", "x", "--temperature", "-1"), "temperature is -1"), (("generate", ""), "empty"),
    (("generate", "x", "--system", "y"), "--chat"), (("generate", "x" * 200), "context is 160"),
    (("generate", "x", "-n", "0"), "n is 0"), (("score",), "--data FILE"),
    (("score", "x", "--data", "y"), "--data"),
    (("score", "--data", "nowhere.txt"), "nowhere.txt"), (("generate", "x", "--device", "abacus"), "abacus"),
])  # fmt: skip
def test_wrong_input_is_one_line_and_exit_2(folder: Path, capsys: Any, words: tuple, told: str) -> None:
    code, out, err = run(capsys, *words, "--model", folder, "-q")
    assert (code, out.strip()) == (2, "")
    assert told in err
    assert len(err.strip().splitlines()) == 1


def test_a_folder_that_is_no_model(capsys: Any, tmp_path: Path) -> None:
    for words in (("chat",), ("generate", "x", "--model"), ("score", "x", "--model")):
        code, _, err = run(capsys, *words, tmp_path)
        assert code == 2
        assert str(tmp_path) in err


def test_score_of_continuations(folder: Path, capsys: Any) -> None:
    code, out, _ = run(capsys, "score", "the cat", " sat", " on", "--model", folder, "--json")
    told = json.loads(out)
    scores = load(folder).score("the cat", [" sat", " on"])
    assert code == 0
    assert [c["total"] for c in told["continuations"]] == pytest.approx([s.total for s in scores])
    assert sum(c["share"] for c in told["continuations"]) == pytest.approx(1)
    assert told["continuations"][0]["tokens"] == list(" sat")
    out = run(capsys, "score", "the cat", " sat", " on", "--model", folder)[1]
    assert f"{scores[0].total:.3f}" in out
    alone = json.loads(run(capsys, "score", "the", "--model", folder, "--json")[1])
    assert alone["continuations"][0]["bytes"] == 2


def test_score_of_files(folder: Path, capsys: Any, tmp_path: Path) -> None:
    lm = load(folder)
    docs = ["the cat sat", "玉山很高。" * 60]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps({"text": d}) + "\n" for d in docs))
    told = json.loads(run(capsys, "score", "--data", tmp_path / "docs.jsonl", "--model", folder, "--json")[1])
    scores = lm.score_documents(docs)
    total, size = sum(s.total for s in scores), sum(len(d.encode()) for d in docs) - 1 - 3
    assert told["bits_per_byte"] == pytest.approx(-total / math.log(2) / size)
    assert (told["documents"], told["bytes"]) == (2, size)

    pairs = tmp_path / "pairs.jsonl"
    first = '{"prompt": "the", "continuations": [" cat", " mat"]}\n'
    pairs.write_text(first + '{"prompt": "玉", "continuations": ["山"]}\n')
    told = json.loads(run(capsys, "score", "--data", pairs, "--model", folder, "--json")[1])
    assert [len(i["continuations"]) for i in told["items"]] == [2, 1]
    assert "' cat'" in run(capsys, "score", "--data", pairs, "--model", folder)[1]
    pairs.write_text(first + '{"prompt": "the"}\n')
    code, _, err = run(capsys, "score", "--data", pairs, "--model", folder)
    assert (code, "record 2" in err) == (2, True)


def test_chat_from_a_script(folder: Path, capsys: Any, monkeypatch: Any, tmp_path: Path) -> None:
    saved = tmp_path / "chat.jsonl"
    good = ("the cat?", "", "/temperature 0", "mat?", "/undo", "/system the", "/probs 3", "/seed 5")
    wrong = ("/nothing", "/temperature hot", "/temperature -1", "/seed", "/help")
    say(monkeypatch, *good, f"/save {saved}", *wrong, "/quit", "not read")
    code, out, err = run(capsys, "chat", folder, "--max-tokens", 6)
    asked = [{"role": "user", "content": "the cat?"}]
    first = "".join(load(folder).stream(asked, temperature=0.7, max_tokens=6))
    assert code == 0
    assert out.startswith(first + "\n")
    assert len([line for line in out.splitlines() if "%" in line]) >= 3
    for told in ("(temperature is 0.0)", "(taken back)", "(seed is 5)", "no command /nothing"):
        assert told in err
    for told in ("give a number", "temperature is -1", "/undo  ", "appended"):
        assert told in err
    (line,) = saved.read_text().splitlines()
    assert [m["role"] for m in json.loads(line)["messages"]] == ["system", "user", "assistant"]
    assert json.loads(line)["messages"][2]["content"] == first


def test_chat_in_json_is_one_document(folder: Path, capsys: Any, monkeypatch: Any) -> None:
    say(monkeypatch, "the?", "/reset", "cat?")
    code, out, _ = run(capsys, "chat", folder, "--json", "--max-tokens", 4, "--system", "on")
    told = json.loads(out)
    assert code == 0
    assert [m["content"] for m in told["messages"]][:2] == ["on", "cat?"]
    assert told["usage"]["calls"] == 2


def session(folder: Path, **settings: Any) -> chatting.Session:
    return chatting.Session(load(folder), Common(quiet=True).talk(), {"max_tokens": 8, **settings})


def test_a_long_chat_forgets_its_oldest_turns(folder: Path) -> None:
    here = session(folder)
    for i in range(12):
        chatting.turn(here, f"cat {i} on the mat?")
        assert here.turns[0]["role"] == "user"
        assert len(here.lm.tokens(here.messages[:-1])) <= 152
    assert here.turns[-2]["content"] == "cat 11 on the mat?"
    assert 2 <= len(here.turns) < 24


def test_a_message_that_cannot_be_answered_was_not_said(folder: Path) -> None:
    here = session(folder)
    chatting.turn(here, "cat?")
    with pytest.raises(Exception, match="context is 160"):
        chatting.turn(here, "x" * 300)
    assert all(len(t["content"]) < 300 for t in here.turns)
    for wrong in ("/probs x", "/save", "/undo", "/undo"):
        if wrong == "/undo" and here.turns:
            chatting.turn(here, wrong)
            continue
        with pytest.raises(Exception, match=r"give a number|name the file|nothing was said"):
            chatting.turn(here, wrong)
    with pytest.raises(Exception, match="nothing was asked"):
        chatting.turn(here, "/probs")


def test_ctrl_c_stops_the_reply_and_not_the_program(folder: Path, monkeypatch: Any) -> None:
    here = session(folder)
    shown: list[str] = []

    def show(session: Any, text: str) -> None:
        shown.append(text)
        if len(shown) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(chatting, "show", show)
    chatting.turn(here, "the cat?")
    assert here.turns[-1] == {"role": "assistant", "content": "".join(shown[:3])}
    assert here.open


def test_the_prompt_on_a_terminal(folder: Path, monkeypatch: Any) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    answers: list[Any] = [KeyboardInterrupt, "hello", EOFError]

    def ask(prompt: str) -> str:
        answer = answers.pop(0)
        if isinstance(answer, str):
            return answer
        raise answer

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", ask)
    here = session(folder)
    assert chatting.read_line(here) == "hello"
    assert chatting.read_line(here) is None
    monkeypatch.setattr(sys, "stdin", None)
    assert chatting.read_line(here) is None


BARS = [(0, ""), (1, "█" * 30), (0.5, "█" * 15), (1 / 60, "▌"), (2, "█" * 30)]


@pytest.mark.parametrize("share, shown", BARS)
def test_bars(share: float, shown: str) -> None:
    assert bar(share) == shown
