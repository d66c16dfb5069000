"""lm-eval, unmodified, against the server: the log-likelihoods that the library gives in this process."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from jielong.infer.engine import Engine
from jielong.lm.local import Local, Parts
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.serve.load import around
from tests.serve.conftest import running, the_codec

pytestmark = pytest.mark.referee
TOLERANCE = 1e-4
PAIRS = [
    ("the cat", " sat on the mat"), ("the cat", " ate."), ("玉山", "很高。"), ("the cat sat", " on"), ("", "the mat"),
    ("the mat, the cat ate. 玉山很高。 the cat sat on the mat", ", the cat"), ("a", "b"), ("the c", "at sat"),
]  # fmt: skip


def tiny() -> Parts:
    """A random model, sharp enough that no two texts are equally likely."""
    codec = the_codec()
    config = TransformerConfig(vocab=codec.size, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, hidden=64,
                               context=128)  # fmt: skip
    model = Transformer(config)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.3, generator=generator)
    return Parts(model.eval(), codec)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return tiny()


def served(parts: Parts):
    """The URL of a server of that model."""
    return running(around(Engine(parts.model, parts.codec), parts.model, parts.codec, "tiny"))


@pytest.fixture(scope="module")
def url(parts):
    with served(parts) as url:
        yield url


WAYS = {"one by one": (1, 1), "in batches": (4, 1), "at once": (1, 3)}


@pytest.fixture(scope="module", params=WAYS.values(), ids=WAYS)
def theirs(request, url):
    pytest.importorskip("lm_eval")
    return asking(url, *request.param)


def asking(url: str, batch: int, concurrent: int):
    """lm-eval's own client for such servers, its tokenizer asked of the server too."""
    from lm_eval.models import openai_completions

    return openai_completions.LocalCompletionsAPI(
        model="tiny", base_url=f"{url}/v1/completions", batch_size=batch, num_concurrent=concurrent, max_length=128,
        max_gen_toks=12,
    )  # fmt: skip


def instance(kind: str, arguments: tuple, number: int = 0):
    from lm_eval.api.instance import Instance

    return Instance(kind, {}, arguments, number)


def ours(parts: Parts, ids: list[int], start: int) -> tuple[float, bool]:
    with torch.no_grad():
        logprobs = parts.model(torch.tensor([ids]))[0].log_softmax(-1)
    found = [
        (logprobs[i - 1, ids[i]].item(), logprobs[i - 1].argmax().item() == ids[i]) for i in range(start, len(ids))
    ]
    return sum(p for p, _ in found), all(best for _, best in found)


def test_the_tokenizer_is_found(theirs, parts):
    assert theirs.tokenizer_backend == "remote" and theirs.eot_token_id == parts.codec.end
    assert theirs.tok_encode("the cat 玉山") == parts.codec.encode("the cat 玉山")


def gaps(theirs, parts: Parts, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
    """For every pair the largest difference of its log-likelihood from this library's, and whether both agree that
    the continuation is the greedy one."""
    lm, out = Local(parts), []
    found = theirs.loglikelihood([instance("loglikelihood", pair, i) for i, pair in enumerate(pairs)])
    for (context, continuation), (total, greedy) in zip(pairs, found):
        before, after = theirs._encode_pair(context, continuation) if context else (
            [theirs.prefix_token_id], parts.codec.encode(continuation))  # fmt: skip
        mine, best = ours(parts, [*before, *after], len(before))
        gap = abs(total - mine)
        if context and parts.codec.encode(context + continuation) == [*parts.codec.encode(context), *after]:
            # No token lies across the boundary: there lm-eval and this library cut differently.
            gap = max(gap, abs(total - lm.score(context, [continuation])[0].total))
        out.append((gap, greedy == best))
    return out


def test_loglikelihoods(theirs, parts):
    assert all(gap <= TOLERANCE and same for gap, same in gaps(theirs, parts, PAIRS))


def test_the_greedy_answer_is_called_greedy(theirs, parts):
    lm = Local(parts)
    text = lm.sample("the cat", temperature=0, max_tokens=1)[0].text
    if parts.codec.encode("the cat" + text)[:-1] == parts.codec.encode("the cat"):
        assert theirs.loglikelihood([instance("loglikelihood", ("the cat", text))])[0][1]


def test_rolling_loglikelihoods(theirs, parts):
    text = "the cat sat on the mat, the cat ate. 玉山很高。"
    (total,) = theirs.loglikelihood_rolling([instance("loglikelihood_rolling", (text,))])
    ids = [parts.codec.end, *parts.codec.encode(text)]
    assert total == pytest.approx(ours(parts, ids, 1)[0], abs=TOLERANCE)


def test_generations(theirs, parts):
    lm = Local(parts)
    asked = [("the cat", {"until": ["."], "max_gen_toks": 8}), ("玉山", {"until": [], "max_gen_toks": 8})]
    found = theirs.generate_until([instance("generate_until", pair, i) for i, pair in enumerate(asked)])
    for (prompt, settings), text in zip(asked, found):
        mine = lm.sample(prompt, temperature=0, max_tokens=8, stop=tuple(settings["until"]))[0].text
        assert text == mine


def test_a_whole_task(theirs, parts, tmp_path):
    """Through lm-eval's own evaluator: a task of this test, its documents made here."""
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.api.task import ConfigurableTask

    documents = [{"q": "the cat", "choices": [" sat on the mat", " ate."], "gold": 0},
                 {"q": "玉山", "choices": ["很高。", " the"], "gold": 0}]  # fmt: skip
    import datasets

    made = datasets.Dataset.from_list(documents)
    config = {
        "task": "tiny",
        "custom_dataset": lambda **_: {"test": made},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "gold",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}],
    }
    task = ConfigurableTask(config=config)
    result = lm_eval.evaluate(theirs, {"tiny": task}, bootstrap_iters=0)
    lm = Local(parts)
    right = [int(a.total > b.total) for a, b in (lm.score(d["q"], d["choices"]) for d in documents)]
    assert result["results"]["tiny"]["acc,none"] == sum(right) / 2
    for sample, d in zip(sorted(result["samples"]["tiny"], key=lambda s: s["doc_id"]), documents):
        said = [float(r[0][0]) for r in sample["resps"]]
        assert said == pytest.approx([s.total for s in lm.score(d["q"], d["choices"])], abs=TOLERANCE)
