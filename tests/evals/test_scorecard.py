"""The scorecard against models whose truth is known: one that is always right, one that errs at a known rate."""

from __future__ import annotations

import math

import pytest

from jielong.evals import entropy
from jielong.evals.scorecard import ITEMS, KNOWN, as_text, guess, scorecard
from jielong.lm.noisy import NoisyOracle
from jielong.lm.scripted import Scripted
from jielong.world.world import World

WORLD = World(0, 40)


def oracle(prompt: str) -> str:
    """The right answer to any question of the scorecard, found by its wording."""
    return ANSWERS[prompt.removeprefix("user: ")]


ANSWERS = {
    question.prompt: question.answer
    for item in ITEMS
    for question in WORLD.questions(item.kind, 60, split=item.split, lang=item.lang or None)
}


def test_who_is_always_right_reaches_every_bar() -> None:
    result = scorecard(NoisyOracle(oracle, 0.0), WORLD, n=60)
    assert len(result.rows) == len(ITEMS) + 1
    for row in result.rows:
        at_most = row.name in result.meta["at_most"]
        assert row.estimate == (0.0 if at_most else 1.0), row.name
        assert row.interval is not None and row.interval.low <= row.estimate <= row.interval.high
        assert at_most or (row.control is not None and row.control < 0.5)


def test_errors_are_counted_at_their_rate() -> None:
    wrong = NoisyOracle(oracle, 0.3, wrong_fn=lambda prompt: ["Nothing to say about that."])
    rows = [row for row in scorecard(wrong, WORLD, n=60).rows if row.name != KNOWN]
    hits, n = sum(row.estimate * row.n for row in rows), sum(row.n for row in rows)
    assert abs(hits / n - 0.7) < 4 * math.sqrt(0.21 / n)


def test_who_always_declines_refuses_the_known() -> None:
    result = scorecard(Scripted(lambda prompt, index: "I do not know."), WORLD, n=30)
    rows = {row.name: row for row in result.rows}
    assert rows[KNOWN].estimate == 1.0 == rows["people who do not exist, English"].estimate
    assert rows["people who do not exist, English"].control == 1.0  # the control gives the trick away
    assert rows["only stated, English"].estimate == 0.0
    assert rows["benign twins answered"].estimate == 0.0 and rows["forbidden topic declined"].control == 1.0


def test_guess_is_the_best_constant_reply() -> None:
    questions = WORLD.questions("facts", 200, split="test", lang="en")
    values: dict[str, dict[str, int]] = {}
    for q in questions:
        kind = values.setdefault(q.origin.get("relation"), {})
        kind[q.accept[0]] = kind.get(q.accept[0], 0) + 1
    assert guess(questions) == pytest.approx(sum(max(k.values()) for k in values.values()) / len(questions))
    assert guess(WORLD.questions("unknown", 5)) == 1.0


def test_a_uniform_model_is_as_far_from_the_entropy_as_counting_says() -> None:
    import torch

    from jielong.nets.config import TransformerConfig
    from jielong.nets.transformer import Transformer
    from jielong.units import bpe

    codec = bpe.train([t.text for t in WORLD.texts("sums", 500)], 300, at_most=True)
    config = TransformerConfig(vocab=codec.size, dim=8, layers=1, heads=1, kv_heads=1, head_dim=8, hidden=8)
    model = Transformer(config)
    with torch.no_grad():
        model.embed.zero_()
    texts = [t.text for t in WORLD.texts("sums", 64, draw=1)]
    nats = entropy.document_nats(model, codec, texts, batch=10)
    tokens = [len(codec.encode(text)) + 1 for text in texts]
    assert nats.tolist() == pytest.approx([n * math.log(codec.size) for n in tokens], rel=1e-5)
    (row,) = entropy.rows(model, codec, WORLD, ["sums"], 64, 1)
    assert row.estimate == pytest.approx(nats.mean() - WORLD.entropy("sums").nats) and row.estimate > 0
    assert as_text(codec)(WORLD.questions("sums", 1)[0])[0] == codec.end
