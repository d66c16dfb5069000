"""The example of the page's section runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_the_example_runs() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "infer.md").read_text(encoding="utf-8")
    section = page[page.index("## Grammars") : page.index("## An example")]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
