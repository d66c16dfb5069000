"""Measure through the engine that guessing ahead keeps the law, and keep it in docs/results/draft_law.json.

    .venv/bin/python scripts/draft_law.py                     # a million texts among four verifiers: about ten minutes
    .venv/bin/python scripts/draft_law.py --samples 40000 --prompts 500 --out /tmp

Three things: a G-test of texts too many to enumerate, beside a wrong verifier that must be found out; texts that must
be token for token those without guesses; every drafter and verifier beside every feature (`jielong prove --compose`).
What is enumerated is in `jielong prove`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from jielong.base.result import Result, Row
from jielong.base.stats import holm
from jielong.infer.draft import compose, large
from jielong.infer.draft.features import Setup
from jielong.infer.draft.verify import VERIFIERS
from jielong.labs import store

RESULTS = Path(__file__).resolve().parent.parent / "docs/results"
CONTROL = 20_000  # texts by which a wrong verifier is found out


def laws(samples: int) -> list[Row]:
    """The smallest p of each verifier, adjusted for all tests of all verifiers together (Holm)."""
    target, found, stayed = large.Target(), dict[tuple[str, str], float](), dict[str, str]()
    each = samples // len(VERIFIERS)
    for name in VERIFIERS:
        counts, drafting = large.draw(target, name, each)
        found |= {(name, what): p for what, p in large.pvalues(target, counts).items()}
        tally = drafting.tally
        stayed[name] = f"{sum(tally.accepted):,} of {sum(tally.proposed):,} guesses stayed"
        print(f"{name}: {each:,} texts, {stayed[name]}", flush=True)
    adjusted = dict(zip(found, holm(list(found.values()))))
    counts, _ = large.draw(target, "token", min(CONTROL, each), verify=large.careless)
    control = max(large.pvalues(target, counts).values())
    group = f"{target.size} tokens, {target.horizon} of them a text"
    return [
        Row(f"G-test, family-wise p: {name}", min(p for (v, _), p in adjusted.items() if v == name), None, each,
            control=control, control_name="a wrong verifier, its largest p", bar=compose.RARE, unit="p",
            group=group, note=stayed[name])
        for name in VERIFIERS
    ]  # fmt: skip


def same(prompts: int) -> Row:
    """Greedy and sampled texts in exact mode."""
    found = large.same(prompts)
    good, total = (sum(pair[i] for pair in found.values()) for i in (0, 1))
    note = f"{prompts:,} prompts, each greedily and by a seed; {len(found)} drafters: {', '.join(found)}"
    return Row("texts token for token those without guesses", good / total, None, total, bar=1.0, unit="share",
               note=note)  # fmt: skip


def composed() -> list[Row]:
    """Drafter x feature x verifier."""
    found = compose.run(Setup())
    told, odd = found.document(), found.count("wrong")
    said = "; ".join(f"{c['drafter']}, {c['feature']}, {c['verifier']}: {c['said']}" for c in told["odd"])
    cells = len(found.cells)
    return [
        Row("cells right or refused by name", 1 - odd / cells, None, cells, bar=1.0, unit="share",
            note=f"{len(told['groups'])} drafters, {len(told['features'])} features, {len(VERIFIERS)} verifiers"),
        Row("cells refused", found.count("refused") / cells, None, cells, bar=compose.REFUSED, unit="share", note=said),
        Row("sampled tokens beside features, family-wise p", told["p"], None, told["tokens"], bar=compose.RARE,
            unit="p", note=f"{told['law_tests']} tests; {told['worst_law']}"),
    ]  # fmt: skip


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000, help="texts in all")
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked, began = parser.parse_args(), time.monotonic()
    rows = [*laws(asked.samples), same(asked.prompts), *composed()]
    command = " ".join(["python", "scripts/draft_law.py", *sys.argv[1:]])
    meta = store.origin("jielong.infer.draft.large", command=command,
                        minutes=(time.monotonic() - began) / 60, mode="exact")  # fmt: skip
    made = Result("draft_law", "Guessing ahead keeps the law, through the engine", tuple(rows),
                  meta={**meta, "at_most": ["cells refused"]})  # fmt: skip
    print(store.save(made, asked.out))
    for row in made.rows:
        print(f"{row.name}: {row.estimate:.3g} {row.unit} (bar {row.bar}) n {row.n:,} {row.note}")


if __name__ == "__main__":
    main()
