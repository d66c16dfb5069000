"""Recurrent networks: their equations written out, no future, no neighbours, and what attention is for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from jielong.base.errors import UserError
from jielong.nets.rnn import QUERIES, RNN, RNNConfig, load

CONFIGS = [
    RNNConfig(vocab=11, dim=8),
    RNNConfig(vocab=11, dim=8, layers=2, cell="gru"),
    RNNConfig(vocab=11, dim=8, cell="lstm"),
    RNNConfig(vocab=11, dim=8, attend=True),
    RNNConfig(vocab=11, dim=8, cell="gru", attend=True),
]
every = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.cell}{c.layers}{'+' * c.attend}")


def some_ids(*shape, seed=1, vocab=11):
    return torch.randint(vocab, shape, generator=torch.Generator().manual_seed(seed))


def test_elman_by_its_equations():
    model = RNN(CONFIGS[0])
    ids = some_ids(1, 6)
    state, want = torch.zeros(8), []
    cell = model.recurrent
    for id in ids[0]:
        state = torch.tanh(cell.weight_ih_l0 @ model.embed[id] + cell.weight_hh_l0 @ state)
        want.append(model.embed @ state)
    assert torch.allclose(model(ids)[0], torch.stack(want), atol=1e-6)


def test_attention_by_its_equations():
    model = RNN(CONFIGS[3])
    length = QUERIES + 5  # more than one block of queries
    states = torch.randn(1, length, 8, generator=torch.Generator().manual_seed(0))
    a = model.attention
    for t in (0, 1, QUERIES - 1, QUERIES, length - 1):
        scores = [a.score @ torch.tanh(a.query(states[0, t]) + a.key(states[0, s])) for s in range(t + 1)]
        found = torch.stack(scores).softmax(0) @ states[0, : t + 1]
        want = torch.tanh(a.join(torch.cat([found, states[0, t]])))
        assert torch.allclose(a(states)[0, t], want, atol=1e-6)


@every
def test_the_future_changes_nothing(config):
    model = RNN(config)
    ids = some_ids(2, 2 * QUERIES)
    changed = ids.clone()
    changed[:, 40:] = (changed[:, 40:] + 1) % 11
    before, after = model(ids), model(changed)
    assert torch.allclose(before[:, :40], after[:, :40], atol=1e-6)
    assert not torch.allclose(before[:, 40:], after[:, 40:], atol=1e-3)


@every
def test_packed_documents_are_as_if_each_stood_alone(config):
    model = RNN(config)
    ids = some_ids(2, 12)
    documents = torch.tensor([[0] * 5 + [1] * 1 + [2] * 6, [7] * 12])
    packed = model(ids, documents=documents)
    alone = torch.cat([model(ids[:1, :5]), model(ids[:1, 5:6]), model(ids[:1, 6:])], dim=1)
    assert torch.allclose(packed[:1], alone, atol=1e-6)
    assert torch.allclose(packed[1:], model(ids[1:]), atol=1e-6)
    assert not torch.allclose(packed[:1], model(ids[:1]), atol=1e-4), "the boundaries made no difference"


@every
def test_gradients_stay_in_their_document(config):
    model, fed = RNN(config), []

    def keep(module, args):
        args[0].retain_grad()
        fed.append(args[0])

    model.recurrent.register_forward_pre_hook(keep)
    documents = torch.tensor([[0] * 4 + [1] * 4])
    F.cross_entropy(
        model(torch.arange(8)[None], documents=documents)[0, 6:], torch.tensor([9, 10])
    ).backward()
    first, second = fed[0].grad.abs().sum((1, 2)).tolist()
    assert first == 0.0 and second > 0.0


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_learns_a_pattern(cell):
    model = RNN(RNNConfig(vocab=6, dim=24, cell=cell))
    # After 0 the next depends on the token before: it takes a state to know.
    ids = torch.tensor([[1, 0, 2, 0, 3, 0, 4, 0] * 4])
    steps(model, lambda: F.cross_entropy(model(ids)[0, 2:-1], ids[0, 3:]), 150)
    assert (model(ids)[0, 2:-1].argmax(-1) == ids[0, 3:]).all()


def test_attention_finds_what_a_state_forgets():
    # Which of four came first, forty tokens of noise ago? (4 to 9 are the noise, 10 asks.) Chance: 1/4.
    def batch(number, size):
        generator = torch.Generator().manual_seed(number)
        first = torch.randint(4, (size, 1), generator=generator)
        noise = torch.randint(4, 10, (size, 40), generator=generator)
        return torch.cat([first, noise, torch.full((size, 1), 10)], dim=1), first[:, 0]

    def accuracy(attend, seed):
        model, numbers = RNN(RNNConfig(vocab=11, dim=16, attend=attend), seed), iter(range(1, 1000))

        def loss():
            ids, want = batch(next(numbers), 48)
            return F.cross_entropy(model(ids)[:, -1], want)

        steps(model, loss, 100)
        ids, want = batch(0, 256)
        return float((model(ids)[:, -1].argmax(-1) == want).float().mean())

    found = [sum(accuracy(attend, seed) for seed in range(3)) / 3 for attend in (True, False)]
    assert found[0] > found[1] + 0.2
    assert found[1] < 0.4


def steps(model, loss, count):
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(count):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def test_the_same_seed_is_the_same_model_and_another_is_not():
    torch.manual_seed(5)
    a = RNN(CONFIGS[4], seed=3)
    torch.manual_seed(6)
    b, c = RNN(CONFIGS[4], seed=3), RNN(CONFIGS[4], seed=4)
    ids = some_ids(1, 9)
    assert torch.equal(a(ids), b(ids))
    assert not torch.equal(a(ids), c(ids))
    gate = a.recurrent.weight_hh_l0[:8]
    assert torch.allclose(gate @ gate.T, torch.eye(8), atol=1e-5)
    assert a.device.type == "cpu" and a.head_weight is a.embed


@every
def test_saved_and_loaded_is_the_same(config, tmp_path):
    model = RNN(config, seed=9)
    model.save(tmp_path / "rnn.safetensors")
    again = load(tmp_path / "rnn.safetensors")
    assert again.config == config
    assert torch.equal(again(some_ids(1, 7)), model(some_ids(1, 7)))


def test_wrong_input_is_one_line(tmp_path):
    for wrong in ({"dim": 0}, {"layers": 0}, {"cell": "mamba"}):
        with pytest.raises(UserError):
            replace(CONFIGS[0], **wrong)
    path = tmp_path / "x.safetensors"
    for content in (b"", b"\xff" * 40):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read"):
            load(path)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path, {"kind": "ngram"})
    with pytest.raises(UserError, match="no model of the kind rnn"):
        load(path)
    about = {"kind": "rnn", "vocab": "11", "dim": "8", "layers": "1", "cell": "gru", "attend": "False"}
    save_file({"a": torch.zeros(1)}, path, about)
    with pytest.raises(UserError, match="cannot be read"):
        load(path)
