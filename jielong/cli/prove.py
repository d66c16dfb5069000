"""`jielong prove`: guessing ahead never changes the law of the text, by enumeration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from jielong.cli.common import Common

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.infer.draft.compose import Composed

OUT = Path("runs/prove")


def prove(
    *,
    full: Annotated[bool, Parameter(negative=())] = False,
    chains: int | None = None,
    paths: int = 10_000,
    compose: Annotated[bool, Parameter(negative=())] = False,
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
    compose
        Also every drafter and verifier beside every feature of the engine (batches, chunks, texts put off, prefix hits,
        int8, grammar, ...), through the engine's own step.
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
    beside = _beside(talk) if compose else None
    if beside is not None:
        document["compose"] = beside.document()
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "proof.json", document)
    atomic_write(out / "proof.html", proof(document, document["command"]))
    talk.answer(table_text(("drafter", "verifier", "distance", "accepted", "chains", ""), _rows(document["groups"])))
    talk.answer(
        f"largest distance {found.worst:.1e} (bar {document['bar']:.0e}) over {len(found.cells):,} cells, "
        f"{document['refused']} of them refused; {found.same:,} of {found.paths:,} texts the same; "
        f"{found.seconds:.0f} s; page: {out / 'proof.html'}"
    )
    if beside is not None:
        talk.answer(_told(document["compose"]))
    talk.document(document)
    if beside is not None and not beside.right:
        told = document["compose"]
        said = f"{told['wrong']} cells are wrong, {told['refused']} refused, p {told['p']:.2g}"
        raise WorkFailed(f"guessing does not compose: {said}; see {out / 'proof.html'}")
    if not found.right:
        said = f"{len(found.wrong)} cells are wrong, {found.paths - found.same} texts differ"
        raise WorkFailed(f"guessing changes the text: {said}; see {out / 'proof.html'}")
    talk.next_command("jielong prove --full" if not full else "jielong bench infer")


def _beside(talk: Talk) -> Composed:
    """Every drafter beside every feature."""
    from jielong.infer.draft import compose
    from jielong.infer.draft.features import Setup

    setup = Setup()
    with talk.progress(compose.number(setup), "compose", "cells") as progress:
        return compose.run(setup, progress.update)


def _told(found: Mapping[str, Any]) -> str:
    """A line for each drafter, what was refused or is wrong, and the total."""
    from jielong.base.talk import table_text

    rows = [
        (g["drafter"], g["right"], g["refused"], g["wrong"], "" if g["accepted"] is None else f"{g['accepted']:.3f}")
        for g in found["groups"]
    ]
    odd = [f"{c['state']}: {c['drafter']}, {c['feature']}, {c['verifier']}: {c['said']}" for c in found["odd"]]
    total = (
        f"{found['cells']:,} cells of {len(rows)} drafters x {len(found['features'])} features x "
        f"{len(found['verifiers'])} verifiers: {found['right']:,} right, {found['refused']:,} refused by name "
        f"(bar {found['bar']:.0%}), {found['wrong']:,} wrong; smallest p of {found['law_tests']} laws "
        f"{found['p']:.2g}; {found['seconds']:.0f} s"
    )
    return "\n".join([table_text(("drafter", "right", "refused", "wrong", "accepted"), rows), *odd, total])


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
