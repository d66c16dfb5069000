"""PPO and GRPO on answers that the engine draws: what is drawn, known optima, resuming, and rewards that fail."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jielong.base.errors import UserError, WorkFailed
from jielong.base.files import read_jsonl
from jielong.base.talk import Talk
from jielong.nets.adapters.attach import attach
from jielong.nets.adapters.config import Lora
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.train import loop, run
from jielong.train.loop import METRICS
from jielong.train.preferences import grpo, ppo
from jielong.train.preferences.advantages import gae, grouped, k1, token_rewards
from jielong.train.preferences.asked import Asked, read_asked
from jielong.train.preferences.pairs import by_token
from jielong.train.preferences.rollout_plan import Drawing, GrpoPlan, PpoPlan
from jielong.train.preferences.rollouts import Prompt, columns, draw, encoded, piece
from jielong.train.run import Work
from jielong.train.settings import Settings

QUIET = Talk(verbosity=-1)
CONFIG = TransformerConfig(vocab=280, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, hidden=64, context=48)
DRAWING = Drawing(prompts=3, group=4, length=6, epochs=2, minibatches=2, unfinished=0.0)
PPO = PpoPlan(target=0.0, stop=0.0)


def shaken(config: TransformerConfig = CONFIG, seed: int = 0, size: float = 0.2) -> Transformer:
    model = Transformer(config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, size, generator=generator)
    return model.eval()


def asked(n: int = 7) -> list[Asked]:
    return [Asked(f"{i} and {'so ' * (i % 3)}on", {"number": i}) for i in range(n)]


def long(prompts: Any, completions: Any, **_: Any) -> list[float | None]:
    """Longer is better."""
    return [len(text) / 10 for text in completions]


def made(codec: Any, kind: str = "grpo", reward: Any = long, drawing: Drawing = DRAWING, model: Any = None,
         adapter: Any = None, plan: Any = None, **settings: Any) -> Work:  # fmt: skip
    """A run on a few prompts; of an adapter the model stands beside it."""
    config = replace(CONFIG, vocab=codec.size)
    prompts = encoded(asked(), codec, CONFIG.context, 0.2)
    usual = {"steps": 8, "context": 48, "batch": 4, "warmup": 2, "precision": "float32", "validate": 2,
             "compile": False, "matrix_rate": 0.002, "other_rate": 0.001}  # fmt: skip
    model = model or shaken(config)
    adapter = attach(model, adapter) if adapter else None
    reference = model if adapter is not None else shaken(config)
    of_work = {"grpo": grpo.of_work, "ppo": ppo.of_work}[kind]
    plan = plan or {"grpo": GrpoPlan(), "ppo": PPO}[kind]
    objective = partial(of_work, reference=reference, prompts=prompts, reward=reward, drawing=drawing, plan=plan)  # type: ignore[operator]
    return Work(adapter or model, codec, *prompts.tokens(), Settings(**{**usual, **settings}), {"name": kind},
                objective=objective, beside=None if adapter is None else model)  # type: ignore[arg-type]  # fmt: skip


def objective(work: Work) -> Any:
    assert work.objective is not None
    return work.objective(work, torch.float32)


def metrics(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if k != "clock"} for line in read_jsonl(folder / METRICS)]


def test_answers_carry_the_samplers_log_probabilities(codec: Any) -> None:
    model = shaken(replace(CONFIG, vocab=codec.size))
    prompts = encoded(asked(5), codec, CONFIG.context).train
    numbers = np.repeat(np.arange(5), [8, 2, 2, 2, 1])  # the first prompt's answers make wide rows
    drawn, texts = draw(model, codec, prompts, numbers, DRAWING, 7)
    assert len(drawn) == len(texts) == 15 and int(drawn.lengths.max()) <= DRAWING.length
    some = np.array([3, 0, 14, 8, 9])
    of = piece(drawn, some)
    logs, _ = by_token(model, of.laid)
    torch.testing.assert_close(logs.detach(), of.of(drawn.logs), rtol=1e-4, atol=1e-4)
    together, every = piece(drawn, np.arange(15), True), piece(drawn, np.arange(15))
    assert together.ids.size < every.ids.size and len(together.ids) < 5, together.ids.shape  # several in a row
    logs, _ = by_token(model, together.laid)
    torch.testing.assert_close(logs.detach(), together.of(drawn.logs), rtol=1e-4, atol=1e-4)
    assert len(of.rows) == int(drawn.lengths[some].sum()) and set(of.rows.tolist()) == set(some.tolist())
    for row, prompt in enumerate(numbers):
        ids, marks = drawn.document(row)
        asks = prompts[prompt].ids
        assert tuple(ids[: len(asks)]) == asks and not marks[: len(asks)].any() and marks[len(asks) :].all()
        assert bool(drawn.finished[row]) == (int(ids[-1]) in (codec.end, codec.turn_end))
    again, _ = draw(model, codec, prompts, numbers, DRAWING, 7)
    torch.testing.assert_close(again.ids, drawn.ids, rtol=0, atol=0)
    other, _ = draw(model, codec, prompts, numbers, DRAWING, 8)
    assert other.ids.shape != drawn.ids.shape or bool((other.ids != drawn.ids).any())
    model.embed.data.mul_(-1)  # a learner's step: what was packed before must not be used again
    moved, _ = draw(model, codec, prompts, numbers, DRAWING, 7)
    fresh = piece(moved, some)
    torch.testing.assert_close(by_token(model, fresh.laid)[0].detach(), fresh.of(moved.logs), rtol=1e-4, atol=1e-4)


def test_prompts_of_all_shapes_and_what_rewards_see_of_them(codec: Any, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "3+3?"}]
    lines = [{"prompt": "2+2?", "answer": "4"}, {"prompt": turns, "answer": "6", "hard": True},
             {"prompt": "so " * 60, "answer": ""}]  # fmt: skip
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    prompts = encoded(read_asked(str(path)), codec, CONFIG.context)
    assert (prompts.left, prompts.found) == (1, 3)
    assert [prompt.shown for prompt in prompts.train] == ["2+2?", turns]
    assert columns(prompts.train, np.array([1, 0])) == {"answer": ["6", "4"], "hard": [True, None]}
    plain = encoded(read_asked(str(path), text=True)[:1], codec, CONFIG.context).train[0]
    assert plain.shown == "2+2?" and plain.ids[0] == codec.end and plain.ids[1:] == tuple(codec.encode("2+2?"))
    with pytest.raises(UserError, match="longer than the model's context of 8 tokens"):
        encoded([Asked("so " * 60)], codec, 8)


@pytest.mark.parametrize("kind", ["ppo", "weighted", "plain"])
def test_a_bandits_optimum(kind: str) -> None:
    """Answers of one token, in exact expectation. What costs KL(p || q) ends at q exp(r / beta) / Z; the paper's GRPO
    at q beta / (beta + c - r)."""
    q, r, beta = (torch.tensor(x, dtype=torch.float64) for x in ([0.2, 0.3, 0.5], [1.0, 0.0, -0.5], 1.5))
    z = q.log().requires_grad_()
    owner, mask = torch.arange(3), torch.ones(3, 1, dtype=torch.bool)
    plan = GrpoPlan(beta=float(beta), weighted=kind == "weighted")
    for _ in range(3000):
        logs = z.log_softmax(0)
        old = logs.detach()
        expected = float(old.exp() @ r)
        if kind == "ppo":
            rewards = token_rewards(k1(old, q.log())[:, None], r, mask, float(beta))
            values = torch.full((3, 1), float(old.exp() @ rewards[:, 0]), dtype=torch.float64)
            advantages, _ = gae(rewards, values, mask, 1.0, 0.95)
            losses = ppo.clipped(torch.exp(logs - old), advantages[:, 0], 0.2, 0.2)
        else:
            losses = grpo.losses(logs, old, q.log(), r - expected, owner, 3, plan)
        gradient = torch.autograd.grad((old.exp() * losses).sum(), z)[0]
        z.data -= 0.5 * gradient
    tilted = (q.log() + r / beta).softmax(0)
    low, high = float(r.max() - beta) + 1e-9, 10.0
    for _ in range(200):  # c by halving
        c = (low + high) / 2
        low, high = (c, high) if float((q * beta / (beta + c - r)).sum()) > 1 else (low, c)
    settled = q * beta / (beta + c - r)
    assert float((settled - tilted).abs().max()) > 0.01  # or the two could not be told apart
    torch.testing.assert_close(z.detach().softmax(0), settled if kind == "plain" else tilted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_drawn_answers_lead_near_the_optimum(kind: str, codec: Any, tmp_path: Path) -> None:
    """One prompt, one token: the whole law is known, and so is what the best one earns."""
    beta = 0.5
    wanted = {codec.decode([i], skip_special=True) for i in range(0, codec.size, 3)}

    def reward(prompts: Any, completions: Any, **_: Any) -> list[float]:
        return [float(text in wanted) for text in completions]

    model = shaken(replace(CONFIG, vocab=codec.size))
    drawing = Drawing(prompts=1, group=64, length=1, epochs=1 if kind == "grpo" else 2, minibatches=1, unfinished=0.0)
    plan: Any = GrpoPlan(beta=beta, baseline="mean", weighted=True, stop=0.0)
    plan = replace(PPO, beta=beta) if kind == "ppo" else plan
    work = made(codec, kind, reward, drawing, model, plan=plan, steps=120, batch=64, validate=0, save_every=0)
    learner = objective(work)
    learner.rolls.prompts = replace(learner.rolls.prompts, train=learner.rolls.prompts.train[:1], held=())
    ids = torch.tensor([learner.rolls.prompts.train[0].ids])

    def law() -> torch.Tensor:
        with torch.no_grad():
            return model(ids)[0, -1].double().softmax(-1)

    q = law()
    right = torch.tensor([float(codec.decode([i], skip_special=True) in wanted) for i in range(codec.size)])
    due = float((q.log() + right / beta).softmax(0) @ right.double())
    start = float(q @ right.double())
    rates = run.Rates(0.004, 0.004)
    loop.run(learner, loop.Course(work.settings.steps, warmup=5, rates=rates, save_every=0), tmp_path, QUIET)
    found = float(law() @ right.double())
    assert due > start + 0.2
    assert abs(found - due) < 0.15 * (due - start) + 0.05, (start, found, due)


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
@pytest.mark.parametrize("at", [3, 6])
def test_resumed_equals_uninterrupted(
    at: int, kind: str, codec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of a rollout and before the first step of one; the KL's price is steered."""
    plan = {"grpo": GrpoPlan(), "ppo": PpoPlan(target=0.1, horizon=50.0, stop=0.0)}[kind]
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = made(codec, kind, plan=plan, save_every=1e-9)
    run.start(whole, tmp_path / "whole", QUIET)
    steps = loop._Driver.step

    def fail(self: Any, batches: Any, number: int) -> Any:
        if number == at:
            raise KeyError("killed")
        return steps(self, batches, number)

    monkeypatch.setattr(loop._Driver, "step", fail)
    with pytest.raises(KeyError):
        run.start(made(codec, kind, plan=plan, save_every=1e-9), tmp_path / "cut", QUIET)
    monkeypatch.undo()
    again = made(codec, kind, plan=plan, save_every=1e-9)
    run.resume(again, tmp_path / "cut", QUIET)
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole") and len(metrics(tmp_path / "whole")) == 8
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_any_split_into_micro_batches_is_the_same_step(kind: str, codec: Any) -> None:
    found = []
    for batch in (12, 2):
        learner = objective(made(codec, kind, batch=batch))
        parts = learner.batches(0)
        assert len(parts) == {12: 1, 2: 3}[batch]
        gradients = []
        for phase in learner.phases:
            losses = [phase.loss(part) for part in parts]
            sum(each.total for each in losses).backward()
            weight = sum(each.weight for each in losses)
            gradients += [p.grad.clone() / weight for p in phase.model.parameters() if p.grad is not None]
            gradients.append(torch.tensor(sum(each.total.item() for each in losses) / weight))
        found.append(gradients)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_every_epoch_reads_every_judged_answer_once(kind: str, codec: Any) -> None:
    """Also where some were not judged: those move nothing, and are counted."""

    def some(prompts: Any, completions: Any, **_: Any) -> list[float | None]:
        return [None if i in (1, 7) else math.nan if i == 8 else float(i) for i in range(len(completions))]

    learner = objective(made(codec, kind, some))
    seen: list[list[int]] = []
    for step in range(4):
        parts = learner.batches(step)
        seen.append(sorted(int(i) for part in parts for i in part.answers))
        for part in parts:
            assert all(bool(torch.isfinite(phase.loss(part).total)) for phase in learner.phases)
    due = [i for i in range(12) if i not in (1, 7, 8)]
    assert sorted(seen[0] + seen[1]) == sorted(seen[2] + seen[3]) == due
    assert learner.figures()["unjudged"] == 0.25
    assert learner.figures()["reward"] == pytest.approx(np.mean(due))
    assert learner.rolls.number == 0 and learner.batches(4) and learner.rolls.number == 1


def test_rewards_that_teach_nothing_end_in_one_line(codec: Any, tmp_path: Path) -> None:
    def nothing(prompts: Any, completions: Any, **_: Any) -> list[float | None]:
        return [None] * len(completions)

    def same(prompts: Any, completions: Any, **_: Any) -> list[float]:
        return [1.0] * len(completions)

    for reward, said in ((nothing, "nothing judged none of the 12 answers of rollout 1"),
                         (same, "same gave 1 to every answer of the first 10 rollouts")):  # fmt: skip
        (tmp_path / reward.__name__).mkdir()
        with pytest.raises(WorkFailed, match=said):
            run.start(made(codec, "grpo", reward, steps=60, batch=12), tmp_path / reward.__name__, QUIET)


def test_a_model_that_has_gone_far_draws_anew(codec: Any, tmp_path: Path) -> None:
    """The steps that are left of the rollout move nothing, and the next rollout is drawn where it would have been."""
    plan = GrpoPlan(stop=1e-9)
    drawing = replace(DRAWING, epochs=4, minibatches=1)
    work = made(codec, "grpo", drawing=drawing, plan=plan, steps=8, batch=12, validate=0)
    run.start(work, tmp_path, QUIET)
    lines = metrics(tmp_path)
    assert [("loss" in line, line["stopped"]) for line in lines[:4]] == [(True, 0), (True, 1), (False, 1), (False, 1)]
    assert [line["reward"] for line in lines[:4]] == [lines[0]["reward"]] * 4 and "loss" in lines[4]


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_an_adapters_reference_is_the_model_without_it(kind: str, codec: Any, tmp_path: Path) -> None:
    model = shaken(replace(CONFIG, vocab=codec.size))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    work = made(codec, kind, model=model, adapter=Lora(rank=4), steps=6, other_rate=0.02, validate=0)
    figures = run.start(work, tmp_path, QUIET)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    first = metrics(tmp_path)[0]
    assert abs(first["kl"]) < 1e-4 and figures["kl"] != first["kl"]
    learner = objective(work)
    if kind == "ppo":
        assert learner.critic.bare and sum(p.requires_grad for p in learner.critic.model.parameters()) == 1


def test_a_temperature_is_of_both_laws(codec: Any) -> None:
    """At another temperature than 1 the ratio at the first step is 1 all the same, and entropy is that law's."""
    drawing = replace(DRAWING, temperature=0.7)
    learner = objective(made(codec, "grpo", drawing=drawing))
    loss = learner.loss(learner.batches(0)[0])
    assert loss.stats["ratio"] / loss.weight == pytest.approx(1.0, abs=1e-5)
    assert learner.figures()["kl"] == pytest.approx(0.0, abs=1e-4)
    plain = objective(made(codec, "grpo"))
    assert loss.stats["entropy"] / loss.weight < plain.loss(plain.batches(0)[0]).stats["entropy"] / loss.weight


def test_a_cut_answer_costs(codec: Any) -> None:
    drawing = replace(DRAWING, unfinished=2.0, length=2)
    learner = objective(made(codec, "grpo", drawing=drawing))
    learner.batches(0)
    rolls = learner.rolls
    due = rolls.values["reward"] - 2.0 * (~rolls.drawn.finished).double()
    torch.testing.assert_close(rolls.scores, due)
    assert not bool(rolls.drawn.finished.all())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Drawing(prompts=0), "--prompts must be 1 or more"),
        (lambda: Drawing(temperature=0.0), "--temperature must be above 0"),
        (lambda: Drawing(prompts=1, group=2, minibatches=3), "--minibatches 3 of 2 answers"),
        (lambda: PpoPlan(beta=math.nan), "--beta must be 0 or more"),
        (lambda: PpoPlan(trace=1.5), "--trace must be from 0 to 1"),
        (lambda: GrpoPlan(clip=1.0), "--clip must be between 0 and 1"),
        (lambda: GrpoPlan(high=-0.1), "--clip-high must be above 0"),
    ],
)
def test_wrong_numbers_are_named(make: Callable[[], object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()


def test_groups_are_answers_to_one_prompt(codec: Any) -> None:
    learner = objective(made(codec, "grpo"))
    learner.batches(0)
    rolls = learner.rolls
    groups = rolls.drawn.prompts.view(3, 4)
    assert bool((groups == groups[:, :1]).all()) and len(groups[:, 0].unique()) == 3
    due = grouped(rolls.scores.view(3, 4), "group").flatten().float()
    torch.testing.assert_close(rolls.values["advantage"], due)
    assert all(isinstance(prompt, Prompt) for prompt in rolls.prompts.train)
