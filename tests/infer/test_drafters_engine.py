"""Every drafter in the engine: the same text to the bit however it is cut, put off and batched, and nothing kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jielong.infer.core import Core
from jielong.infer.draft.drafting import Drafting
from jielong.infer.draft.lookup import Lookup
from jielong.infer.draft.model import ModelDrafter
from jielong.infer.draft.retrieval import Retrieval, Texts
from jielong.infer.draft.selves import early_exit, quantised
from jielong.infer.draft.several import AllOf, BestOf
from jielong.infer.draft.types import Drafter
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.nets.pages import page_bytes
from jielong.nets.transformer import Transformer

from .conftest import VOCAB, random_model

TARGET = random_model(context=128)
OTHER = random_model(seed=5, context=40)  # sees less far
MAKERS: dict[str, Callable[[Transformer], Drafter]] = {
    "lookup": lambda model: Lookup(least=1),
    "other model": lambda model: ModelDrafter(OTHER, VOCAB),
    "itself": lambda model: ModelDrafter(model, VOCAB),
    "int8": lambda model: quantised(model, 8),
    "int4": lambda model: quantised(model, 4),
    "early exit": lambda model: early_exit(model, 1),
    "retrieval": lambda model: Retrieval(Texts([request(i).prompt for i in range(5)]), least=1),
    "best of": lambda model: BestOf([Lookup(), early_exit(model, 1), ModelDrafter(OTHER, VOCAB)], every=4),
    "all of": lambda model: AllOf([Lookup(), ModelDrafter(OTHER, VOCAB)]),
}


def request(i: int) -> Request:
    prompt = tuple(1 + (7 * (i % 5) + 3 * j + j * j) % (VOCAB - 1) for j in range(3 + 7 * (i % 6)))
    penalty, stops = 1.2 if i % 4 == 0 else 1.0, (3,) if i % 2 else ()
    sampling = Sampling(seed=i, max_tokens=24, temperature=0.7 if i % 3 else 0.0, repetition_penalty=penalty,
                        stop_ids=stops)  # fmt: skip
    return Request(prompt, sampling, index=i % 2)


def run(core: Core) -> list[list[Any]]:
    rows = [core.submit(request(i)) for i in range(12)]
    out: dict[Any, list[Any]] = {row: [] for row in rows}
    while core.busy:
        for token in core.step():
            assert token.error is None
            out[token.row].append((token.id, token.logprob, token.reason))
    return list(out.values())


@pytest.fixture(scope="module")
def plain() -> list[list[Any]]:
    return run(Core(TARGET, mode="exact"))


@pytest.mark.parametrize("name", MAKERS)
def test_the_text_is_the_same_to_the_bit_and_no_row_stays(name: str, plain: list[list[Any]]) -> None:
    for options in ({}, {"chunk": 40}, {"streams": 3}, {"memory": 16 * page_bytes(TARGET.config)}):
        drafting = Drafting(MAKERS[name](TARGET), guess=4)
        core = Core(TARGET, mode="exact", drafting=drafting, **options)
        assert run(core) == plain
        assert sum(drafting.tally.proposed) > 0 and not drafting.reasons
        for kept in ("mirrors", "known", "trials"):
            assert not getattr(drafting.drafter, kept, None)


def test_by_the_same_number_a_model_guesses_itself(plain: list[list[Any]]) -> None:
    shares = {}
    for name in ("itself", "int8", "other model"):
        drafting = Drafting(MAKERS[name](TARGET), guess=2)
        run(Core(TARGET, mode="exact", drafting=drafting))
        shares[name] = drafting.tally.accepted[0] / drafting.tally.proposed[0]
    assert shares["itself"] > 0.97 and shares["int8"] > 0.8 > shares["other model"]
