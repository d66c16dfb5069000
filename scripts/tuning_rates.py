"""Which rate suits each way of the labs on adapters (`labs/tuning.py`), on world 0, which no lab measures.

    python scripts/tuning_rates.py 60 "IA3=5,12,30" "prefix 20=5,15"     # steps; ways, shares of the usual rates

Prints nats a token of fresh chats. Five seconds of a core a rate at 60 steps; the base of world 0 is made first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import torch

from jielong.base.talk import Talk
from jielong.labs import aligning, tuning
from jielong.labs.lab import Budget


def main(steps: int, asked: Sequence[str]) -> None:
    torch.set_num_threads(1)
    loaded, world = tuning.base(Budget(), -1), tuning.world(-1)  # a lab's seed n is the world n + 1
    tokens = tuning.chats(world, loaded.codec, aligning.KINDS)
    fresh = tuning.chats(world, loaded.codec, aligning.KINDS, 120, draw=1)
    for each in asked:
        name, _, rates = each.partition("=")
        for rate in map(float, rates.split(",")):
            way = replace(tuning.WAYS[name], gentle=rate)
            model = tuning.tuned(loaded, way, tokens, 0, steps, Talk(verbosity=-1))
            print(f"{name:28s} {rate:<6g} {tuning.trained(model):9,d} {tuning.nats(model, fresh):.3f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
