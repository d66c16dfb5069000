"""`jielong bench prompting`: what a strategy costs beside the same tokens without one."""

from __future__ import annotations

from pathlib import Path

from jielong.cli.bench import _stored
from jielong.cli.common import Common


def prompting(
    *, rounds: int = 11, tokens: int = 64, store: Path | None = None, common: Common = Common()
) -> None:  # fmt: skip
    """A vote of forty chains of thought on our engine, beside forty streams that nobody thinks about.

    Parameters
    ----------
    rounds
        Interleaved rounds.
    tokens
        Tokens that each stream writes at most.
    store
        Keep the result in this folder, as docs/results, for `jielong lab report`.
    """
    import time

    from jielong.base.errors import UserError
    from jielong.base.plain import loads
    from jielong.bench import prompting as bench

    if min(rounds, tokens) < 1:
        raise UserError(f"--rounds is {rounds} and --tokens is {tokens}: give 1 or more")
    talk, began = common.talk(), time.monotonic()
    result = _stored(bench.run(talk, rounds, tokens), bench, began, store)
    talk.table(("what", "value", "unit", "bar", "note"), list(bench.summary(result)))
    talk.document(loads(result.to_json()))
    talk.next_command("jielong lab report" if store else "jielong bench prompting --store docs/results")
