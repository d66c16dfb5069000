"""What is learnt from the world's judge is worth more by the world's own reward, on prompts that no pair was about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jielong.base import noise
from jielong.cli.main import main
from jielong.infer.generate import generate
from jielong.infer.sampling import Sampling
from jielong.nets import checkpoint
from jielong.units.chat import encode_prompt
from jielong.world.text import Question
from jielong.world.world import World

WORLD = World(seed=0)
QUESTIONS, JUDGED = 60, 40
REFUSAL, RUDE = "I do not know.", " You idiot."


def replies(question: Question) -> list[str]:
    """Right and polite (reward 1), right and rude (0.9), nothing (about a half)."""
    return [question.answer, question.answer + RUDE, REFUSAL]


def write(path: Path, lines: list[dict[str, object]]) -> Path:
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    return path


def judged(questions: list[Question], seed: int, by_coin: bool) -> list[dict[str, object]]:
    """Every two replies to a question, the better one chosen by the world's judge or, as a control, by a coin."""
    found: list[dict[str, object]] = []
    for n, question in enumerate(questions):
        some = replies(question)
        for a, b in ((0, 1), (0, 2), (1, 2)):
            drawn = WORLD.judge(question, some[a], some[b], seed=seed)
            better = int(noise.uniform(seed, n, a, b) < 0.5) if by_coin else drawn
            pair = (some[b], some[a]) if better else (some[a], some[b])
            found.append({"prompt": question.prompt, "chosen": pair[0], "rejected": pair[1]})
    return found


def true_reward(model: Path, questions: list[Question], draws: int = 8) -> float:
    """Mean reward of answers drawn at temperature 1."""
    loaded = checkpoint.load(model)
    prompts = [encode_prompt(loaded.codec, [{"role": "user", "content": q.prompt}]) for q in questions] * draws
    ends = (loaded.codec.end, loaded.codec.turn_end)
    each = [Sampling(max_tokens=24, seed=i, stop_ids=ends) for i in range(len(prompts))]
    said = generate(loaded.model, prompts, each)
    texts = [loaded.codec.decode(list(draw.ids), skip_special=True).strip() for draw in said]
    return sum(WORLD.reward(q, text) for q, text in zip(questions * draws, texts)) / len(texts)


@pytest.mark.slow
def test_the_judge_teaches_what_a_coin_cannot(in_tmp: Path) -> None:
    questions = WORLD.questions("sums", QUESTIONS, split="train", lang="en")
    lines = [{"prompt": q.prompt, "completion": r} for q in questions for r in replies(q)]
    chats = write(in_tmp / "chats.jsonl", lines)
    sft = ["--steps", "300", "--batch", "16", "--width", "64", "--context", "96", "--vocab", "400", "-q"]
    assert main(["train", "sft", str(chats), *sft]) == 0
    held, start = questions[JUDGED:], 0.0
    start = true_reward(Path("runs/sft"), held)
    found: dict[str, list[float]] = {}
    for seed in range(2):
        for verb, by_coin in (("dpo", False), ("kto", False), ("dpo", True), ("kto", True)):
            pairs = write(in_tmp / "pairs.jsonl", judged(questions[:JUDGED], seed, by_coin))
            words = ["--model", "runs/sft", "--seed", str(seed), "--steps", "40", "--validation", "0", "-q"]
            assert main(["train", verb, str(pairs), *words, "--overwrite"]) == 0
            found.setdefault(f"{verb}{' coin' * by_coin}", []).append(true_reward(Path("runs") / verb, held))
    print(start, found)
    for verb in ("dpo", "kto"):
        assert min(found[verb]) > start + 0.05, found
        assert min(found[verb]) > max(found[f"{verb} coin"]) + 0.05, found


REWARD = """
import random
from jielong.world.world import World
WORLD = World(seed=0)
QUESTIONS = WORLD.questions("sums", {questions}, split="train", lang="en")
def true(completions, number):
    said = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    return [WORLD.reward(QUESTIONS[i], text.strip()) for i, text in zip(number, said)]
def mixed(completions, number):
    found = true(completions, number)
    random.Random(repr(completions)).shuffle(found)
    return found
"""


@pytest.mark.slow
def test_rewards_teach_what_mixed_up_ones_cannot(in_tmp: Path) -> None:
    """PPO and GRPO with the true reward, with a reward model of the world's judge, and, as a control, with rewards that
    were given to the wrong answers of a rollout."""
    questions = WORLD.questions("sums", QUESTIONS, split="train", lang="en")
    lines = [{"prompt": q.prompt, "completion": r} for q in questions for r in replies(q)]
    chats = write(in_tmp / "chats.jsonl", lines)
    sft = ["--steps", "300", "--batch", "16", "--width", "64", "--context", "96", "--vocab", "400", "-q"]
    assert main(["train", "sft", str(chats), *sft]) == 0
    pairs = write(in_tmp / "pairs.jsonl", judged(questions[:JUDGED], 0, False))
    assert main(["train", "reward", str(pairs), "--model", "runs/sft", "--steps", "60", "--validation", "0", "-q"]) == 0
    asked = write(in_tmp / "p.jsonl", [{"prompt": q.prompt, "number": i} for i, q in enumerate(questions[:JUDGED])])
    (in_tmp / "own.py").write_text(REWARD.format(questions=QUESTIONS))
    held = questions[JUDGED:]
    start, found = true_reward(Path("runs/sft"), held), dict[str, float]()
    rewards = {"true": ["--reward", "own.py:true"], "judge": ["--judge", "runs/reward"],
               "mixed": ["--reward", "own.py:mixed"]}  # fmt: skip
    for verb in ("ppo", "grpo"):
        for name, flags in rewards.items():
            words = ["--model", "runs/sft", *flags, "--length", "24", "--validation", "0", "-q", "--overwrite"]
            assert main(["train", verb, str(asked), *words, "--steps", "80" if verb == "ppo" else "60"]) == 0
            found[f"{verb} {name}"] = true_reward(Path("runs") / verb, held)
    print(start, found)
    for verb in ("ppo", "grpo"):
        for name in ("true", "judge"):
            assert found[f"{verb} {name}"] > start + 0.05, found
            assert found[f"{verb} {name}"] > found[f"{verb} mixed"] + 0.05, found
