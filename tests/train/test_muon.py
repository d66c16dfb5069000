"""Our batched Muon against torch's, the orthogonal matrix against the singular value decomposition."""

from __future__ import annotations

import torch
from torch import nn

from jielong.train.muon import Optimizer, Rates, orthogonalise
from jielong.train.schedule import scale


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    g = torch.randn(3, 20, 12, generator=torch.Generator().manual_seed(0))
    made = orthogonalise(g, dtype=torch.float32)
    values = torch.linalg.svdvals(made)
    assert bool((values > 0.5).all()) and bool((values < 1.5).all())
    u, _, v = torch.linalg.svd(g, full_matrices=False)
    cosine = (made * (u @ v)).sum((1, 2)) / made.norm(dim=(1, 2)) / (u @ v).norm(dim=(1, 2))
    assert bool((cosine > 0.97).all())


def test_a_batch_is_its_matrices_one_by_one_whichever_side_is_longer() -> None:
    g = torch.randn(4, 6, 10, generator=torch.Generator().manual_seed(1))
    for batch in (g, g.mT.contiguous()):
        together = orthogonalise(batch, dtype=torch.float32)
        alone = torch.cat([orthogonalise(one[None], dtype=torch.float32) for one in batch])
        torch.testing.assert_close(together, alone)


def test_same_steps_as_torch() -> None:
    generator = torch.Generator().manual_seed(2)
    start = [torch.randn(8, 12, generator=generator), torch.randn(12, 8, generator=generator)]
    mine = [nn.Parameter(x.clone()) for x in start]
    theirs = [nn.Parameter(x.clone()) for x in start]
    ours = Optimizer([p.data for p in mine], [nn.Parameter(torch.zeros(1))], Rates(matrices=0.02))
    ours.others[0].grad = torch.zeros(1)
    peer = torch.optim.Muon(theirs, lr=0.02, momentum=0.95, weight_decay=0.0, nesterov=True, adjust_lr_fn="original")
    for _ in range(4):
        grads = [torch.randn(x.shape, generator=generator) for x in start]
        for parameter, grad in zip(theirs, grads, strict=True):
            parameter.grad = grad.clone()
        peer.step()
        ours.step([g.clone() for g in grads], 1.0)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-3)  # both round to bf16 inside, in another order
        assert float((a - b).abs().max()) < 0.1 * 4 * 0.02


def test_state_comes_back() -> None:
    def make() -> tuple[Optimizer, nn.Parameter]:
        matrix, vector = torch.ones(4, 3), nn.Parameter(torch.ones(5))
        return Optimizer([matrix], [vector], Rates(weight_decay=0.1)), vector

    def push(optimizer: Optimizer, vector: nn.Parameter, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        vector.grad = torch.randn(5, generator=generator)
        optimizer.step([torch.randn(4, 3, generator=generator)], 0.5)

    one, vector = make()
    push(one, vector, 1)
    kept = {name: value.clone() for name, value in one.state().items()}
    two, other = make()
    two.matrices[0].copy_(one.matrices[0])
    other.data.copy_(vector.data)
    two.restore(kept)
    push(one, vector, 2)
    push(two, other, 2)
    assert torch.equal(one.matrices[0], two.matrices[0]) and torch.equal(vector, other)


def test_schedule() -> None:
    course = [scale(i, 100, 10, 0.3) for i in range(100)]
    assert course[0] == 0.1 and course[9] == course[50] == course[69] == 1.0
    assert abs(course[85] - 0.5) < 1e-9 and 0 < course[99] < 0.04
    assert all(a <= b for a, b in zip(course[:10], course[1:10], strict=False))
    assert [scale(i, 4, 1, 0.0) for i in range(4)] == [1.0] * 4
