"""`jielong prove`: guessing ahead never changes the law of the text, by enumeration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from jielong.cli.common import Common

OUT = Path("runs/prove")


def prove(
    *,
    full: Annotated[bool, Parameter(negative=())] = False,
    chains: int | None = None,
    paths: int = 10_000,
    out: Path = OUT,
    common: Common = Common(),
) -> None:
    """Prove that guessing ahead changes nothing: every drafter x verifier x chain of settings, all random outcomes
    enumerated on a small model, beside the exact law of whole texts.

    Minutes; with --full within the hour. Ends with exit code 1 if anything is off by more than 1e-9.

    Parameters
    ----------
    full
        More tokens and a longer text.
    chains
        Only so many chains of settings (default: all).
    paths
        Texts written by seeds that must be token for token those without guesses.
    out
        Where proof.html and proof.json are written.
    """
    import shlex
    import sys

    from jielong.base.errors import UserError, WorkFailed
    from jielong.base.files import atomic_write, write_json
    from jielong.base.talk import table_text
    from jielong.infer.draft import cases, matrix
    from jielong.views.proof import proof

    if paths < 0 or (chains is not None and chains < 1):
        raise UserError(f"--chains is {chains} and --paths is {paths}: give 1 or more, and 0 or more")
    talk = common.talk()
    small = cases.Small(*(matrix.FULL if full else matrix.QUICK))
    asked = cases.chains(small.size)[:chains]
    with talk.progress(len(asked), "prove", "chains") as progress:
        found = matrix.run(small, asked, cases.drafters(small), paths, progress.update)
    document = {**found.document(), "command": shlex.join(["jielong", *sys.argv[1:]])}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "proof.json", document)
    atomic_write(out / "proof.html", proof(document, document["command"]))
    talk.answer(table_text(("drafter", "verifier", "distance", "accepted", "chains", ""), _rows(document["groups"])))
    talk.answer(
        f"largest distance {found.worst:.1e} (bar {document['bar']:.0e}) over {len(found.cells):,} cells, "
        f"{document['refused']} of them refused; {found.same:,} of {found.paths:,} texts the same; "
        f"{found.seconds:.0f} s; page: {out / 'proof.html'}"
    )
    talk.document(document)
    if not found.right:
        said = f"{len(found.wrong)} cells are wrong, {found.paths - found.same} texts differ"
        raise WorkFailed(f"guessing changes the text: {said}; see {out / 'proof.html'}")
    talk.next_command("jielong prove --full" if not full else "jielong bench infer")


def _rows(groups: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """A line for each drafter and verifier."""
    return [
        (
            *(g["drafter"], g["verifier"]),
            *(
                "" if g[key] is None else format(g[key], form)
                for key, form in (("distance", ".1e"), ("accepted", ".3f"))
            ),
            g["chains"],
            f"{g['wrong']} wrong" if g["wrong"] else f"{g['refused']} refused" if g["refused"] else "",
        )
        for g in groups
    ]
