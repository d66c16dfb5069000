"""What the agents' room has to reach: calls of a small random model, escapes stopped, and how fast a sandbox starts.

    python scripts/agents.py                     # into docs/results/agents.json; about ten minutes of one core
    python scripts/agents.py --calls 0           # the sandboxes alone
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from jielong.agents.sandbox.choose import SANDBOXES, named, probe
from jielong.agents.sandbox.escapes.control import Plain
from jielong.agents.sandbox.escapes.ground import attempts
from jielong.agents.sandbox.escapes.table import ESCAPES
from jielong.agents.sandbox.ran import Sandbox
from jielong.agents.tools.calculator import calculator
from jielong.agents.tools.calls import Call, carry_out, form, read
from jielong.agents.tools.tool import Tools, toolbox
from jielong.base import stats
from jielong.base.result import Result, Row
from jielong.labs import store
from jielong.lm.sync import run

ROOT = Path(__file__).resolve().parent.parent
ROOM = 300  # tokens of a call
STARTS = 41
BARS = {"monty": 10.0, "sandlock": 50.0, "bubblewrap": 50.0, "docker": 50.0}  # milliseconds


def towns(town: str, field: str, year: int = 2026) -> str:
    """A number from the register of towns."""
    return str(len(town) + len(field) + year)


def model() -> Any:
    """About a million parameters, never trained."""
    import torch

    from jielong.lm.local import Local, Parts
    from jielong.nets.config import TransformerConfig
    from jielong.nets.transformer import Transformer
    from jielong.units import bpe

    codec = bpe.train(["The cat sat on the mat. 玉山是臺灣最高的山。"] * 50, size=290)
    torch.manual_seed(0)
    config = TransformerConfig(vocab=codec.size, context=1024, dim=128, layers=5, heads=4, kv_heads=2, head_dim=32,
                               hidden=384)  # fmt: skip
    made = Transformer(config).eval()
    print(f"{sum(p.numel() for p in made.parameters()):,} parameters", flush=True)
    return Local(Parts(made, codec))


def malformed(lm: Any, tools: Tools, count: int, held: bool) -> int:
    """How many of `count` draws are not exactly one call of a tool that there is, with arguments that fit."""
    rule = {"grammar": form(tools, ROOM, free=False)} if held else {}
    bad = 0
    for first in range(0, count, 50):
        for draw in lm.sample("Call a tool.", n=min(50, count - first), start=first, max_tokens=ROOM, **rule):
            _, calls, fault = read(draw.text)
            bad += bool(fault) or len(calls) != 1 or not fits(tools, calls[0])
    return bad


def fits(tools: Tools, call: Call) -> bool:
    """Whether the call comes to the tool: that 'x + ' has no value is the tool's word and no matter of form."""
    seen = run(carry_out(tools, call))
    return not seen.fault or not any(word in seen.text for word in ("field required", "input", "there is no tool"))


def calls(count: int) -> list[Row]:
    lm, tools, rows = model(), toolbox(calculator, towns), list[Row]()
    for held in (True, False):
        bad = malformed(lm, tools, count, held)
        rows.append(Row(f"malformed of {count:,} calls, {'with' if held else 'without'} the grammar", float(bad),
                        None, count, bar=0.0 if held else None, group="a million random parameters",
                        verdict=("met" if bad == 0 else "missed") if held else ""))  # fmt: skip
    return rows


def start(name: str) -> Row:
    """The median of one run of a line, from the call to the result; monty's worker waits, all else is started anew."""
    with named(name) as box:
        for _ in range(3):
            box.run("6 * 7")
        times = []
        for _ in range(STARTS):
            began = time.perf_counter()
            assert box.run("6 * 7").out == "42\n"
            times.append(1000 * (time.perf_counter() - began))
    median = statistics.median(times)
    return Row(f"{name}: a run of one line, median", median, stats.bootstrap(times, np.median), STARTS,
               bar=BARS[name], unit="ms", group="start", verdict="met" if median <= BARS[name] else "missed",
               note=f"the fastest {min(times):.1f} ms; load of the machine {os.getloadavg()[0]:.1f}")  # fmt: skip


def escapes(box: Sandbox) -> Row:
    with box:
        found = list(attempts(box, ESCAPES))
    stopped = sum(each.stopped for each in found)
    out = ", ".join(each.escape.name for each in found if not each.stopped) if stopped else ""
    wanted = 0 if box.name == "exec" else len(found)
    return Row(f"{box.name}: escapes stopped", float(stopped), None, len(found), bar=float(wanted), group="escapes",
               verdict="met" if stopped == wanted else "missed", note=out)  # fmt: skip


def main(arguments: Any) -> None:
    began = time.monotonic()
    rows = calls(arguments.calls) if arguments.calls else []
    probes = [probe(name) for name in SANDBOXES]
    print("; ".join(f"{each.name}: {each.why or 'works'}" for each in probes), flush=True)
    rows += [start(each.name) for each in probes if each.works]
    boxes = [named(each.name) for each in probes if each.works]
    for box in [*boxes, Plain()] if not arguments.no_escapes else []:
        rows.append(escapes(box))
    for row in rows:
        print(f"{row.group}: {row.name} {row.estimate:.2f} {row.unit} {row.verdict} {row.note}", flush=True)
    meta = store.origin("jielong.agents.tools.loop", command="python scripts/agents.py",
                        minutes=(time.monotonic() - began) / 60, seeds=(0,))  # fmt: skip
    if arguments.out:
        title = "Tools and sandboxes: calls, escapes, starts"
        store.save(Result("agents", title, tuple(rows), meta=meta), arguments.out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--no-escapes", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results")
    main(parser.parse_args())
