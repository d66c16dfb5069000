"""Rejection that learns gives the law given the grammar, whatever it has learnt."""

from __future__ import annotations

import copy
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jielong.base import noise, stats
from jielong.base.errors import UserError, WorkFailed
from jielong.infer import grammar
from jielong.infer.grammar.rejection import Reading, Rejection
from jielong.infer.grammar.teach import Teach
from jielong.infer.grammar.truth import Space, explore, model_laws
from jielong.infer.grammar.vocabulary import Vocabulary
from jielong.infer.sampling import Sampling
from jielong.nets import ngram

CUTS = Vocabulary((b"a", b"b", b"c", b"ab", b"bc", b"abc", b"ca", b"", b"<end>", b"<turn>"), (8, 9), frozenset({8, 9}))
PROMPT = (1, 2)
EXPRESSION = "(a|bc|ab){1,2}"


@pytest.fixture(scope="module")
def model() -> Any:
    path = Path(__file__).resolve().parents[1] / "conftest.py"
    spec = importlib.util.spec_from_file_location("infer_conftest", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.random_model(vocab=12, context=32)


@pytest.fixture(scope="module")
def space(model: Any) -> Space:
    return explore(model_laws(model), Teach(EXPRESSION, CUTS), PROMPT)


def fresh(model: Any) -> Rejection:
    return Rejection(Reading(model), grammar.regex(CUTS, EXPRESSION), PROMPT)


def text_of(ids: tuple[int, ...] | None) -> bytes | None:
    return None if ids is None else b"".join(CUTS.tokens[i] for i in ids)


@pytest.mark.parametrize("attempts", [0, 1, 40])
def test_an_attempt_gives_each_text_its_probability_over_the_bound(model: Any, space: Space, attempts: int) -> None:
    """Enumerated: P(y) = p(y) / U, with U the bound of what was learnt before; so given acceptance, the right law."""
    anew = lru_cache(maxsize=None)(lambda ids: model_laws(model)([ids])[0])  # the same bits whatever was read before
    learnt = Rejection(anew, grammar.regex(CUTS, EXPRESSION), PROMPT)
    for number in range(attempts):
        learnt.attempt(noise.RandomSource(7), number)
    bound = learnt.bound

    def attempt(source: noise.Source) -> bytes | None:
        own = copy.copy(learnt)
        own.root = copied(learnt.root)
        return text_of(own.attempt(source, 0))

    law = noise.law(noise.enumerate_choices(attempt))
    assert bound == 1.0 if attempts == 0 else space.mass <= bound < 1.0
    for text, (given, _) in space.texts().items():
        assert law[text] == pytest.approx(given * space.mass / bound, rel=1e-5)
    assert law.get(None, 0.0) == pytest.approx(1 - space.mass / bound, abs=1e-6)


def copied(node: Any) -> Any:
    twin = copy.copy(node)
    twin.weights = None if node.weights is None else node.weights.copy()
    twin.children = {token: copied(child) for token, child in node.children.items()}
    return twin


def test_draws_follow_the_law_and_attempts_grow_fewer(model: Any, space: Space) -> None:
    sampler, source = fresh(model), noise.RandomSource(11)
    drawn = [sampler.draw(source, number) for number in range(1500)]
    texts = space.texts()
    counts = {text: sum(text_of(d.ids) == text for d in drawn) for text in texts}
    assert sum(counts.values()) == 1500
    assert stats.g_test(counts, {text: given for text, (given, _) in texts.items()}) > 0.01
    assert stats.g_test(counts, {text: masked for text, (_, masked) in texts.items()}) < 1e-9
    assert np.mean([d.attempts for d in drawn[:3]]) > 2 > 1.1 > np.mean([d.attempts for d in drawn[-500:]])
    assert space.mass <= sampler.bound + 1e-12 < 1.2 * space.mass


def test_the_bound_comes_down_to_the_mass(model: Any, space: Space) -> None:
    """Once every prefix was looked at, nothing is rejected and the bound is exact."""
    sampler, bounds = fresh(model), [1.0]
    for number in range(4000):
        sampler.attempt(noise.RandomSource(1), number)
        bounds.append(sampler.bound)
    assert (np.diff(bounds) <= 1e-12).all() and bounds[-1] == pytest.approx(space.mass, rel=2e-2)
    assert bounds[-1] >= space.mass - 1e-12


def test_draws_of_an_infinite_language() -> None:
    """Against the closed form for a bigram model; no text longer than asked for."""
    letters = Vocabulary((b"a", b"b", b"c", b"<end>"), (3,))
    rng = np.random.default_rng(3)
    pairs = ngram.fit(ngram.NGramConfig(4, order=2), rng.choice(4, 400, p=[0.4, 0.3, 0.2, 0.1]))
    sampler = Rejection(Reading(pairs), Teach("(a|b)*c", letters), PROMPT, longest=4)
    drawn = [sampler.draw(noise.RandomSource(2), number).ids for number in range(1200)]
    same = explore(model_laws(pairs), Teach("(a|b){0,3}c", letters), PROMPT)
    law = {text: given for text, (given, _) in same.texts().items()}
    counts = {text: sum(b"".join(letters.tokens[i] for i in ids) == text for ids in drawn) for text in law}
    assert sum(counts.values()) == 1200 and stats.g_test(counts, law) > 0.01


def test_reading_goes_on_where_it_was(model: Any) -> None:
    """Laws along a random walk over prefixes, against reading each text anew; and with settings."""
    rng, reading, whole = np.random.default_rng(0), Reading(model), model_laws(model)
    text: tuple[int, ...] = PROMPT
    for _ in range(60):
        text = text[: max(2, len(text) - int(rng.integers(0, 4)))] if rng.random() < 0.4 or len(text) > 20 else text
        text = (*text, int(rng.integers(12)))
        assert reading(text) == pytest.approx(whole([text])[0], abs=1e-6)
        assert reading(text) == pytest.approx(whole([text])[0], abs=1e-6)
    sharp = Reading(model, Sampling(temperature=0.5, top_k=4, max_tokens=9, seed=3))(text)
    law = whole([text])[0] ** 2
    law[np.argsort(-law)[4:]] = 0
    assert sharp == pytest.approx(law / law.sum(), abs=1e-5)


def test_what_is_refused(model: Any) -> None:
    for setting, word in (({"repetition_penalty": 1.2}, "repetition_penalty"), ({"temperature": 0.0}, "temperature")):
        with pytest.raises(UserError, match=word):
            Reading(model, Sampling(**setting))
    rare = Rejection(Reading(model), grammar.regex(CUTS, "a{20}"), PROMPT)
    with pytest.raises(WorkFailed, match="3 attempts gave no text"):
        rare.draw(noise.RandomSource(0), most=3)
    none = Rejection(lambda ids: np.eye(12)[0], grammar.regex(CUTS, "b"), PROMPT)
    with pytest.raises(UserError, match="no text of this grammar"):
        none.draw(noise.RandomSource(0))
    short = Rejection(lambda ids: torch.ones(12).softmax(0).numpy(), grammar.regex(CUTS, "a{5}"), PROMPT, longest=3)
    with pytest.raises((UserError, WorkFailed), match="no text"):
        short.draw(noise.RandomSource(0), most=5000)
