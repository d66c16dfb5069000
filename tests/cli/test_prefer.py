"""`data prefer` and `generate --best-of`: from prompts to files that the trainers take, killed and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jielong.base import files
from jielong.cli.main import main
from tests.lm.test_remote import fake, said

REWARD = """
import os, time

def shorter(prompts, completions, wanted=None, **more):
    time.sleep(float(os.environ.get("SLOW", "0")))
    return [-float(len(text)) for text in completions]

def constant(prompts, completions):
    return [1.0] * len(completions)

def lost(prompts, completions):
    return [None] * len(completions)

def broken(prompts, completions):
    return 1 / 0
"""
FEW = ["--max-tokens", "6", "-n", "3"]


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers, badly: 32 wide, two steps; prompts, and rewards."""
    folder = tmp_path_factory.mktemp("prefer")
    chats = [{"prompt": f"{a} and {b}?", "completion": f"They make {a + b}."} for a in range(20) for b in range(20)]
    (folder / "chats.jsonl").write_text("\n".join(map(json.dumps, chats)))
    words = ["--steps", 2, "--batch", 2, "--width", 32, "--vocab", 300, "-q", "--context", 512, "--out", folder / "sft"]
    assert main([str(word) for word in ["train", "sft", folder / "chats.jsonl", *words]]) == 0
    (folder / "reward.py").write_text(REWARD)
    lines = [{"prompt": f"{a} and {a}?", "wanted": str(2 * a)} for a in range(6)]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def words_of(made: Path, out: Path, judge: str = "shorter", *more: object) -> list[object]:
    judged = ["--judge", f"{made / 'reward.py'}:{judge}"] if judge else []
    return ["data", "prefer", made / "prompts.jsonl", "--model", made / "sft", "--out", out, *FEW, *judged, *more]


@pytest.mark.parametrize("keep", ["pairs", "best", "labelled"])
def test_what_is_made_trains(
    keep: str, made: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = in_tmp / "made.jsonl"
    code, said, err = run(capsys, *words_of(made, out, "shorter", "--keep", keep, "--threshold", -8, "--json"))
    assert code == 0, err
    told = json.loads(said)
    assert told["prompts"] == 6 and told["kept"] > 0 and told["kept"] == len(out.read_text().splitlines())
    assert (in_tmp / "made.trace.jsonl").is_file() and (in_tmp / "made.left.jsonl").is_file()
    assert next(files.read_jsonl(in_tmp / "made.trace.jsonl"))["about"]["drawing"]["temperature"] == 1.0
    if keep == "pairs":
        assert told["kept"] + sum(told["left"].values()) == 6
        for line in files.read_jsonl(out):
            assert len(line["chosen"][0]["content"]) < len(line["rejected"][0]["content"])
    verb = {"pairs": "dpo", "best": "sft", "labelled": "kto"}[keep]
    if keep != "labelled" or len({line["label"] for line in files.read_jsonl(out)}) == 2:
        few = ["--steps", 1, "--batch", 2, "--context", 256, "-q", "--validation", 0]
        code, _, err = run(capsys, "train", verb, out, "--model", made / "sft", *few)
        assert code == 0, err


def test_the_same_seed_gives_the_same_file_and_another_form_asks_nobody(
    made: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = in_tmp / "one.jsonl", in_tmp / "two.jsonl"
    for out in (one, two):
        code, _, err = run(capsys, *words_of(made, out))
        assert code == 0, err
        assert err.strip().splitlines()[-1].endswith(f"jielong train dpo {out} --model {made / 'sft'}")
    assert one.read_bytes() == two.read_bytes()
    assert (in_tmp / "one.trace.jsonl").read_bytes() == (in_tmp / "two.trace.jsonl").read_bytes()
    code, out_text, _ = run(capsys, *words_of(made, one, "shorter", "--keep", "best", "--resume", "--json"))
    assert code == 0 and json.loads(out_text)["usage"]["calls"] == 0
    assert all("messages" in line for line in files.read_jsonl(one))
    code, _, err = run(capsys, *words_of(made, two))
    assert code == 2 and "--resume" in err and "--overwrite" in err
    code, _, err = run(capsys, *words_of(made, two, "constant", "--resume"))
    assert code == 2 and "other settings (judge)" in err
    code, _, err = run(capsys, *words_of(made, two, "shorter", "--overwrite", "--seed", 1))
    assert code == 0 and one.read_bytes() != two.read_bytes()


def test_killed_and_gone_on_with_it_is_as_if_nothing_had_been(
    made: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, cut = in_tmp / "whole.jsonl", in_tmp / "cut.jsonl"
    assert run(capsys, *words_of(made, whole))[0] == 0
    command = [sys.executable, "-m", "jielong", *map(str, words_of(made, cut))]
    trace = in_tmp / "cut.trace.jsonl"
    process = subprocess.Popen(command, env={**os.environ, "SLOW": "0.5"}, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while time.monotonic() < until and (not trace.exists() or len(trace.read_bytes().splitlines()) < 3):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = trace.read_bytes()
    assert 3 <= len(there.splitlines()) < 7
    code, _, err = run(capsys, *words_of(made, cut, "shorter", "--resume"))
    assert code == 0, err
    assert trace.read_bytes().startswith(there) and trace.read_bytes() == (in_tmp / "whole.trace.jsonl").read_bytes()
    assert cut.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("judge", "code", "line"),
    [
        ("constant", 0, "6 of 6 prompts gave nothing: the judge found them equally good"),
        ("lost", 0, "6 of 6 prompts gave nothing: the judge's verdict cannot be read"),
        ("broken", 2, "ZeroDivisionError"),
        ("absent", 2, "no function 'absent'"),
        ("", 2, "give --judge"),
    ],
)
def test_bad_rewards_are_one_line(
    judge: str, code: int, line: str, made: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _, err = run(capsys, *words_of(made, in_tmp / "out.jsonl", judge))
    assert found == code and line in err, err


def test_the_model_judges_itself_by_its_law_and_revises_itself(
    made: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    law = ["--judge", "self", "--judge-way", "law", "--limit", 2, "--json"]
    code, out, err = run(capsys, *words_of(made, in_tmp / "law.jsonl", "", *law))
    assert code == 0, err
    told = json.loads(out)
    assert told["prompts"] == 2 and told["comparisons"]["unread"] == told["comparisons"]["silent"] == 0
    code, out, err = run(capsys, *words_of(made, in_tmp / "self.jsonl", "", "--judge", "self", "--limit", 2))
    assert code == 1 and "has not answered 2 times in a row" in err and "the model's context is 512" in err
    assert [line["why"] for line in files.read_jsonl(in_tmp / "self.left.jsonl")] == ["silent"] * 2
    revise = ["--constitution", "default", "--rounds", 2, "--limit", 2, "--language", "zh", "--json"]
    code, out, err = run(capsys, *words_of(made, in_tmp / "revised.jsonl", "", *revise))
    assert code == 0 and json.loads(out)["prompts"] == 2, err
    entry = next(line for line in files.read_jsonl(in_tmp / "revised.trace.jsonl") if "number" in line)
    assert entry["why"] or entry["rounds"][0]["principle"]


def test_prompts_that_do_not_fit_are_counted(made: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (in_tmp / "long.jsonl").write_text(json.dumps({"prompt": "1 and 2? " * 600}) + '\n{"prompt": "1 and 1?"}\n')
    words = words_of(made, in_tmp / "out.jsonl", "shorter", "--json")
    words[2] = in_tmp / "long.jsonl"
    code, out, err = run(capsys, *words)
    assert code == 0 and json.loads(out)["left"]["unfit"] == 1 and "cannot take the prompt" in err


def test_best_of(made: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "3 and 4?", "--chat", "--model", made / "sft", "--best-of", 4, "--max-tokens", 6, "--json"]
    code, out, err = run(capsys, *words, "--judge", f"{made / 'reward.py'}:shorter")
    assert code == 0, err
    told = json.loads(out)
    texts = [draw["text"].strip() for draw in told["draws"]]
    assert told["best"] == min((text for text in texts if text), key=len) and 1 < told["kl_bound"] + 0.75 < 2
    for more, line in (((), "give --judge"), (("--judge", "self", "-n", 2), "leave out -n")):
        code, _, err = run(capsys, *words, *more)
        assert code == 2 and line in err
    code, _, err = run(capsys, *words, "--judge", f"{made / 'reward.py'}:lost")
    assert code == 1 and "cannot be read" in err


def test_a_judge_behind_an_address_rewards_rollouts(
    made: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """GRPO on the points of a server's model; one that answers nonsense judges nothing, and that is said."""
    few = ["--steps", 1, "--prompts", 2, "--group", 3, "--length", 4, "-q"]
    answers = iter(f"Points: {i % 6}" for i in range(1000))
    with fake(lambda path, body: said(next(answers))) as (url, seen):
        words = ["train", "grpo", made / "prompts.jsonl", "--model", made / "sft", "--judge", f"{url}#m", *few]
        code, out, err = run(capsys, *words, "--json")
        assert code == 0, err
        assert json.loads(out)["metrics"]["reward"] > 0 and "0 points" in seen[0]["messages"][0]["content"]
    with fake(lambda path, body: said("Nice!")) as (url, _):
        words = ["train", "grpo", made / "prompts.jsonl", "--model", made / "sft", "--judge", f"{url}#m", *few]
        code, _, err = run(capsys, *words, "--overwrite")
        assert code != 0 and "judge" in err and len(err.strip().splitlines()) == 1, err
    with fake(lambda path, body: (400, {"error": {"message": "out of order"}})) as (url, _):
        words = [*words[: -len(few) - 1], f"{url}#m", "--reward", f"{made / 'reward.py'}:shorter", *few]
        code, _, err = run(capsys, *words, "--overwrite")
        assert code == 1 and "has not answered once" in err and "out of order" in err, err


def test_a_server_answers_and_judges(made: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both the answers and the verdicts come from elsewhere; a dead judge is one line, and resumed it goes on."""

    def handler(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        asked = body["messages"][0]["content"]
        if "answer_A" in asked:
            first, second = (asked.split(f"<answer_{c}>\n")[1].split("\n")[0] for c in "AB")
            return said("Verdict: A" if first > second else "Verdict: B")
        return said(f"answer {body['seed'] % 5}")

    out = in_tmp / "remote.jsonl"
    words = ["data", "prefer", made / "prompts.jsonl", "-n", 4, "--out", out, "--model"]
    with fake(handler) as (url, _), fake(lambda path, body: (403, {"error": "no"})) as (shut, _):
        code, _, err = run(capsys, *words, f"{url}#m", "--judge", f"{shut}#m")
        assert code == 2 and "refuses the key in $JIELONG_REMOTE_KEY" in err
        code, text, err = run(capsys, *words, f"{url}#m", "--judge", f"{url}#m", "--overwrite", "--json")
        assert code == 0, err
    told = json.loads(text)
    assert told["kept"] + sum(told["left"].values()) == 6 and told["comparisons"]["swayed"] == 0
    assert all(line["chosen"][0]["content"] > line["rejected"][0]["content"] for line in files.read_jsonl(out))
