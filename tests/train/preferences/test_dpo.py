"""DPO and its relatives: closed forms, a bandit whose optimum is known, and exactness under micro-batches."""

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
from jielong.train.preferences import pairs
from jielong.train.preferences.dpo import LOSSES, Dpo, Sums, of_work, rewards
from jielong.train.preferences.pairs import Deck, Reference, divergence, log_probs
from jielong.train.preferences.plan import PAIRWISE, Plan, plan_of
from jielong.train.run import Work
from jielong.train.settings import Settings

QUIET = Talk(verbosity=-1)
CONFIG = TransformerConfig(vocab=40, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, hidden=64, context=32)

LEARNED = replace(CONFIG, position="learned")  # exact wherever an answer sits in its row


def shaken(config: TransformerConfig = CONFIG, seed: int = 1, size: float = 0.2) -> Transformer:
    """A model whose laws are far from uniform."""
    model = Transformer(config, seed=0)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, size, generator=generator)
    return model.eval()


def some_pairs(n: int = 12, seed: int = 0) -> Tokens:
    """Prompts and answers of all lengths; a second run of targets in some."""
    generator = np.random.default_rng(seed)
    documents = []
    for _ in range(n):
        prompt = generator.integers(0, 40, generator.integers(1, 9)).tolist()
        for _ in range(2):
            answer = generator.integers(0, 40, generator.integers(1, 15)).tolist()
            marks = [False] * len(prompt) + [True] * len(answer)
            if len(answer) > 5:
                marks[len(prompt) + 2] = False
            documents.append((prompt + answer, marks))
    return Tokens.from_documents(documents)


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("position", ["rope", "learned", "alibi"])
@pytest.mark.parametrize("slices", [4096, 7])
def test_sums_are_those_of_each_answer_alone(position: str, slices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "SLICE", slices)
    model = shaken(replace(CONFIG, position=position, softcap=5.0)).double()
    deck = Deck(some_pairs(), 2, 0)
    laid = deck.lay(np.arange(12))
    assert laid.ids.shape[0] < 24  # several in a row, or nothing was tested
    told = log_probs(model, laid, torch.float64)
    gradient = torch.autograd.grad((told.sums * torch.arange(24)).sum(), model.embed)[0]
    due, entropies = [], []
    for ids, marks in deck.documents(np.arange(12)):
        laws = pairs.logits(model, model.hidden(torch.from_numpy(ids)[None]))[0].log_softmax(-1)
        kept = np.flatnonzero(marks[1:])
        due.append(laws[kept, ids[1:][kept]].sum())
        entropies.append(-(laws.exp() * laws).sum(-1)[kept].mean())
    near = 1e-5 if position == "rope" else 1e-9  # tables of rotations are float32, and each sits elsewhere in its row
    torch.testing.assert_close(told.sums, torch.stack(due), rtol=near, atol=near)
    torch.testing.assert_close(told.entropies, torch.stack(entropies), rtol=near, atol=near)
    alone = torch.autograd.grad((torch.stack(due) * torch.arange(24)).sum(), model.embed)[0]
    torch.testing.assert_close(gradient, alone, rtol=100 * near, atol=100 * near)


def test_closed_forms() -> None:
    """p(w) = 1/2, p_ref(w) = 1/4, p(l) = 1/4, p_ref(l) = 1/2: the difference of log-ratios is ln 4."""
    logs = [math.log(x) for x in (1 / 2, 1 / 4, 1 / 4, 1 / 2)]
    sums = Sums(*(numbers(x) for x in logs), numbers(2.0), numbers(4.0))
    s = 1 / (1 + math.exp(-math.log(4) / 2))  # 2/3 at beta = 1/2
    plan = Plan(beta=0.5)
    assert s == pytest.approx(2 / 3)
    wrong = replace(plan, flipped=0.25)
    due = {
        "sigmoid": math.log(3 / 2),
        "cdpo": 0.75 * math.log(3 / 2) + 0.25 * math.log(3),
        "robust": (0.75 * math.log(3 / 2) - 0.25 * math.log(3)) / 0.5,
        "hinge": 1 - math.log(2),
        "ipo": (math.log(2) / 2 + math.log(2) / 4 - 1) ** 2,
        "simpo": 0.0,
        "orpo": 0.0,
    }
    for name, value in due.items():
        if value:
            assert float(LOSSES[name](sums, wrong)) == pytest.approx(value, rel=1e-12), name
    # mean log-probabilities a token of -ln 2 and -ln 3: a gap of ln(3/2), odds of 1 and 1/2
    free = Sums(numbers(-2 * math.log(2)), numbers(-4 * math.log(3)), None, None, numbers(2.0), numbers(4.0))
    simpo = float(LOSSES["simpo"](free, Plan("simpo", 2.0, gamma=math.log(9 / 4))))
    assert simpo == pytest.approx(math.log(2), rel=1e-12)
    orpo = float(LOSSES["orpo"](free, Plan("orpo", 0.5)))
    assert orpo == pytest.approx(math.log(2) + 0.5 * math.log(3 / 2), rel=1e-12)
    certain = Sums(numbers(0.0), numbers(-4.0), None, None, numbers(2.0), numbers(4.0))
    assert math.isfinite(float(LOSSES["orpo"](certain, Plan("orpo", 0.5))))


def test_robust_undoes_flips_on_average() -> None:
    """The mean of the robust loss over labels flipped with its share is the plain loss of right labels."""
    logs = [numbers(*pair) for pair in ((-1.0, 0.3), (-3.0, 0.1), (-2.0, 0.0), (-1.5, 0.9))]
    sums = Sums(*logs, numbers(1.0, 1.0), numbers(1.0, 1.0))
    turned = Sums(sums.rejected, sums.chosen, sums.ref_rejected, sums.ref_chosen, sums.n_rejected, sums.n_chosen)
    plan = Plan("robust", 0.3, flipped=0.2)
    mean = 0.8 * LOSSES["robust"](sums, plan) + 0.2 * LOSSES["robust"](turned, plan)
    torch.testing.assert_close(mean, LOSSES["sigmoid"](sums, plan), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_a_bandits_optimum_is_the_reference_times_exp_reward(beta: float) -> None:
    """Three actions, all pairs judged by Bradley-Terry of a known reward: DPO ends at p_ref exp(r / beta) / Z."""
    reference, reward = numbers(0.2, 0.3, 0.5).log(), numbers(1.0, 0.0, -0.5)
    z = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    judged = [(i, j, torch.sigmoid(reward[i] - reward[j])) for i in range(3) for j in range(3) if i != j]
    optimizer = torch.optim.LBFGS([z], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")
    one = numbers(1.0)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        p = z.log_softmax(0)
        losses = [w * LOSSES["sigmoid"](Sums(p[i, None], p[j, None], reference[i, None], reference[j, None], one, one),
                                        Plan(beta=beta)) for i, j, w in judged]  # fmt: skip
        total = torch.stack(losses).sum()
        total.backward()
        return total

    optimizer.step(closure)
    due = (reference + reward / beta).softmax(0)
    torch.testing.assert_close(z.detach().softmax(0), due, rtol=1e-5, atol=1e-6)


def objective(plan: Plan, batch: int, accumulate: int, model: Transformer) -> Dpo:
    frozen = shaken(model.config, seed=2).double().requires_grad_(False)
    held = Reference(frozen, Deck(some_pairs(5, 7), 2, 0), 2, torch.float64)
    return Dpo(model, plan, Reference(frozen, Deck(some_pairs(), 2, 3), batch, torch.float64), held, accumulate,
               torch.float64)  # fmt: skip


@pytest.mark.parametrize("loss", PAIRWISE)
def test_any_split_into_micro_batches_is_the_same_step(loss: str) -> None:
    plan, found = plan_of(loss, None, None, None), []
    for batch, accumulate in ((8, 1), (2, 4), (1, 8)):
        model = shaken(LEARNED).double()
        made = objective(plan, batch, accumulate, model)
        losses = [made.loss(laid) for laid in made.batches(2)]  # the first epoch ends within it
        sum(each.total for each in losses).backward()
        weight = sum(each.weight for each in losses)
        assert weight == 8 and model.embed.grad is not None
        stats = [sum(each.stats[name] for each in losses) for name in losses[0].stats]
        found.append([numbers(sum(each.total.item() for each in losses), *stats), model.embed.grad.clone()])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-9, atol=1e-9)


def test_the_reference_reads_each_answer_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = objective(Plan(), 4, 1, shaken().double())
    calls, told_by = [], pairs.told_by
    monkeypatch.setattr(pairs, "told_by", lambda *given: calls.append(given[1].count) or told_by(*given))
    fresh = [made.loss(made.batches(step)[0]).total.item() for step in range(7)]
    assert calls == [8, 8, 8]
    again = objective(Plan(), 4, 1, shaken().double())  # a run that goes on at step 5
    assert again.loss(again.batches(5)[0]).total.item() == fresh[5]


def test_at_the_start_nothing_is_preferred_and_validation_is_exact() -> None:
    model = shaken(seed=2).double()
    start = objective(Plan(), 4, 1, model)
    loss = start.loss(start.batches(0)[0])
    assert loss.total.item() / 4 == pytest.approx(math.log(2), rel=1e-12)
    assert abs(loss.stats["margin"]) < 1e-12
    figures = start.validate()
    assert figures["val_loss"] == pytest.approx(math.log(2)) and figures["val_kl"] == pytest.approx(0, abs=1e-12)
    moved = objective(Plan(), 4, 1, shaken(seed=1).double())
    figures, held = moved.validate(), moved.validation
    assert held is not None
    laid = held.deck.lay(np.arange(5))
    total, places = divergence(moved.model, held.model, laid, torch.float64)
    laws = [pairs.logits(m, m.hidden(torch.from_numpy(laid.ids), documents=torch.from_numpy(laid.batch.documents)))
            .log_softmax(-1).flatten(0, 1)[laid.at] for m in (moved.model, held.model)]  # fmt: skip
    due = torch.nn.functional.kl_div(laws[1], laws[0], reduction="sum", log_target=True)
    assert total == pytest.approx(due.item(), rel=1e-9)
    assert figures["val_kl"] == pytest.approx(total / places, rel=1e-6)  # in rows of another width


def work_of(model: Transformer, codec, **changes: object) -> Work:  # type: ignore[no-untyped-def]
    settings = {"steps": 8, "context": 32, "batch": 4, "warmup": 2, "precision": "float32", "validate": 2,
                "compile": False}  # fmt: skip
    return Work(model, codec, some_pairs(20), some_pairs(6, 5), Settings(**{**settings, **changes}), {"name": "dpo"})  # type: ignore[arg-type]


def test_a_resumed_run_is_an_uninterrupted_one(codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    config = replace(CONFIG, vocab=codec.size)

    def work() -> Work:
        made = work_of(shaken(config), codec)
        return replace(made, objective=partial(of_work, reference=shaken(config), plan=Plan()))

    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = run.start(work(), tmp_path / "whole", QUIET)
    drawn = Deck.lay
    count = []

    def stop(self: Deck, *given: object) -> object:
        count.append(1)
        if len(count) == 10:
            import signal

            signal.raise_signal(signal.SIGINT)
        return drawn(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Deck, "lay", stop)
    with pytest.raises(KeyboardInterrupt):
        run.start(work(), tmp_path / "stopped", QUIET)
    monkeypatch.undo()
    again = run.resume(work(), tmp_path / "stopped", QUIET)
    assert again == whole and whole["val_kl"] > 0
    assert whole["val_margin"] == pytest.approx(whole["val_reward_chosen"] - whole["val_reward_rejected"], abs=1e-5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("sigmoid", 0.0, None, None), "beta must be above 0"),
        (("sigmoid", math.nan, None, None), "beta"),
        (("sigmoid", None, 0.1, None), "cdpo and robust"),
        (("robust", None, 0.5, None), "less than 0.5"),
        (("ipo", None, None, 1.0), "for --loss simpo"),
        (("what", None, None, None), "none of"),
    ],
)
def test_wrong_numbers_are_named(given: tuple[object, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        plan_of(*given)  # type: ignore[arg-type]


def test_rewards_without_a_reference_are_means() -> None:
    sums = Sums(numbers(-2.0), numbers(-6.0), None, None, numbers(2.0), numbers(3.0))
    assert [float(r) for r in rewards(sums, plan_of("simpo", None, None, None))] == [-2.0, -4.0]
