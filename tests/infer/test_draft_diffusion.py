"""A masked-diffusion block guesses: its laws by direct readings, the proof, and the text beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.infer.core import Core
from jielong.infer.draft.cases import Small, chains
from jielong.infer.draft.diffusion import DiffusionDrafter
from jielong.infer.draft.drafting import Drafting
from jielong.infer.draft.named import named
from jielong.infer.draft.other_tokenizer import OtherTokenizer
from jielong.infer.draft.prove import Guesser, Stage, cell, outcomes
from jielong.infer.draft.types import Draft
from jielong.infer.draft.verify import VERIFIERS
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.infer.schedule import Row
from jielong.infer.slots import INFO, Marks
from jielong.nets import checkpoint
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.units import bpe

from .conftest import VOCAB, random_model


def slots(tokens: int = VOCAB, longest: int = 4, window: int = 6, seed: int = 2) -> tuple[Transformer, Marks]:
    """A model of slots with random weights, large enough that all it reads matters."""
    marks = Marks(tokens, longest)
    config = TransformerConfig(marks.vocab, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, hidden=64,
                               context=window + longest, causal=False)  # fmt: skip
    model = Transformer(config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.3, generator=generator)
    return model.eval(), marks


def row(text: Sequence[int], number: int = 0, **sampling: Any) -> Row:
    return Row(number, Request(tuple(text), Sampling(max_tokens=99, **sampling)), 99)


class Draws:
    """Random choices, which are written down."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, tuple[Any, ...]]] = []

    def __call__(self, each: Row) -> Any:
        def choose(probs: Any, *position: Any) -> int:
            self.seen.append((each.number, position))
            return noise.RandomSource(5).choose(probs, each.number, *position)

        return choose


def direct(model: Transformer, marks: Marks, text: Sequence[int], before: Sequence[int], slot: int,
           heat: float = 0.8) -> np.ndarray:  # fmt: skip
    """The law of a slot after a text, with so many slots filled before it, by one reading of its own."""
    window = model.config.context - marks.longest
    ids = [*text[-window:], *before, *[marks.mask] * (marks.longest - len(before))]
    with torch.no_grad():
        logits = model(torch.tensor([ids]))[0, len(ids) - marks.longest + slot, : marks.tokens]
    return (logits / heat).softmax(-1).double().numpy()


@pytest.mark.parametrize("passes", [1, 2, 3, 4])
def test_every_guess_is_drawn_from_the_law_of_its_slot(passes: int) -> None:
    """A batch of texts shorter and longer than the window, of other numbers of guesses."""
    model, marks = slots()
    drafter, draws = DiffusionDrafter(model, marks, VOCAB, passes=passes), Draws()
    texts = [[3], [1, 2, 3, 4, 5, 6, 7, 8, 9], [5, 4, 3], [7, 7, 7, 7, 7, 7]]
    most = [4, 9, 2, 0]
    rows = [row(text, i, temperature=0.8) for i, text in enumerate(texts)]
    drafts = drafter.propose(rows, most, draws)
    edges = [4 * i // passes for i in range(passes + 1)]
    assert [len(d.tokens) for d in drafts] == [4, 4, 2, 0]
    for text, draft in zip(texts, drafts):
        for slot in range(len(draft.tokens)):
            first = max(edge for edge in edges if edge <= slot)
            assert draft.laws is not None
            due = direct(model, marks, text, draft.tokens[:first], slot)
            np.testing.assert_allclose(draft.laws[slot], due, rtol=1e-4, atol=1e-6)
            drawn = noise.RandomSource(5).choose(draft.laws[slot], texts.index(text), "draft", slot)
            assert draft.tokens[slot] == drawn
    assert Counter(draws.seen) == Counter((i, ("draft", s)) for i, d in enumerate(drafts) for s in range(len(d.tokens)))
    assert rows[0].text == [3]


def test_greedy_guesses_are_certain_and_beside_others_too() -> None:
    model, marks = slots()
    drafter = DiffusionDrafter(model, marks, VOCAB)
    cold, warm = row([1, 2, 3], 0, temperature=0.0), row([3, 2, 1], 1, temperature=0.8)
    first, second = drafter.propose([cold, warm], [4, 4], Draws())
    assert first.laws is None and second.laws is not None
    assert first.tokens == tuple(int(direct(model, marks, [1, 2, 3], [], slot).argmax()) for slot in range(4))


def test_a_larger_vocabulary_and_what_does_not_go_together() -> None:
    model, marks = slots(tokens=20)
    (draft,) = DiffusionDrafter(model, marks, 23).propose([row([1, 2])], [3], Draws())
    assert draft.laws is not None and draft.laws.shape == (3, 23) and not draft.laws[:, 20:].any()
    with pytest.raises(UserError, match="20 tokens and the model 19"):
        DiffusionDrafter(model, marks, 19)
    for passes in (0, 5):
        with pytest.raises(UserError, match="1 to 4"):
            DiffusionDrafter(model, marks, 20, passes=passes)


def test_a_model_gone_wrong_says_so_and_guesses_no_further() -> None:
    model, marks = slots()
    model.embed.data[5] = torch.nan
    (draft, good) = DiffusionDrafter(model, marks, VOCAB, passes=2).propose([row([5]), row([1], 1)], [4, 4], Draws())
    assert draft.laws is not None and len(draft.tokens) == 1 and np.isnan(draft.laws[0]).all()
    assert good.laws is None or not np.isfinite(good.laws).all()  # the tied head has the bad row as well


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("names", [(), ("temperature", "frequency_penalty"), ("greedy",), ("top_k", "grammar")])
def test_the_law_of_whole_texts_stays(passes: int, names: tuple[str, ...]) -> None:
    small = Small(3, 3, 2)
    model, marks = slots(3, longest=2, window=4)
    stage = Stage(small, next(c for c in chains(3, longer=0) if set(c.names) == set(names)))
    guesser = Guesser(DiffusionDrafter(model.double(), marks, 3, passes=passes))
    kept = sum(p * a.drafted for p, a in outcomes(stage, guesser, VERIFIERS["token"], stage.prompt))
    assert kept > 0.05 or names == ("greedy",)
    for verifier in VERIFIERS:
        found = cell(stage, guesser, verifier)
        assert found.right and not found.refused and found.distance < 1e-9, (verifier, found)


def test_a_law_from_before_the_first_pass_would_be_found_out() -> None:
    """Had the second reading's guess the law of the first, the text would be another."""

    class Pretends(DiffusionDrafter):
        def propose(self, rows: Any, most: Any, source: Any) -> list[Draft]:
            found = super().propose(rows, most, source)
            for each, draft in zip(rows, found):
                for slot, law in enumerate(() if draft.laws is None else draft.laws):
                    law[:] = direct(self.model, self.marks, each.text, (), slot, 1.0)
            return found

    model, marks = slots(3, longest=2, window=4)
    stage = Stage(Small(3, 3, 2), next(c for c in chains(3, longer=0) if not c.names))
    found = {kind: cell(stage, Guesser(kind(model.double(), marks, 3, passes=2)), "token") for kind in
             (Pretends, DiffusionDrafter)}  # fmt: skip
    assert found[Pretends].distance > 1e-4 and found[DiffusionDrafter].distance < 1e-12


def test_the_text_through_the_engine_is_the_same() -> None:
    target = random_model(context=128)
    model, marks = slots()

    def write(drafting: Drafting | None) -> list[list[int]]:
        core = Core(target, mode="exact", chunk=40, streams=3, drafting=drafting)
        rows = []
        for i in range(6):
            sampling = Sampling(seed=i, max_tokens=20, temperature=0.7 * (i % 2), stop_ids=(3,))
            rows.append(core.submit(Request(tuple(1 + (i + 5 * j) % 40 for j in range(3 + 9 * i)), sampling)))
        while core.busy:
            assert all(token.error is None for token in core.step())
        return [each.text for each in rows]

    plain = write(None)
    for passes in (1, 2):
        drafting = Drafting(DiffusionDrafter(model, marks, VOCAB, passes=passes), guess=4)
        assert write(drafting) == plain
        assert sum(drafting.tally.proposed) > 100 and not drafting.reasons


def test_its_folder_guesses_and_so_does_one_of_another_tokenizer(tmp_path: Path) -> None:
    codec, other = (bpe.train(["a b c a b c a b", extra] * 4, 262, at_most=True) for extra in ("", "tion tion ation"))
    model, marks = slots(codec.size)
    checkpoint.save(tmp_path / "d", model, codec, {INFO: marks.info("diffusion")})
    target = random_model(codec.size)
    drafter = named(str(tmp_path / "d"), target, codec)
    assert isinstance(drafter, DiffusionDrafter) and drafter.name == "d"
    (draft,) = drafter.propose([row([1, 2])], [3], Draws())
    (due,) = DiffusionDrafter(model, marks, codec.size).propose([row([1, 2])], [3], Draws())
    assert draft.tokens == due.tokens and np.array_equal(draft.laws, due.laws)  # type: ignore[arg-type]
    assert other.fingerprint != codec.fingerprint
    assert isinstance(named(str(tmp_path / "d"), random_model(other.size), other), OtherTokenizer)
