"""Texts through the engine: token for token, and by their exact law where there are too many to enumerate."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from jielong.infer.draft import large
from jielong.infer.draft.compose import RARE
from jielong.infer.draft.verify import VERIFIERS

SMALL = large.Target(size=12, horizon=4)


def test_the_exact_law_is_that_of_the_model() -> None:
    target = large.Target(size=5, horizon=3)
    assert target.law.shape == (5, 5, 5) and target.law.sum() == pytest.approx(1, abs=1e-12)
    text, p = (3, 0, 4), 1.0
    for i, token in enumerate(text):
        with torch.no_grad():
            logits = target.model(torch.tensor([[*target.start, *text[:i]]]))[0, -1]
        p *= float((logits.double() / target.temperature).softmax(-1)[token])
    assert target.law[text] == pytest.approx(p, rel=1e-5)


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_samples_follow_the_law(verifier: str) -> None:
    counts, drafting = large.draw(SMALL, verifier, 3000)
    assert counts.sum() == 3000 and not drafting.reasons
    assert sum(drafting.tally.accepted) > 1000 and drafting.tally.accepted[1] > 100
    assert min(large.pvalues(SMALL, counts).values()) > RARE / 5


def test_a_wrong_verifier_is_found_out() -> None:
    counts, _ = large.draw(SMALL, "token", 3000, verify=large.careless)
    assert max(large.pvalues(SMALL, counts).values()) < 1e-6


def test_cells_are_made_without_a_look_at_the_counts() -> None:
    """Samples of the law itself: p is uniform, small cells or not."""
    rng, law, places = np.random.default_rng(0), SMALL.law, (0, 1, 2, 3)
    drawn = [rng.multinomial(20_000, law.reshape(-1)).reshape(law.shape) for _ in range(60)]
    found = [large._p(counts, law, places) for counts in drawn]
    assert 0.3 < np.mean(found) < 0.7 and min(found) > RARE / 10
    off = law * np.exp(0.2 * rng.normal(size=law.shape))
    counts = rng.multinomial(200_000, off.reshape(-1) / off.sum()).reshape(law.shape)
    assert large._p(counts, law, places) < RARE


def test_texts_token_for_token() -> None:
    found = large.same(260)
    assert all(good == total > 30 for good, total in found.values()) and len(found) >= 13


def test_prompts_are_all_different() -> None:
    prompts = {large._request(i, False).prompt for i in range(10_000)}
    assert len(prompts) == 10_000 and {len(p) for p in prompts} == set(range(6, 13))


@pytest.mark.slow
def test_ten_thousand_prompts_token_for_token() -> None:
    found = large.same(10_000)
    assert sum(total for _, total in found.values()) == 20_000
    assert all(good == total for good, total in found.values())


@pytest.mark.slow
def test_a_law_of_millions_of_texts() -> None:
    target = large.Target()
    assert target.law.size == len(list(product(range(50), repeat=2))) ** 2
    for verifier in VERIFIERS:
        counts, _ = large.draw(target, verifier, 40_000)
        assert min(large.pvalues(target, counts).values()) > RARE / 20
