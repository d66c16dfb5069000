"""Distillation: the divergence and its gradients by the plain formula; what is learnt of the teacher."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from jielong.base.errors import UserError
from jielong.base.talk import Talk
from jielong.data.pack import Packer
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.train import distil, run
from jielong.train.distil import Distil, divergence, laws_of
from jielong.train.next_token import NextToken, stream
from jielong.train.run import Work
from tests.train.conftest import make_work

QUIET = Talk(verbosity=-1)


def teacher(vocab: int, seed: int = 7, context: int = 32) -> Transformer:
    config = TransformerConfig(vocab=vocab, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, hidden=64,
                               context=context)  # fmt: skip
    model = Transformer(config, seed=0)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.3, generator=generator)
    return model.eval()


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_divergence_and_its_gradients_are_the_formulas(monkeypatch: pytest.MonkeyPatch, softcap: float | None) -> None:
    monkeypatch.setattr(distil, "SLICE", 5)  # a last slice that is not full
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0))
    hidden, weight, bias = (draw(*size).requires_grad_() for size in ((13, 8), (11, 8), (11,)))
    p = (2 * draw(13, 11)).softmax(-1)
    p[3] = 0.0
    p[3, 4] = 1.0  # a certain teacher: then the plain loss of token 4
    total, kl, overlap = divergence(hidden, weight, lambda places: p[places], bias, softcap)
    (2 * total).backward()
    copies = [x.detach().double().requires_grad_() for x in (hidden, weight, bias)]
    z = copies[0] @ copies[1].T + copies[2]
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    due = torch.nn.functional.kl_div(z.log_softmax(-1), p.double(), reduction="none").sum(-1)
    (2 * due.sum()).backward()
    assert float(total.detach()) == pytest.approx(float(due.detach().sum()), rel=1e-5)
    torch.testing.assert_close(kl.double(), due.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(overlap.double(), torch.minimum(p.double(), z.detach().softmax(-1)).sum(-1))
    assert float(kl[3]) == pytest.approx(-float(z.detach().log_softmax(-1)[3, 4]), rel=1e-5)
    for found, wanted in zip((hidden, weight, bias), copies):
        assert found.grad is not None and wanted.grad is not None
        torch.testing.assert_close(found.grad.double(), wanted.grad, rtol=1e-4, atol=1e-5)


def test_of_itself_there_is_nothing_to_learn(work: Work) -> None:
    model = teacher(work.codec.size)
    rows = Packer(work.train, 24, 4, 0)
    itself = Distil(NextToken(model, rows, rows), model).validate()
    assert itself["val_kl"] == pytest.approx(0, abs=1e-5) and itself["val_overlap"] == pytest.approx(1, abs=1e-4)
    other = teacher(work.codec.size, seed=8)
    figures = Distil(NextToken(other, rows, rows), model).validate()
    sums, count = torch.zeros(2), 0
    for batch in rows.once():
        kept = torch.from_numpy(batch.targets.reshape(-1) >= 0)
        p, q = (m.logits(stream(m, batch, torch.float32)).softmax(-1).flatten(0, 1)[kept] for m in (model, other))
        sums += torch.stack([(p * (p / q).log()).sum(), torch.minimum(p, q).sum()]).detach()
        count += int(kept.sum())
    assert [figures["val_kl"], figures["val_overlap"]] == pytest.approx((sums / count).tolist(), rel=1e-4)


def test_the_law_is_learnt_and_only_by_who_is_taught(codec, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The same rows and steps: the text, which the teacher has not written, does not say what the teacher thinks."""
    model, found = teacher(codec.size), {}
    for name, objective in (("taught", partial(distil.of_work, teacher=model)), ("text only", None)):
        (tmp_path / name).mkdir()
        work = make_work(codec, steps=60, batch=8, save_every=0.0)
        work = run.Work(work.model, codec, work.train, work.validation, work.settings, work.info, objective=objective)
        before = distil.of_work(make_work(codec), torch.float32, model).validate()
        run.start(work, tmp_path / name, QUIET)
        found[name] = distil.of_work(work, torch.float32, model).validate()
    assert found["taught"]["val_kl"] < 0.8 * before["val_kl"]
    assert found["taught"]["val_overlap"] > max(before["val_overlap"], found["text only"]["val_overlap"]) + 0.1
    assert found["text only"]["val_loss"] < found["taught"]["val_loss"]
    assert run.finished(tmp_path / "taught") is not None


def test_the_teacher_stays_as_it_is(codec) -> None:  # type: ignore[no-untyped-def]
    model, work = teacher(codec.size), make_work(codec)
    before = [p.clone() for p in model.parameters()]
    objective = distil.of_work(work, torch.float32, model)
    loss = objective.loss(objective.batches(0)[0])
    loss.total.backward()
    assert all(p.grad is None for p in model.parameters()) and float(loss.total) > 0
    assert any(p.grad is not None and bool(p.grad.any()) for p in work.model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))
    assert 0 < loss.stats["overlap"] < loss.weight
    assert torch.allclose(laws_of(model, torch.zeros(3, 32))(slice(1, 3)).sum(-1), torch.ones(2))


def test_who_cannot_teach_is_refused(codec) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match="tokenizer"):
        distil.of_work(make_work(codec), torch.float32, teacher(codec.size + 1))
    with pytest.raises(UserError, match="--context 24"):
        distil.of_work(make_work(codec), torch.float32, teacher(codec.size, context=16))
