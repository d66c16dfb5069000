"""Distillation: a small model learns a larger one's whole law at every place, not only the token that stood there.

    loss = sum_t w_t KL(p_t || q_t) / sum_t w_t        p_t: the teacher's law of the next token, q_t: the model's

Of a place the text shows one token, the teacher all of them with their probabilities. What is trained and in which
order is as in `next_token`. Hinton et al. 2015 (arXiv 1503.02531); for models that guess ahead: DistillSpec, Zhou et
al. 2023 (arXiv 2310.08461), forward KL on a fixed text. A guess of such a model stays with probability
sum_i min(p_i, q_i), `overlap`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from jielong.base.errors import UserError
from jielong.data.pack import Batch, Packer
from jielong.nets import ops
from jielong.nets.transformer import Transformer
from jielong.train.compiled import plainly
from jielong.train.next_token import NextToken, stream
from jielong.train.objective import Loss, Phase

if TYPE_CHECKING:
    from jielong.train.run import Work

SLICE = 1024  # places whose laws are in memory together
LawsAt = Callable[[slice], Tensor]  # laws (n, V) float32 of these places


@dataclass(frozen=True)
class Distil:
    """`plain` says of which model and which rows; `teacher` has the same tokens and is not moved."""

    plain: NextToken
    teacher: Transformer

    @property
    def phases(self) -> Sequence[Phase]:
        """One: lower the divergence."""
        return (Phase("distil", self.plain.model, self.loss),)

    def batches(self, step: int) -> list[Batch]:
        """The micro-batches of `step`."""
        return self.plain.batches(step)

    def after_step(self, step: int) -> None:
        """Nothing to do."""

    def loss(self, batch: Batch) -> Loss:
        """Summed divergence in nats, and the number of trained targets."""
        total, _, overlap_N = self._compare(batch)
        return Loss(total, float(batch.trained), {"overlap": float(overlap_N.sum())})

    def validate(self) -> dict[str, float]:
        """What `next_token` measures, and `val_kl` and `val_overlap`, means over the validation set's targets."""
        figures = self.plain.validate()
        if self.plain.validation is not None:
            figures |= {f"val_{name}": value for name, value in self.measure(self.plain.validation).items()}
        return figures

    def measure(self, rows: Packer) -> dict[str, float]:
        """Mean divergence (`kl`, nats) and `overlap` over all trained targets of some rows."""
        model, sums = self.plain.model, torch.zeros(2, dtype=torch.float64)
        was_training = model.training
        model.eval()
        count = 0
        with torch.no_grad(), plainly(model):
            for batch in rows.once():
                _, kl_N, overlap_N = self._compare(batch)
                sums += torch.stack([kl_N.sum(dtype=torch.float64), overlap_N.sum(dtype=torch.float64)]).cpu()
                count += batch.trained
        model.train(was_training)
        return dict(zip(("kl", "overlap"), (sums / max(count, 1)).tolist()))

    def _compare(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        dtype, model = self.plain.dtype, self.plain.model
        kept = torch.from_numpy(batch.targets.reshape(-1) >= 0).nonzero()[:, 0].to(model.device)
        with torch.no_grad():
            taught_ND = stream(self.teacher, batch, dtype).flatten(0, 1)[kept]
        hidden_ND = stream(model, batch, dtype).flatten(0, 1)[kept]
        laws = laws_of(self.teacher, taught_ND)
        return divergence(hidden_ND, model.head_weight, laws, model.head_bias, model.config.softcap)


def of_work(work: Work, dtype: torch.dtype, teacher: Transformer) -> Distil:
    """The objective of a run (`run.Work`). UserError for a teacher with other tokens, or that reads less far."""
    from jielong.train.run import next_token

    size, own = teacher.config.vocab, work.model.config.vocab
    if size != own:
        raise UserError(f"the teacher has {size} tokens and the model {own}: give both the same tokenizer")
    if work.settings.context > teacher.config.context:
        raise UserError(f"--context {work.settings.context} is longer than the teacher's {teacher.config.context}")
    plain = next_token(work, dtype)
    return Distil(replace(plain, kinds={}), teacher.eval().requires_grad_(False))


def laws_of(model: Transformer, hidden_ND: Tensor) -> LawsAt:
    """A model's laws at places of its stream."""

    def laws(places: slice) -> Tensor:
        with torch.no_grad():
            return model.logits(hidden_ND[places]).softmax(dim=-1)

    return laws


def divergence(
    hidden_ND: Tensor, weight_VD: Tensor, laws: LawsAt, bias_V: Tensor | None = None, softcap: float | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """sum_n KL(p_n || q_n) in nats, q the law of a head over `hidden_ND` and p those given; each (N,); and each
    place's overlap sum_i min(p_ni, q_ni), (N,). Gradients reach the stream, the head and its bias, not p."""
    found: tuple[Tensor, Tensor, Tensor] = _Divergence.apply(hidden_ND, weight_VD, bias_V, laws, softcap)
    return found


class _Divergence(torch.autograd.Function):
    """A slice of places at a time, gradients with the loss, so that laws are never all in memory: d KL / dz = q - p."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, laws: LawsAt, softcap: float | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        head = weight.to(hidden.dtype)
        kl, overlap = (torch.empty(len(hidden), device=hidden.device) for _ in range(2))
        wanted = ctx.needs_input_grad
        grad_hidden = torch.empty_like(hidden) if wanted[0] else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wanted[1] else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and wanted[2] else None
        for first in range(0, len(hidden), SLICE):
            places = slice(first, min(first + SLICE, len(hidden)))
            part, p = hidden[places], laws(places)
            z = ops.linear(part, head, bias).float()
            z = z if softcap is None else softcap * torch.tanh(z / softcap)
            log_q = z.log_softmax(dim=-1)
            q = log_q.exp()
            kl[places] = (torch.xlogy(p, p) - p * log_q).sum(-1)
            overlap[places] = torch.minimum(p, q).sum(-1)
            slope = (q - p) if softcap is None else (q - p) * (1 - (z / softcap) ** 2)
            slope = slope.to(hidden.dtype)
            if grad_hidden is not None:
                torch.mm(slope, head, out=grad_hidden[places])
            if grad_weight is not None:
                grad_weight += slope.t() @ part
            if grad_bias is not None:
                grad_bias += slope.sum(0)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        ctx.mark_non_differentiable(kl, overlap)
        return kl.sum(dtype=torch.float64).float(), kl, overlap

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_others: Tensor) -> tuple[Tensor | None, ...]:
        grads = [None if each is None else each * grad.to(each.dtype) for each in ctx.saved_tensors]
        return (*grads, None, None)
