"""Drafters that watch the model: they are shown its very stream, and guess what their heads make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from jielong.base import files
from jielong.base.errors import UserError
from jielong.infer.core import Core
from jielong.infer.draft import eagle
from jielong.infer.draft.drafting import Drafting
from jielong.infer.draft.eagle import EagleDrafter
from jielong.infer.draft.medusa import MedusaDrafter
from jielong.infer.draft.named import named
from jielong.infer.draft.streams import Streams
from jielong.infer.draft.trained import beside
from jielong.infer.draft.types import Draft, Draws
from jielong.infer.draft.verify import VERIFIERS
from jielong.infer.request import Request
from jielong.infer.runner import Plain
from jielong.infer.sampling import Sampling
from jielong.infer.schedule import Row
from jielong.nets import checkpoint, drafts
from jielong.nets.decoder import Decoder, Feed, Group
from jielong.nets.drafts.folder import Beside, find
from jielong.nets.native import decoder as native
from jielong.nets.pages import Pages, page_bytes
from jielong.nets.quant import quantise
from jielong.nets.transformer import Transformer
from jielong.units import chars

from .conftest import NoCache, random_model
from .test_core import text
from .test_drafting import run, some

KINDS = ("medusa", "eagle", "block")
OPTIONS: list[dict[str, Any]] = [{}, {"chunk": 30}, {"streams": 3}, {"memory": 12}]


def head(kind: str, model: Transformer, **config: Any) -> Any:
    """Of random weights, large enough that every input matters."""
    made, module = drafts.kind(kind)
    found = module(made(**{"reach": 3, **config}), model.config, 0)
    generator = torch.Generator().manual_seed(5)
    for parameter in found.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.2, generator=generator)
    return found.eval()


def core_options(model: Transformer, options: dict[str, Any]) -> dict[str, Any]:
    if "memory" in options:
        return {"memory": options["memory"] * page_bytes(model.config)}
    return options


class Recorder:
    """Half of its guesses are right, and every stream that it is shown is held against the model's own."""

    name, watches = "recorder", True

    def __init__(self, model: Transformer, truth: dict[tuple[int, ...], list[int]]) -> None:
        self.model, self.truth, self.shown, self.starts = model, truth, 0, list[int]()
        self.streams = Streams(5)

    def saw(self, rows: Sequence[Row], hidden: Sequence[Tensor]) -> None:
        for row, stream in zip(rows, hidden, strict=True):
            read = row.text[: row.read + len(stream)]
            own = self.model.hidden(torch.tensor([read]))[0, row.read :]
            assert stream.dtype == torch.float32
            torch.testing.assert_close(stream.clone(), own, atol=2e-5, rtol=1e-4)
            self.shown += len(stream)
            self.starts.append(row.read)
        self.streams.saw(rows, hidden)

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        for row in rows:
            kept = self.streams.latest(row)
            if kept is not None:
                own = self.model.hidden(torch.tensor([row.text[: row.read]]))[0, -len(kept) :]
                torch.testing.assert_close(kept, own, atol=2e-5, rtol=1e-4)
        right = [self.truth[row.request.prompt][row.written :] for row in rows]
        return [Draft(tuple([*told[: 1 + row.written % 3], 1, 2][:k])) for told, row, k in zip(right, rows, most)]

    def forget(self, row: Row) -> None:
        self.streams.forget(row)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@torch.no_grad()
def test_a_watcher_is_shown_the_models_own_stream(options: dict[str, Any]) -> None:
    """Across chunks of prompts, rows side by side, refused guesses, rows put off, and beginnings found in the cache."""
    model = random_model(context=96)
    options = core_options(model, options)
    requests = some(9)
    plain = run(Core(model, mode="exact", **options), requests)
    recorder = Recorder(model, {r.prompt: ids for r, (ids, _, _) in zip(requests, plain)})
    drafting = Drafting(recorder, guess=4)
    core = Core(model, mode="exact", drafting=drafting, **options)
    assert run(core, requests) == plain
    assert run(core, requests) == plain  # prompts are known now: rows begin further on
    assert not drafting.reasons
    assert 0 < sum(drafting.tally.accepted) < sum(drafting.tally.proposed)
    assert any(start >= 16 for start in recorder.starts) and not recorder.streams.kept


def test_streams_are_those_of_the_text_as_it_stands() -> None:
    """Refused guesses, other tokens than were shown, and a gap: nothing of another text is given out."""
    row = Row(0, Request((1, 2, 3), Sampling()), 9)
    streams = Streams(4)
    assert streams.latest(row) is None
    streams.saw([row], [torch.arange(3.0)[:, None]])
    assert streams.latest(row) is None  # not read yet
    row.read = 3
    row.text += [4, 5, 6]
    row.guesses = 2
    assert streams.latest(row) is not None
    streams.saw([row], [torch.tensor([[3.0], [40.0], [50.0]])])
    row.text[4:], row.guesses, row.read = [7], 0, 4  # 5 and 6 are refused
    latest = streams.latest(row)
    assert latest is not None and latest[:, 0].tolist() == [0.0, 1.0, 2.0, 3.0]
    streams.saw([row], [torch.tensor([[4.0]])])
    row.text[3], row.read = 9, 5  # another token was read there
    row.text += [8]
    assert streams.latest(row) is None
    streams.saw([row], [torch.tensor([[5.0]])])
    row.read, row.text = 6, [*row.text, 1]
    latest = streams.latest(row)
    assert latest is not None and latest[:, 0].tolist() == [5.0]
    streams.forget(row)
    assert streams.latest(row) is None


def direct(
    kind: str, module: Any, model: Transformer, read: Sequence[int], last: int, guesses: Sequence[int]
) -> Tensor:  # fmt: skip
    """Logits of the guess after `guesses`, from the whole text at once and without any memory."""
    stream = model.hidden(torch.tensor([read]))
    if kind == "medusa":
        return model.logits(module(stream[:, -1])[len(guesses)])[0]
    known = [*read, last, *guesses]
    if kind == "block":
        last_places = slice(-min(len(read), module.config.window), None)
        embeds = F.embedding(torch.tensor([[*read[1:], last]]), model.embed)[:, last_places]
        window = stream[:, last_places]
        return model.logits(module(embeds, window, torch.zeros(window.shape[:2], dtype=torch.bool))[:, len(guesses)])[0]
    while True:
        embeds = F.embedding(torch.tensor([known[1 : stream.shape[1] + 1]]), model.embed)
        following = module(embeds, stream)[:, -1:]
        if stream.shape[1] + 1 == len(known):
            return model.logits(following)[0, 0]
        stream = torch.cat([stream, following], 1)


class Checked:
    """A drafter whose every guess is held against `direct`."""

    watches = True

    def __init__(self, kind: str, module: Any, model: Transformer) -> None:
        self.kind, self.module, self.model = kind, module, model
        self.inner: Any = beside(kind, module, model, kind)
        self.name, self.guesses, self.empty, self.whole = kind, 0, 0, 0

    def saw(self, rows: Sequence[Row], hidden: Sequence[Tensor]) -> None:
        self.inner.saw(rows, hidden)

    def forget(self, row: Row) -> None:
        self.inner.forget(row)

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        out: list[Draft] = self.inner.propose(rows, most, source)
        for row, k, draft in zip(rows, most, out, strict=True):
            self.empty += k > 0 and not draft.tokens
            latest = self.inner.streams.latest(row)
            if latest is None or (self.kind != "medusa" and len(latest) < min(row.read, self.module.config.window)):
                continue  # its beginning was not shown
            assert len(draft.tokens) == (k if self.kind == "eagle" else min(k, 3))
            self.whole += k > 0
            for i, token in enumerate(draft.tokens):
                logits = direct(self.kind, self.module, self.model, row.text[:-1], row.text[-1], draft.tokens[:i])
                self.guesses += 1
                if row.request.sampling.temperature == 0:
                    assert draft.laws is None
                    assert float(logits[token]) >= float(logits.max()) - 1e-4
                else:
                    assert draft.laws is not None
                    law = (logits / row.request.sampling.temperature).softmax(-1).double().numpy()
                    np.testing.assert_allclose(draft.laws[i], law, atol=1e-5)
        return out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@torch.no_grad()
def test_guesses_are_what_the_head_says_of_the_models_stream(kind: str, options: dict[str, Any]) -> None:
    model = random_model(context=96)
    checked = Checked(kind, head(kind, model, **({"window": 12} if kind != "medusa" else {})), model)
    asked = [
        Request(text(i, 1 + 5 * i % 40), Sampling(seed=i, max_tokens=16, temperature=(0.0, 0.8, 1.0)[i % 3]))
        for i in range(9)
    ]
    options = core_options(model, options)
    plain = run(Core(model, mode="exact", **options), asked)
    drafting = Drafting(checked, guess=4)
    core = Core(model, mode="exact", drafting=drafting, **options)
    assert run(core, asked) == plain and run(core, asked) == plain
    assert not drafting.reasons, drafting.reasons
    assert checked.whole > 30 and checked.guesses > 100
    twins = [Request(asked[1].prompt, Sampling(seed=i, max_tokens=6, temperature=0.8)) for i in range(3)]
    together = run(core, twins)  # one reads for all: two are seen for the first time later
    assert together == run(Core(model, mode="exact", **options), twins) and not drafting.reasons
    assert not checked.inner.streams.kept


@torch.no_grad()
def test_a_row_is_begun_anew_in_its_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """An EAGLE-like head keeps what it has read; here it has hardly more room than its window."""
    monkeypatch.setattr(eagle, "ROOM", 4)
    model = random_model(context=96)
    checked = Checked("eagle", head("eagle", model, window=12), model)
    assert checked.inner.span == 2
    asked = [Request(text(i, 30 + i), Sampling(seed=i, max_tokens=40, temperature=0.8 * (i % 2))) for i in range(5)]
    drafting = Drafting(checked, guess=4)
    assert run(Core(model, mode="exact", drafting=drafting), asked) == run(Core(model, mode="exact"), asked)
    assert not drafting.reasons and checked.whole > 50
    assert not checked.inner.memories and len(set(checked.inner.free)) == len(checked.inner.free) >= 5


@torch.no_grad()
def test_a_broken_stream_is_that_rows_alone() -> None:
    """NaN that a head has read is not found in the pages by the next row."""
    model = random_model()
    module = head("eagle", model)
    drafter = EagleDrafter(module, model)

    def guess(row: Row, stream: Tensor) -> Draft:
        row.read = 0
        drafter.saw([row], [stream])
        row.read = len(stream)
        return drafter.propose([row], [3], lambda row: lambda probs, *position: int(np.argmax(probs)))[0]

    tokens = text(3, 21)
    stream = model.hidden(torch.tensor([tokens[:-1]]))[0]
    one, other = (Row(n, Request(tokens[:n], Sampling(temperature=1.0)), 9) for n in (21, 6))  # the same pages
    broken = guess(one, torch.full_like(stream, torch.nan))
    assert broken.laws is not None and np.isnan(broken.laws[0]).all()
    assert drafter.free[-1] == 1
    drafter.forget(one)
    found = guess(other, stream[:5])
    assert found.laws is not None and np.isfinite(found.laws).all() and len(found.tokens) == 3
    fresh = EagleDrafter(module, model)
    drafter.forget(other)
    drafter = fresh
    again = guess(other, stream[:5])
    assert again.laws is not None and np.array_equal(found.laws, again.laws)


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_is_the_one_without_guesses(kind: str) -> None:
    """Requests of all kinds; with the other verifiers every text comes to its end."""
    model = random_model(context=96)
    requests = some(9)
    plain = run(Core(model, mode="exact"), requests)
    drafting = Drafting(beside(kind, head(kind, model), model, kind), guess=3)
    assert run(Core(model, mode="exact", drafting=drafting), requests) == plain
    assert drafting.tally.steps > 0 and not drafting.reasons
    for verify in ("token", "block"):
        drafting = Drafting(beside(kind, head(kind, model), model, kind), VERIFIERS[verify], guess=3)
        found = run(Core(model, drafting=drafting), requests)
        assert all(reason in ("length", "stop") for _, _, reason in found) and not drafting.reasons


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_broken_cost_the_guesses_only(kind: str) -> None:
    model = random_model(context=96)
    broken = head(kind, model)
    for parameter in broken.parameters():
        parameter.data.fill_(torch.nan)
    requests = some(4)
    drafting = Drafting(beside(kind, broken, model, kind), guess=3)
    assert run(Core(model, mode="exact", drafting=drafting), requests) == run(Core(model, mode="exact"), requests)
    assert drafting.reasons and not sum(drafting.tally.proposed)


@pytest.mark.parametrize("kind", KINDS)
def test_int8_weights_are_watched_too(kind: str) -> None:
    model = random_model(context=96)
    module = head(kind, model)
    quantise(model, 8)
    requests = some(5)
    drafting = Drafting(beside(kind, module, model, kind), guess=3)
    assert [ids for ids, *_ in run(Core(model, drafting=drafting), requests)] == [
        ids for ids, *_ in run(Core(model), requests)
    ]
    assert drafting.tally.steps > 0 and not drafting.reasons


def test_a_model_without_a_stream_is_refused(no_cache: NoCache, model: Transformer) -> None:
    for kind in KINDS:
        with pytest.raises(UserError, match="watches a model's stream"):
            Core(no_cache, drafting=Drafting(beside(kind, head(kind, model), model, kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_folders(kind: str, tmp_path: Path) -> None:
    """Saved, found again by name, and refused beside another model."""
    codec = chars.train(["abcdefghijklmnopqrstuvwxyz .,"])
    model = random_model(vocab=codec.size)
    made = head(kind, model)
    Beside(model.config).save(tmp_path / "run" / "checkpoints" / "step-00000007", made, codec, {"step": 7})
    assert find(tmp_path) is None and find(tmp_path / "run") is not None
    drafter: Any = named(str(tmp_path / "run"), model, codec)
    assert drafter.watches and drafter.name == kind
    again = Beside(model.config).load(tmp_path / "run", codec)
    assert again.info["step"] == 7 and again.model.config == made.config
    for name, value in made.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)
    with pytest.raises(UserError, match="another shape"):
        named(str(tmp_path / "run"), random_model(vocab=codec.size, context=96), codec)
    with pytest.raises(UserError, match="another tokenizer"):
        named(str(tmp_path / "run"), model, chars.train(["ABCDEFGHIJKLMNOPQRSTUVWXYZ .,"]))
    with pytest.raises(UserError, match="has none"):
        named(str(tmp_path / "run"), NoCache(model), codec)
    place = tmp_path / "run" / "checkpoints" / "step-00000007"
    told = files.read_json(place / checkpoint.INFO)
    for change in ({"kind": "prophet"}, {"kind": next(k for k in KINDS if k != kind)}, {"config": {"beyond": 2}}):
        files.write_json(place / checkpoint.INFO, {**told, "drafter": {**told["drafter"], **change}})
        with pytest.raises(UserError):
            named(str(tmp_path / "run"), model, codec)
    files.write_json(place / checkpoint.INFO, told)
    (place / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read"):
        named(str(tmp_path / "run"), model, codec)


def test_kinds_by_name(model: Transformer) -> None:
    assert isinstance(beside("medusa", head("medusa", model), model, "m"), MedusaDrafter)
    assert isinstance(beside("eagle", head("eagle", model), model, "e"), EagleDrafter)
    for wrong in ("prophet", ""):
        with pytest.raises(UserError, match="medusa"):
            drafts.fresh(wrong, model.config, 4)
    with pytest.raises(UserError, match="0 tokens ahead"):
        drafts.fresh("medusa", model.config, 0)


@pytest.mark.parametrize("kind", ["compiled", "written", "plain"])
def test_a_feed_may_bring_its_own_table(kind: str) -> None:
    """Rows of the embedding as a table: the same bits as by their ids; after that the model's own again."""
    model = random_model()
    made = native.decoder(model) if kind == "compiled" else Decoder(model)
    if made is None:
        pytest.skip("no compiler")
    pages = Pages(model.config, 4)
    plain = Plain(model, pages)
    ids, places, wanted = torch.arange(20) * 7 % 48, torch.arange(20), torch.tensor([3, 19])
    feed = Feed(ids, places, 16 + places, (Group(0, 1, 20, torch.tensor([1, 2])),), wanted)
    own = replace(feed, ids=places, table=model.embed.detach()[ids])
    found = [plain.look(f) if kind == "plain" else made.look(f, pages) for f in (feed, own, feed)]
    for logits, hidden in found[1:]:
        assert torch.equal(logits, found[0][0]) and torch.equal(hidden, found[0][1])
    other = replace(feed, ids=places, table=-model.embed.detach()[ids])
    changed = (plain.look(other) if kind == "plain" else made.look(other, pages))[1]
    assert not torch.allclose(changed, found[0][1])
