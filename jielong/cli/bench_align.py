"""`jielong bench align`: fine-tuning, LoRA and DPO beside TRL and PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jielong.cli.bench import _stored
from jielong.cli.common import Common


def align(
    *,
    width: int = 256,
    layers: int = 4,
    vocab: int = 2048,
    context: int = 256,
    rows: int = 16,
    batch: int = 16,
    rounds: int = 7,
    tasks: tuple[str, ...] = (),
    compiled: Annotated[bool, Parameter(negative=())] = False,
    store: Path | None = None,
    common: Common = Common(),
) -> None:
    """Fine-tuning, LoRA and DPO: useful tokens per second beside TRL and PEFT (which must be installed).

    Parameters
    ----------
    width
        Width of the model, a multiple of 32.
    layers
        Its blocks.
    vocab
        Kinds of token.
    context
        Positions in a packed row; chats are up to three eighths as long.
    rows
        Packed rows in a step of fine-tuning.
    batch
        Pairs in a step of DPO.
    rounds
        Interleaved rounds of three steps each.
    tasks
        Of sft, lora, dpo and "dpo, later epochs"; all of them when none is named.
    compiled
        Let TRL compile as well (minutes).
    store
        Keep the result in this folder, as docs/results, for `jielong lab report`.
    """
    import time

    from jielong.base.errors import UserError
    from jielong.base.plain import loads
    from jielong.bench import align as bench

    if min(rounds, rows, batch, layers) < 1:
        raise UserError("--rounds, --rows, --batch and --layers must be 1 or more")
    unknown = [name for name in tasks if name not in bench.TASKS]
    if unknown:
        raise UserError(f"--tasks {unknown[0]} is none of {', '.join(bench.TASKS)}")
    talk = common.talk()
    began = time.monotonic()
    result = bench.run(talk, width, layers, vocab, context, rows, batch, rounds, tasks or bench.TASKS, compiled)
    result = _stored(result, bench, began, store)
    talk.table(("contestant", "value", "unit", "bar", "note"), bench.summary(result))
    talk.document(loads(result.to_json()))
    talk.next_command("jielong lab report" if store else "jielong bench align --store docs/results")
