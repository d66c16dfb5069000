"""Which rate suits `train dpo` and `kto`, of a whole model and of a LoRA of rank 8: world 0, which no lab measures.

    python scripts/align_rates.py dpo 0.025,0.0083 0.003,0.001     # of the usual rates; AdamW's for the LoRA

The model imitates a crowd (`labs/aligning.py`, made first: minutes); people compared two of its answers to each of some
800 questions; once through these. Prints the true reward on the test's questions, and of comparisons never trained on
the share that the implicit reward tells rightly and its loss.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from jielong.base.talk import Talk
from jielong.labs import aligning, learning
from jielong.labs.lab import Budget
from jielong.nets.adapters.attach import attach
from jielong.nets.adapters.config import Lora
from jielong.nets.adapters.folder import upon
from jielong.train.preferences.pairs import told_by

BETA, HELD = 0.1, 200


def sides(model: Any, start: aligning.Start, pairs: list[aligning.Compared]) -> Tensor:
    """(2, P) log-probabilities of the better and of the worse answers."""
    asked = [pair.question for pair in pairs]
    found = []
    for side in (0, 1):
        rows = learning.laid(start.loaded.codec, asked, [pair.answers[pair.better ^ side] for pair in pairs])
        found.append(torch.cat([told_by(model, each, torch.float32).sums.detach() for each in rows]))
    return torch.stack(found)


def tuned(start: aligning.Start, work: Any, rate: float, thin: bool) -> Any:
    """The model after the work, moved as a whole or beside a LoRA."""
    if not thin:
        return learning.learnt(work, Talk(verbosity=-1))
    adapter = attach(work.model, Lora(rank=8, alpha=16.0), family=upon(start.loaded).family, seed=0)
    settings = replace(work.settings, other_rate=rate)
    learning.learnt(replace(work, model=adapter, beside=work.model, settings=settings), Talk(verbosity=-1))
    return work.model.eval()


def main(method: str, whole: str, thin: str) -> None:
    start = aligning.start(Budget(), -1)  # a lab's seed n is the world n + 1
    pairs = aligning.compared(start.world, start.questions, start.said)
    asked = aligning.questions(start.world, HELD, draw=5)
    held = aligning.compared(start.world, asked, aligning.draws(start.loaded.model, start.loaded.codec, asked, 4, 8))
    before = sides(start.loaded.model, start, held)

    def show(name: str, model: Any) -> None:
        better, worse = BETA * (sides(model, start, held) - before)
        true = aligning.true_reward(model, start.loaded.codec, start.world)
        print(f"{name:24s} true reward {sum(true) / len(true):.3f}  told rightly {(better > worse).float().mean():.3f}"
              f"  loss {-F.logsigmoid(better - worse).mean():.3f}", flush=True)  # fmt: skip

    show("before", start.loaded.model)
    make = {"dpo": learning.dpo, "kto": learning.kto}[method]
    for thin_, rates in ((False, whole), (True, thin)):
        for rate in map(float, filter(None, rates.split(","))):
            work = make(start.loaded, pairs, 0, 1.0, learning.GENTLE if thin_ else rate)
            show(f"{method}, {'LoRA' if thin_ else 'whole'} {rate:g}", tuned(start, work, rate, thin_))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:4])
