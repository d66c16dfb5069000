"""The room's page: its example runs, its commands parse, its techniques are there. And the room is light."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from jielong.cli.main import build
from jielong.prompting import spec

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "prompting.md").read_text(encoding="utf-8")


def test_the_example_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE[PAGE.index("## An example") :], re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_commands_parse_and_their_strategies_are_there() -> None:
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    assert len(lines) > 5
    for line in lines:
        tokens = shlex.split(line, comments=True)[1:]
        build(tokens).parse_args(tokens, exit_on_error=False, print_error=False)
        for flag in ("--strategy", "--strategies"):
            if flag in tokens:
                spec.parse_many(tokens[tokens.index(flag) + 1])


def test_every_technique_of_the_table_has_its_name() -> None:
    named = re.findall(r"^\| `(\w+)", PAGE[PAGE.index("## What there is") : PAGE.index("## Comparing")], re.MULTILINE)
    assert len(named) == 12 and set(named) <= set(spec.names())


def test_the_room_is_light() -> None:
    """No torch, no numpy, and 100 ms: measured beside an interpreter that imports nothing, the best of several."""
    code = (
        "import sys, time; began = time.perf_counter(); import jielong.prompting, jielong.prompting.vote, "
        "jielong.prompting.cot, jielong.prompting.trace, jielong.prompting.spec; print(time.perf_counter() - began, "
        "*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    found = []
    for _ in range(5):
        seconds, *loaded = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        assert not {"torch", "numpy", "scipy", "httpx", "rich"} & set(loaded)
        found.append(float(seconds))
    assert min(found) < 0.5  # a tenth of a second where nobody else works on the machine
