"""A model that guesses: its laws are its own whatever was refused before, and its cache is always the text's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.infer.draft import loop, verify
from jielong.infer.draft.along import along, law
from jielong.infer.draft.model import ModelDrafter
from jielong.infer.draft.paired import paired
from jielong.infer.draft.selves import early_exit, first_layers, quantised
from jielong.infer.draft.types import Draft, Draws
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.infer.schedule import Row
from jielong.nets import ngram
from jielong.nets.native import build
from jielong.nets.pages import SIZE, page_bytes
from jielong.nets.tap import Tap
from jielong.nets.transformer import Transformer

from .conftest import VOCAB, NoCache, random_model


def text(i: int, n: int) -> tuple[int, ...]:
    return tuple(noise.integers(i, below=VOCAB, n=n).tolist())


def row(number: int, prompt: tuple[int, ...], sampling: Sampling | None = None) -> Row:
    return Row(number, Request(prompt, sampling or Sampling(max_tokens=40)), 40)


def draws(seed: int = 0) -> Draws:
    source = noise.RandomSource(seed)
    return lambda row: loop.bound(source, row.number, row.written)


@pytest.fixture(params=["compiled", "call by call"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The decoder in C++ (where there is a compiler), and the one without."""
    if request.param == "call by call":
        monkeypatch.setattr("jielong.infer.runner.native.decoder", lambda *_: None)
    elif build.library() is None:
        pytest.skip("no compiler here")
    return request.param


def whole_laws(model: Any, row: Row, draft: Draft) -> np.ndarray:
    """The law of each guess, by one pass over text and guesses without any cache."""
    ids = [*row.text, *draft.tokens]
    with torch.no_grad():
        logits = model(torch.tensor([ids[:-1]]))[0, len(row.text) - 1 :]
    return law(along(row, draft.tokens[:-1], logits).logits_PV)


def assert_kept(drafter: ModelDrafter) -> None:
    drafter.blocks.check(mirror.table for mirror in drafter.mirrors.values())


@pytest.mark.parametrize("exact", [True, False])
def test_the_cache_after_refusals_is_a_fresh_one(model: Transformer, exact: bool, either: str) -> None:
    drafter = ModelDrafter(model, VOCAB, exact=exact)
    chance = noise.rng("rows that come, go back and leave")
    rows: list[Row] = []
    for step in range(30):
        if step % 3 == 0:
            rows.append(row(step, text(step % 4, 1 + int(chance.integers(40)))))
        if step % 7 == 6:
            drafter.forget(rows.pop(int(chance.integers(len(rows)))))
        if step % 5 == 4:  # one goes back, past its prompt even
            back = rows[int(chance.integers(len(rows)))]
            del back.text[1 + int(chance.integers(len(back.text))) :]
        asked = [r for r in rows if chance.random() < 0.8 and len(r.text) < 55]
        most = [int(chance.integers(5)) for _ in asked]
        drafts = drafter.propose(asked, most, draws())
        fresh = ModelDrafter(model, VOCAB, exact=exact).propose(asked, most, draws())
        assert_kept(drafter)
        for each, k, draft, other in zip(asked, most, drafts, fresh):
            assert draft.tokens == other.tokens and len(draft.tokens) == k
            if k and draft.laws is not None and other.laws is not None:
                if exact:
                    assert np.array_equal(draft.laws, other.laws)
                np.testing.assert_allclose(draft.laws, other.laws, atol=1e-5)
                np.testing.assert_allclose(draft.laws, whole_laws(model, each, draft), atol=1e-5)
            each.text += [*draft.tokens[: int(chance.integers(k + 1))], int(chance.integers(VOCAB))]
    for each in rows:
        drafter.forget(each)
    assert drafter.blocks.used == 0 and not drafter.mirrors


def test_a_known_beginning_is_not_read_again(model: Transformer) -> None:
    drafter = ModelDrafter(model, VOCAB, exact=True)
    first, second = row(0, text(1, 40)), row(0, text(1, 40))
    drafts = drafter.propose([first], [2], draws())
    read: list[int] = []
    step = drafter.runner.step
    drafter.runner.step = lambda feed: read.append(len(feed.ids)) or step(feed)  # type: ignore[method-assign, func-returns-value]
    again = drafter.propose([second], [2], draws())
    assert read[0] <= 40 - 2 * SIZE
    assert again[0].tokens == drafts[0].tokens and np.array_equal(again[0].laws, drafts[0].laws)
    del second.text[20:]  # back into what is known: the pages stay as they are for the first
    drafter.propose([second], [4], draws())
    assert drafter.propose([first], [2], draws())[0].tokens == drafts[0].tokens
    assert_kept(drafter)


def test_long_texts_are_read_in_chunks(model: Transformer) -> None:
    whole, cut = (ModelDrafter(model, VOCAB, exact=True) for _ in range(2))
    cut.chunk = 7
    rows = [row(i, text(i, n)) for i, n in enumerate((50, 3, 15, 29))]
    for a, b in zip(whole.propose(rows, [3] * 4, draws()), cut.propose(rows, [3] * 4, draws())):
        assert a.tokens == b.tokens and np.array_equal(a.laws, b.laws)


def test_guesses_end_where_the_smaller_context_does() -> None:
    small, large = random_model(context=16), random_model(context=128)
    lengths = (10, 14, 15, 16, 17, 90)
    rows = [row(i, text(i, n)) for i, n in enumerate(lengths)]
    drafts = ModelDrafter(small, VOCAB).propose(rows, [4] * 6, draws())
    assert [len(d.tokens) for d in drafts] == [4, 3, 2, 1, 0, 0]
    drafts = ModelDrafter(large, VOCAB).propose(rows, [4] * 6, draws())
    assert [len(d.tokens) for d in drafts] == [4] * 6
    for each, draft in zip(rows, drafts):
        np.testing.assert_allclose(draft.laws, whole_laws(large, each, draft), atol=1e-5)


def test_another_vocabulary_is_refused_by_name(model: Transformer) -> None:
    with pytest.raises(UserError, match=f"drafter 'tiny' has {VOCAB} tokens and the model 50"):
        ModelDrafter(model, 50, name="tiny")
    with pytest.raises(UserError, match="1 to 1"):
        early_exit(model, 2)
    with pytest.raises(UserError, match="cannot guess for itself"):
        quantised(NoCache(model))


def test_little_memory_costs_guesses_or_reading_but_is_never_wrong(model: Transformer, either: str) -> None:
    drafter = ModelDrafter(model, VOCAB, exact=True, memory=7 * page_bytes(model.config))  # six pages for texts
    rows = [row(i, text(i, 20 + i)) for i in range(5)]
    refused = 0
    for step in range(12):
        asked = rows[step % 2 : 1 + step % 5]
        drafts = drafter.propose(asked, [3] * len(asked), draws())
        fresh = ModelDrafter(model, VOCAB, exact=True).propose(asked, [3] * len(asked), draws())
        assert_kept(drafter)
        for draft, other in zip(drafts, fresh):
            refused += not draft.tokens
            assert draft.tokens in ((), other.tokens)
        for each in asked:
            each.text.append(step)
    assert 0 < refused < 10  # three texts of two pages fit, four do not


def test_greedy_guesses_are_certain_and_the_models_own(model: Transformer) -> None:
    greedy = Sampling(temperature=0, max_tokens=20)
    rows = [row(0, text(0, 9), greedy), row(1, text(1, 20)), row(2, text(2, 3), greedy)]
    for asked in (rows, rows[::2]):  # beside one that is drawn, and alone
        drafts = ModelDrafter(model, VOCAB).propose(asked, [5] * len(asked), draws())
        for each, draft in zip(asked, drafts):
            assert (draft.laws is None) == (each.request.sampling.temperature == 0)
            if draft.laws is None:
                assert draft.tokens == tuple(whole_laws(model, each, draft).argmax(axis=1))


def test_the_law_is_that_of_the_settings(model: Transformer) -> None:
    settings = Sampling(temperature=1.7, top_k=9, top_p=0.9, min_p=0.01, logit_bias=((3, 2.0), (5, -np.inf)))
    each = row(0, text(0, 9), settings)
    (draft,) = ModelDrafter(model, VOCAB).propose([each], [4], draws())
    np.testing.assert_allclose(draft.laws, whole_laws(model, each, draft), atol=1e-5)
    assert (draft.laws > 0).sum(axis=1).max() <= 9 and not draft.laws[:, 5].any()
    penalties = Sampling(repetition_penalty=1.5, presence_penalty=0.7, frequency_penalty=-0.3)
    rows = [row(0, text(0, 9), penalties), row(1, text(1, 12)), row(2, text(2, 3), penalties)]
    rows[0].text += [3, 3, 4]
    for mine, found in zip(rows, ModelDrafter(model, VOCAB).propose(rows, [4] * 3, draws())):
        np.testing.assert_allclose(found.laws, whole_laws(model, mine, found), atol=1e-5)
    (other,) = ModelDrafter(model, VOCAB).propose([row(0, text(0, 9))], [4], draws())
    assert not np.allclose(other.laws[0], draft.laws[0], atol=0.01)


def test_rows_may_want_different_depths(model: Transformer) -> None:
    rows = [row(i, text(i, 5 + i)) for i in range(4)]
    drafter = ModelDrafter(model, VOCAB, exact=True)
    drafts = drafter.propose(rows, [0, 4, 1, 2], draws())
    assert [len(d.tokens) for d in drafts] == [0, 4, 1, 2]
    assert rows[0] not in drafter.mirrors
    alone = ModelDrafter(model, VOCAB, exact=True).propose(rows[1:2], [4], draws())
    assert alone[0].tokens == drafts[1].tokens and np.array_equal(alone[0].laws, drafts[1].laws)


def broken_model() -> Transformer:
    """NaN after token 7."""
    model = random_model()
    with torch.no_grad():
        model.head = torch.nn.Parameter(model.embed.clone())
        model.embed[7] = torch.nan
    return model


def test_nan_is_one_rows_fault_and_does_not_spread(either: str) -> None:
    drafter = ModelDrafter(broken_model(), VOCAB)
    sick, sound = row(0, (1, 7, 2)), row(1, (1, 2, 3))
    greedy = row(2, (7, 2), Sampling(temperature=0))
    drafts = drafter.propose([sick, sound, greedy], [3, 1, 3], draws())
    for i in (0, 2):
        kept, why = loop.drafts_of(drafts[i], VOCAB, 3)
        assert not kept and "NaN" in why
    assert loop.drafts_of(drafts[1], VOCAB, 1)[1] == ""
    assert list(drafter.mirrors) == [sound]
    again = drafter.propose([row(3, (1, 2, 3))], [1], lambda r: draws()(sound))  # in pages that the sick one had
    assert again[0].tokens == drafts[1].tokens
    np.testing.assert_allclose(again[0].laws, drafts[1].laws, atol=1e-6)


def test_one_that_dies_begins_anew(model: Transformer) -> None:
    drafter = ModelDrafter(model, VOCAB, exact=True)
    rows = [row(i, text(i, 5 + i)) for i in range(3)]
    expected = drafter.propose(rows, [3] * 3, draws())
    step, calls = drafter.runner.step, [0]

    def dies(feed: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise RuntimeError("gone")
        return step(feed)

    drafter.runner.step = dies  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="gone"):
        drafter.propose(rows, [3] * 3, draws())
    assert drafter.blocks.used == 0
    for a, b in zip(drafter.propose(rows, [3] * 3, draws()), expected):
        assert a.tokens == b.tokens and np.array_equal(a.laws, b.laws)


def test_models_without_a_cache_guess_too(model: Transformer, no_cache: NoCache) -> None:
    rows = [row(i, text(i, 5 + 9 * i)) for i in range(3)]
    for a, b in zip(ModelDrafter(model, VOCAB).propose(rows, [3] * 3, draws()),
                    ModelDrafter(no_cache, VOCAB).propose(rows, [3] * 3, draws())):  # fmt: skip
        assert a.tokens == b.tokens
        np.testing.assert_allclose(a.laws, b.laws, atol=1e-5)
    counts = ngram.fit(ngram.NGramConfig(vocab=VOCAB, order=3), np.array(text(0, 400)), np.array([0]))
    (draft,) = ModelDrafter(counts, VOCAB).propose(rows[:1], [3], draws())
    np.testing.assert_allclose(draft.laws, whole_laws(counts, rows[0], draft), atol=1e-5)


def test_early_exit_is_the_first_layers_with_no_weight_of_its_own(model: Transformer, either: str) -> None:
    short = first_layers(model, 1)
    own, kept = dict(model.named_parameters()), dict(short.named_parameters())
    assert kept and all(parameter is own[name] for name, parameter in kept.items())
    assert not any(name.startswith("blocks.1") for name in kept)
    (draft,) = early_exit(model, 1).propose([each := row(0, text(0, 9))], [4], draws())
    seen: dict[str, torch.Tensor] = {}
    tap = Tap({"block.0.resid_out": lambda x, at: seen.setdefault("x", x)})
    with torch.no_grad():
        model(torch.tensor([[*each.text, *draft.tokens[:-1]]]), tap=tap)
        logits = model.logits(model.norm(seen["x"]))[0, len(each.text) - 1 :]  # type: ignore[misc]
    np.testing.assert_allclose(draft.laws, law(logits), atol=1e-5)


def test_early_exit_keeps_layers_of_their_own_kind() -> None:
    config = random_model().config
    layers = (replace(config.layer, window=4), config.layer, replace(config.layer, rope=None))
    model = Transformer(replace(config, layers=3, layer_list=layers))
    assert first_layers(model, 2).config.blocks == layers[:2]


@pytest.mark.parametrize("bits", [8, 4])
def test_the_quantised_self_is_near_and_leaves_the_model_alone(bits: int) -> None:
    model = random_model()
    before = {name: p.clone() for name, p in model.named_parameters()}
    drafter, each = quantised(model, bits), row(0, text(0, 9))
    (draft,) = drafter.propose([each], [4], draws())
    assert drafter.name == f"int{bits}" and not model.quantised
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    away = np.abs(draft.laws - whole_laws(model, each, draft)).sum(axis=1).max() / 2
    assert 0 < away < (0.05 if bits == 8 else 0.5)


def law_of(model: Transformer, sampling: Sampling, end: int) -> loop.LawOf:
    """The target as a function."""

    def laws(ids: tuple[int, ...]) -> np.ndarray | None:
        if ids[-1] == end:
            return None
        with torch.no_grad():
            logits = model(torch.tensor([ids]))[0, -1:]
        return law(along(row(0, ids, sampling), (), logits).logits_PV)[0]

    return laws


class Shared:
    """A drafter as the engine asks it for the coupled rule."""

    name = "shared"

    def __init__(self, drafter: ModelDrafter) -> None:
        self.drafter, self.forget = drafter, drafter.forget

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        return self.drafter.propose(rows, most, paired(source))


def test_coupled_with_the_same_number_accepts_where_the_models_agree(model: Transformer) -> None:
    sampling, accepted = Sampling(temperature=0.8, max_tokens=12), {}
    laws = law_of(model, sampling, -1)
    drafters = {"itself": ModelDrafter(model, VOCAB), "int8": quantised(model, 8),
                "other": ModelDrafter(random_model(seed=9), VOCAB)}  # fmt: skip
    for name, drafter in drafters.items():
        counts = []
        for seed in range(3):
            plain, guessed = row(0, text(seed, 6), sampling), row(0, text(seed, 6), sampling)
            loop.plain(laws, noise.RandomSource(seed), plain, 12)
            steps = loop.speculate(laws, Shared(drafter), verify.coupled, noise.RandomSource(seed), guessed, 12, 3)
            assert guessed.text[:18] == plain.text
            counts.append(len(steps))
        accepted[name] = sum(counts)
    assert accepted["itself"] == 3 * 3 < accepted["other"]  # 12 tokens, 4 a step
    assert accepted["int8"] < accepted["other"]


@pytest.mark.parametrize("rule", ["token", "block", "multi", "coupled"])
def test_all_outcomes_together_are_the_targets_law(rule: str) -> None:
    target, small = random_model(vocab=3), random_model(vocab=3, seed=5)
    sampling = Sampling(temperature=1.3, max_tokens=3)
    laws = law_of(target, sampling, end=2)
    drafter = ModelDrafter(small, 3, exact=True)
    horizon = 2 if rule == "coupled" else 3

    def ahead(source: noise.Source) -> tuple[int, ...]:
        each = row(0, (1, 0), sampling)
        loop.speculate(laws, drafter, verify.VERIFIERS[rule], loop.Intervals(source), each, horizon, 2)
        return tuple(each.text[2 : 2 + horizon])

    def alone(source: noise.Source) -> tuple[int, ...]:
        each = row(0, (1, 0), sampling)
        loop.plain(laws, loop.Intervals(source), each, horizon)
        return tuple(each.text[2:])

    found, true = (noise.law(noise.enumerate_choices(run)) for run in (ahead, alone))
    assert sum(abs(found.get(k, 0.0) - true.get(k, 0.0)) for k in found | true) / 2 < 1e-9
