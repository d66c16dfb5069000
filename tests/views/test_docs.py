"""The example of the page of views runs."""

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_of_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "views.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "example", "exec"), names)  # noqa: S102
    shown = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "96.0%" in shown and "≥ 95%" in shown and "損失" in shown
