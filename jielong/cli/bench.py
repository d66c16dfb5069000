"""`jielong bench train`: speed beside peers, in one run."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jielong.cli.common import Common


def train(
    *,
    width: int = 128,
    layers: int = 4,
    vocab: int = 1024,
    context: int = 128,
    batch: int = 32,
    rounds: int = 7,
    compiled: Annotated[bool, Parameter(negative=())] = False,
    store: Path | None = None,
    common: Common = Common(),
) -> None:
    """Training tokens per second beside plain PyTorch and Hugging Face's Trainer (where it is installed).

    Parameters
    ----------
    width
        Width of the model, a multiple of 32.
    layers
        Its blocks.
    vocab
        Kinds of token.
    context
        Positions in a row.
    batch
        Rows in a step.
    rounds
        Interleaved rounds of four steps each.
    compiled
        Let everybody compile as well (minutes).
    store
        Keep the result in this folder, as docs/results, for `jielong lab report`.
    """
    import time
    from dataclasses import replace

    from jielong.base.errors import UserError
    from jielong.base.plain import loads
    from jielong.bench import train as bench
    from jielong.labs import store as results

    if rounds < 1:
        raise UserError(f"--rounds must be 1 or more, not {rounds}")
    talk = common.talk()
    began = time.monotonic()
    result = bench.run(talk, width, layers, vocab, context, batch, rounds, compiled)
    command = shlex.join(["jielong", *sys.argv[1:]])
    meta = results.origin(bench.__name__, command=command, minutes=(time.monotonic() - began) / 60)
    result = replace(result, meta={**meta, **result.meta, "versions": bench.versions()})
    if store is not None:
        results.save(result, store)
    talk.table(("contestant", "value", "unit", "bar", "note"), bench.summary(result))
    talk.document(loads(result.to_json()))
    talk.next_command(
        "jielong lab report" if store else "jielong bench train --compiled --store docs/results"
    )
