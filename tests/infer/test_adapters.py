"""Many adapters beside one base: each text is its own adapter's, whatever else is in the batch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from jielong.base.errors import UserError
from jielong.infer.core import Core
from jielong.infer.draft.drafting import Drafting
from jielong.infer.draft.lookup import Lookup
from jielong.infer.draft.model import ModelDrafter
from jielong.infer.engine import Engine
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.infer.schedule import Row
from jielong.nets import quant
from jielong.nets.adapters import attach
from jielong.nets.adapters.config import Bottleneck, Lora, Prefix
from jielong.nets.adapters.thin import fingerprint
from jielong.nets.transformer import Transformer
from jielong.units import bpe

from .adapters import KINDS, merged, several, trained
from .conftest import VOCAB, random_model

GREEDY = Sampling(max_tokens=20, temperature=0, logprobs=2)


def shrunk(vocab: int = VOCAB) -> Transformer:
    """Logits as trained models have them: a few units wide, so that 1e-5 means what it says."""
    model = random_model(vocab)
    for parameter in model.parameters():
        parameter.data.mul_(0.6 if parameter.ndim > 1 else 1.0)
    return model


@pytest.fixture(scope="module")
def small() -> Transformer:
    return shrunk()


@pytest.fixture(scope="module")
def adapters(small: Transformer) -> Mapping[str, Any]:
    return several(small)


def text(seed: int, length: int = 9) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, VOCAB, (length,), generator=generator).tolist())


Said = tuple[list[int], list[float], list[Any], Any]


def write(core: Core, requests: list[Request]) -> list[Said]:
    """What each request gives: tokens, their log-probabilities, the likeliest, and what is reported of its prompt."""
    rows = [core.submit(request) for request in requests]
    said: dict[Row, Said] = {row: ([], [], [], row.report) for row in rows}
    while core.busy:
        for token in core.step():
            assert token.error is None
            if token.id is not None:
                ids, logprobs, tops, _ = said[token.row]
                ids.append(token.id)
                logprobs.append(token.logprob)
                tops.append(token.top)
    assert core.scheduler.blocks.used == 0
    core.scheduler.blocks.check([])
    return list(said.values())


@pytest.mark.parametrize("mode", ["fast", "exact"])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_text_is_that_of_the_merged_model(small: Transformer, seed: int, mode: Any) -> None:
    """In one batch, all kinds: the same logits to 1e-5, and the same greedy text wherever two candidates are apart."""
    adapters = several(small, seed=10 * seed)
    core = Core(small, mode=mode, streams=8, length=48, adapters=adapters)
    requests = [Request(text(seed + i), GREEDY, echo=True, adapter=name) for i, name in enumerate(["", *adapters])]
    different = set()
    for request, (ids, logprobs, _, report) in zip(requests, write(core, requests), strict=True):
        model = merged(small, adapters[request.adapter]) if request.adapter else small
        with torch.no_grad():
            law = model(torch.tensor([[*request.prompt, *ids]]))[0].log_softmax(-1)
        expected = law[:-1].gather(1, torch.tensor([[*request.prompt[1:], *ids]]).T)[:, 0].tolist()
        assert [*report[0][-len(request.prompt) + 1 :], *logprobs] == pytest.approx(expected, abs=1e-5)
        place = len(request.prompt) - 1
        for i, id in enumerate(ids):
            best, next_ = law[place + i].topk(2).values.tolist()
            assert best - next_ <= 1e-4 or id == int(law[place + i].argmax())
        different.add(tuple(logprobs))
    assert len(different) == len(requests)  # each adapter writes otherwise than the base and than the others


def test_the_bytes_do_not_depend_on_the_company(small: Transformer, adapters: Mapping[str, Any]) -> None:
    """Alone in an engine that knows no other adapter; beside all others, in chunks of any size, put off, and after
    itself in the cache: the same to the bit."""
    sampled = Sampling(max_tokens=18, temperature=0.9, seed=5, logprobs=3)
    names = ["", *adapters]
    requests = [Request(text(40 + i, 5 + 3 * i), sampled, index=i, echo=i % 2 == 0, adapter=name)
                for i, name in enumerate(names)]  # fmt: skip
    alone: list[Said] = []
    for request in requests:
        own = {request.adapter: adapters[request.adapter]} if request.adapter else {}
        alone += write(Core(small, mode="exact", streams=1, length=48, adapters=own), [request])
    for chunk, streams, pages in ((512, 8, 64), (7, 8, 64), (16, 3, 64), (32, 8, 8)):
        core = Core(small, mode="exact", streams=streams, chunk=chunk, length=48, adapters=adapters,
                    memory=pages * 2 * 2 * 16 * 16 * 4)  # fmt: skip
        core.scheduler.chunk = chunk
        assert write(core, requests) == alone
        if pages == 8:
            assert core.scheduler.preemptions > 0
        again = [r for r in requests if not r.echo]
        hits = core.scheduler.hits
        assert write(core, again) == [a for a, r in zip(alone, requests) if not r.echo]
        assert pages == 8 or core.scheduler.hits > hits  # what was in the cache was used


def test_nobody_finds_the_pages_of_another_adapter(small: Transformer, adapters: Mapping[str, Any]) -> None:
    twin = trained(small, KINDS["lora"], 0)
    assert fingerprint(twin) == fingerprint(adapters["lora"]) != fingerprint(adapters["dora"])
    core = Core(small, streams=4, length=64, adapters={**adapters, "twin": twin})
    prompt, found = text(3, 40), {}
    for name in ("lora", "", "dora", "lora", "twin", "", "ia3"):
        row = core.submit(Request(prompt, GREEDY.with_(max_tokens=2), adapter=name))
        while core.busy:
            core.step()
        found.setdefault(name, []).append(row.cached)
    assert found == {"lora": [0, 32], "": [0, 32], "dora": [0], "twin": [32], "ia3": [0]}


def test_the_same_prompt_at_once_is_read_once_for_each_adapter(small: Transformer, adapters: Mapping[str, Any]) -> None:
    """n texts of a prompt begin where the first has read it; those of another adapter do not."""
    core = Core(small, mode="exact", streams=9, length=64, adapters=adapters)
    sampled, prompt = Sampling(max_tokens=6, temperature=1.0, seed=3), text(8, 21)
    requests = [Request(prompt, sampled, index=i, adapter=name) for i in range(3) for name in ("lora", "ia3", "")]
    rows = [core.submit(request) for request in requests]
    while core.busy:
        core.step()
    assert sorted(row.cached for row in rows) == [0] * 3 + [20] * 6
    for row, request in zip(rows, requests):
        core.clear()
        (found,) = write(core, [request])
        assert found[0] == row.text[len(prompt) :]


@pytest.mark.parametrize("verify", [None, "token"])
def test_guesses_are_verified_by_the_texts_own_adapter(
    small: Transformer, adapters: Mapping[str, Any], verify: Any
) -> None:
    """Whoever guesses, lookup or a model without adapters: the text is that without guesses."""
    from jielong.infer.draft.verify import VERIFIERS

    settings = Sampling(max_tokens=24, temperature=0 if verify else 0.7, seed=2)
    requests = [Request(text(60 + i), settings, index=i, adapter=name) for i, name in enumerate(["", *adapters])]
    core = Core(small, mode="exact", streams=8, length=48, adapters=adapters)
    plain = write(core, requests)
    for drafter in (Lookup(), ModelDrafter(small, VOCAB, exact=True)):
        drafting = Drafting(drafter, VERIFIERS[verify] if verify else None, guess=3)
        guessing = Core(small, mode="exact", streams=8, length=48, adapters=adapters, drafting=drafting)
        assert write(guessing, requests) == plain
        assert sum(drafting.tally.proposed) and not drafting.reasons
    assert sum(drafting.tally.accepted)  # the base guesses well for what stands near it


def test_scores_under_an_adapter() -> None:
    ids, codec = text(5, 64), bpe.train(["a cat sat"] * 9, size=300, at_most=True)
    small = shrunk(codec.size)
    adapters = several(small)
    engine = Engine(small, codec, adapters=adapters)

    async def asked() -> list[list[float]]:
        found = [await engine.score(ids, 3, name) for name in ("", "lora", "dora")]
        await engine.close()
        return found

    models = (small, merged(small, adapters["lora"]), merged(small, adapters["dora"]))
    for found, model in zip(asyncio.run(asked()), models, strict=True):
        with torch.no_grad():
            law = model(torch.tensor([ids]))[0].log_softmax(-1)
        expected = law[2:-1].gather(1, torch.tensor([ids[3:]]).T)[:, 0].tolist()
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("bits", [8, 4])
def test_beside_integers(bits: int) -> None:
    """A base in 8 or 4 bits: the adapter's own products are of floats, and what it changes is what it changes beside
    the floats that the integers stand for."""
    model = random_model()
    quant.quantise(model, bits)
    plain = random_model()
    plain.load_state_dict(model.state_dict())
    adapters = {"one": trained(plain, Lora(rank=4), 3, 0.2), "two": trained(plain, Lora(rank=4), 4, 0.2)}
    laws = []
    for base in (model, plain):
        core = Core(base, streams=3, length=48, adapters=adapters)
        names = ["", "one", "two"]
        said = write(core, [Request(text(9, 30), GREEDY.with_(max_tokens=1), echo=True, adapter=n) for n in names])
        laws.append(torch.tensor([report[0][1:] for *_, report in said]))
    (near, exact) = laws
    moved = (exact[1:] - exact[:1]).abs().mean()
    assert (near - exact).abs().mean() < 0.2 * moved


def test_what_cannot_be_is_refused_by_name(small: Transformer, adapters: Mapping[str, Any]) -> None:
    core = Core(small, adapters=adapters, length=32)
    with pytest.raises(UserError, match=r"no adapter 'other' here; there are: lora, rslora"):
        core.submit(Request((1, 2), GREEDY, adapter="other"))
    with pytest.raises(UserError, match="there are: none"):
        Core(small, length=32).submit(Request((1, 2), GREEDY, adapter="lora"))
    for config, kind in ((Prefix(4), "prefix"), (Bottleneck(4), "bottleneck")):
        with pytest.raises(UserError, match=f"of kind {kind} .* serve it alone"):
            Core(small, adapters={"it": attach.fresh(small, config)})
    with pytest.raises(UserError, match="needs a name"):
        Core(small, adapters={"": adapters["lora"]})
    with pytest.raises(UserError, match="without taps"):
        Core(small, adapters=adapters, tap=lambda name, value, where: value)
    with pytest.raises(UserError, match="float32"):
        Core(random_model().bfloat16(), adapters=adapters)
    own = random_model()
    attach.attach(own, Lora())
    with pytest.raises(UserError, match="attached"):
        Core(own, adapters=adapters)


def test_the_self_check_sees_rows_that_look_at_their_company(
    small: Transformer, adapters: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that gives every row the adapter of the first: exact mode must not begin."""
    from jielong.infer import runner

    step = runner.Written.step

    def leaking(self: Any, feed: Any) -> Any:
        if feed.adapters is not None:
            feed.adapters[:] = feed.adapters[0].clone()
        return step(self, feed)

    Core(small, mode="exact", adapters=adapters, length=48)
    monkeypatch.setattr(runner.Written, "step", leaking)
    with pytest.raises(UserError, match="exact mode cannot be kept"):
        Core(small, mode="exact", adapters=adapters, length=48)
