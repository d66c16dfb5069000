"""Objectives for slots: what is hidden and how it weighs, by enumeration; the bound; what is learnt of a known law."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jielong.base import files, noise, stats
from jielong.base.errors import UserError
from jielong.base.talk import Talk
from jielong.data.pack import NothingToTrain
from jielong.data.tokens import Tokens
from jielong.infer.parallel import Passes, write
from jielong.infer.sampling import Sampling
from jielong.infer.slots import INFO, Marks, marks_of
from jielong.nets import checkpoint
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.train import at_once, length, loop, mask_predict, masked_diffusion, parallel, run
from jielong.train.loop import Course
from jielong.train.masked_diffusion import bound
from jielong.train.muon import Rates
from jielong.train.parallel import METHODS, Pairs, Parallel, filling, pairs
from jielong.units.codec import Tokenizer
from tests.infer.mixtures import TWO, Knows, Law, apart, product, random_law
from tests.train.conftest import make_work


def tiny(marks: Marks, seed: int = 0, scale: float = 0.0) -> Transformer:
    """Sees both ways; with `scale`, weights that make a difference."""
    config = TransformerConfig(marks.vocab, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, hidden=64, context=32,
                               causal=False)  # fmt: skip
    model = Transformer(config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters() if scale else ():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, scale, generator=generator)
    return model.eval()


def test_pairs_of_documents() -> None:
    documents = [
        ([9, 1, 2, 3, 4, 5, 9], None),  # text: all but the first token
        ([1, 2, 3, 4, 5, 6], [0, 0, 1, 1, 0, 1]),  # a chat of two turns
        ([1, 2, 3], [0, 0, 0]),
    ]
    tokens = Tokens.from_documents(documents)
    told = pairs(tokens, Marks(10, 4, "predicted"), 8, end=9)
    assert [s.tolist() for s in told.sources] == [[9], [2, 3, 4, 1][:0] + [9, 1, 2, 3, 4][1:], [1, 2], [2, 3, 4, 5]]
    assert [t.tolist() for t in told.targets] == [[1, 2, 3, 4], [5, 9], [3, 4], [6]]
    filled = pairs(tokens, Marks(10, 4, "end"), 8, end=9)
    assert [t.tolist() for t in filled.targets] == [[1, 2, 3, 4], [5, 9, 9, 9], [3, 4, 9, 9], [6, 9, 9, 9]]
    assert len(pairs(tokens, Marks(10, 4), 50, end=9).sources[1]) == 5  # there is room for all that came before
    with pytest.raises(UserError, match="slots"):
        pairs(tokens, Marks(10, 8), 8, end=9)
    with pytest.raises(NothingToTrain):
        pairs(Tokens.from_documents([([1, 2, 3], [1, 0, 0])]), Marks(10, 4), 8, end=9)


def test_what_a_batch_shows() -> None:
    marks = Marks(10, 3, "predicted")
    some = Pairs([np.array([1, 2]), np.array([3])], [np.array([4, 5, 6]), np.array([7])])
    weights = np.array([[0.0, 2.0, 0.0], [0.5, 0.0, 0.0]])
    made = filling(some, marks, lambda counts, generator: weights, np.random.default_rng(0))
    assert made.ids.tolist() == [[1, 2, 4, 10, 6], [3, 10, 0, 0, 0]]
    assert made.at.tolist() == [[0, 1], [3, 1]] and made.truth.tolist() == [5, 7] and made.weights.tolist() == [2, 0.5]
    model = tiny(marks, scale=0.3)
    with torch.no_grad():
        first = model(torch.tensor([[1, 2, 4, 10, 6]]))[0, 3, :10].log_softmax(-1)[5]
        second = model(torch.tensor([[3, 10]]))[0, 1, :10].log_softmax(-1)[7]
        assert float(parallel.nats(model, marks, made)) == pytest.approx(float(-2 * first - 0.5 * second), rel=1e-5)


def test_the_law_of_hidden_sets() -> None:
    """n uniform, then every set of n: 1 / (N C(N, n)); weights 1 for mask-predict, N / n for diffusion."""
    counts = np.array([3, 4, 1])
    assert at_once.hide(counts, np.random.default_rng(0)).tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    for method, weight in ((mask_predict, lambda n, size: 1.0), (masked_diffusion, lambda n, size: size / n)):
        seen: list[Counter[tuple[int, ...]]] = [Counter(), Counter(), Counter()]
        for draw in range(4000):
            weights = method.hide(counts, noise.rng("sets", draw))
            for row, size in enumerate(counts):
                hidden = tuple(np.flatnonzero(weights[row]).tolist())
                assert hidden and hidden[-1] < size and np.allclose(weights[row, hidden], weight(len(hidden), size))
                seen[row][hidden] += 1
        for found, size in zip(seen, counts.tolist()):
            sets = [s for n in range(1, size + 1) for s in itertools.combinations(range(size), n)]
            due = {s: 1 / (size * math.comb(size, len(s))) for s in sets}
            assert stats.g_test({s: found[s] for s in sets}, due) > 0.001


def test_the_bound_is_the_integral_over_times() -> None:
    """E over t ~ U(0, 1) and independent masks of the masked nats over t, by quadrature over t."""
    marks = Marks(4, 3)
    model, source, target = tiny(marks, scale=0.4), [1], np.array([2, 0, 3])
    losses = {}
    for n in range(1, 4):
        for chosen in itertools.combinations(range(3), n):
            weights = np.zeros((1, 3))
            weights[0, list(chosen)] = 1.0
            rows = Pairs([np.array(source)], [target])
            some = filling(rows, marks, lambda c, g, w=weights: w, np.random.default_rng(0))
            with torch.no_grad():
                losses[chosen] = float(parallel.nats(model, marks, some))
    times, shares = np.polynomial.legendre.leggauss(20)
    times, shares = (times + 1) / 2, shares / 2
    due = sum(
        loss * float((shares * times ** (len(s) - 1) * (1 - times) ** (3 - len(s))).sum()) for s, loss in losses.items()
    )
    assert bound(model, marks, source, target) == pytest.approx(due, rel=1e-5)
    assert bound(model, marks, source, target, batch=2) == pytest.approx(due, rel=1e-5)
    with pytest.raises(UserError, match="2\\^15"):
        bound(model, Marks(4, 15), source, [0] * 15)


def test_the_loss_in_training_is_the_bound_on_average() -> None:
    marks = Marks(4, 3)
    model, target = tiny(marks, scale=0.4), np.array([2, 0, 3])
    data = Pairs([np.array([1])] * 64, [target] * 64)
    objective = Parallel(model, marks, masked_diffusion.hide, data, batch=64)
    with torch.no_grad():
        found = [objective.loss(objective.batches(step)[0]) for step in range(60)]
    each = [float(loss.total) / 64 for loss in found]
    assert all(loss.weight == pytest.approx(64 * 3) for loss in found)
    away = abs(np.mean(each) - bound(model, marks, [1], target)) / (np.std(each) / math.sqrt(len(each)))
    assert away < 4


def test_gradients_by_differences() -> None:
    marks = Marks(4, 3)
    model, target = tiny(marks, scale=0.4).double(), np.array([2, 0, 3])
    sets = [s for n in range(1, 4) for s in itertools.combinations(range(3), n)]
    weights = np.zeros((len(sets), 3))
    for row, chosen in zip(weights, sets):
        row[list(chosen)] = 1 / (len(chosen) * math.comb(3, len(chosen)))
    rows = Pairs([np.array([1])] * len(sets), [target] * len(sets))
    whole = filling(rows, marks, lambda c, g: weights, np.random.default_rng(0))

    def value() -> torch.Tensor:
        return (
            parallel.nats(model, marks, whole, torch.float64)
            + length.nats(model, marks, [np.array([1, 2])], np.array([2]), torch.float64).sum()
        )

    value().backward()
    places = [(p, (2, 4)) for p in model.parameters() if p.ndim > 1]
    for parameter, place in [*places, (model.embed, (marks.mask, 3)), (model.embed, (marks.ask + 2, 1))]:
        with torch.no_grad():
            old, step, ends = float(parameter[place]), 1e-3, []
            for sign in (1, -1):
                parameter[place] = old + sign * step
                ends.append(float(value()))
            parameter[place] = old
        assert parameter.grad is not None
        due = (ends[0] - ends[1]) / (2 * step)  # logits are float32
        assert float(parameter.grad[place]) == pytest.approx(due, rel=5e-3, abs=2e-3)


def test_the_bound_meets_the_entropy_for_who_knows_and_lies_above_it_for_others() -> None:
    law = random_law(3, 3, 4)
    marks = Marks(3, 3)
    entropy = -sum(p * math.log(p) for p in law.values())

    def mean(model: Any) -> float:
        return sum(p * bound(model, marks, [0], words) for words, p in law.items())

    knows: Any = Knows(law, 3, marks.mask)
    assert mean(knows) == pytest.approx(entropy, abs=1e-5)
    wrong: Any = Knows(random_law(3, 3, 9), 3, marks.mask)
    assert mean(wrong) > entropy + 0.1
    for seed in range(3):
        assert mean(tiny(marks, seed, 0.4)) > entropy


def test_the_bound_lies_above_the_models_own_likelihood() -> None:
    """Slots opened one by one in a random order: the law that ancestral sampling comes to in many steps."""
    marks, texts = Marks(3, 3), list(itertools.product(range(3), repeat=3))
    model = tiny(marks, 2, 0.5)
    own: Law = {}
    for words in texts:
        orders = []
        for order in itertools.permutations(range(3)):
            shown, chance = [marks.mask] * 3, 1.0
            for slot in order:
                with torch.no_grad():
                    chance *= float(model(torch.tensor([[0, *shown]]))[0, 1 + slot, :3].softmax(-1)[words[slot]])
                shown[slot] = words[slot]
            orders.append(chance)
        own[words] = sum(orders) / len(orders)
    assert sum(own.values()) == pytest.approx(1, abs=1e-5)
    assert all(bound(model, marks, [0], words) > -math.log(p) for words, p in own.items())
    gaps = []
    for steps in (1, 2, 4):
        law = of_model(model, marks, Passes("ancestral", steps))
        gaps.append(apart(law, own))
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 0.4 * gaps[0]


def of_model(model: Any, marks: Marks, passes: Passes) -> Law:
    """The exact law of what is written after source [0]."""
    plain = Sampling(temperature=1.0, max_tokens=marks.longest)
    return noise.law(
        noise.enumerate_choices(lambda source: write(model, marks, [[0]], passes, plain, source=source)[0].ids)
    )


def learnt(method: str, tmp_path: Path) -> tuple[Transformer, Marks]:
    """A small model after some steps on the two answers, which are all there is."""
    marks = Marks(4, 2)
    model = tiny(marks)
    data = Pairs([np.array([0])] * 2, [np.array(words) for words in TWO])
    objective = Parallel(model, marks, METHODS[method], data, data, batch=32)
    course = Course(120, warmup=5, rates=Rates(0.02, 0.01, precision=torch.float32), save_every=0)
    loop.run(objective, course, tmp_path, Talk(verbosity=-1))
    return model.eval(), marks


def test_what_each_objective_learns_of_two_answers(tmp_path: Path) -> None:
    """In one pass the four pairs of marginals; ancestral, 1 / (2 N) mixed. Mask-predict mixes nothing in two passes,
    but which answer it gives hangs on which slot was a little surer: its law is not the true one."""
    model, marks = learnt("at-once", tmp_path)
    assert apart(of_model(model, marks, Passes("mask-predict", 1)), product(TWO, 4)) < 0.05
    for method in ("mask-predict", "diffusion"):
        model, marks = learnt(method, tmp_path / method)
        assert apart(of_model(model, marks, Passes("ancestral", 1)), product(TWO, 4)) < 0.06
        sure = of_model(model, marks, Passes("mask-predict", 2))
        assert sure[0, 1] + sure[2, 3] > 0.99 and min(sure[0, 1], sure[2, 3]) > 0.2
        found = of_model(model, marks, Passes("ancestral", 4))
        assert found[0, 3] + found[2, 1] == pytest.approx(1 / 8, abs=0.04)
    nats = [bound(model, marks, [0], words) for words in TWO]
    assert math.log(2) < np.mean(nats) < math.log(2) + 0.1


def test_lengths_are_learnt(tmp_path: Path) -> None:
    marks = Marks(6, 4, "predicted")
    sources = [np.array([n]) for n in (1, 2, 3, 4)]
    targets = [np.full(n, n) for n in (1, 2, 3, 4)]
    model = tiny(marks)
    data = Pairs(sources, targets)
    objective = Parallel(model, marks, mask_predict.hide, data, data, batch=8)
    course = Course(100, warmup=5, rates=Rates(0.02, 0.01, precision=torch.float32), save_every=0)
    figures = loop.run(objective, course, tmp_path, Talk(verbosity=-1))
    assert figures["val_length_loss"] < 0.1 and figures["length_loss"] < 0.1
    plain = Sampling(temperature=0, max_tokens=4)
    model.eval()
    found = write(model, marks, [s.tolist() for s in sources], Passes("mask-predict", 2), plain)
    assert [w.ids for w in found] == [(n,) * n for n in (1, 2, 3, 4)]
    assert {w.reads for w in found} == {2, 3}


def test_batches_depend_on_seed_and_step_alone() -> None:
    marks = Marks(4, 3)
    rng = np.random.default_rng(0)
    data = Pairs([rng.integers(0, 4, 2) for _ in range(10)], [rng.integers(0, 4, 3) for _ in range(10)])
    make = partial(Parallel, tiny(marks), marks, masked_diffusion.hide, data, batch=4, accumulate=2)
    one, two = make(), make()
    for step in (5, 0, 3):
        for a, b in zip(one.batches(step), two.batches(step)):
            assert (a.ids == b.ids).all() and (a.weights == b.weights).all()
    assert (one.batches(0)[0].ids != one.batches(1)[0].ids).any()
    assert (one.batches(0)[0].ids != make(seed=1).batches(0)[0].ids).any()
    seen = Counter(source.tobytes() + b"" for step in range(5) for b in one.batches(step) for source in b.sources)
    assert sum(seen.values()) == 40
    firsts = [i for e in range(4) for i in one._order(e).tolist()]
    assert Counter(firsts) == dict.fromkeys(range(10), 4)


def test_resumed_is_uninterrupted_and_the_checkpoint_says_what_it_is(codec: Tokenizer, tmp_path: Path) -> None:
    marks = Marks(codec.size, 8)

    def work(method: str = "diffusion") -> run.Work:
        plain = make_work(codec, steps=6)
        config = replace(plain.model.config, vocab=marks.vocab, causal=False)
        objective = partial(parallel.of_work, marks=marks, method=method)
        info = {"name": "parallel", INFO: marks.info(method)}
        return replace(plain, model=Transformer(config, seed=0), info=info, objective=objective)

    whole, part = tmp_path / "whole", tmp_path / "part"
    run.start(work(), whole, Talk(verbosity=-1))

    class Stop(Exception):
        pass

    def stop(record: Any) -> None:
        if record["step"] == 4:
            raise Stop

    halted = replace(work(), settings=replace(work().settings, save_every=1e-9))
    with pytest.raises(Stop):
        run.start(halted, part, Talk(verbosity=-1), track=stop)
    other = replace(work("mask-predict"), settings=halted.settings)
    with pytest.raises(UserError, match="another objective"):
        run.resume(other, part, Talk(verbosity=-1))
    run.resume(replace(work(), settings=halted.settings), part, Talk(verbosity=-1))
    lines = [[{k: v for k, v in line.items() if k != "clock"} for line in files.read_jsonl(p / "metrics.jsonl")]
             for p in (whole, part)]  # fmt: skip
    assert lines[0] == lines[1] and "val_loss" in lines[0][-1]
    one, two = (checkpoint.load(p) for p in (whole, part))
    assert all(torch.equal(a, b) for a, b in zip(one.model.state_dict().values(), two.model.state_dict().values()))
    assert marks_of(one.info, one.codec.size, one.config.vocab) == marks and not one.config.causal
    assert files.read_json(one.path / "config.json")["model_type"] == "jielong"
