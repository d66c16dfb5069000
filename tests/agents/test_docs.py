"""The example of the room's page runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_the_example_runs() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "agents.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page[page.index("## An example") :], re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_room_takes_no_torch_and_no_numpy() -> None:
    rooms = "sandbox.choose sandbox.escapes.table tools.loop tools.calculator tools.kit mcp.serve mcp.consume".split()
    code = "; ".join(f"import jielong.agents.{name}" for name in rooms)
    code += "; import sys; assert not {'torch', 'numpy', 'mcp', 'pydantic_monty', 'sandlock'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
