"""Prompts by reinforcement learning: the gradient in closed form, and the best prompt by enumeration."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jielong.base import files
from jielong.base.errors import UserError
from jielong.base.talk import Talk
from jielong.cli.main import main
from jielong.lm.scripted import Scripted
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.train import loop
from jielong.train.discrete_prompt import DiscretePrompt, Places, Spoken, advantages, candidates, draw, mean
from jielong.train.muon import Rates
from jielong.train.preferences.asked import Asked
from jielong.train.prompt_values import Answers, Item, Written, before, read_items
from jielong.units.codec import Tokenizer

QUIET = Talk(verbosity=-1)
LETTERS = "abcdef"
ITEMS = (0.0, 5.0, 2.0)


def text(ids: Sequence[int]) -> str:
    return "".join(LETTERS[i] for i in ids)


def worth(prompts: Sequence[str], items: Sequence[float]) -> np.ndarray[Any, Any]:
    """Places depend on one another (b is good only after d), and items differ in level and in scale."""
    found = []
    for prompt in prompts:
        value = 3.0 * ("db" in prompt) + 1.0 * (prompt[-1] == "f") + 0.5 * prompt.count("a")
        found.append([item + (1 + item) * value for item in items])
    return np.array(found)


def objective(policy: Any, **more: Any) -> DiscretePrompt:
    return DiscretePrompt(policy, ITEMS, ITEMS, worth, text, **{"prompts": 24, "batch": 2, **more})


def learn(found: DiscretePrompt, folder: Path, steps: int = 150, **more: Any) -> dict[str, float]:
    course = loop.Course(steps, warmup=5, decay=0.2, clip=0.0, rates=Rates(others=0.1))
    return loop.run(found, course, folder, QUIET, "test", **more)


def plain(prompts: Sequence[str], items: Sequence[float]) -> np.ndarray[Any, Any]:
    """As `worth`, but what is good at a place is good whatever stands at the others."""
    return np.array([[item + (1 + item) * (prompt[0] == "d") + 2 * (prompt[1] == "b") + (prompt[2] == "f")
                      for item in items] for prompt in prompts])  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("values", [worth, plain])
def test_the_best_prompt_by_enumeration_is_found(seed: int, values: Any, tmp_path: Path) -> None:
    every = {text(ids): mean(values([text(ids)], ITEMS)) for ids in product(range(6), repeat=3)}
    best = max(every, key=lambda prompt: every[prompt])
    assert best == "dbf" and sorted(every.values())[-2] < every[best]
    found = DiscretePrompt(Places(3, torch.arange(6)), ITEMS, ITEMS, values, text, 24, 2, seed=seed)
    figures = learn(found, tmp_path)
    assert found.words(found.found()) == best and figures["entropy"] < 1
    if values is plain:  # nowhere to be caught: the policy itself has settled on it
        assert figures["val_reward"] == pytest.approx(every[best])


def test_the_gradient_is_that_of_the_expected_advantage() -> None:
    """Over all prompts of one place the loss's gradient is the policy gradient, by hand."""
    policy = Places(1, torch.arange(6))
    policy.table.data = torch.linspace(-1, 1, 6)[None]
    found = objective(policy, prompts=6, batch=3, entropy=0.0)
    chosen = draw(policy, 6, 0, 0)
    loss = found.loss((0, [0, 1, 2]))
    loss.total.backward()
    p = policy.table.detach().softmax(-1)[0].double()
    gained = advantages(worth([text(row.tolist()) for row in chosen], ITEMS))
    expected = torch.zeros(6, dtype=torch.float64)
    for row, a in zip(chosen[:, 0], gained):
        expected -= a * (torch.nn.functional.one_hot(row, 6) - p)
    assert policy.table.grad is not None and loss.weight == 6
    assert torch.allclose(policy.table.grad[0].double(), expected, atol=1e-6)


def test_the_entropy_is_that_of_the_places() -> None:
    found = objective(Places(2, torch.arange(6)), prompts=4)
    assert found.loss((0, [0])).stats["entropy"] / 4 == pytest.approx(2 * math.log(6), abs=1e-5)


def test_scores_are_of_each_item_and_what_says_nothing_says_nothing() -> None:
    rewards = np.array([[1.0, 100.0, 7.0, np.nan], [3.0, 300.0, 7.0, 1.0], [2.0, 200.0, 7.0, np.nan]])
    z = math.sqrt(1.5)
    # two items agree, one is flat, of one a single prompt was judged
    assert advantages(rewards) == pytest.approx([-2 * z / 3, 2 * z / 4, 0.0])
    assert advantages(np.full((3, 2), 4.0)) == pytest.approx([0.0] * 3)
    assert mean(np.array([[np.nan, 2.0]])) == 2.0 and math.isnan(mean(np.array([[np.nan]])))


def test_draws_follow_the_policy_and_do_not_depend_on_their_number() -> None:
    policy = Places(2, torch.arange(3))
    policy.table.data = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]).log()
    many = draw(policy, 3000, 7, 1)
    assert torch.equal(many[:5], draw(policy, 5, 7, 1)) and not torch.equal(many[:5], draw(policy, 5, 7, 2))
    shares = torch.stack([(many == i).double().mean(0) for i in range(3)], dim=1)
    assert torch.allclose(shares, policy.table.detach().exp().double(), atol=0.04)


def test_every_item_comes_once_before_any_comes_again() -> None:
    found = objective(Places(1, torch.arange(6)), batch=1)
    assert sorted(found.batches(step)[0][1][0] for step in range(3)) == [0, 1, 2] == sorted(
        found.batches(step)[0][1][0] for step in range(3, 6))  # fmt: skip


def test_nothing_is_asked_for_twice() -> None:
    asked: list[str] = []

    def values(prompts: Sequence[str], items: Sequence[float]) -> np.ndarray[Any, Any]:
        asked.extend(prompts)
        return worth(prompts, items)

    found = DiscretePrompt(Places(1, torch.arange(6)), ITEMS, (), values, text, prompts=32, batch=3)
    for step in range(4):
        found.loss((step, [0, 1, 2]))
    assert sorted(asked) == sorted(set(asked))


def test_a_reward_that_judges_nothing_is_told() -> None:
    found = DiscretePrompt(Places(1, torch.arange(6)), ITEMS, (), lambda p, i: np.full((len(p), len(i)), np.nan), text)
    with pytest.raises(UserError, match="judged no answer"):
        found.loss((0, [0]))


def test_resumed_is_uninterrupted(tmp_path: Path) -> None:
    whole, first, second = (objective(Places(3, torch.arange(6))) for _ in range(3))
    learn(whole, tmp_path / "whole", 20)
    states: list[tuple[loop.State, Any]] = []

    def keep(state: loop.State, figures: Any) -> None:
        states.append((state, first.policy.table.detach().clone()))
        if state.step == 9:
            raise KeyboardInterrupt

    course = loop.Course(20, warmup=5, decay=0.2, clip=0.0, rates=Rates(others=0.1), save_every=1e-9)
    with pytest.raises(KeyboardInterrupt):
        loop.run(first, course, tmp_path / "cut", QUIET, "test", keep)
    state, table = states[-1]
    second.policy.table.data = table
    learn(second, tmp_path / "cut", 20, resume=state)
    assert torch.equal(second.policy.table, whole.policy.table) and second.known == whole.known
    assert second.found() == whole.found()


def tiny(codec: Tokenizer) -> Transformer:
    shape = {"dim": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16, "hidden": 64, "context": 32}
    return Transformer(TransformerConfig(vocab=codec.size, **shape), seed=0).eval()  # type: ignore[arg-type]


def test_the_spoken_policy_begins_as_the_model_itself_and_learns(codec: Tokenizer, tmp_path: Path) -> None:
    model = tiny(codec)
    some = torch.tensor([i for i in range(codec.size) if i not in codec.special.values()])[:6]
    policy = Spoken(model, [codec.end], 3, some, 16)
    chosen = torch.tensor([[0, 3, 5], [2, 2, 1]])
    ids = torch.cat([torch.full((2, 1), codec.end), some[chosen]], dim=1)
    expected = model.logits(model.hidden(ids))[:, :-1][..., some].float()
    assert torch.allclose(policy.logits(chosen), expected, atol=1e-5)
    assert not any(name.startswith("frozen") for name, _ in policy.named_parameters())
    before_ = {name: value.clone() for name, value in model.state_dict().items()}
    places = {int(i): n for n, i in enumerate(some)}
    found = DiscretePrompt(policy, ITEMS, ITEMS, worth, lambda ids: text([places[i] for i in ids]), 24, 2)
    started = mean(worth([found.words(row) for row in draw(policy, 64, 1).tolist()], ITEMS))
    course = loop.Course(100, warmup=5, decay=0.2, clip=0.0, rates=Rates(others=0.01))
    figures = loop.run(found, course, tmp_path, QUIET, "test")
    assert figures["val_reward"] > started + 2
    assert all(torch.equal(value, before_[name]) for name, value in model.state_dict().items())


def test_candidates_are_visible_and_frequent(codec: Tokenizer) -> None:
    few = [codec.decode([i]) for i in candidates(codec, ["1 and 1 make 2."], 3).tolist()]
    assert len(few) == 3 and all(word.strip() in "1 and 1 make 2." for word in few)
    every = candidates(codec, [], 0).tolist()
    assert not set(every) & set(codec.special.values()) and all(codec.decode([i]).strip() for i in every)


def test_where_a_prompt_stands() -> None:
    user, system = {"role": "user", "content": "q"}, {"role": "system", "content": "s"}
    assert before("", Asked([user]), "system") == [user] and before("p", Asked("q"), "system") == "p q"
    assert before("p", Asked([user]), "system") == [{"role": "system", "content": "p"}, user]
    assert before("p", Asked([user]), "user") == [{"role": "user", "content": "p q"}]
    assert before("p", Asked([system, user]), "user") == [{"role": "system", "content": "p\n\ns"}, user]


def test_what_a_prompt_is_worth() -> None:
    def scores(prompt: str, answer: str) -> float:
        return math.log(0.6 if ("be good" in prompt) == (answer == "yes") else 0.2)

    items = [Item(Asked("q"), "yes", ("yes", "no")), Item(Asked("r"), "no", ("yes", "no"))]
    lm = Scripted(lambda prompt, index: prompt, scores=scores)
    assert Answers(lm)(["be good", ""], items) == pytest.approx(
        np.log([[0.6, 0.2], [0.2, 0.6]]))  # fmt: skip
    assert Answers(lm, "gap")(["be good", ""], items) == pytest.approx(np.array([[100.0, -90.0], [-90.0, 100.0]]))
    written = Written(lm, lambda prompts, completions, **c: [float(len(text)) for text in completions])
    assert written(["be good", ""], items) == pytest.approx(np.array([[9.0, 9.0], [1.0, 1.0]]))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model that adds after "sum" and says the first number after "first": only one prompt makes it add."""
    folder = tmp_path_factory.mktemp("prompt")
    lines = []
    for a, b in product(range(1, 8), repeat=2):
        for word, said in (("sum", a + b), ("first", a), ("last", b)):
            lines += [{"messages": [{"role": "user", "content": f"{word} {a} {b}"},
                                    {"role": "assistant", "content": str(said)}]}] * 2  # fmt: skip
    (folder / "chats.jsonl").write_text("\n".join(map(json.dumps, lines)))
    held = [{"prompt": f"{a} {b}", "answer": str(a), "say": ["sum", "last"]} for a, b in product(range(1, 8), repeat=2)]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, held)))
    words = ["--steps", "250", "--batch", "16", "--width", "64", "--context", "48", "--vocab", "300", "-q"]
    assert main(["train", "sft", str(folder / "chats.jsonl"), *words, "--out", str(folder / "sft")]) == 0
    return folder / "sft", folder / "items.jsonl"


@pytest.mark.slow
def test_the_word_that_a_model_was_taught_is_found(
    taught: tuple[Path, Path], in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = taught
    words = ["train", "prompt", str(data), "--model", str(model), "--before", "user", "--tokens", "1", "--steps", "40",
             "--candidates", "0", "--json"]  # fmt: skip
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["found"]["score"] > max(told["none"]["score"], told["random"]["score"])
    assert (in_tmp / "runs/prompt/prompt.json").is_file()
    from jielong.data.mix import split
    from jielong.lm.local import load

    lm = load(model)
    _, held = split(read_items(str(data)), 0.25, 0)
    every = candidates(lm.codec, [], 0).tolist()
    texts = [lm.codec.decode([i]).strip() for i in every]
    best = max(Answers(lm, "answer", "user")(texts, held).mean(axis=1))
    assert told["found"]["score"] == pytest.approx(best, abs=0.05)
    assert main([*words, "--resume"]) == 0
    assert json.loads(capsys.readouterr().out)["found"] == told["found"]
    assert main([*words, "--resume", "--seed", "1"]) == 2


def test_bad_input_is_one_line(taught: tuple[Path, Path], in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = taught
    bare = in_tmp / "bare.jsonl"
    bare.write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    for more, line in (
        ([str(data), "--reward", "gap"], '"options"'),
        ([str(bare)], "no right answer"),
        ([str(data), "--samples", "1"], "--samples 2 or more"),
        ([str(data), "--validation", "0"], "fraction for validation"),
        ([str(data), "--reward", "absent.py:fn"], "no such file"),
    ):
        assert main(["train", "prompt", *more, "--model", str(model)]) == 2
        assert line in capsys.readouterr().err
    assert not list(in_tmp.glob("runs/prompt"))


def test_a_run_leaves_what_was_found(taught: tuple[Path, Path], in_tmp: Path) -> None:
    model, data = taught
    (in_tmp / "reward.py").write_text("def short(prompts, completions, answer): return [-len(c) for c in completions]")
    words = ["train", "prompt", str(data), "--model", str(model), "--reward", "reward.py:short", "--steps", "2", "-q",
             "--samples", "2", "--batch", "2", "--tokens", "2", "--max-tokens", "4", "--policy", "spoken"]  # fmt: skip
    assert main(words) == 0
    found = files.read_json("runs/prompt/prompt.json")
    assert len(found["found"]["ids"]) == 2 and found["held"] + found["trained"] == 49
