"""Scores against the model's own logits, however they are batched or shared."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jielong.base.errors import UserError
from jielong.infer import score as scores
from jielong.infer.fingerprint import fingerprint
from jielong.infer.score import embed, next_law, read, score
from jielong.nets.ngram import NGramConfig, fit
from jielong.nets.rnn import RNN, RNNConfig
from jielong.nets.transformer import Transformer
from jielong.units import chars

from .conftest import VOCAB, NoCache, random_model

TEXTS = [[(3 + 7 * i + i * j * j) % VOCAB for j in range(2 + 5 * i)] for i in range(9)]
STARTS = [1, 7, 3, 1, 20, 27, 30, 5, 42]


def reference(model: torch.nn.Module, ids: list[int], start: int) -> np.ndarray:
    law = model(torch.tensor([ids])).log_softmax(-1)[0].detach()
    return np.array([float(law[i - 1, ids[i]]) for i in range(start, len(ids))])


@pytest.mark.parametrize("tokens, logits", [(8192, 1 << 24), (50, 60)])
def test_scores_are_the_models_log_probabilities(
    model: Transformer, no_cache: NoCache, tokens: int, logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "TOKENS", tokens)
    monkeypatch.setattr(scores, "LOGITS", logits)
    for one in (model, no_cache):
        for found, ids, start in zip(score(one, TEXTS, STARTS), TEXTS, STARTS):
            np.testing.assert_allclose(found, reference(model, ids, start), atol=1e-4)
            assert len(found) == len(ids) - start
    assert score(model, [], []) == []


def test_a_shared_beginning_changes_nothing(model: Transformer) -> None:
    texts = [[5, 6, 7, 8, *t[:40]] for t in TEXTS]
    for prefix in ([5, 6, 7, 8], [5, 6, 7, 8, 9, 9, 9], [5], [40]):
        for starts in ([4] * 9, [2] * 9, [1] * 9, [5] * 9):
            shared = score(model, texts, starts, read(model, prefix))
            for a, b in zip(shared, score(model, texts, starts)):
                np.testing.assert_allclose(a, b, atol=1e-4)


def test_one_prefix_serves_many_times(model: Transformer) -> None:
    prefix = read(model, [5, 6, 7])
    assert prefix is not None
    before = [k.clone() for k in prefix.cache.keys]
    first = score(model, [[5, 6, 7, 8, 9]], [3], prefix)
    second = score(model, [[5, 6, 7, 8, 9]], [3], prefix)
    np.testing.assert_array_equal(first, second)
    assert all(torch.equal(a, b) for a, b in zip(before, prefix.cache.keys))


@pytest.mark.parametrize("texts, starts, told", [
    ([[1, 2]], [0], "second token"), ([[1, 2]], [3], "second token"), ([[]], [1], "empty"),
    ([[1] * 65], [1], "65 tokens .* context is 64"),
])  # fmt: skip
def test_what_cannot_be_scored_is_told(model: Transformer, texts: list, starts: list, told: str) -> None:
    with pytest.raises(UserError, match=told):
        score(model, texts, starts)


def test_embeddings_are_means_of_the_last_states(model: Transformer) -> None:
    vectors = embed(model, TEXTS)
    for vector, ids in zip(vectors, TEXTS):
        expected = model.hidden(torch.tensor([ids]))[0].mean(dim=0).detach().numpy()
        np.testing.assert_allclose(vector, expected, atol=1e-5)
    assert vectors.dtype == np.float32
    assert embed(model, []).shape == (0, 0)
    with pytest.raises(UserError, match="hidden states"):
        embed(NoCache(model), TEXTS)


def test_the_next_tokens_law(model: Transformer, no_cache: NoCache) -> None:
    expected = model(torch.tensor([TEXTS[3]]))[0, -1].softmax(-1).detach().numpy()
    for law in (
        next_law(model, TEXTS[3]),
        next_law(no_cache, TEXTS[3]),
        next_law(model, TEXTS[3], read(model, TEXTS[3][:4])),
    ):
        np.testing.assert_allclose(law, expected, atol=1e-6)
    assert read(no_cache, [1]) is None


def test_older_models_have_the_same_face() -> None:
    ids = np.array(TEXTS[8] * 3)
    for other in (fit(NGramConfig(VOCAB, 3), ids), RNN(RNNConfig(vocab=VOCAB, dim=16)).eval()):
        (found,) = score(other, [TEXTS[4]], [2])
        np.testing.assert_allclose(found, reference(other, TEXTS[4], 2), atol=1e-4)
        assert abs(next_law(other, TEXTS[4]).sum() - 1) < 1e-5


def test_a_fingerprint_follows_every_weight_and_the_tokenizer() -> None:
    one, codec = random_model(), chars.train(["ab"])
    name = fingerprint(one, codec)
    assert fingerprint(random_model(), codec) == name
    assert fingerprint(one, chars.train(["abc"])) != name
    for parameter in one.parameters():
        with torch.no_grad():
            parameter.view(-1)[-1] += 1e-3
            assert fingerprint(one, codec) != name
            parameter.view(-1)[-1] -= 1e-3
