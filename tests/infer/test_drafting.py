"""Guesses in the engine: the text stays what it is, the books stay right, and guessing stops where it does not pay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jielong.base import noise
from jielong.infer.core import Core
from jielong.infer.draft.control import Controller, Line, Rates
from jielong.infer.draft.drafting import Drafting
from jielong.infer.draft.lookup import Lookup
from jielong.infer.draft.selves import early_exit, quantised
from jielong.infer.draft.types import Draft, Draws
from jielong.infer.draft.verify import VERIFIERS
from jielong.infer.generate import generate
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.infer.schedule import Row
from jielong.nets.pages import page_bytes
from jielong.nets.transformer import Transformer

from .conftest import VOCAB, random_model
from .test_core import Forbid, text


class Told:
    """Guesses what a function of the row says."""

    name = "told"

    def __init__(self, guesses: Any) -> None:
        self.guesses, self.gone = guesses, list[Row]()

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        return [Draft(tuple(self.guesses(row))[:n]) for row, n in zip(rows, most)]

    def forget(self, row: Row) -> None:
        self.gone.append(row)


def run(core: Core, requests: list[Request]) -> list[tuple[list[int], list[float], str]]:
    """Tokens, log-probabilities and endings; every page is back afterwards."""
    rows = [core.submit(r) for r in requests]
    logprobs: dict[Row, list[float]] = {row: [] for row in rows}
    ends = dict.fromkeys(rows, "")
    while core.busy:
        for token in core.step():
            if token.error is not None:
                ends[token.row] = str(token.error)
            elif token.id is not None:
                logprobs[token.row].append(token.logprob)
            ends[token.row] = ends[token.row] or token.reason
        assert all(row.guesses == 0 for row in core.scheduler.rows())
    assert core.scheduler.blocks.used == 0
    return [(row.text[len(row.request.prompt) :], logprobs[row], ends[row]) for row in rows]


def some(n: int, **more: Any) -> list[Request]:
    """Requests of all kinds."""
    kinds: list[dict[str, Any]] = [
        {"temperature": 0}, {"temperature": 0.5, "top_p": 0.9}, {"temperature": 1.0, "repetition_penalty": 1.3},
        {"temperature": 0.7, "presence_penalty": 0.5, "bad_words": ((3, 4), (7,))}, {"temperature": 0, "min_p": 0.1},
        {"temperature": 0.8, "logit_bias": {5: 2.0}, "stop_ids": (9,)}, {"temperature": 0.9, "top_k": 5, "logprobs": 2},
    ]  # fmt: skip
    return [
        Request(text(i, 1 + 5 * i % 40), Sampling(seed=i, max_tokens=20, **kinds[i % 7] | more), index=i % 2)
        for i in range(n)
    ]


def drafters(model: Transformer, truth: dict[tuple[int, ...], list[int]]) -> dict[str, Any]:
    """From always right to always wrong."""

    def right(row: Row) -> list[int]:
        return truth[row.request.prompt][row.written :]

    return {
        "right": lambda: Told(right), "wrong": lambda: Told(lambda row: [(row.text[-1] + 1) % VOCAB] * 3),
        "half": lambda: Told(lambda row: [*right(row)[:2], 1, 2]), "lookup": Lookup,
        "exit": lambda: early_exit(model, 1), "int8": lambda: quantised(model, 8),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["right", "wrong", "half", "lookup", "exit", "int8"])
@pytest.mark.parametrize("options", [{}, {"chunk": 30}, {"streams": 3}, {"memory": 12}], ids=str)
def test_the_text_is_the_one_without_guesses(name: str, options: dict[str, Any]) -> None:
    model = random_model(context=96)
    if "memory" in options:
        options = {"memory": options["memory"] * page_bytes(model.config)}
    requests = some(9)
    plain = run(Core(model, mode="exact", **options), requests)
    truth = {r.prompt: ids for r, (ids, _, _) in zip(requests, plain)}
    drafting = Drafting(drafters(model, truth)[name](), guess=4)
    assert run(Core(model, mode="exact", drafting=drafting, **options), requests) == plain
    tally = drafting.tally
    assert not drafting.reasons and tally.steps > 0
    if name == "right":
        assert tally.accepted == tally.proposed
    if name == "wrong":
        assert sum(tally.accepted) < 0.2 * tally.proposed[0]


def test_an_own_rule_sees_guesses_as_if_they_were_written(model: Transformer) -> None:
    """Only 7 may come, and after five the text is over; who guesses 7s is right."""
    drafting = Drafting(Told(lambda row: [7] * 9), guess=9)
    request = Request(text(1, 8), Sampling(max_tokens=30, temperature=0.5), processors=(Forbid(7, most=5),))
    ((ids, _, reason),) = run(Core(model, drafting=drafting), [request])
    assert (ids, reason) == ([7] * 5, "stop")
    assert drafting.tally.tokens == 4  # the first token comes from the prompt
    for verify in ("token", "block", "multi"):
        drafting = Drafting(Told(lambda row: [7] * 9), VERIFIERS[verify], guess=9)
        ((ids, _, reason),) = run(Core(model, drafting=drafting), [request])
        assert (ids, reason) == ([7] * 5, "stop")


def test_a_rule_that_breaks_on_a_guess_ends_its_own_request(model: Transformer) -> None:
    requests = [Request(text(1, 8), Sampling(max_tokens=12, temperature=0.5), processors=(Forbid(7, fail=True),)),
                Request(text(2, 8), Sampling(max_tokens=12, temperature=0.5))]  # fmt: skip
    for verify in (None, VERIFIERS["token"]):
        drafting = Drafting(Told(lambda row: [7] * 4), verify, guess=4)
        broken, whole = run(Core(model, drafting=drafting), requests)
        assert broken[2] == "broken rule" and len(whole[0]) == 12


@pytest.mark.parametrize("verify", [None, "token", "block", "multi"])
def test_the_law_of_whole_texts_by_enumeration(verify: str | None) -> None:
    """What the engine does with guesses, under every outcome of every choice."""
    model = random_model(vocab=4).double()
    settings_ = Sampling(max_tokens=3, temperature=0.8, top_k=3)

    def law(drafting: Any) -> dict[tuple[int, ...], float]:
        def once(source: noise.Source) -> tuple[int, ...]:
            core = Core(model, source=source, drafting=drafting())
            return tuple(run(core, [Request((1, 2), settings_)])[0][0])

        return noise.law(noise.enumerate_choices(once))

    plain = law(lambda: None)
    check = VERIFIERS[verify] if verify else None
    for make in (lambda: Told(lambda row: [2, 2, 1]), lambda: early_exit(model, 1)):
        if verify is None and not isinstance(make(), Told):
            continue  # two choices by one number: `draft.prove` enumerates those
        found = law(lambda make=make: Drafting(make(), check, guess=2))
        assert found.keys() == plain.keys()
        assert max(abs(found[k] - plain[k]) for k in plain) < 1e-9


def test_draws_with_a_sampled_draft_follow_the_law() -> None:
    model = random_model(vocab=5)
    samplings = [Sampling(max_tokens=2, seed=i) for i in range(3000)]
    plain = Counter(g.ids for g in generate(model, [[1, 2]] * 3000, samplings))
    core = Core(model, streams=128, drafting=Drafting(early_exit(model, 1), VERIFIERS["token"], guess=2))
    rows = run(core, [Request((1, 2), Sampling(max_tokens=2, seed=9000 + i)) for i in range(3000)])
    found = Counter(tuple(ids) for ids, _, _ in rows)
    from scipy.stats import chi2_contingency

    keys = [k for k in plain | found if plain[k] + found[k] >= 10]
    assert chi2_contingency([[plain[k] for k in keys], [found[k] for k in keys]]).pvalue > 1e-4


def test_a_drafter_that_dies_costs_its_guesses_only(model: Transformer) -> None:
    def die(row: Row) -> list[int]:
        raise RuntimeError("gone")

    requests = some(3)
    drafting = Drafting(Told(die))
    assert run(Core(model, mode="exact", drafting=drafting), requests) == run(Core(model, mode="exact"), requests)
    assert drafting.reasons == {"RuntimeError: gone": 3} and drafting.tally.steps == 0
    for bad in ([VOCAB], [-1], [10**9]):
        drafting = Drafting(Told(lambda row, bad=bad: bad))
        assert run(Core(model, mode="exact", drafting=drafting), requests) == run(Core(model, mode="exact"), requests)
        assert len(drafting.reasons) == 1


def test_rows_that_leave_are_forgotten(model: Transformer) -> None:
    told = Told(lambda row: [1, 2])
    core = Core(model, drafting=Drafting(told))
    rows = [core.submit(r) for r in some(3)]
    for _ in range(4):
        core.step()
    core.cancel(rows[0])
    while core.busy:
        core.step()
    assert set(told.gone) == set(rows) and not core.drafting.drafts  # type: ignore[union-attr]


def pretend(controller: Controller, alpha: float, verify: float, draft: float, steps: int = 400, seed: int = 0,
            jump: float = 0.0) -> float:  # fmt: skip
    """Tokens a second, on a clock of our own: a step takes 1, with guesses 1 + jump + verify a guess; a guess takes
    `draft`, and stays with probability alpha."""
    row = Row(0, Request((1,), Sampling()), 10**9)
    rng, tokens, seconds = np.random.default_rng(seed), 0, 0.0
    for _ in range(steps):
        if not controller.awake():
            tokens, seconds = tokens + 1, seconds + 1.0
            continue
        k = controller(row, 99)
        stayed = int(np.argmin(np.append(rng.random(k) < alpha, False)))
        took, drafting = 1.0 + jump * (k > 0) + verify * k, draft * k
        controller.watch(took * rng.uniform(0.95, 1.1), drafting, int(k > 0), [(row, k, stayed)] if k else [], 1)
        tokens, seconds = tokens + stayed + 1, seconds + took + drafting
    return tokens / seconds


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.6, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("verify, draft", [(0.02, 0.02), (0.1, 0.1), (0.05, 0.5), (0.3, 0.02), (1.0, 0.0)])
def test_the_controller_is_near_the_best_and_hardly_ever_slower(alpha: float, verify: float, draft: float) -> None:
    controllers = [Controller(most=8) for _ in range(4)]
    rate = float(np.mean([pretend(c, alpha, verify, draft, 1500, seed) for seed, c in enumerate(controllers)]))

    def ideal(k: int) -> float:
        return sum(alpha**i for i in range(k + 1)) / (1 + (verify + draft) * k)

    best = max(ideal(k) for k in range(9))
    assert rate >= 0.98
    assert rate >= 0.9 * best
    if best > 1.2:
        assert np.mean([c.speedup() for c in controllers]) == pytest.approx(best, rel=0.1)


def test_reading_two_tokens_may_cost_much_more_than_reading_one() -> None:
    """No straight line fits that: the best number is found, and its worth known."""
    controllers = [Controller(most=8) for _ in range(4)]
    rates = [pretend(c, 0.9, 0.03, 0.05, 1500, seed, jump=0.6) for seed, c in enumerate(controllers)]
    best = max(sum(0.9**i for i in range(k + 1)) / (1 + 0.6 * (k > 0) + 0.08 * k) for k in range(9))
    assert np.mean(rates) >= 0.93 * best
    assert np.mean([c.speedup() for c in controllers]) == pytest.approx(best, rel=0.1)


def test_a_guess_that_was_asked_for_and_did_not_come_is_one_that_did_not_stay() -> None:
    rates = Rates()
    for _ in range(200):
        rates.add(asked=3, proposed=1, accepted=1)
    assert rates.rate(0, 0.5) > 0.95 and rates.rate(1, 0.5) < 0.05 and len(rates.tried) == 2


@given(st.floats(0.1, 9), st.floats(0, 3), st.lists(st.integers(0, 3), min_size=3, max_size=30))
@settings(max_examples=50, deadline=None)
def test_a_line_is_found_again(at: float, by: float, xs: list[int]) -> None:
    line = Line()
    for x in xs:
        line.add(x, at + by * x)
    if len(set(xs)) > 1:
        assert line(102.0) - line(101.0) == pytest.approx(by, rel=1e-6, abs=1e-6)
        assert line(2.0) == pytest.approx(at + 2 * by, rel=1e-6, abs=1e-6)
    for _ in range(200):
        line.add(40, at + by * 40)
    assert line(min(xs)) == pytest.approx(at + by * min(xs), rel=1e-6, abs=1e-6)  # nothing is forgotten
