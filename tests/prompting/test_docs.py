"""The room's page: its example runs, its commands parse, its techniques are there. And the room is light."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

from jielong.cli.acting import hands
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
                with hands(replay=True) as given:
                    spec.parse_many(tokens[tokens.index(flag) + 1], given)


def test_the_table_has_every_technique_and_no_other() -> None:
    table = PAGE[PAGE.index("## What there is") : PAGE.index("## Programs")]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    called = re.findall(r"`(\w+)(?:\.(\w+))?", " ".join(first))
    named = {name for name, function in called if not function}
    assert named == set(spec.names()) - {"shows"} and len(called) > 28  # `shows` is what adaptation tries examples with
    for module, function in called:
        if function:
            assert callable(getattr(importlib.import_module(f"jielong.prompting.{module}"), function))


def test_the_room_is_light() -> None:
    """No torch, no numpy, and 100 ms of a processor, the best of several: others may work on the machine too."""
    code = (
        "import sys, time; began = time.process_time(); import jielong.prompting, jielong.prompting.vote, "
        "jielong.prompting.cot, jielong.prompting.trace, jielong.prompting.spec; print(time.process_time() - began, "
        "*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    found = []
    for _ in range(5):
        seconds, *loaded = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        assert not {"torch", "numpy", "scipy", "httpx", "rich"} & set(loaded)
        found.append(float(seconds))
    assert min(found) < 0.2  # 0.07 s where nobody else works on the machine
