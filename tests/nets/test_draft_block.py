"""The block head: what it reads, by a direct computation; its lesson, by one place at a time; what it learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from jielong.nets import drafts
from jielong.nets.drafts import block
from jielong.nets.drafts.block import FADES, Block, Config
from jielong.nets.drafts.folder import Beside
from jielong.nets.transformer import Transformer
from jielong.units import bpe
from tests.infer.conftest import VOCAB, random_model


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


def seen_of(model: Transformer, ids: torch.Tensor, documents: torch.Tensor, asked: torch.Tensor) -> drafts.Seen:
    with torch.no_grad():
        return drafts.Seen(model, ids, documents, asked, model.hidden(ids, documents=documents))


def head(model: Transformer, seed: int = 3, **changes: int) -> Block:
    """One with random weights, so that all it reads matters."""
    made = Block(Config(**{"reach": 3, "window": 4, "layers": 1, "every": 2, **changes}), model.config, seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.3, generator=generator)
    return made.eval()


def batch(model: Transformer, seed: int = 0) -> drafts.Seen:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCAB, (3, 14), generator=generator)
    documents = (torch.arange(14) >= torch.tensor([[14], [6], [2]])).long()
    asked = torch.rand(3, 14, generator=generator) > 0.2
    asked[:, -1] = False
    asked[:, :-1] &= documents[:, 1:] == documents[:, :-1]
    return seen_of(model, ids, documents, asked)


def alone(made: Block, model: Transformer, seen: drafts.Seen, row: int, place: int) -> torch.Tensor:
    """Streams (reach, D) from one place, nothing padded: the window is only as long as the document allows."""
    first = place
    while first > 0 and place - first + 1 < made.config.window and (
        seen.documents[row, first - 1] == seen.documents[row, place]
    ):
        first -= 1
    tokens = F.embedding(seen.ids[row, first + 1 : place + 2], model.embed)
    joined = torch.cat([tokens, seen.stream[row, first : place + 1]], -1) @ made.join.T
    x = torch.cat([joined, joined[-1] + made.block.embed])[None]
    found: torch.Tensor = made.block.hidden(embeds=x)[0, -made.config.reach :]
    return found


def test_a_lesson_is_that_of_its_places_one_by_one(model: Transformer) -> None:
    made = head(model)
    for seed in range(4):
        seen = batch(model, seed)
        with torch.no_grad():
            lesson = made.lesson(seen)
            total, counts, kept = 0.0, [0] * 3, [0.0] * 3
            for row in range(3):
                for place in range(int(seen.ids.sum()) % 2, 13, 2):
                    if not bool(seen.ahead(1)[row, place]):
                        continue
                    logits = model.logits(alone(made, model, seen, row, place))
                    for i in range(1, 4):
                        if place + i >= 14 or not bool(seen.ahead(i)[row, place]):
                            continue
                        p = model.logits(seen.stream[row, place + i]).softmax(-1)
                        q = logits[i - 1].softmax(-1)
                        total -= FADES ** (i - 1) * float((p * q.log()).sum())
                        counts[i - 1] += 1
                        kept[i - 1] += float(torch.minimum(p, q).sum())
        assert counts[0] == lesson.weight > 4
        assert float(lesson.total) == pytest.approx(total, rel=1e-4)
        for i in range(3):
            due = kept[i] * counts[0] / counts[i]
            assert lesson.stats[f"kept_{i + 1}"] == pytest.approx(due, rel=1e-3)


def test_what_lies_before_the_window_or_in_another_text_does_not_matter(model: Transformer) -> None:
    made = head(model)
    seen = batch(model)
    rows, places = torch.tensor([0, 1]), torch.tensor([9, 8])  # row 1's text begins at place 6
    with torch.no_grad():
        before = made(*made._windows(seen, rows, places))
        for row, place in ((0, 5), (1, 5)):  # the last place that must not matter
            seen.stream[row, : place + 1] += 5.0
        assert torch.allclose(made(*made._windows(seen, rows, places)), before, atol=1e-5)
        seen.stream[0, 6] += 5.0
        seen.stream[1, 6] += 5.0
        after = made(*made._windows(seen, rows, places))
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in zip(before, after))


def walks(seed: int, rows: int = 16, length: int = 16) -> torch.Tensor:
    """Texts that count upwards, and now and then begin anew somewhere else."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCAB, (rows, 1), generator=generator)
    for _ in range(length - 1):
        other = torch.randint(VOCAB, (rows, 1), generator=generator)
        jump = torch.rand(rows, 1, generator=generator) < 0.1
        ids = torch.cat([ids, torch.where(jump, other, (ids[:, -1:] + 1) % VOCAB)], 1)
    return ids


@pytest.fixture(scope="module")
def counts() -> Transformer:
    """A model that has learnt them."""
    model = Transformer(random_model().config, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(120):
        ids = walks(step)
        F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval().requires_grad_(False)


def kept(made: Block, model: Transformer, ids: torch.Tensor) -> list[float]:
    """How probably each guess stays, given those before it."""
    asked = (torch.arange(16) < 15).expand(16, 16)
    with torch.no_grad():
        lesson = made.lesson(seen_of(model, ids, torch.zeros_like(ids), asked))
    return [value / lesson.weight for value in lesson.stats.values()]


def test_it_learns_what_the_model_will_write(counts: Transformer) -> None:
    made = drafts.fresh("block", counts.config, 3, seed=0)
    before = kept(made, counts, walks(999))
    optimizer = torch.optim.AdamW(made.parameters(), lr=3e-2)
    for step in range(200):
        ids = walks(1000 + step)
        lesson = made.lesson(seen_of(counts, ids, torch.zeros_like(ids), (torch.arange(16) < 15).expand(16, 16)))
        (lesson.total / lesson.weight).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = kept(made, counts, walks(999))
    assert all(a > b + 0.4 for a, b in zip(after, before))
    assert after[0] > 0.85 and after[0] > after[1] > after[2]  # what may stand between is not told
    assert after[1] < 0.9**2 + 0.05 and after[2] < 0.9**3 + 0.05  # nor can it be known: the text begins anew by chance
    assert all(p.grad is None for p in counts.parameters())


def test_it_comes_back_from_its_folder(model: Transformer, tmp_path: Path) -> None:
    codec = bpe.train(["a b c a b c"] * 3, 270, at_most=True)
    made = head(model)
    Beside(model.config).save(tmp_path / "d", made, codec)
    loaded = Beside(model.config).load(tmp_path / "d", codec)
    assert loaded.kind == "block" and loaded.model.config == made.config
    seen = batch(model)
    with torch.no_grad():
        assert torch.equal(loaded.model.lesson(seen).total, made.lesson(seen).total)
    assert not {id(p) for p in made.parameters()} & {id(p) for p in model.parameters()}
    assert made.flops(64) > block.Block(Config(every=16), model.config).flops(64)
