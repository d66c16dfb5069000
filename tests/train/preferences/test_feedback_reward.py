"""What is learnt from feedback on a model's own answers is worth more by the world's own reward, on other questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jielong.cli.main import main
from jielong.train.preferences.best_of import expected_best
from jielong.world.world import World
from tests.train.preferences.test_true_reward import replies, true_reward, write

WORLD = World(seed=0)
QUESTIONS, ASKED = 60, 40


@pytest.mark.slow
def test_a_judge_of_its_own_draws_teaches_a_model(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By pairs of the world's judge (DPO), and by its best answers (rejection sampling); coins teach nothing."""
    questions = WORLD.questions("sums", QUESTIONS, split="train", lang="en")
    said = [{"prompt": q.prompt, "completion": r} for q in questions for r in replies(q)]
    chats = write(in_tmp / "chats.jsonl", said)
    sft = ["--steps", "300", "--batch", "16", "--width", "64", "--context", "96", "--vocab", "400", "-q"]
    assert main(["train", "sft", str(chats), *sft]) == 0
    learnt, held = questions[:ASKED], questions[ASKED:]
    prompts = write(in_tmp / "prompts.jsonl", [
        {"prompt": q.prompt, "answer": q.answer, "accept": q.accept,
         "origin": {"kind": q.origin.kind, "lang": q.origin.lang, "extra": dict(q.origin.extra)}} for q in learnt
    ])  # fmt: skip
    (in_tmp / "coin.py").write_text("import zlib\n\ndef coin(prompts, completions, **columns):\n"
                                    "    return [zlib.crc32(str(c).encode()) % 97 for c in completions]\n")  # fmt: skip
    gentle = ["--steps", "60", "--batch", "8", "--context", "96", "--matrix-rate", "0.0015", "--other-rate", "0.0006"]
    start, found = true_reward(Path("runs/sft"), held), dict[str, list[float]]()
    for seed in range(3):
        draw = ["data", "prefer", str(prompts), "--model", "runs/sft", "--n", "6", "--max-tokens", "24", "-q"]
        for name, judge, keep, verb, budget in (
            ("dpo", "world", "every", "dpo", ["--steps", "120"]), ("best", "world:reward", "best", "sft", gentle),
            ("coin", "coin.py:coin", "every", "dpo", ["--steps", "120"]),
        ):  # fmt: skip
            out = in_tmp / f"{name}{seed}.jsonl"
            assert main([*draw, "--judge", judge, "--keep", keep, "--out", str(out), "--seed", str(seed)]) == 0
            words = ["--model", "runs/sft", "--validation", "0", "-q", "--out", f"runs/{name}{seed}"]
            assert main(["train", verb, str(out), *words, *budget, "--seed", str(seed)]) == 0
            found.setdefault(name, []).append(true_reward(Path(f"runs/{name}{seed}"), held))
        trace = [json.loads(line) for line in (in_tmp / f"best{seed}.trace.jsonl").read_text().splitlines()][1:]
        worths = [[dict(zip(e["answers"], e["judged"]["points"])).get(d["text"].strip(), 0.0) for d in e["draws"]]
                  for e in trace]  # fmt: skip
        for k in (1, 6):
            found.setdefault(f"best of {k}", []).append(sum(expected_best(w, k) for w in worths) / len(worths))
    print(start, found)
    assert min(found["dpo"]) > start + 0.05 and min(found["dpo"]) > max(found["coin"]) + 0.05
    assert min(found["best"]) > start and min(found["best"]) > max(found["coin"])
    assert min(found["best of 6"]) > max(found["best of 1"]) + 0.1
