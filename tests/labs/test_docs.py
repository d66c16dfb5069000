"""The lab that the room's page shows is one."""

import re
from pathlib import Path
from typing import Any

from jielong.labs.lab import Budget
from jielong.labs.verdict import verdict

PAGE = Path(__file__).resolve().parents[2] / "docs" / "labs.md"


def test_the_lab_on_the_page_runs(tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(compile(code, "example", "exec"), names)  # noqa: S102
    names["measure"] = lambda seed: 96  # not what a test of the mechanism should wait for
    result = names["run"](Budget(out=tmp_path, lab="page"))
    assert verdict(result) == "held" and result.row("answers").n == 300
