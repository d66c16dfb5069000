"""Mistakes that were made elsewhere, put into the loop: the proof finds each.

litgpt #2307 (the first token is dropped), transformers #32867 (a greedy drafter counted as a sampled one), mlx-lm (a
guess stays if an independent sample is the same), vLLM #9834 (settings not applied to the target), and a cache that
still holds what was refused.
"""

from __future__ import annotations

import numpy as np
import pytest

from jielong.infer.draft.along import along, law
from jielong.infer.draft.cases import Small, chains, other_law
from jielong.infer.draft.loop import speculate
from jielong.infer.draft.prove import BAR, Guesser, Stage, cell, distance, drafted, whole
from jielong.infer.draft.scripted import Scripted, drawn
from jielong.infer.draft.types import Accepted, Draft
from jielong.infer.draft.verify import VERIFIERS, token

SMALL = Small(3, 4, 2)
SINGLES = {" ".join(c.names) or "none": c for c in chains(3, pairs=False, longer=0)}
OTHER = Scripted("other law", drawn(other_law(3)))


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage(SMALL, SINGLES["none"])


def caught(stage: Stage, law_of_texts: dict) -> bool:
    assert abs(sum(law_of_texts.values()) - 1) < BAR
    return distance(law_of_texts, stage.texts()) > 1e-3


def test_the_loop_as_it_is_passes(stage: Stage) -> None:
    assert not caught(stage, whole(stage, lambda: OTHER, token))
    assert cell(stage, Guesser(OTHER), "token").right


def test_a_dropped_first_token(stage: Stage) -> None:
    def write(law_of, drafter, verify, source, row, horizon, guess) -> None:
        speculate(law_of, drafter, verify, source, row, horizon + 1, guess)
        del row.text[len(row.request.prompt)]

    small = Stage(Small(3, 3, 1), SINGLES["none"])
    assert caught(small, whole(small, lambda: OTHER, token, write))


@pytest.mark.parametrize("verifier", ["token", "block", "multi"])
def test_a_greedy_drafter_counted_as_a_sampled_one(stage: Stage, verifier: str) -> None:
    def greedy(row, most, choose) -> Draft:
        text, laws = tuple(row.text), []
        for _ in range(most):
            laws.append(other_law(3)(text))
            text += (int(laws[-1].argmax()),)
        return Draft(text[len(row.text) :], np.stack(laws)) if laws else Draft()

    assert cell(stage, Guesser(Scripted("greedy", greedy)), verifier).distance > 1e-3


def matching(again: bool):
    """A guess stays if a draw from the target is the same; else that draw is written, or another."""

    def verify(laws, drafts, choose) -> Accepted:
        done: tuple[int, ...] = ()
        guesses = drafts[0].tokens if drafts else ()
        for i, guess in enumerate(guesses):
            own = choose(laws(done), "accept", i)
            if own != guess:
                return Accepted((*done, choose(laws(done), "residual", i) if again else own), i)
            done = (*done, guess)
        return Accepted((*done, choose(laws(done), "residual", len(done))), len(done))

    return verify


def test_acceptance_by_an_equal_sample(stage: Stage) -> None:
    wrong = cell(stage, Guesser(OTHER), "token", matching(again=True))
    assert wrong.distance > 1e-3 and not wrong.right
    wasteful = cell(stage, Guesser(OTHER), "token", matching(again=False))  # the law is right, acceptance is not
    assert wasteful.distance <= BAR and not wasteful.right
    assert wasteful.first < wasteful.theory - 0.05


@pytest.mark.parametrize("name", [n for n in SINGLES if n != "none"])
@pytest.mark.parametrize("verifier", VERIFIERS)
def test_settings_not_applied_to_the_target(name: str, verifier: str) -> None:
    def raw(row, guesses, logits_PV, bans):
        return law(logits_PV)

    stage = Stage(SMALL, SINGLES[name], raw)
    texts = drafted(stage, Guesser(OTHER), VERIFIERS[verifier])
    assert distance(texts, stage.texts()) > 1e-3


@pytest.mark.parametrize(
    "name", ["repetition_penalty", "presence_penalty", "frequency_penalty", "bad_words", "grammar"]
)
def test_settings_that_do_not_see_the_guesses(name: str) -> None:
    def frozen(row, guesses, logits_PV, bans):
        return np.concatenate([law(along(row, (), each[None], bans).logits_PV) for each in logits_PV])

    stage = Stage(SMALL, SINGLES[name], frozen)
    assert not cell(stage, Guesser(OTHER), "token").right
    assert cell(Stage(SMALL, SINGLES[name]), Guesser(OTHER), "token").right


def test_a_cache_that_holds_what_was_refused() -> None:
    stage = Stage(Small(3, 4, 1), SINGLES["none"])

    def write(crops: bool):
        def loop(law_of, drafter, verify, source, row, horizon, guess) -> None:
            held: list[int] = []  # what the target has read: guesses too, all of a step at once

            def cached(text: tuple[int, ...]):
                if crops:
                    del held[next((i for i, (a, b) in enumerate(zip(held, text)) if a != b), len(held)) :]
                held.extend(text[len(held) :])
                return law_of(tuple(held[: len(text)]))

            def fed(row, most, choose) -> Draft:
                draft = drawn(other_law(3))(row, most, choose)
                cached((*row.text, *draft.tokens))
                return draft

            speculate(cached, Scripted("fed", fed), verify, source, row, horizon, guess)

        return loop

    assert caught(stage, whole(stage, lambda: OTHER, token, write(crops=False)))
    assert not caught(stage, whole(stage, lambda: OTHER, token, write(crops=True)))
