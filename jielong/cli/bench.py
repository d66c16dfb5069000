"""`jielong bench train`, `infer`, `adapters` and `draft`: speed beside peers, with guesses and with many adapters."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from jielong.cli.common import Common

if TYPE_CHECKING:
    from jielong.base.result import Result


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

    from jielong.base.errors import UserError
    from jielong.base.plain import loads
    from jielong.bench import train as bench

    if rounds < 1:
        raise UserError(f"--rounds must be 1 or more, not {rounds}")
    talk = common.talk()
    began = time.monotonic()
    result = bench.run(talk, width, layers, vocab, context, batch, rounds, compiled)
    result = _stored(result, bench, began, store)
    talk.table(("contestant", "value", "unit", "bar", "note"), bench.summary(result))
    talk.document(loads(result.to_json()))
    talk.next_command(
        "jielong lab report" if store else "jielong bench train --compiled --store docs/results"
    )


def infer(
    *,
    tokens: int = 64,
    rounds: int = 5,
    sizes: tuple[str, ...] = (),
    gpt2: bool = True,
    store: Path | None = None,
    common: Common = Common(),
) -> None:
    """Tokens written per second beside transformers' generate and CTranslate2 (where they are installed), with what
    bounds a step: dispatch, cache, bandwidth or compute.

    Parameters
    ----------
    tokens
        Tokens that each contestant writes in a round (at most 32 of them at GPT-2's size).
    rounds
        Interleaved rounds.
    sizes
        Of 1M, 4M and 15M parameters; all of them when none is named.
    gpt2
        Also the shape of GPT-2 (124M), in float32 and int8.
    store
        Keep the result in this folder, as docs/results, for `jielong lab report`.
    """
    import time

    from jielong.base.errors import UserError
    from jielong.base.plain import loads
    from jielong.bench import infer as bench

    if min(rounds, tokens) < 1:
        raise UserError(f"--rounds is {rounds} and --tokens is {tokens}: give 1 or more")
    unknown = [name for name in sizes if name not in bench.SIZES]
    if unknown:
        raise UserError(f"--sizes {unknown[0]} is none of {', '.join(bench.SIZES)}")
    talk = common.talk()
    began = time.monotonic()
    result = bench.run(talk, rounds, tokens, sizes or tuple(bench.SIZES), gpt2)
    result = _stored(result, bench, began, store)
    talk.table(("model", "what", "value", "unit", "bar", "note"), list(bench.summary(result)))
    talk.document(loads(result.to_json()))
    talk.next_command("jielong lab report" if store else "jielong bench infer --store docs/results")


def adapters(
    *,
    tokens: int = 64,
    rounds: int = 5,
    sizes: tuple[str, ...] = (),
    number: int = 16,
    rank: int = 8,
    store: Path | None = None,
    common: Common = Common(),
) -> None:
    """A batch whose rows have different adapters beside the same batch with one adapter, with none and with one merged.

    Parameters
    ----------
    tokens
        Tokens that each contestant writes in a round.
    rounds
        Interleaved rounds.
    sizes
        Of 1M, 4M and 15M parameters; 1M and 15M when none is named.
    number
        Adapters beside one base.
    rank
        Of each, at all matrices.
    store
        Keep the result in this folder, as docs/results, for `jielong lab report`.
    """
    import time

    from jielong.base.errors import UserError
    from jielong.base.plain import loads
    from jielong.bench import adapters as bench
    from jielong.bench.infer import SIZES

    if min(rounds, tokens, number, rank) < 1:
        raise UserError("--rounds, --tokens, --number and --rank are 1 or more")
    unknown = [name for name in sizes if name not in SIZES]
    if unknown:
        raise UserError(f"--sizes {unknown[0]} is none of {', '.join(SIZES)}")
    talk = common.talk()
    began = time.monotonic()
    result = bench.run(talk, rounds, tokens, sizes or ("1M", "15M"), rank=rank, adapters=number)
    result = _stored(result, bench, began, store)
    talk.table(("batch", "what", "value", "unit", "bar"), list(bench.summary(result)))
    talk.document(loads(result.to_json()))
    talk.next_command("jielong lab report" if store else "jielong bench adapters --store docs/results")


def draft(
    *,
    pairs: int = 0,
    quick: bool = False,
    store: Path | None = None,
    common: Common = Common(),
) -> None:
    """Guessing ahead with the controller beside writing token by token: the worst slowdown, the speed-up where there
    should be one, and what was promised beside what came. Trains its three models on the world first, once, and keeps
    them under runs/. Prompts of Spec-Bench are read where JIELONG_DATA names a folder that has them.

    Parameters
    ----------
    pairs
        Interleaved pairs of each case, with guesses and without; 0: 15, or 6 where it is to be quick.
    quick
        Tiny models and short texts: whether everything runs, in a minute.
    store
        Keep the result in this folder, as docs/results, for `jielong lab report`.
    """
    import os
    import time

    from jielong.base.errors import UserError
    from jielong.base.plain import loads
    from jielong.bench import draft as bench

    if pairs < 0 or pairs == 1:
        raise UserError(f"--pairs is {pairs}: give 2 or more, or 0 for the usual number")
    talk, data = common.talk(), os.environ.get("JIELONG_DATA")
    began = time.monotonic()
    result = bench.run(talk, quick, pairs, Path(data) if data else None)
    result = _stored(result, bench, began, store)
    talk.table(("group", "what", "value", "promised", "bar", "note"), list(bench.summary(result)))
    talk.document(loads(result.to_json()))
    talk.next_command("jielong lab report" if store else "jielong bench draft --store docs/results")


def _stored(result: Result, bench: Any, began: float, store: Path | None) -> Result:
    """The result with where it came from, kept in a folder if one is named."""
    import time
    from dataclasses import replace

    from jielong.labs import store as results

    command = shlex.join(["jielong", *sys.argv[1:]])
    meta = results.origin(bench.__name__, command=command, minutes=(time.monotonic() - began) / 60)
    result = replace(result, meta={**meta, **result.meta, "versions": bench.versions()})
    if store is not None:
        results.save(result, store)
    return result
