"""Kneser-Ney against a slow transcription of its formulas, and against known sources."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jielong.base.errors import UserError
from jielong.nets.ngram import NGramConfig, discounts, fit, load, place_in_document

DOCUMENTS = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=12), min_size=1, max_size=6)


def flat(documents):
    lengths = np.cumsum([0, *map(len, documents)])
    return np.concatenate([np.array(d, dtype=np.uint16) for d in documents]), lengths


class Slow:
    """The same model with dictionaries, straight from the formulas; "^" begins a document."""

    def __init__(self, documents, vocab, order):
        self.vocab, self.order = vocab, order
        texts = [("^", *document) for document in documents]
        grams = [
            Counter(t[i - m + 1 : i + 1] for t in texts for i in range(1, len(t)) if i - m + 1 >= 0)
            for m in range(1, order + 1)
        ]
        self.counts = [
            {
                g: len({b[0] for b in grams[m] if b[1:] == g}) if m < order and g[0] != "^" else c
                for g, c in grams[m - 1].items()
            }
            for m in range(1, order + 1)
        ]
        self.taken = [discounts(np.array(list(counts.values()))) for counts in self.counts]

    def prob(self, word, context):
        context = context[max(0, len(context) - self.order + 1) :]
        below = self.prob(word, context[1:]) if context else 1 / self.vocab
        counts, taken = self.counts[len(context)], self.taken[len(context)]
        here = {g[-1]: c for g, c in counts.items() if g[:-1] == context}
        if not here:
            return below
        total = sum(here.values())
        left = sum(taken[min(c, 3) - 1] for c in here.values()) / total
        own = here[word] - taken[min(here[word], 3) - 1] if word in here else 0.0
        return own / total + left * below


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@given(documents=DOCUMENTS, asked=st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_probabilities_are_those_of_the_formulas_and_sum_to_one(order, documents, asked):
    model, slow = fit(NGramConfig(5, order), *flat(documents)), Slow(documents, 5, order)
    got = model(torch.tensor([asked]))[0].exp()
    assert torch.allclose(got.sum(-1), torch.ones(len(asked)), atol=1e-5)
    for t in range(len(asked)):
        want = [slow.prob(w, ("^", *asked[: t + 1])) for w in range(5)]
        assert got[t].tolist() == pytest.approx(want, rel=1e-5)


def test_by_hand():
    # One document, a b a b a: the bigrams ^a, ab twice, ba twice; too few to estimate discounts.
    model = fit(NGramConfig(3, 2), np.array([0, 1, 0, 1, 0]))
    # Places: a after ^ and b (2), b after a (1); D(2) = 1, D(1) = 0.5; gamma = 1.5 / 3.
    unigram = [(2 - 1) / 3 + 0.5 / 3, (1 - 0.5) / 3 + 0.5 / 3, 0.5 / 3]
    # After a: b twice, so (2 - 1) / 2 and gamma = 1 / 2.
    want = [0.5 * unigram[0], 0.5 + 0.5 * unigram[1], 0.5 * unigram[2]]
    assert model(torch.tensor([[0]]))[0, 0].exp().tolist() == pytest.approx(want, rel=1e-6)


def test_a_token_of_one_place_is_not_expected_elsewhere():
    # "Francisco" (1) is as common as "of" (2), but only ever after "San" (0); 3 and more are other words.
    documents = [[0, 1], [0, 1], [0, 1], [0, 1]] + [[w, 2] for w in (3, 4, 5, 6)]
    model = fit(NGramConfig(9, 2), *flat(documents))
    probs = model(torch.tensor([[7]]))[0, 0].exp()  # after a word never seen
    assert probs[2] > 2 * probs[1]
    assert model(torch.tensor([[0]]))[0, 0].argmax() == 1


def test_discounts_are_chen_and_goodmans():
    counts = np.repeat([1, 2, 3, 4], [100, 40, 20, 12])
    y = 100 / 180
    assert discounts(counts).tolist() == pytest.approx([y, 2 - 3 * y * 20 / 40, 3 - 4 * y * 12 / 20])
    assert discounts(np.repeat([1, 2, 3], [1, 50, 400])).tolist() == pytest.approx(
        [0.1, 2 - 24 / 101, 3]
    )  # held within reason


@given(documents=DOCUMENTS, ids=st.lists(st.integers(0, 4), min_size=2, max_size=10), cut=st.integers(1, 9))
def test_the_future_changes_nothing(documents, ids, cut):
    model = fit(NGramConfig(5, 3), *flat(documents))
    cut = min(cut, len(ids) - 1)
    changed = ids[:cut] + [4 - i for i in ids[cut:]]
    assert torch.equal(model(torch.tensor([ids]))[:, :cut], model(torch.tensor([changed]))[:, :cut])


@given(documents=DOCUMENTS)
def test_packed_documents_are_as_if_each_stood_alone(documents):
    model = fit(NGramConfig(5, 3), *flat(documents))
    numbers = torch.tensor([[i for i, d in enumerate(documents) for _ in d]])
    packed = model(torch.tensor([[t for d in documents for t in d]]), documents=numbers)
    alone = torch.cat([model(torch.tensor([d])) for d in documents], dim=1)
    assert torch.equal(packed, alone)
    assert place_in_document(numbers, numbers)[0].tolist() == [i for d in documents for i in range(len(d))]


def test_finds_the_entropy_of_a_markov_chain():
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.full(6, 0.4), size=6)
    share = np.linalg.matrix_power(rows, 200)[0]
    entropy = -float((share[:, None] * rows * np.log(np.maximum(rows, 1e-300))).sum())

    def chain(n):
        out = [0]
        for u in rng.random(n):
            out.append(int(np.searchsorted(rows[out[-1]].cumsum(), u).clip(max=5)))
        return np.array(out)

    test = torch.from_numpy(chain(20_000))[None]
    loss = {}
    for order in (1, 2, 3):
        model = fit(NGramConfig(6, order), chain(60_000))
        logits = model(test[:, :-1])[0]
        loss[order] = float(torch.nn.functional.cross_entropy(logits, test[0, 1:]))
    error = 4 / np.sqrt(20_000)  # four standard errors of a mean whose terms spread by about one nat
    assert abs(loss[2] - entropy) < error and abs(loss[3] - entropy) < error
    assert loss[1] > entropy + 0.2


def test_saved_and_loaded_is_the_same(tmp_path):
    model = fit(NGramConfig(5, 3), *flat([[0, 1, 2], [3, 4, 0, 1]]))
    model.save(tmp_path / "ngram.safetensors")
    again = load(tmp_path / "ngram.safetensors")
    ids = torch.tensor([[0, 1, 2, 3, 4, 0]])
    assert again.config == model.config
    assert torch.equal(again(ids), model(ids))


def test_wrong_input_is_one_line(tmp_path):
    for wrong in ((0, 2), (5, 0), (4000, 6)):
        with pytest.raises(UserError):
            NGramConfig(*wrong)
    with pytest.raises(UserError, match="order 5 fits"):
        NGramConfig(4000, 6)
    with pytest.raises(UserError, match="none"):
        fit(NGramConfig(5), np.array([], dtype=np.uint16))
    with pytest.raises(UserError, match="outside the vocabulary"):
        fit(NGramConfig(5), np.array([5]))
    model = fit(NGramConfig(5), np.array([1, 2]))
    with pytest.raises(IndexError):
        model(torch.tensor([[5]]))
    assert model(torch.zeros(1, 0, dtype=torch.long)).shape == (1, 0, 5)
    path = tmp_path / "x.safetensors"
    for content in (b"", b"not safetensors at all"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read"):
            load(path)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="no model of the kind ngram"):
        load(path)
    with pytest.raises(UserError):
        load(tmp_path / "none")


def test_ten_thousand_contexts_count_quickly():
    # The counting is vectorised: a loop over tokens in Python would take many seconds.
    import time

    ids = np.random.default_rng(0).integers(0, 2000, 300_000)
    start = time.process_time()
    model = fit(NGramConfig(2000, 4), ids, np.arange(0, 300_000, 50))
    assert time.process_time() - start < 5
    logits = model(torch.from_numpy(ids[:512].reshape(8, 64)))
    assert torch.allclose(logits.exp().sum(-1), torch.ones(8, 64), atol=1e-4)


def test_counts_of_documents_do_not_run_together():
    # "1 2" occurs only across a boundary, so after 1 it is no more likely than by itself.
    model = fit(NGramConfig(4, 2), *flat([[0, 1], [2, 3], [0, 1], [2, 3]]))
    following = defaultdict(float, enumerate(model(torch.tensor([[1]]))[0, 0].exp().tolist()))
    never = model(torch.tensor([[3]]))[0, 0].exp().tolist()
    assert following[2] == pytest.approx(never[2])
