"""The example on the page runs, and gives what it says."""

from __future__ import annotations

import re
from pathlib import Path


def test_the_example_of_the_page(in_tmp, capsys):
    page = (Path(__file__).resolve().parents[2] / "docs" / "units.md").read_text(encoding="utf-8")
    exec(re.search(r"```python\n(.*?)```", page, re.S)[1], {})  # noqa: S102
    asked = "<|im_start|>user\nWhich mountain is the highest?<|im_end|>\n"
    assert capsys.readouterr().out == asked + "<|im_start|>assistant\n玉山<|im_end|>\n\n"
