"""The local model: identity of draws, batching of concurrent calls, streams, scores, forks."""

from __future__ import annotations

import asyncio
import math
import random
from typing import Any

import numpy as np
import pytest
import torch

from jielong.base.errors import UserError, WorkFailed
from jielong.infer.score import embed
from jielong.lm.local import Local, Parts
from jielong.lm.meter import Budget, BudgetSpent
from jielong.lm.protocol import BadPrompt, Draw, Usage
from jielong.lm.tokens import prompt_ids, scored_ids
from jielong.nets.ngram import NGramConfig, fit

from .conftest import TEXT, random_parts

CHAT = [{"role": "user", "content": "the cat?"}]
PROMPTS: list[Any] = ["the cat", CHAT, [5, 6, 7], "玉山", "the mat, the cat sat on the"]


def essence(draws: list[Draw]) -> list[Any]:
    return [(d.text, d.ids, d.reason, d.key) for d in draws]


def test_ten_draws_begin_with_the_five_draws(lm: Local) -> None:
    for prompt in PROMPTS:
        ten = essence(lm.sample(prompt, 10, max_tokens=8))
        assert essence(lm.sample(prompt, 5, max_tokens=8)) == ten[:5]
        assert essence(lm.sample(prompt, 3, start=4, max_tokens=8)) == ten[4:7]
        assert len({d[1] for d in ten}) > 5
        assert len({d[3] for d in ten}) == 10


def test_draws_do_not_depend_on_order_or_concurrency(lm: Local) -> None:
    calls = [(p, n, s) for p in PROMPTS for n, s in ((1, 0), (3, 0), (2, 3))]
    alone = {repr(c): essence(lm.sample(c[0], c[1], c[2], max_tokens=6)) for c in calls}
    shuffled = random.Random(1).sample(calls, len(calls))

    async def together() -> list[list[Draw]]:
        async def late(i: int, call: Any) -> list[Draw]:
            await asyncio.sleep(0.002 * (i % 4))
            return await lm.asample(call[0], call[1], call[2], max_tokens=6)

        return list(await asyncio.gather(*(late(i, c) for i, c in enumerate(shuffled))))

    for call, draws in zip(shuffled, asyncio.run(together())):
        assert essence(draws) == alone[repr(call)]
    many = lm.sample_many(PROMPTS, 3, max_tokens=6)
    assert [essence(d) for d in many] == [alone[repr((p, 3, 0))] for p in PROMPTS]


def test_a_chat_that_goes_on_is_another_prompt(lm: Local) -> None:
    """The latest chat's tokens are kept; the list may go on, and a fork begins with another one."""
    chat = [{"role": "user", "content": "one"}]
    first = lm.tokens(chat)
    assert lm.tokens(chat) == first == lm.tokens([{"role": "user", "content": "one"}])
    chat.append({"role": "assistant", "content": "two"})
    longer = lm.tokens(chat)
    assert len(longer) > len(first)
    chat[0]["content"] = "another"
    assert lm.tokens(chat) != longer
    fork = lm.fork([{"role": "system", "content": "be kind"}])
    assert fork.tokens(chat) != lm.tokens(chat)


def test_what_makes_a_draw_another(parts: Parts) -> None:
    base = Local(parts).sample("the cat", max_tokens=12)[0]
    assert Local(parts).sample("the cat", max_tokens=12)[0].ids == base.ids
    assert Local(parts, seed=1).sample("the cat", max_tokens=12)[0].ids != base.ids
    assert Local(parts).sample("the cat", max_tokens=12, seed=1)[0].ids != base.ids
    assert Local(parts).sample("the mat", max_tokens=12)[0].ids != base.ids
    other = Local(random_parts(parts.codec, seed=2)).sample("the cat", max_tokens=12)[0]
    assert other.key.split("-")[0] != base.key.split("-")[0]


def test_reports_and_limits_do_not_change_the_tokens(lm: Local) -> None:
    known = set(lm.codec.encode(TEXT))
    bias = {i: -math.inf for i in range(lm.codec.size) if i not in known}
    long = lm.sample("the cat", max_tokens=30, logit_bias=bias)[0]
    assert lm.sample("the cat", max_tokens=10, logit_bias=bias)[0].ids == long.ids[:10]
    assert lm.sample("the cat", max_tokens=30, logit_bias=bias, logprobs=3)[0].ids == long.ids
    middle = long.text[5]
    cut = lm.sample("the cat", max_tokens=30, logit_bias=bias, stop=middle)[0]
    assert cut.text == long.text.split(middle)[0]
    assert cut.reason == "stop"


def test_concurrent_calls_run_together(lm: Local) -> None:
    lm.sample_many(["the cat"] * 3 + ["mat"] * 4, 2, max_tokens=3)
    stats = lm.engine.stats()
    assert stats.written == 14 * 3
    assert stats.steps < 14  # one after another it would be 42


def test_one_wrong_call_does_not_fail_its_neighbours(lm: Local) -> None:
    ban = dict.fromkeys(range(lm.codec.size), -math.inf)

    async def together() -> list[Any]:
        calls = [lm.asample("the", max_tokens=3), lm.asample("cat", logit_bias=ban)]
        calls.append(lm.asample("mat", max_tokens=3))
        return list(await asyncio.gather(*calls, return_exceptions=True))

    good, bad, fine = asyncio.run(together())
    assert essence(good) == essence(lm.sample("the", max_tokens=3))
    assert isinstance(bad, WorkFailed)
    assert essence(fine) == essence(lm.sample("mat", max_tokens=3))
    with pytest.raises(WorkFailed, match="no token"):
        lm.sample("cat", logit_bias=ban)


def test_a_caller_that_goes_away_frees_its_rows(lm: Local) -> None:
    async def together() -> tuple[list[Draw], int]:
        stays = asyncio.ensure_future(lm.asample("the", max_tokens=4))
        goes = asyncio.ensure_future(lm.asample("cat", 50, max_tokens=90))
        await asyncio.sleep(0.01)
        goes.cancel()
        with pytest.raises(asyncio.CancelledError):
            await goes
        return await stays, lm.usage.completion

    draws, _ = asyncio.run(together())
    assert essence(draws) == essence(lm.sample("the", max_tokens=4))


def test_the_plain_face_works_where_a_loop_is_running(lm: Local) -> None:
    async def notebook() -> tuple[Any, str]:
        return essence(lm.sample("the", 2, max_tokens=4)), "".join(lm.stream("the", max_tokens=4))

    draws, text = asyncio.run(notebook())
    assert draws == essence(lm.sample("the", 2, max_tokens=4))
    assert text == draws[0][0]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_stream_is_its_draw(lm: Local, prompt: Any) -> None:
    for start in (0, 3):
        (draw,) = lm.sample(prompt, 1, start, max_tokens=40, temperature=1.3)
        pieces = list(lm.stream(prompt, start, max_tokens=40, temperature=1.3))
        assert "".join(pieces) == draw.text
        assert all(pieces)
        stop = draw.text[10:12]
        if "\ufffd" not in stop and stop:
            assert (
                "".join(lm.stream(prompt, start, max_tokens=40, temperature=1.3, stop=stop)) == draw.text.split(stop)[0]
            )


def test_an_asynchronous_stream_is_the_same(lm: Local) -> None:
    async def collect() -> list[str]:
        return [piece async for piece in lm.astream("the", max_tokens=9)]

    assert asyncio.run(collect()) == list(lm.stream("the", max_tokens=9))


def test_a_stream_may_be_left_and_other_calls_made_meanwhile(lm: Local) -> None:
    stream = lm.stream("the", max_tokens=90)
    next(stream)
    inside = essence(lm.sample("mat", max_tokens=3))  # would hang if the stream held the model
    stream.close()  # type: ignore[attr-defined]
    assert lm.usage.completion < 30
    assert inside == essence(lm.sample("mat", max_tokens=3))


def reference(lm: Local, ids: list[int], start: int) -> np.ndarray:
    law = lm.model(torch.tensor([ids])).log_softmax(-1)[0].detach()
    return np.array([float(law[i - 1, ids[i]]) for i in range(start, len(ids))])


def test_scores_at_a_clean_boundary(lm: Local) -> None:
    found = lm.score("the cat", [" sat", " on the mat", ""])
    before = lm.codec.encode("the cat")
    for score, text in zip(found, [" sat", " on the mat", ""]):
        ids = before + lm.codec.encode(text)
        np.testing.assert_allclose(score.logprobs, reference(lm, ids, len(before)), atol=1e-4)
        assert score.bytes == len(text.encode())
        assert score.total == pytest.approx(sum(score))
    assert [len(s) for s in found] == [4, 11, 0]
    assert found[0].bits_per_byte == pytest.approx(-found[0].total / math.log(2) / 4)
    assert math.isnan(found[2].mean)
    assert math.isnan(found[2].bits_per_byte)


def test_scores_where_a_token_lies_across_the_boundary(merged: Parts) -> None:
    lm, codec = Local(merged), merged.codec
    prompt, text = "the c", "at sat"
    whole, before = codec.encode(prompt + text), codec.encode(prompt)
    assert whole[: len(before)] != before  # "cat" is one token
    shared = 0
    while whole[shared] == before[shared]:
        shared += 1
    (score,) = lm.score(prompt, [text])
    assert score.ids == tuple(whole[shared:])
    np.testing.assert_allclose(score.logprobs, reference(lm, whole, shared), atol=1e-4)


def test_scores_after_messages_are_of_what_the_assistant_says(merged: Parts) -> None:
    lm = Local(merged)
    ids, start = scored_ids(lm.codec, CHAT, "the mat")
    assert lm.codec.decode(ids[start:]) == "the mat"
    assert ids[:start] == prompt_ids(lm.codec, CHAT)
    (score,) = lm.score(CHAT, ["the mat"])
    np.testing.assert_allclose(score.logprobs, reference(lm, ids, start), atol=1e-4)


def test_scores_of_draws_are_their_log_probabilities(lm: Local) -> None:
    (draw,) = lm.sample([5, 6, 7], max_tokens=12, temperature=0.7)
    np.testing.assert_allclose(draw.logprobs, reference(lm, [5, 6, 7, *draw.ids], 3), atol=1e-4)


def test_a_text_alone_is_scored_from_its_second_token(lm: Local) -> None:
    (score,) = lm.score("", ["cat"])
    assert score.ids == tuple(lm.codec.encode("at"))
    with pytest.raises(UserError, match="nothing to score"):
        lm.score("", [""])


def test_a_long_prompt_is_read_once_for_many_continuations(lm: Local) -> None:
    prompt = "the cat sat on the mat, the cat ate. " * 2
    texts = [c + "at" for c in "abcdefgh"]
    shared = lm.score(prompt, texts)
    singly = [lm.score(prompt, [t])[0] for t in texts]
    for a, b in zip(shared, singly):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4)
        assert a.ids == b.ids
    many = lm.score_many([("the", ["a", "bc"]), ("cat sat", ["x"])])
    assert many[0][1].logprobs == pytest.approx(lm.score("the", ["bc"])[0].logprobs, abs=1e-4)
    assert [len(m) for m in many] == [2, 1]


def test_documents_longer_than_the_context_lose_no_token(lm: Local) -> None:
    texts = [(TEXT * 9)[:300], "ab", "a", ""]
    scores = lm.score_documents(texts)
    for score, text in zip(scores, texts):
        ids = lm.codec.encode(text)
        expected: list[float] = []
        for begin in range(0, max(len(ids) - 1, 0), 95):
            expected += reference(lm, ids[begin : begin + 96], 1).tolist()
        np.testing.assert_allclose(score.logprobs, expected, atol=1e-4)
        assert len(score) == max(len(ids) - 1, 0)


@pytest.mark.parametrize("prefix, prompt", [
    ("the cat sat", " on"), ([5, 6, 7, 8], [9]),
    (CHAT, [{"role": "assistant", "content": "ok"}, {"role": "user", "content": "mat"}]),
])  # fmt: skip
def test_a_fork_is_the_model_with_the_prefix(lm: Local, prefix: Any, prompt: Any) -> None:
    fork = lm.fork(prefix)
    assert fork.prefix is not None
    whole = prefix + prompt
    assert essence(fork.sample(prompt, 3, max_tokens=9)) == essence(lm.sample(whole, 3, max_tokens=9))
    assert list(fork.stream(prompt, max_tokens=9)) == list(lm.stream(whole, max_tokens=9))
    for a, b in zip(fork.score(prompt, ["the", "mat"]), lm.score(whole, ["the", "mat"])):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4)
        assert a.ids == b.ids


def test_forks_of_forks_and_merges_across_their_edges(merged: Parts) -> None:
    lm = Local(merged)
    forked = lm.fork("the").fork(" c")
    assert essence(forked.sample("at", 4, max_tokens=5)) == essence(lm.sample("the cat", 4, max_tokens=5))
    both = asyncio.run(_both(forked, lm))
    assert essence(both[0]) == essence(both[1])


async def _both(forked: Local, lm: Local) -> Any:
    return await asyncio.gather(forked.asample("at", max_tokens=5), lm.asample("the cat", max_tokens=5))


def test_a_fork_refuses_a_prompt_of_another_kind(lm: Local) -> None:
    with pytest.raises(UserError, match="begins with messages and the prompt is text"):
        lm.fork(CHAT).sample("x")


def test_embeddings(lm: Local) -> None:
    texts = ["the cat", "玉山", "mat"]
    expected = embed(lm.model, [lm.codec.encode(t) for t in texts])
    np.testing.assert_allclose(lm.embed(texts), expected, atol=1e-5)
    with pytest.raises(BadPrompt, match="context is 96: shorten it"):
        lm.embed(["a", "a" * 400])


def test_the_likeliest_next_tokens(lm: Local) -> None:
    found = lm.likeliest("the cat", 5)
    law = lm.model(torch.tensor([lm.codec.encode("the cat")]))[0, -1].softmax(-1)
    assert [p for _, p in found] == pytest.approx(law.topk(5).values.tolist(), abs=1e-5)
    assert found[0][0] == lm.codec.decode([int(law.argmax())])


def test_usage_and_budget(parts: Parts) -> None:
    budget = Budget(100)
    lm = Local(parts, budget=budget)
    read = len(lm.codec.encode("the cat"))
    draws = lm.sample("the cat", 3, max_tokens=5)
    assert lm.usage == Usage(1, read, sum(len(d.ids) for d in draws))
    assert budget.left == 100 - lm.usage.tokens
    before = budget.left
    with pytest.raises(BudgetSpent, match="raise the budget"):
        lm.sample("the cat", 50, max_tokens=5)
    assert budget.left == before  # nothing was sent, nothing is lost
    with pytest.raises(WorkFailed, match="no token"):
        lm.sample("cat", logit_bias=dict.fromkeys(range(lm.codec.size), -math.inf), max_tokens=2)
    assert budget.left == before - 3  # what was read is paid


@pytest.mark.parametrize("call, told", [
    (lambda lm: lm.sample(""), "empty"), (lambda lm: lm.sample([]), "empty"),
    (lambda lm: lm.sample("a" * 96), "96 tokens and the model's context is 96"),
    (lambda lm: lm.sample("a", 0), "n is 0"), (lambda lm: lm.sample("a", 1, -1), "start is -1"),
    (lambda lm: lm.sample("a", temperature=-1), "temperature"), (lambda lm: lm.sample("a", heat=1), "'heat'"),
    (lambda lm: lm.sample([10**6]), "token 1000000"), (lambda lm: lm.sample(3), "not int"),
    (lambda lm: lm.sample([{"role": "user"}]), "role and content"),
    (lambda lm: lm.sample([{"role": "cook", "content": "x"}]), "cook"),
    (lambda lm: list(lm.stream("a", max_tokens=-1)), "max_tokens"),
    (lambda lm: lm.score("a" * 90, ["b" * 90]), "context is 96"), (lambda lm: lm.embed([""]), "empty"),
])  # fmt: skip
def test_wrong_calls_are_one_clear_error(lm: Local, call: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        call(lm)
    assert lm.sample("the", max_tokens=1)  # and the model goes on


def test_an_ngram_model_under_the_same_face(parts: Parts) -> None:
    ids = np.array(parts.codec.encode(TEXT * 3))
    lm = Local(Parts(fit(NGramConfig(parts.codec.size, 4), ids), parts.codec))
    assert "embed" not in lm.capabilities
    assert lm.context is None
    ten = essence(lm.sample("the cat", 4, max_tokens=12))
    assert essence(lm.sample("the cat", 2, max_tokens=12)) == ten[:2]
    assert lm.sample("the c", temperature=0, max_tokens=2)[0].text == "at"
    assert lm.score("the c", ["at", "xx"])[0].total > lm.score("the c", ["xx"])[0].total
    assert lm.fork("the").sample(" c", temperature=0, max_tokens=2)[0].text == "at"
