"""What the labs of games share: the model's law of its next move, and how many games a run sees."""

from __future__ import annotations

import pytest
import torch

from jielong.labs import learning, playing
from jielong.train.preferences.rollout_plan import Drawing

GAMES = ["0:", "1:", "2:", "3:"]


def test_the_law_is_that_of_the_next_token() -> None:
    codec = playing.codec_of(["0", "1", "2", "3", ":", "left", "right"])
    model = playing.fresh(codec, 1)
    found = playing.law(model, codec, GAMES, ["right", "left"])
    with torch.no_grad():
        logits = model(torch.tensor([[codec.end, *codec.encode("2:")]]))[0, -1].double()
    whole = (logits - logits.logsumexp(0)).exp()
    assert found.shape == (4, 2)
    assert found[2] == pytest.approx([float(whole[codec.encode(word)[0]]) for word in ("right", "left")])


def test_imitation_and_outcomes_teach_a_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imitation learns which of two moves is usual in each game; from there what wins is learnt, though it is rarer."""
    from jielong.base.talk import Talk

    quiet = Talk(verbosity=-1)
    monkeypatch.setattr(playing, "WIDTH", 32)
    codec = playing.codec_of(["0", "1", "2", "3", ":", "left", "right"])
    said = [(game, "left" if i < 3 else "right") for game in GAMES for i in range(4)]
    work = playing.imitating(playing.fresh(codec, 1), codec, said, 8_000, 1)
    start = learning.learnt(work, quiet)
    assert playing.law(start, codec, GAMES, ["left", "right"]) == pytest.approx(
        torch.tensor([[0.75, 0.25]] * 4).numpy(), abs=0.15
    )
    asked: list[str] = []

    def won(prompts: list[str], completions: list[str], **_: object) -> list[float]:
        asked.extend(prompts)
        return [float(answer == "right") for answer in completions]

    drawing = Drawing(prompts=4, group=8, length=1, epochs=1, minibatches=1, unfinished=0.0)
    made = playing.rewarded(start, codec, GAMES, lambda _: won, drawing, 640, 1, 0.5)
    assert made.settings.steps == 20 and made.model is not start
    after = playing.law(learning.learnt(made, quiet), codec, GAMES, ["left", "right"])
    assert len(asked) == 640 and set(asked) == set(GAMES) and after[:, 1].min() > 0.6
