"""Reward models: the loss in closed form, heads apart, exact splits, folders that load again."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from jielong.base.errors import UserError
from jielong.base.talk import Talk
from jielong.data.tokens import Tokens
from jielong.nets import checkpoint, reward
from jielong.nets.config import TransformerConfig
from jielong.nets.reward import RewardModel
from jielong.nets.transformer import Transformer
from jielong.train import run
from jielong.train.preferences.pairs import Deck
from jielong.train.preferences.prepare import Answers
from jielong.train.preferences.reward import Comparisons, Judged, bradley_terry, numbered, of_work, worth
from jielong.train.run import Work
from jielong.train.settings import Settings

QUIET = Talk(verbosity=-1)
CONFIG = TransformerConfig(vocab=40, dim=32, layers=1, heads=2, kv_heads=1, head_dim=16, hidden=64, context=32,
                           position="learned")  # fmt: skip


def judge(config: TransformerConfig = CONFIG) -> RewardModel:
    model = RewardModel(Transformer(config, seed=0), ("helpful", "safe"))
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.2, generator=generator)
    return model.eval()


def answers(n: int = 12, seed: int = 0) -> Answers:
    generator = np.random.default_rng(seed)
    documents = []
    for _ in range(2 * n):
        before, after = generator.integers(1, 9), generator.integers(1, 15)
        documents.append((generator.integers(0, 40, before + after).tolist(), [False] * before + [True] * after))
    names = tuple(["", "safe", "helpful"][i % 3] for i in range(n))
    return Answers(Tokens.from_documents(documents), 2, np.ones(n, bool), generator.random(n), names)


def objective(model: RewardModel, batch: int, accumulate: int) -> Comparisons:
    sides = [Judged(Deck(some.tokens, 2, 3), some.margins, numbered(some, model.heads))
             for some in (answers(), answers(5, 7))]  # fmt: skip
    return Comparisons(model, sides[0], sides[1], 0.1, batch, accumulate, torch.float64)


def test_bradley_terry_in_closed_form() -> None:
    """Rewards ln 3 apart after the margin: preferred with probability 3/4."""
    chosen, rejected = (torch.tensor([x], dtype=torch.float64) for x in (math.log(3) + 1, 0.5))
    assert bradley_terry(chosen, rejected, 0.5).item() == pytest.approx(math.log(4 / 3), rel=1e-12)
    due = math.log(4 / 3) + 0.2 * (math.log(3) + 1.5) ** 2
    assert bradley_terry(chosen, rejected, 0.5, 0.2).item() == pytest.approx(due, rel=1e-12)


def test_an_answer_is_judged_at_its_last_token_alone() -> None:
    model = judge().double()
    deck = Deck(answers().tokens, 2, 0)
    laid = deck.lay(np.arange(12), last=True)
    assert laid.ids.shape[0] < 24
    found = worth(model, laid, torch.float64)
    alone = [model(model.body.hidden(torch.from_numpy(ids)[None])[0, -1]) for ids, _ in deck.documents(np.arange(12))]
    torch.testing.assert_close(found, torch.stack(alone), rtol=1e-9, atol=1e-10)


def test_a_pair_moves_its_own_head_and_any_split_is_the_same_step() -> None:
    found = []
    for batch, accumulate in ((8, 1), (2, 4), (1, 8)):
        model = judge().double()
        made = objective(model, batch, accumulate)
        losses = [made.loss(laid) for laid in made.batches(2)]
        sum(each.total for each in losses).backward()
        assert sum(each.weight for each in losses) == 8 and model.body.embed.grad is not None
        found.append([model.body.embed.grad.clone(), model.head.grad.clone()])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-9, atol=1e-9)
    model = judge().double()
    made = objective(model, 1, 1)
    for step in range(12):
        model.head.grad = None
        (laid,) = made.batches(step)
        made.loss(laid).total.backward()
        moved = model.head.grad.abs().sum(1) > 0
        assert moved.tolist() == [n == made.train.heads[laid.examples[0]] for n in range(2)]


def test_validation_is_the_mean_over_all_pairs_and_of_each_head() -> None:
    model = judge().double()
    figures = [objective(model, batch, 1).validate() for batch in (1, 5)]
    assert figures[1] == pytest.approx(figures[0], rel=1e-9)
    assert {"val_helpful_accuracy", "val_safe_accuracy"} < set(figures[0])
    fresh = objective(RewardModel(Transformer(CONFIG).double(), ("a", "helpful", "safe")), 2, 1)
    assert fresh.validate()["val_accuracy"] == 0.5  # all are worth 0


def test_heads_need_names_and_pairs_need_their_heads() -> None:
    with pytest.raises(UserError, match="--heads reward,helpful,safe"):
        numbered(answers(), ("reward",))
    for heads in ((), ("a", "a"), ("",)):
        with pytest.raises(UserError, match="need a name each"):
            RewardModel(Transformer(CONFIG), heads)


def test_resumes_and_loads_again(codec, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    config = replace(CONFIG, vocab=codec.size, position="rope")

    def work(steps: int = 8) -> Work:
        settings = Settings(steps=steps, context=32, batch=4, warmup=2, precision="float32", compile=False)
        made = partial(of_work, train=answers(), held=answers(5, 7), centre=0.1)
        some = answers()
        return Work(judge(config), codec, some.tokens, None, settings, {"name": "reward"}, objective=made)

    tmp_path.joinpath("run").mkdir()
    figures = run.start(work(), tmp_path / "run", QUIET)
    loaded = reward.load(tmp_path / "run")
    assert loaded.model.heads == ("helpful", "safe") and loaded.info["metrics"]["val_loss"] == figures["val_loss"]
    again = replace(objective(loaded.model, 4, 1), dtype=torch.float32).validate()
    assert again == pytest.approx({k: v for k, v in figures.items() if k.startswith("val")}, rel=1e-5)
    with pytest.raises(UserError, match="is a reward model"):
        checkpoint.load(tmp_path / "run")
    checkpoint.save(tmp_path / "writer", Transformer(config), codec)
    with pytest.raises(UserError, match="no reward model"):
        reward.load(tmp_path / "writer")


@pytest.mark.referee
def test_transformers_reads_the_judge(codec, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    transformers = pytest.importorskip("transformers")
    config = replace(CONFIG, vocab=codec.size, position="rope")
    model = judge(config)
    reward.save(tmp_path / "judge", model, codec)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "judge").eval()
    assert theirs.config.id2label == {0: "helpful", 1: "safe"}
    ids = torch.randint(4, 40, (3, 11), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(model.body.hidden(ids)[:, -1]), theirs(ids).logits, rtol=1e-5, atol=1e-5)
