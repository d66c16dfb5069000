"""Answers in rows: alone, side by side, and after one prompt that is read once, they are worth the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from jielong.nets import losses
from jielong.nets.adapters import attach as on
from jielong.nets.adapters.config import Prefix
from jielong.nets.config import Layer, Rope
from jielong.train.preferences.pairs import Document, by_token, lay, log_probs, shares
from tests.nets.adapters.test_lora import shaken
from tests.nets.test_transformer import TINY, VARIANTS, lively


def answers() -> list[Document]:
    """Three to the first prompt, two to the second, one that begins otherwise though it is said to be of the second."""
    random = np.random.default_rng(0)
    found = []
    for prompt, tails in ((7, (3, 1, 9)), (4, (5, 2)), (4, (6,))):
        asked = random.integers(1, TINY.vocab, prompt)
        for tail in tails:
            ids = np.concatenate([asked, random.integers(1, TINY.vocab, tail)])
            found.append((ids, np.arange(len(ids)) >= prompt))
    found[-1][0][0] = found[3][0][0] + 1
    return found


ASKED = np.array([0, 0, 0, 1, 1, 1])
SHAPES = {"plain": TINY, "gpt2": replace(VARIANTS["gpt2"], vocab=TINY.vocab),
          "half turns": replace(TINY, layer=Layer(rope=Rope(fraction=0.5), qk_norm=None))}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("prefix", [False, True])
def test_one_prompt_for_several_answers(name: str, prefix: bool) -> None:
    """Values, entropies and gradients as of each answer alone, in fewer places."""
    if prefix and name == "gpt2":
        pytest.skip("positions that are added take no prefix")
    model, documents = lively(SHAPES[name]).double(), answers()
    if prefix:
        shaken(on.attach(model, Prefix(3))).double()
    moved = list(on.parameters(model) if prefix else model.parameters())
    weights = torch.arange(1.0, 7.0, dtype=torch.float64)
    found = []
    for asked in (None, ASKED):
        laid = lay(documents, np.arange(6), asked=asked)
        told = log_probs(model, laid, torch.float64)
        grads = torch.autograd.grad((told.sums * weights).sum(), moved)
        found.append((told.sums, told.entropies, told.lengths, *grads))
    alone = torch.cat([log_probs(model, lay([one], np.arange(1)), torch.float64).sums for one in documents])
    torch.testing.assert_close(found[1][0], alone, rtol=1e-5, atol=1e-5)  # tables of rotation are float32
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    assert found[0][2].tolist() == [3, 1, 9, 5, 2, 6]
    read = [int((lay(documents, np.arange(6), asked=asked).batch.positions >= 0).sum()) for asked in (None, ASKED)]
    assert read[1] < read[0]


def test_last_tokens_after_one_prompt() -> None:
    documents = answers()
    laid = lay(documents, np.arange(6), last=True, asked=ASKED)
    assert [int(laid.batch.ids.flat[place]) for place in laid.lasts] == [int(ids[-1]) for ids, _ in documents]
    model = lively(TINY)
    above = laid.batch.above
    assert above is not None
    both = torch.stack([torch.from_numpy(laid.batch.documents), torch.from_numpy(above)])
    with torch.no_grad():
        rows = model(torch.from_numpy(laid.batch.ids), positions=torch.from_numpy(laid.batch.positions).long(),
                     documents=both).flatten(0, 1)[torch.from_numpy(laid.lasts)]  # fmt: skip
        alone = torch.stack([model(torch.from_numpy(ids)[None])[0, -1] for ids, _ in documents])
    torch.testing.assert_close(rows, alone, rtol=1e-5, atol=1e-5)


def test_where_places_in_a_row_count_prompts_are_read_again() -> None:
    assert shares(TINY) and shares(VARIANTS["gpt2"])
    for other in (replace(TINY, layer=Layer(window=3)), replace(TINY, position="alibi"),
                  replace(TINY, layer=Layer(rope=Rope(scaling="dynamic", factor=2.0)))):  # fmt: skip
        assert not shares(other)


@pytest.mark.parametrize("cap, temperature", [(None, 1.0), (None, 0.7), (3.0, 1.0), (3.0, 1.3)])
@pytest.mark.parametrize("kept", [True, False])
def test_chosen_log_probs_beside_autograd(
    cap: float | None, temperature: float, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64, with a head and a bias that are trained and with a frozen one; slopes kept, or made again."""
    monkeypatch.setattr(losses, "KEPT_SLOPES", 1 << 25 if kept else 0)
    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias, slope = (
        torch.randn(size, dtype=torch.float64, generator=generator) for size in ((7, 4), (11, 4), (11,), (7,))
    )
    targets = torch.randint(0, 11, (7,), generator=generator)
    given = [value.requires_grad_() for value in (hidden, 5 * weight.detach(), bias)]
    z = F.linear(*given)
    z = z if cap is None else cap * torch.tanh(z / cap)
    laws = (z / temperature).log_softmax(-1)
    wanted = laws.gather(1, targets[:, None]).squeeze(1)
    found, entropy = losses.chosen_log_probs(given[0], given[1], targets, given[2], cap, temperature, slice_=3)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(entropy, -(laws.exp() * laws).sum(-1))
    assert not entropy.requires_grad
    for one, two in zip(*(torch.autograd.grad((x * slope).sum(), given) for x in (found, wanted)), strict=True):
        torch.testing.assert_close(one, two)
    frozen, _ = losses.chosen_log_probs(given[0], given[1].detach(), targets, given[2].detach(), cap, temperature, 3)
    again, _ = losses.chosen_log_probs(given[0], given[1], targets, given[2], cap, temperature, 3)
    torch.testing.assert_close(*(torch.autograd.grad((x * slope).sum(), given[0])[0] for x in (frozen, again)))
    with torch.no_grad():
        assert not losses.chosen_log_probs(*given[:2], targets)[0].requires_grad


def test_a_hotter_law_of_a_model() -> None:
    model, laid = lively(TINY), lay(answers(), np.arange(6))
    with torch.no_grad():
        hot, cold = (by_token(model, laid, torch.float32, temperature)[1] for temperature in (2.0, 1.0))
    assert (hot > cold).all()


@pytest.mark.parametrize("name", ["plain", "gpt2", "parallel", "post"])
def test_only_the_places_that_are_wanted(name: str) -> None:
    """The last block run at some places alone: the same stream there, and the same gradients."""
    shapes = SHAPES | {"parallel": replace(TINY, parallel=True, activation="relu"),
                       "post": replace(TINY, layer=Layer(norm="post"))}  # fmt: skip
    model = lively(shapes[name]).double()
    ids, at = torch.randint(0, TINY.vocab, (2, 9), generator=torch.Generator().manual_seed(2)), torch.tensor([3, 4, 12])
    whole, some = model.hidden(ids).flatten(0, 1)[at], model.hidden(ids, at=at)[0]
    torch.testing.assert_close(some, whole)
    grads = [torch.autograd.grad(x.square().sum(), list(model.parameters()), allow_unused=True) for x in (whole, some)]
    for one, two in zip(*grads, strict=True):
        if one is not None and two is not None:
            torch.testing.assert_close(one, two)
