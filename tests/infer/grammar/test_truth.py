"""What masking does to probabilities: by hand, by enumerating the engine itself, and in closed form."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jielong.base import noise, stats
from jielong.base.errors import UserError
from jielong.infer import grammar
from jielong.infer.core import Core
from jielong.infer.grammar.teach import Teach
from jielong.infer.grammar.truth import Aligned, Space, distances, explore, model_laws
from jielong.infer.grammar.vocabulary import Vocabulary
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.nets import ngram

LETTERS = Vocabulary((b"a", b"b", b"c", b"<end>"), (3,))
CUTS = Vocabulary((b"a", b"b", b"c", b"ab", b"bc", b"abc", b"ca", b"", b"<end>", b"<turn>"), (8, 9), frozenset({8, 9}))
PROMPT = (1, 2)


def random_model(vocab: int) -> Any:
    """The infer room's: weights large enough that the past matters."""
    path = Path(__file__).resolve().parents[1] / "conftest.py"
    spec = importlib.util.spec_from_file_location("infer_conftest", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.random_model(vocab=vocab, context=32)


@pytest.fixture(scope="module")
def model() -> Any:
    return random_model(12)


@pytest.fixture(scope="module")
def space(model: Any) -> Space:
    return explore(model_laws(model), Teach("(a|bc|ab){1,2}", CUTS), PROMPT)


@pytest.fixture(scope="module")
def pairs() -> Any:
    """A bigram model of four tokens."""
    rng = np.random.default_rng(3)
    return ngram.fit(ngram.NGramConfig(4, order=2), rng.choice(4, 400, p=[0.4, 0.3, 0.2, 0.1]))


def written(
    model: Any, rule: Any, vocabulary: Vocabulary, source: Any = None, seed: int = 0, rows: int = 1
) -> list[bytes]:
    """What the engine writes under a rule."""
    core = Core(model, None, streams=rows, source=source)
    ask = Sampling(max_tokens=24, stop_ids=vocabulary.ends, seed=seed)
    texts: dict[int, bytes] = {}
    for index in range(rows):
        texts[core.submit(Request(PROMPT, ask, index=index, processors=(rule,))).number] = b""
    while core.busy:
        for token in core.step():
            assert token.error is None and token.reason != "length"
            if token.id is not None and token.id not in vocabulary.ends:
                texts[token.row.number] += vocabulary.tokens[token.id]
    return list(texts.values())


def test_by_hand() -> None:
    """Texts aa and b; p(a) = p(b) = 1/2, but after a hardly ever a. Masking writes aa half of the time."""
    tables = {(0,): [0.5, 0.5, 0, 0], (0, 0): [0.01, 0.9, 0, 0.09], (0, 1): [0, 0, 0.2, 0.8], (0, 0, 0): [0, 0, 0, 1.0]}

    def laws(texts: Sequence[tuple[int, ...]]) -> np.ndarray:
        return np.array([tables[text] for text in texts])

    found = explore(laws, Teach("aa|b", LETTERS), (0,))
    aa, b = 0.5 * 0.01, 0.5 * 0.8
    assert found.mass == pytest.approx(aa + b)
    assert found.texts() == {
        b"aa": (pytest.approx(aa / (aa + b)), pytest.approx(0.5)),
        b"b": (pytest.approx(b / (aa + b)), pytest.approx(0.5)),
    }
    given, masked = np.array([aa, b]) / (aa + b), np.array([0.5, 0.5])
    there, back = found.divergences()
    assert there == pytest.approx((masked * np.log(masked / given)).sum())
    assert back == pytest.approx((given * np.log(given / masked)).sum())


@pytest.mark.parametrize("name", ["teach", "llguidance", "aligned"])
def test_the_engines_own_law(model: Any, space: Space, name: str) -> None:
    """All outcomes of the very code that serves: masked it has one law, aligned the other."""
    expression = "(a|bc|ab){1,2}"
    rules = {"teach": space.rule, "llguidance": grammar.regex(CUTS, expression), "aligned": Aligned(space)}
    column = 0 if name == "aligned" else 1
    outcomes = noise.enumerate_choices(lambda source: written(model, rules[name], CUTS, source)[0])
    law, texts = noise.law(outcomes), space.texts()
    assert set(law) == set(texts) and len(texts) == 12
    assert all(law[text] == pytest.approx(texts[text][column], abs=1e-6) for text in texts)
    assert max(abs(given - masked) for given, masked in texts.values()) > 0.1


def test_divergences_are_those_of_the_tokens_laws(space: Space) -> None:
    """The closed form against a sum over all ways of writing; texts, which add up ways, differ less."""
    ways: list[tuple[float, float]] = []
    given, masked = space.given(), space.masked()

    def walk(x: int, g: float, m: float) -> None:
        if space.ends[x] > 0:
            ways.append((g * space.ends[x] / space.accept[x], m * space.ends[x] / space.kept[x]))
        for k in range(space.begins[x], space.begins[x + 1]):
            walk(int(space.target[k]), g * given[k], m * masked[k])

    walk(0, 1.0, 1.0)
    g, m = np.array(ways).T
    assert g.sum() == pytest.approx(1) and m.sum() == pytest.approx(1)
    there, back = space.divergences()
    assert there == pytest.approx((m * np.log(m / g)).sum())
    assert back == pytest.approx((g * np.log(g / m)).sum())
    fewer, less, apart = distances(space.texts())
    g, m = np.array(list(space.texts().values())).T
    assert fewer == pytest.approx((m * np.log(m / g)).sum()) and apart == pytest.approx(np.abs(g - m).sum() / 2)
    assert 0 < fewer < there and 0 < less < back


def test_the_law_given_the_grammar_is_bayes(model: Any, space: Space) -> None:
    """p(text) / p(grammar), with p(text) from scoring each way of writing with the model."""
    from jielong.infer.score import score

    rule, ways = space.rule, dict[bytes, float]()

    def walk(state: Any, ids: tuple[int, ...], text: bytes) -> None:
        allowed = np.flatnonzero(rule.allowed(state)).tolist()
        for token in allowed:
            if token in CUTS.ends:
                (logprobs,) = score(model, [[*PROMPT, *ids, token]], [len(PROMPT)])
                ways[text] = ways.get(text, 0.0) + float(np.exp(logprobs.sum()))
            else:
                walk(rule.advance(state, token), (*ids, token), text + CUTS.tokens[token])

    walk(rule.start(PROMPT), (), b"")
    mass = sum(ways.values())
    assert space.mass == pytest.approx(mass, rel=1e-4)
    for text, (given, _) in space.texts().items():
        assert given == pytest.approx(ways[text] / mass, rel=1e-3)


def test_draws(model: Any, space: Space) -> None:
    """G-tests: masked draws follow the masked law, aligned ones the law given the grammar, and not crosswise."""
    texts = space.texts()
    laws = [{text: pair[column] for text, pair in texts.items()} for column in (0, 1)]
    for column, rule in ((0, Aligned(space)), (1, space.rule)):
        drawn = written(model, rule, CUTS, seed=5, rows=2000)
        counts = {text: drawn.count(text) for text in texts}
        assert sum(counts.values()) == 2000
        assert stats.g_test(counts, laws[column]) > 0.0025
        assert stats.g_test(counts, laws[1 - column]) < 1e-9


def test_one_token_is_not_distorted() -> None:
    """Where the grammar ends its text in one way only, masking at the one choice before is all there is."""

    def laws(texts: Sequence[tuple[int, ...]]) -> np.ndarray:
        return np.array([[0.3, 0.1, 0.4, 0.2] if len(text) == 1 else [0, 0, 0, 1.0] for text in texts])

    assert explore(laws, Teach("a|b", LETTERS), (0,)).divergences() == pytest.approx((0.0, 0.0), abs=1e-12)


def test_an_infinite_language_by_states(pairs: Any) -> None:
    """For a bigram model, prefixes with equal last token and state are one: the limit of longer and longer texts."""
    laws = model_laws(pairs)
    whole = explore(laws, Teach("(a|b)*c", LETTERS), PROMPT, memory=1)
    assert len(whole.ends) < 10
    gaps = []
    for longest in (2, 9, 60):
        part = explore(laws, Teach(f"(a|b){{0,{longest}}}c", LETTERS), PROMPT, memory=1)
        assert part.mass < whole.mass
        gaps.append([whole.mass - part.mass, *np.abs(np.subtract(whole.divergences(), part.divergences()))])
    assert (np.diff(np.array(gaps), axis=0) < 0).all() and max(gaps[-1]) < 1e-6
    drawn = written(pairs, Aligned(whole), LETTERS, seed=2, rows=500)
    same = explore(laws, Teach("(a|b){0,5}c", LETTERS), PROMPT)
    law = {text: given * same.mass / whole.mass for text, (given, _) in same.texts().items()}
    law[b"longer"] = 1 - sum(law.values())
    counts = {text: drawn.count(text) for text in law}
    counts[b"longer"] = len(drawn) - sum(counts.values())
    assert stats.g_test(counts, law) > 0.005


def test_prefixes_that_are_one_change_nothing(pairs: Any) -> None:
    laws, rule = model_laws(pairs), Teach("(a|b|ca){1,3}", LETTERS)
    apart, together = explore(laws, rule, PROMPT), explore(laws, rule, PROMPT, memory=1)
    assert len(together.ends) < len(apart.ends)
    assert together.mass == pytest.approx(apart.mass) and together.divergences() == pytest.approx(apart.divergences())
    first, second = apart.texts(), together.texts()
    assert all(first[text] == pytest.approx(second[text]) for text in first | second)


def test_what_cannot_be_explored(model: Any, space: Space) -> None:
    with pytest.raises(UserError, match="prefixes"):
        explore(model_laws(model), Teach("[abc]*", CUTS), PROMPT, limit=500)
    with pytest.raises(UserError, match="texts"):
        space.texts(limit=3)
    with pytest.raises(UserError, match="another prompt"):
        Aligned(space).start((3,))
    with pytest.raises(UserError, match="no probability"):
        explore(lambda texts: np.array([[1.0, 0, 0, 0]] * len(texts)), Teach("b", LETTERS), (0,))
    with pytest.raises(ValueError, match="not allowed"):
        Aligned(space).advance(0, 2)


def test_aligned_leaves_its_logits(space: Space) -> None:
    logits = torch.zeros(12)
    out = Aligned(space).process(0, logits)
    assert not logits.any() and torch.isinf(out[[2, 6, 7, 8, 9, 10, 11]]).all()
