"""ask, compare, replay, cost and diff at the command line, on an oracle of known error rates and on a small model."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from jielong.cli import feedback
from jielong.cli.main import main
from jielong.cli.thinking import tokens
from jielong.lm.noisy import NoisyOracle
from jielong.lm.scripted import Scripted


class Adder(NoisyOracle):
    """Adds the numbers of the last question; steps make it better, and each run of the program has a seed."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(self.sum, lambda prompt: 0.15 if "step by step" in prompt or ", so " in prompt else 0.55,
                         lambda prompt: ["The answer is 1."], seed=seed, name="adder")  # fmt: skip

    @staticmethod
    def sum(prompt: str) -> str:
        return f"The answer is {sum(map(int, re.findall(r'[0-9]+', prompt.rpartition('user: ')[2])))}."


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch, in_tmp: Path) -> list[Adder]:
    made: list[Adder] = []

    def open_lm(spec: str, device: str, seed: int = 0, adapter: Any = None) -> Adder:
        made.append(Adder(seed))
        return made[-1]

    monkeypatch.setattr(feedback, "open_lm", open_lm)
    return made


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_ask_gives_the_answer_only(capsys: Any, monkeypatch: Any) -> None:
    flags = ("--strategy", "vote(cot, n=9)", "--read", "number")
    code, out, err = run(capsys, "ask", "What is 2 + 3?", *flags)
    assert (code, out) == (0, "5\n") and "votes" in err and "next:" in err
    monkeypatch.setattr(sys, "stdin", io.StringIO("What is 2 + 3?\n"))
    assert run(capsys, "ask", *flags, "-q")[1:] == ("5\n", "")


def test_ask_in_json_and_its_trace(capsys: Any, tmp_path: Path, model: list[Adder]) -> None:
    path = tmp_path / "t.jsonl"
    flags = ("ask", "What is 20 + 3?", "--strategy", "vote(cot,n=5)", "--read", "number", "--trace", path, "--json")
    code, out, _ = run(capsys, *flags)
    told = json.loads(out)
    assert code == 0 and told["answer"] == "23" and told["strategy"] == "vote(cot, n=5)" and told["usage"]["calls"] == 5
    assert json.loads(run(capsys, *flags)[1])["answer"] == "23" and model[-1].usage.calls == 0
    code, out, _ = run(capsys, "replay", path)
    assert code == 0 and "5 calls, none to a model" in out
    assert json.loads(run(capsys, "replay", path, "--json")[1])["other"] == 0


def test_ask_abstains_in_words_and_not_in_the_answer(capsys: Any) -> None:
    code, out, err = run(capsys, "ask", "What is 2 + 3?", "--read", "one_of('yes', 'no')")
    assert code == 0 and out == "" and "no answer" in err
    code, out, err = run(capsys, "ask", "What is 2 + 3?", "--budget", "100")
    assert code == 0 and out == "" and "budget was spent" in err


@pytest.mark.parametrize("words, told", [
    (("ask", ""), "no question"), (("ask", "x", "--strategy", "magic"), "no strategy 'magic'"),
    (("ask", "x", "--read", "numbers"), "no reader"), (("ask", "x", "--budget", "much"), "no number of tokens"),
    (("ask", "x", "--spend", "1"), "--prices"), (("ask", "x", "--temperature", "-1"), "temperature"),
    (("compare", "none.jsonl"), "JSONL"), (("compare", "--budget", "10", "-n", "20"), "more tokens"),
    (("compare", "--strategies", ""), "strateg"), (("compare", "--at-once", "0"), "--at-once"),
    (("compare", "-n", "0"), "1 or more"), (("replay", "none.jsonl"), "cannot read"),
    (("cost", "none.jsonl"), "cannot read"), (("diff", "none.jsonl", "none.jsonl"), "cannot read"),
])  # fmt: skip
def test_what_is_wrong_is_one_line(words: tuple[str, ...], told: str, capsys: Any) -> None:
    code, out, err = run(capsys, *words)
    assert code == 2 and out == "" and told in err and err.count("\n") == 1


def questions(path: Path, n: int = 40) -> Path:
    lines = [{"question": f"What is {i} + {i % 7}?", "answer": i + i % 7} for i in range(10, 10 + n)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def test_compare_ranks_what_is_told_apart_and_nothing_else(capsys: Any, tmp_path: Path) -> None:
    data = questions(tmp_path / "q.jsonl")
    flags = ("compare", data, "--budget", "100k", "--max-tokens", "30", "--out", "c")
    three = "direct, cot, spells(direct, 'career')"
    code, out, err = run(capsys, *flags, "--strategies", three, "--json", "--once")
    told = json.loads(out)
    rows = {(row["group"], row["name"]): row for row in told["rows"]}
    assert code == 0 and rows["one run", "cot"]["estimate"] > rows["one run", "direct"]["estimate"]
    assert rows["pairs", "direct − cot"]["verdict"] == "told apart"
    assert rows["pairs", "direct − spells(direct, 'career')"]["verdict"] == "not told apart"
    first, second = told["meta"]["tiers"]
    assert first == ["cot"] and set(second) == {"direct", "spells(direct, 'career')"}
    assert "<svg" in Path("c/report.html").read_text("utf-8")
    assert Path("c/frontier.svg").read_text("utf-8").startswith("<svg")
    assert json.loads(Path("c/result.json").read_text("utf-8"))["name"] == "compare"
    code, out, err = run(capsys, *flags, "--strategies", "direct, spells(direct, 'career')", "--once", "--overwrite")
    assert code == 0 and "no ranking" in err


def test_compare_spends_the_same_on_each_and_never_more(capsys: Any, tmp_path: Path) -> None:
    data = questions(tmp_path / "q.jsonl", 12)
    flags = ("compare", data, "--budget", "6k", "--max-tokens", "30", "--json", "--strategies", "direct, cot")
    told = json.loads(run(capsys, *flags, "--out", "c")[1])
    from jielong.prompting import trace

    spent: dict[str, int] = {}
    runs = {n["run"]: n["strategy"] for n in trace.read("c/trace.jsonl") if n["node"] == "run"}
    for node in trace.read("c/trace.jsonl"):
        if node["node"] == "call":
            used = node["usage"]["prompt"] + node["usage"]["completion"]
            spent[runs[node["run"]]] = spent.get(runs[node["run"]], 0) + used
    assert told["meta"]["allowance"] == 500 and all(3_500 < each <= 6_000 for each in spent.values())
    curve = told["meta"]["curves"]["direct"]
    assert curve["tokens"] == sorted(curve["tokens"]) and curve["tokens"][-1] == 500
    again = json.loads(run(capsys, *flags, "--out", "c", "--resume")[1])
    assert again["meta"]["trace"] == told["meta"]["trace"] and again["rows"] == told["rows"]
    other = json.loads(run(capsys, *flags, "--out", "d", "--at-once", "1")[1])
    assert other["meta"]["trace"] == told["meta"]["trace"]
    assert run(capsys, *flags, "--out", "c")[0] == 2  # not over what is there
    code, out, _ = run(capsys, "replay", "c/trace.jsonl")
    assert code == 0 and told["meta"]["trace"] in out


def test_cost_and_diff(capsys: Any, tmp_path: Path) -> None:
    data = questions(tmp_path / "q.jsonl", 10)
    flags = ("compare", data, "--budget", "20k", "--once", "--strategies", "cot, vote(cot, n=3)", "-q")
    for out, seed in (("a", 0), ("b", 1)):
        assert run(capsys, *flags, "--max-tokens", "30", "--out", out, "--seed", seed)[0] == 0
    prices = tmp_path / "p.toml"
    prices.write_text('currency = "USD"\n[models."adder"]\nprompt = 2.0\ncompletion = 8.0\n')
    told = json.loads(run(capsys, "cost", "a/trace.jsonl", "--prices", prices, "--json")[1])
    usage = told["usage"]
    assert [each["usage"]["calls"] for each in told["lines"]] == [10, 30] and usage["calls"] == 40
    assert float(told["cost"]) == pytest.approx((2 * usage["prompt"] + 8 * usage["completion"]) / 1e6, abs=1e-15)
    assert told["lines"][1]["again"] == told["lines"][1]["usage"]["prompt"]  # all were read for cot
    same = json.loads(run(capsys, "diff", "a/trace.jsonl", "a/trace.jsonl", "--json")[1])
    assert (same["runs"], same["same"], same["other"]) == (20, 20, [])
    code, out, _ = run(capsys, "diff", "a/trace.jsonl", "b/trace.jsonl")
    assert code == 0 and "not" in out and "p " in out and "->" in out


def test_money_and_cache_at_the_command_line(capsys: Any, tmp_path: Path) -> None:
    prices = tmp_path / "p.toml"
    prices.write_text('[models."adder"]\nprompt = 2.0\ncompletion = 8.0\n')
    flags = ("ask", "What is 2 + 3?", "--read", "number", "--prices", prices, "--max-tokens", "20", "--json")
    assert json.loads(run(capsys, *flags, "--spend", "1")[1])["cost"].startswith("USD 0.00")
    told = json.loads(run(capsys, *flags, "--spend", "0.000001")[1])
    assert told["answer"] is None and "budget" in told["note"]
    first = json.loads(run(capsys, *flags, "--cache", "c.db")[1])
    again = json.loads(run(capsys, *flags, "--cache", "c.db")[1])
    assert again["answer"] == first["answer"] and again["usage"]["calls"] == 0


@pytest.mark.parametrize("text, number", [("200000", 200_000), ("200k", 200_000), ("1.5M", 1_500_000), ("7", 7)])
def test_tokens_are_said_as_people_say_them(text: str, number: int) -> None:
    assert tokens(text) == number


def test_a_folder_of_ones_own_in_two_commands(capsys: Any, monkeypatch: Any) -> None:
    papers = Path("papers")
    papers.mkdir()
    (papers / "tower.md").write_text("The tower of Lunde is 41 metres high.\n", "utf-8")
    (papers / "cats.txt").write_text("Cats sleep all day.\n", "utf-8")
    assert run(capsys, "index", papers, "--out", "papers.db")[0] == 0
    replies = {"": "41 metres [1]"}
    monkeypatch.setattr(feedback, "open_lm", lambda *_, **__: Scripted(replies))
    flags = ("ask", "How high is the tower of Lunde?", "--index", "papers.db")
    code, out, err = run(capsys, *flags)
    assert (code, out) == (0, "41 metres\n") and "tower.md" in err
    told = json.loads(run(capsys, *flags, "--trace", "t.jsonl", "--json")[1])
    assert told["answer"] == "41 metres" and "tower.md" in told["sources"][0]
    assert run(capsys, "replay", "t.jsonl")[0] == 0
    replies[""] = "90 metres [1]"
    assert run(capsys, *flags)[1] == ""  # the passage does not say so
    assert run(capsys, "ask", "Who rules the moon?", "--index", "nowhere.db")[0] == 2
