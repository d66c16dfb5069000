"""Training drafters: their losses by closed forms, what is learnt beside what is not, and runs that go on."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from jielong.base.errors import UserError
from jielong.base.talk import Talk
from jielong.data.pack import IGNORED, Batch
from jielong.infer.core import Core
from jielong.infer.draft.drafting import Drafting, Tally
from jielong.infer.draft.lookup import Lookup
from jielong.infer.draft.trained import beside
from jielong.infer.generate import generate
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.nets import drafts
from jielong.nets.config import TransformerConfig
from jielong.nets.drafts import eagle, medusa
from jielong.nets.drafts.folder import Beside
from jielong.nets.transformer import Transformer, matrices
from jielong.train import run
from jielong.train.draft import of_work, own_texts, parted, seen
from jielong.train.run import Work
from jielong.units.codec import Tokenizer
from tests.infer.conftest import random_model
from tests.infer.test_draft_heads import head
from tests.train.conftest import make_work

QUIET = Talk(verbosity=-1)
KINDS = ("medusa", "eagle")


def batch(seed: int = 0) -> Batch:
    """Three documents in two rows, some places of which are nobody's to guess."""
    rng = np.random.default_rng(seed)
    documents = np.array([[0] * 5 + [1] * 7, [0] * 12], dtype=np.int32)
    targets = rng.integers(0, 48, (2, 12))
    targets[0, 4] = targets[1, 3:6] = IGNORED
    positions = np.array([[*range(5), *range(7)], [*range(12)]], dtype=np.int32)
    return Batch(rng.integers(0, 48, (2, 12)), targets, documents, positions)


def test_a_batch_is_seen_document_by_document() -> None:
    model, some = random_model(), batch()
    found = seen(model, some)
    for row, first, last in ((0, 0, 5), (0, 5, 12), (1, 0, 12)):
        own = model.hidden(torch.from_numpy(some.ids[row : row + 1, first:last]))[0]
        torch.testing.assert_close(found.stream[row, first:last], own, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.laws[row, first:last], model.logits(own[None])[0].softmax(-1))
    assert not found.stream.requires_grad and not found.laws.requires_grad
    for n in range(4):
        for row in range(2):
            for t in range(12 - n):
                same = some.documents[row, t] == some.documents[row, t + n]
                assert bool(found.ahead(n)[row, t]) == bool(same and some.targets[row, t + n] != IGNORED)


def plain(p: Tensor, logits: Tensor) -> tuple[Tensor, float]:
    """Cross-entropy and sum min(p, q), written down."""
    return -(p * logits.log_softmax(-1)).sum(), float(torch.minimum(p, logits.detach().softmax(-1)).sum())


@pytest.mark.parametrize("capped", [False, True])
def test_nats_and_their_gradient(capped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the plain formula in float64, through heads with a cap and a bias too, whatever the slices."""
    monkeypatch.setattr(drafts, "SLICE", 5)
    model = random_model()
    if capped:
        config = replace(model.config, softcap=3.0, head_bias=True, tied=False)
        model = Transformer(config)
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 or name == "head_bias":
                parameter.data.normal_(0.0, 0.3)
    model = model.double().requires_grad_(False)
    found = seen(model, batch(), torch.float64)
    found = replace(found, stream=found.stream.double())
    guessed = torch.randn(2, 10, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    total, count, kept = drafts.nats(found, guessed, 2)
    p, q = found.laws[:, 2:][found.ahead(2)], model.logits(guessed[found.ahead(2)])
    expected, stays = plain(p, q)
    assert count == int(found.ahead(2).sum()) and float(total.detach()) == pytest.approx(float(expected), rel=1e-6)
    assert kept == pytest.approx(stays, rel=1e-5)
    (slope,) = torch.autograd.grad(3 * total, guessed)
    (own,) = torch.autograd.grad(3 * expected, guessed)
    torch.testing.assert_close(slope, own, rtol=1e-4, atol=1e-6)
    logits = q.detach().requires_grad_()
    again, count, _ = drafts.against(p, logits)
    assert float(again.detach()) == pytest.approx(float(expected), rel=1e-6) and count == len(p)
    torch.testing.assert_close(*(torch.autograd.grad(each, logits)[0] for each in (again, plain(p, logits)[0])))


def test_what_medusa_learns() -> None:
    """Head i at place t, held against the model's law at t + i; the i-th counts 0.8 of the one before."""
    model = random_model().requires_grad_(False)
    module, found = head("medusa", model), seen(model, batch())
    total, counts = 0.0, []
    for i in range(1, 4):
        count = 0
        for row, t in np.ndindex(2, 12 - i):
            if found.ahead(i)[row, t]:
                logits = model.logits(module(found.stream[row, t])[i - 1])
                total += medusa.FADES ** (i - 1) * float(plain(found.laws[row, t + i], logits)[0].detach())
                count += 1
        counts.append(count)
    lesson = module.lesson(found)
    assert float(lesson.total) == pytest.approx(total, rel=1e-5) and lesson.weight == counts[0]


def test_what_eagle_learns() -> None:
    """Round by round: what it expects at t + 1 from the text up to there; then from what it expected itself."""
    model = random_model().requires_grad_(False)
    module, found = head("eagle", model, window=3), seen(model, batch())
    total = 0.0
    for row, first, last in ((0, 0, 5), (0, 5, 12), (1, 0, 12)):
        stream = own = found.stream[row, first:last]
        for number in range(2):
            expected = []
            for t in range(last - first - 1):
                near = slice(max(0, t - 2), t + 1)
                ids = found.ids[row, first:last][near.start + 1 : t + 2]
                expected.append(module(F.embedding(ids, model.embed)[None], stream[near][None])[0, -1])
                if found.asked[row, first + t + 1]:
                    nats = plain(found.laws[row, first + t + 1], model.logits(expected[-1]))[0]
                    apart = F.smooth_l1_loss(expected[-1], own[t + 1], reduction="sum") / 32
                    total += eagle.FADES**number * float((nats + eagle.STREAM * apart).detach())
            stream = torch.stack([own[0], *expected[:-1], expected[-1]])
    assert float(module.lesson(found).total) == pytest.approx(total, rel=1e-4)


def test_a_heads_matrices_are_all_moved_and_fused_ones_by_parts() -> None:
    model = random_model()
    for kind in KINDS:
        module = drafts.fresh(kind, model.config, 3)
        parts = matrices(module)
        rows: dict[int, int] = {}
        for parameter, start, size in parts:
            assert start == rows.get(id(parameter), 0)
            rows[id(parameter)] = start + size
        assert all(rows[id(p)] == len(p) for p, *_ in parts)
        assert sum(p.ndim == 2 and p.requires_grad for p in module.parameters()) == len(rows)
        assert kind == "medusa" or len(parts) == len(rows) + 3  # qkv in three, up in two


@cache
def taught(codec: Tokenizer) -> Transformer:
    """A model that knows its sums."""
    import tempfile

    work = make_work(codec, steps=150, batch=8, save_every=0)
    with tempfile.TemporaryDirectory() as folder:
        run.start(work, Path(folder), QUIET)
    model: Transformer = work.model.eval()
    return model


def draft_work(kind: str, codec: Tokenizer, **changes: Any) -> Work:
    work = make_work(codec, **{"steps": 60, "batch": 8, **changes})
    model = taught(codec)
    return replace(work, model=drafts.fresh(kind, model.config, 3), objective=of_work, beside=model)


def acceptance(drafter: Any, model: Transformer, codec: Tokenizer) -> Tally:
    """Of the model's own greedy and drawn texts, which stay what they are."""
    asked = [Sampling(temperature=i % 2, seed=i, max_tokens=20, stop_ids=(codec.end,)) for i in range(20)]
    prompts = [codec.encode(f"{i} and") for i in range(20)]
    drafting = Drafting(drafter, guess=3)
    found = generate(Core(model, mode="exact", drafting=drafting), prompts, asked)
    assert [d.ids for d in found] == [d.ids for d in generate(Core(model, mode="exact"), prompts, asked)]
    assert not drafting.reasons
    return drafting.tally


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_learnt_beside_what_is_not(kind: str, codec: Tokenizer, tmp_path: Path) -> None:
    """The loss falls, guesses are kept more often than a fresh head's and than the text's own repeats, and the model
    that is guessed for stays as it is."""
    work = draft_work(kind, codec)
    model = taught(codec)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    untrained = of_work(work, torch.float32).validate()
    control = acceptance(beside(kind, drafts.fresh(kind, model.config, 3).eval(), model, kind), model, codec)
    figures = run.start(work, tmp_path, QUIET)
    assert figures["val_loss"] < 0.7 * untrained["val_loss"]
    assert figures["val_kept_1"] > untrained["val_kept_1"] + 0.2
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    loaded = Beside(model.config).load(tmp_path, codec)
    learnt = acceptance(beside(kind, loaded.model, model, kind), model, codec)
    repeats = acceptance(Lookup(), model, codec)
    rate = learnt.tokens / learnt.steps
    assert rate > 1.3 and rate > control.tokens / control.steps + 0.2
    assert sum(learnt.accepted) > sum(repeats.accepted)


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_equals_uninterrupted(kind: str, codec: Tokenizer, tmp_path: Path) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = draft_work(kind, codec, steps=300)
    run.start(whole, tmp_path / "whole", QUIET)
    threading.Timer(0.4, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        run.start(draft_work(kind, codec, steps=300), tmp_path / "cut", QUIET)
    step = Beside(taught(codec).config).load(tmp_path / "cut", codec).info["step"]
    assert 0 < step < 300
    other = next(k for k in KINDS if k != kind)
    with pytest.raises(UserError, match="another drafter"):
        run.resume(draft_work(other, codec, steps=300), tmp_path / "cut", QUIET)
    again = draft_work(kind, codec, steps=300)
    run.resume(again, tmp_path / "cut", QUIET)
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(UserError, match="finished"):
        run.resume(draft_work(kind, codec, steps=300), tmp_path / "cut", QUIET)


def test_a_models_own_texts(codec: Tokenizer) -> None:
    """They begin with the end token and are drawn at temperature 1; writing stops when it is told to."""
    model = taught(codec)
    texts = own_texts(model, codec, 2_000, 24, seed=3)
    assert texts.documents + 2_000 <= len(texts) < 4_000
    lengths = np.diff(texts.starts)
    for i in range(texts.documents):
        ids, trained = texts.document(i)
        assert ids[0] == codec.end and len(ids) <= 24 and trained.all()
        assert codec.end not in ids[1:-1] and (len(ids) == 24 or ids[-1] == codec.end)
    assert len(np.unique(lengths)) > 1
    (one,) = generate(model, [[codec.end]], Sampling(max_tokens=23, seed=3, stop_ids=(codec.end,)))
    assert texts.document(0)[0].tolist() == [codec.end, *one.ids]
    assert own_texts(model, codec, 10**9, 24, 3, lambda written: False).documents == 64
    made = parted(texts, codec, 0.1)
    assert made.validation is not None
    assert made.train.documents + made.validation.documents == texts.documents
    assert parted(texts, codec, 0.0).validation is None
    with pytest.raises(UserError, match="give DATA"):
        parted(texts, codec, 1.0)


def test_a_request_of_one_token_asks_nobody(codec: Tokenizer) -> None:
    model = taught(codec)
    drafting = Drafting(beside("eagle", drafts.fresh("eagle", model.config, 3).eval(), model, "eagle"), guess=3)
    core = Core(model, drafting=drafting)
    core.submit(Request((codec.end,), Sampling(max_tokens=1)))
    while core.busy:
        core.step()
    assert not drafting.tally.steps and not drafting.reasons


def test_other_shapes_of_models(codec: Tokenizer) -> None:
    """Learned places, LayerNorm, an odd number of heads, caps, scaled embeddings: each kind makes a head for them."""
    shapes: list[dict[str, Any]] = [
        {"position": "learned", "norm": "layer", "activation": "gelu", "qkv_bias": True, "mlp_bias": True},
        {"heads": 3, "kv_heads": 3, "head_dim": 8, "softcap": 5.0, "embed_scale": 4.0, "tied": False},
        {"position": "alibi", "parallel": True, "norm_offset": 1.0},
    ]
    for shape in shapes:
        config = TransformerConfig(**{"vocab": 48, "dim": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16,
                                      "hidden": 64, "context": 64, **shape})  # fmt: skip
        model = Transformer(config).eval().requires_grad_(False)
        for kind in KINDS:
            module = drafts.fresh(kind, config, 2)
            lesson = module.lesson(seen(model, batch()))
            lesson.total.backward()
            assert torch.isfinite(lesson.total) and lesson.weight > 0 and module.flops(24) > 0
