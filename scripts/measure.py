"""Measure what the house promises of itself, and keep it in docs/results/house.json.

    .venv/bin/python scripts/measure.py          # some minutes: --help, import, the world's speed, tests, parity
    .venv/bin/python scripts/measure.py --quick  # without the fast tests as a whole
    .venv/bin/python scripts/measure.py --schedules  # 10,000 of the scheduler instead: docs/results/schedules.json

Parity with transformers runs in .venv-referees where `make referees` has made it, and is left out elsewhere.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import world_speed

from jielong.base.result import Interval, Result, Row
from jielong.cli.main import VERBS
from jielong.labs import store

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 5
RESULTS = ROOT / "docs/results"


def seconds(command: Sequence[str], repeats: int = REPEATS) -> list[float]:
    """Wall seconds of each run of a command that must succeed."""
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        found.append(time.perf_counter() - began)
    return found


def helps() -> Row:
    """The slowest median of `--help` over all verbs."""
    jielong = str(Path(sys.executable).with_name("jielong"))
    medians = {}
    for words in ("", *VERBS):
        medians[words] = statistics.median(seconds([jielong, *words.split(), "--help"]))
    slowest = max(medians, key=lambda words: medians[words])
    values = sorted(medians.values())
    return Row(
        "--help, slowest verb", medians[slowest], Interval(values[0], values[-1], 1.0, "range over verbs"),
        len(medians) * REPEATS, bar=0.5, unit="seconds", note=f"jielong {slowest} --help",
    )  # fmt: skip


def imports() -> Row:
    """Whether `import jielong` leaves torch unloaded."""
    code = "import jielong, sys; sys.exit('torch' in sys.modules)"
    failed = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode
    return Row("torch modules after import jielong", float(failed), None, 1, bar=0.0, unit="modules")


def passed(name: str, python: Path, tests: Sequence[str], note: str) -> Row | None:
    """Share of some tests that pass; None where their environment is not there."""
    if not python.exists():
        return None
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    said = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT).stdout
    good, bad = (sum(int(n) for n in re.findall(rf"(\d+) (?:{word})", said)) for word in ("passed", "failed|error"))
    return Row(name, good / max(1, good + bad), None, good + bad, bar=1.0, unit="share", note=note)


def fast_tests() -> list[Row]:
    """Minutes and branch coverage of the fast tests."""
    began = time.monotonic()
    flags = "--cov=jielong --cov-branch --cov-report=term"
    made = subprocess.run(
        ["make", "test", f"ARGS={flags}"], check=False, capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "CI": "true"},
    )  # fmt: skip
    minutes = (time.monotonic() - began) / 60
    cover = re.search(r"^TOTAL.*?(\d+)%", made.stdout, re.MULTILINE)
    tests = re.search(r"(\d+) passed", made.stdout)
    said = f"{tests[1] if tests else 0} passed" + ("" if made.returncode == 0 else ", some failed")
    return [
        Row("fast tests", minutes, None, 1, bar=10.0, unit="minutes", note=said),
        Row("branch coverage", int(cover[1]) / 100 if cover else 0.0, None, 1, bar=0.9, unit="share"),
    ]


def schedules(count: int = 10_000) -> None:
    """So many schedules of the scheduler, and exact bytes under some of them, kept by themselves."""
    began, tests = time.monotonic(), "tests/infer/test_fuzz.py"
    os.environ["JIELONG_SCHEDULES"] = str(count)
    row = passed("no page lost or doubled, nobody starves, identical bytes", Path(sys.executable), [tests], tests)
    assert row is not None
    rows = (Row("schedules tried", count, None, 1, bar=10_000, unit="schedules"), row)
    meta = store.origin("jielong.infer.core", command="python scripts/measure.py --schedules",
                        minutes=(time.monotonic() - began) / 60, mode="exact")  # fmt: skip
    print(store.save(Result("schedules", "The scheduler under random schedules", rows, meta=meta), RESULTS))
    print(f"{row.name}: {row.estimate:.3g} of {row.n} tests")


def main() -> None:
    """Measure and store."""
    if "--schedules" in sys.argv[1:]:
        return schedules()
    began = time.monotonic()
    here, referees = Path(sys.executable), ROOT / ".venv-referees/bin/python"
    same = ["tests/train/test_loop.py", "-k", "same_seed or resumed or kill or ctrl_c or two_processes or accumulated"]
    parity = ["tests/nets/test_qwen3_referee.py", "tests/nets/test_families_referee.py"]
    rows = [
        helps(),
        imports(),
        passed("same metrics: seed, resume, kill -9, processes", here, same, "tests/train/test_loop.py"),
        passed("tap off: same dispatched operations", here, ["tests/nets/test_transformer.py", "-k", "tap_off"], ""),
        passed(
            "families in transformers: logits within 1e-5, same text, written back",
            referees,
            parity,
            "GPT-2, Llama 2 and 3, SmolLM, Mistral, Qwen 2, 2.5 and 3, Gemma 2 and 3, Phi-3, OLMo-2",
        ),
        *world_speed.rows(),
        *([] if "--quick" in sys.argv[1:] else fast_tests()),
    ]
    at_most = ["--help, slowest verb", "torch modules after import jielong", "fast tests"]
    command = " ".join(["python", "scripts/measure.py", *sys.argv[1:]])
    meta = store.origin("jielong.cli.main", command=command, minutes=(time.monotonic() - began) / 60)
    made = Result(
        "house",
        "What the house promises of itself",
        tuple(row for row in rows if row),
        meta={**meta, "at_most": at_most},
    )
    print(store.save(made, RESULTS))
    for row in made.rows:
        print(f"{row.name}: {row.estimate:.3g} {row.unit} (bar {row.bar}) {row.note}")


if __name__ == "__main__":
    main()
