"""kNN-LM: its law against brute force, its store, its scores, and the processor."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jielong.base.errors import UserError
from jielong.infer import knn
from jielong.infer.generate import generate
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.infer.score import hidden, next_law, score
from jielong.nets.transformer import Transformer
from jielong.store import store

END = 0


def texts(count: int, seed: int, longest: int = 30) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 48, rng.integers(1, longest)).tolist() for _ in range(count)]


@pytest.fixture(scope="module")
def held(model: Transformer, tmp_path_factory: pytest.TempPathFactory) -> store.Store:
    path = tmp_path_factory.mktemp("knn") / "s.db"
    with store.build(path, model="m") as writer:
        assert knn.remember(model, writer, texts(40, 0), END) == sum(len(ids) + 1 for ids in texts(40, 0))
    return store.load(path, model="m")


def keys(model: Transformer, documents: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """(vectors, tokens that followed) by one forward pass a document."""
    vectors, follows = [], []
    for ids in documents:
        with torch.no_grad():
            vectors.append(model.hidden(torch.tensor([[END, *ids]]))[0].double().numpy())
        follows += [*ids, END]
    return np.concatenate(vectors).astype(np.float16).astype(np.float64), np.array(follows)


def brute(query: np.ndarray, vectors: np.ndarray, follows: np.ndarray, settings: knn.Knn) -> np.ndarray | None:
    """p_kNN by the paper's formula, in a loop; None where the k-th neighbour and the next are equally far."""
    far = [float(((query - vector) ** 2).sum()) for vector in vectors]
    order = sorted(range(len(far)), key=far.__getitem__)
    if settings.k < len(far) and far[order[settings.k]] - far[order[settings.k - 1]] < 1e-3:
        return None
    law = np.zeros(48)
    for place in order[: settings.k]:
        law[follows[place]] += math.exp(-far[place] / settings.temperature)
    return law / law.sum()


SETTINGS = (knn.Knn(), knn.Knn(0.5, 7, 3.0), knn.Knn(0.9, 10_000, 20.0), knn.Knn(0.3, 1, 0.5))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_scores_are_the_papers_law(model: Transformer, held: store.Store, settings: knn.Knn) -> None:
    vectors, follows = keys(model, texts(40, 0))
    asked = [*texts(3, 1), [], texts(40, 0)[5]]
    found = knn.score(model, held, asked, END, settings)
    compared = 0
    for ids, logprobs in zip(asked, found, strict=True):
        queries, _ = keys_of_one(model, ids)
        own = score(model, [[END, *ids, END]], [1])[0]
        assert len(logprobs) == len(ids) + 1
        for query, token, mine, got in zip(queries, [*ids, END], own, logprobs):
            theirs = brute(query, vectors, follows, settings)
            if theirs is None:
                continue
            compared += 1
            wanted = settings.share * theirs[token] + (1 - settings.share) * math.exp(mine)
            assert got == pytest.approx(math.log(wanted), abs=2e-4)
    assert compared > 20


def keys_of_one(model: Transformer, ids: list[int]) -> tuple[np.ndarray, int]:
    with torch.no_grad():
        return model.hidden(torch.tensor([[END, *ids]]))[0].double().numpy(), 0


def test_the_law_by_hand() -> None:
    law = knn.law(np.array([0.0, math.log(2), math.log(2)]), np.array([3, 1, 3]), 5)
    assert law == pytest.approx([0, 0.25, 0, 0.75, 0])
    far = np.array([[1e5, 1e5 + 2.0]])  # exp(-1e5) is nought: the nearest must still count
    assert knn.weights(far, 2.0)[0] == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.e)])
    assert knn.chances(far, np.array([[7, 8]]), np.array([8]), 2.0) == pytest.approx([1 / (1 + math.e)])
    with np.errstate(all="raise"):
        assert np.exp(knn.mix(np.array([-1.0]), np.array([0.0]), 0.0)) == pytest.approx([math.exp(-1)])
        assert np.exp(knn.mix(np.array([-1.0]), np.array([0.5]), 1.0)) == pytest.approx([0.5])
        assert knn.mix(np.array([-1.0]), np.array([0.0]), 1.0) == -np.inf


def test_text_that_is_in_the_store_is_remembered(model: Transformer, held: store.Store) -> None:
    ids = texts(40, 0)[3]
    far, follows = held.nearest(hidden_of(model, [END, *ids]), 1)
    assert far.max() < 1e-2 and follows[2:, 0].tolist() == [*ids[2:], END]  # other texts may begin like it
    with_store = knn.score(model, held, [ids], END, knn.Knn(0.9, 4, 0.1))[0].sum()
    assert with_store > 10 + score(model, [[END, *ids, END]], [1])[0].sum()


def hidden_of(model: Transformer, ids: list[int]) -> np.ndarray:
    ((_, found),) = hidden(model, [ids])
    return found.numpy()


def test_long_documents_are_read_in_pieces(model: Transformer, tmp_path: Path) -> None:
    """Context 64: the second piece begins with the token at place 64."""
    ids = texts(1, 2, 500)[0]
    ids = (ids * 10)[:150]
    pieces = list(knn.contexts(model, [ids], END))
    assert [len(follows) for _, follows in pieces] == [64, 64, 23]
    framed = [END, *ids, END]
    assert np.concatenate([follows for _, follows in pieces]).tolist() == framed[1:]
    for at, (vectors, _) in zip((0, 64, 128), pieces):
        np.testing.assert_allclose(vectors, hidden_of(model, framed[at : at + 64][: len(vectors)]), atol=1e-4)
    with store.build(tmp_path / "s.db", model="m") as writer:
        assert knn.remember(model, writer, [ids], END, 100) == 100
    with store.load(tmp_path / "s.db") as here:
        assert here.about.vectors == 100 and len(knn.score(model, here, [ids, [1]], END, knn.Knn())[0]) == 151


def test_the_processor_gives_the_mixture(model: Transformer, held: store.Store) -> None:
    settings = knn.Knn(0.6, 9, 5.0)
    rule = knn.Neighbours(model, held, settings)
    prompt = (END, 5, 9)
    state = rule.start(prompt)
    vectors, follows = keys(model, texts(40, 0))
    for token in (4, 11):
        own = next_law(model, state)
        raw = torch.from_numpy(np.log(own))
        kept = raw.clone()
        got = rule.process(state, raw).exp().numpy()
        query = keys_of_one(model, list(state[1:]))[0][-1]
        theirs = brute(query, vectors, follows, settings)
        assert theirs is not None
        wanted = 0.6 * theirs + 0.4 * own
        np.testing.assert_allclose(got, wanted, atol=1e-4)
        assert torch.equal(raw, kept) and not rule.done(state)
        after = rule.advance(state, token)
        assert after == (*state, token) and state == tuple(state)
        state = after


def test_the_engine_writes_by_the_mixture(model: Transformer, held: store.Store) -> None:
    """Greedy, with nearly all the weight on the neighbours: a text of the store is written again."""
    from jielong.infer.core import Core

    ids = next(ids for ids in texts(40, 0) if len(ids) > 12)
    rule = knn.Neighbours(model, held, knn.Knn(0.99, 1, 1.0))
    core: Any = Core(model)
    greedy = Sampling(temperature=0.0, max_tokens=6)
    row = core.submit(Request((END, *ids[:4]), greedy, processors=(rule,)))
    while core.busy:
        core.step()
    assert list(row.text[5:]) == ids[4:10]
    assert list(generate(model, [[END, *ids[:4]]], greedy)[0].ids) != ids[4:10]


@pytest.mark.parametrize("wrong", [{"share": -0.1}, {"share": 1.1}, {"k": 0}, {"temperature": 0.0},
                                   {"temperature": math.inf}, {"share": math.nan}])  # fmt: skip
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        knn.Knn(**wrong)


def test_a_model_without_hidden_states_is_refused(no_cache: Any, held: store.Store) -> None:
    with pytest.raises(UserError, match="hidden states"):
        knn.score(no_cache, held, [[1, 2]], END, knn.Knn())
