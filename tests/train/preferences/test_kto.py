"""KTO: its terms in closed form, its z by hand, and a step that is the same however it is split."""

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
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.train import run
from jielong.train.preferences.kto import Kto, Side, kto, of_work
from jielong.train.preferences.pairs import Deck, Reference, lay, log_probs
from jielong.train.preferences.plan import Weights, balance
from jielong.train.run import Work
from jielong.train.settings import Settings

QUIET = Talk(verbosity=-1)
CONFIG = TransformerConfig(vocab=40, dim=32, layers=1, heads=2, kv_heads=1, head_dim=16, hidden=64, context=32,
                           position="learned")  # fmt: skip


def shaken(seed: int, config: TransformerConfig = CONFIG) -> Transformer:
    model = Transformer(config, seed=0)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.2, generator=generator)
    return model.eval()


def some_answers(n: int, seed: int = 0) -> tuple[Tokens, np.ndarray]:
    generator = np.random.default_rng(seed)
    documents = []
    for _ in range(n):
        before, after = generator.integers(1, 9), generator.integers(1, 15)
        ids = generator.integers(0, 40, before + after).tolist()
        documents.append((ids, [False] * before + [True] * after))
    return Tokens.from_documents(documents), np.arange(n) % 3 > 0


def objective(model: Transformer, batch: int, accumulate: int, context: int = 32) -> Kto:
    frozen = shaken(2).double().requires_grad_(False)
    sides = []
    for n, seed in ((12, 0), (5, 7)):
        tokens, labels = some_answers(n, seed)
        sides.append(Side(Reference(frozen, Deck(tokens, 1, 3), batch, torch.float64), labels))
    return Kto(model, Weights(0.3, 1.2, 0.7), context, sides[0], sides[1], accumulate, torch.float64)


def test_prospect_terms() -> None:
    """At beta (r - z) = ln 3 the value is 3/4: what is wanted loses a/4, what is not wanted 3b/4."""
    ratios = torch.tensor([2 * math.log(3) + 0.5, 2 * math.log(3) + 0.5, 0.5], dtype=torch.float64)
    labels = torch.tensor([True, False, True])
    found = kto(ratios, labels, 0.5, Weights(0.5, 1.5, 0.8))
    assert found.tolist() == pytest.approx([1.5 / 4, 0.8 * 3 / 4, 1.5 / 2], rel=1e-12)


@pytest.mark.parametrize("context", [32, 9])
def test_z_is_the_mean_over_answers_beside_other_prompts(context: int) -> None:
    made = objective(shaken(1).double(), 4, 2, context)
    batches = made.batches(1)
    deck, model, reference = made.train.deck, made.model, made.train.reference.model
    dealt = np.concatenate([batch.laid.examples for batch in batches])
    assert dealt.tolist() == deck.deal(8, 8).tolist()
    ratios = []
    for prompt, answer in zip(dealt, [dealt[-1], *dealt[:-1]]):
        (asked, marks), (said, others) = deck.document(prompt), deck.document(answer)
        before = int(marks.argmax())
        ids = np.concatenate([asked[:before], said[others]])[: context + 1]
        alone = lay([(ids, np.arange(len(ids)) >= before)], np.zeros(1, dtype=np.int64))
        own, theirs = (log_probs(m, alone, torch.float64).sums.item() for m in (model, reference))
        ratios.append(own - theirs)
    due = max(0.0, sum(ratios) / len(ratios))
    assert all(batch.z == pytest.approx(due, rel=1e-9, abs=1e-12) for batch in batches)
    backwards = replace(made, model=reference, train=Side(Reference(model, deck, 4, torch.float64), made.train.labels))
    assert (due == 0) != (backwards.batches(1)[0].z == 0)  # never below nought


def test_any_split_into_micro_batches_is_the_same_step() -> None:
    found = []
    for batch, accumulate in ((8, 1), (2, 4), (1, 8)):
        model = shaken(1).double()
        made = objective(model, batch, accumulate)
        losses = [made.loss(each) for each in made.batches(2)]  # the first epoch ends within it
        sum(each.total for each in losses).backward()
        assert sum(each.weight for each in losses) == 8 and model.embed.grad is not None
        stats = [sum(each.stats[name] for each in losses) for name in losses[0].stats]
        figures = [sum(each.total.item() for each in losses), *stats]
        found.append([torch.tensor(figures, dtype=torch.float64), model.embed.grad.clone()])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-9, atol=1e-9)


def test_a_step_of_one_answer() -> None:
    made = objective(shaken(1).double(), 1, 1)
    for step in (0, 1, 13):
        (batch,) = made.batches(step)
        loss = made.loss(batch)
        assert loss.weight == 1 and 0 < loss.total.item() < 1.2 and math.isfinite(batch.z)


def test_validation_is_of_all_answers_at_once() -> None:
    figures = [objective(shaken(1).double(), batch, 1).validate() for batch in (1, 2, 5)]
    for other in figures[1:]:
        assert other == pytest.approx(figures[0], rel=1e-9)
    assert {"val_loss", "val_accuracy", "val_margin", "val_entropy", "val_z", "val_kl"} == set(figures[0])
    itself = objective(shaken(2).double(), 4, 1).validate()
    assert itself["val_kl"] == pytest.approx(0, abs=1e-12) and itself["val_z"] == pytest.approx(0, abs=1e-12)
    assert itself["val_margin"] == pytest.approx(0, abs=1e-12)


def test_a_resumed_run_is_an_uninterrupted_one(codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    config = replace(CONFIG, vocab=codec.size)

    def work() -> Work:
        train, labels = some_answers(20)
        held, others = some_answers(6, 5)
        settings = Settings(steps=8, context=32, batch=4, warmup=2, precision="float32", validate=2, compile=False)
        made = partial(of_work, reference=shaken(2, config), weights=Weights(), labels=labels, held=others)
        return Work(shaken(2, config), codec, train, held, settings, {"name": "kto"}, objective=made)

    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = run.start(work(), tmp_path / "whole", QUIET)
    batches, count = Kto.batches, []

    def stop(self: Kto, step: int) -> object:
        count.append(step)
        if len(count) == 4:
            import signal

            signal.raise_signal(signal.SIGINT)
        return batches(self, step)

    monkeypatch.setattr(Kto, "batches", stop)
    with pytest.raises(KeyboardInterrupt):
        run.start(work(), tmp_path / "stopped", QUIET)
    monkeypatch.undo()
    assert run.resume(work(), tmp_path / "stopped", QUIET) == whole


def test_labels_and_their_weights() -> None:
    assert balance(Weights(), 10, 10) == "" and balance(Weights(desirable=2.0), 10, 20) == ""
    assert "--desirable 3" in balance(Weights(), 10, 30) and "--undesirable 3" in balance(Weights(), 30, 10)
    for wanted, kind in ((0, "false"), (7, "true")):
        with pytest.raises(UserError, match=f"labelled {kind}"):
            balance(Weights(), wanted, 7 - wanted)
    with pytest.raises(UserError, match="--undesirable must be above 0"):
        Weights(undesirable=0)
