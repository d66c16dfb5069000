"""The labs as web pages: one each, and a list of them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jielong.base.files import atomic_write
from jielong.base.result import Result
from jielong.labs.claims import figures
from jielong.labs.lab import Lab
from jielong.labs.sources import stale
from jielong.labs.verdict import verdict
from jielong.views.report import LabCard, labs_report, result_report


def card(lab: Lab, result: Result | None) -> LabCard:
    """What the list of labs says of one."""
    if result is None:
        return LabCard(lab.name, lab.claim, lab.source, command=lab.command)
    figure, control, _ = figures(result)
    minutes = result.meta.get("minutes")
    return LabCard(
        lab.name,
        lab.claim,
        lab.source,
        verdict(result),
        figure if control == "–" else f"{figure}; control {control}",
        str(result.meta.get("command") or lab.command),
        None if minutes is None else float(minutes),
        stale(result),
        f"{lab.name}.html",
    )


def lab_page(lab: Lab, result: Result, lang: str = "en") -> str:
    """One lab's page."""
    return result_report(
        result,
        claim=lab.claim,
        source=lab.source,
        expect=lab.expect,
        verdict=verdict(result),
        stale=stale(result),
        lang=lang,
    )


def write_pages(
    labs: Sequence[Lab], results: Mapping[str, Result], out: Path, lang: str = "en", index: bool = True
) -> list[Path]:
    """A page for each lab that has a result, for each other result, and index.html. Returns their paths."""
    written = []
    known = {lab.name: lab for lab in labs}
    for name, result in results.items():
        html = lab_page(known[name], result, lang) if name in known else result_report(result, lang=lang)
        written.append(Path(out) / f"{name}.html")
        atomic_write(written[-1], html)
    if index:
        cards = [card(lab, results.get(lab.name)) for lab in labs]
        written.append(Path(out) / "index.html")
        atomic_write(written[-1], labs_report(cards, lang=lang))
    return written
