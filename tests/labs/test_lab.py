"""Finding labs, keeping parts, running and storing."""

from __future__ import annotations

import importlib
import io
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jielong.base.errors import UserError
from jielong.base.result import Interval, Result, Row
from jielong.base.talk import Talk
from jielong.labs import lab as lab_module
from jielong.labs import store
from jielong.labs.lab import Budget, Lab, find, lab, names, part, parts_folder, shared
from jielong.labs.verdict import judge
from jielong.views.markup import Words

TOY = '''
"""A lab."""
CLAIM = {"en": "Claim", "zh": "主張"}
SOURCE: dict = {"en": "Lecture 1", "zh": "第一講"}
EXPECT = {"en": "More", "zh": "更多"}
MINUTES = 2.5
def run(budget):
    import torch
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of two labs and a helper, under a name of its own."""
    folder = tmp_path / "toylabs"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "helper.py").write_text("x = 1\n")
    (folder / "second.py").write_text(TOY.replace("CLAIM =", "CLAIM: dict ="))
    (folder / "first.py").write_text(TOY + "SEEDS = 5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("toylabs")]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    return "toylabs"


def test_labs_are_the_files_with_a_claim(package: str) -> None:
    found = find(package)
    assert [each.name for each in found] == ["first", "second"]
    first = found[0]
    assert first.claim == Words("Claim", "主張") and first.source == Words("Lecture 1", "第一講")
    assert (first.minutes, first.seeds, found[1].seeds) == (2.5, 5, 3)
    assert first.module == "toylabs.first" and first.command == "jielong lab run first"


def test_this_folder_is_read_without_torch() -> None:
    before = "torch" in sys.modules
    assert [each.name for each in find()] == names() and ("torch" in sys.modules) == before


def test_a_wrong_name_and_a_lab_without_its_parts(package: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no lab 'third'; there are: first, second"):
        lab("third", package)
    (tmp_path / "toylabs" / "third.py").write_text("CLAIM = {}\nEXPECT = {}\n")
    with pytest.raises(UserError, match="lab third lacks SOURCE, run"):
        lab("third", package)
    (tmp_path / "toylabs" / "fourth.py").write_text("CLAIM = (\n")
    with pytest.raises(UserError, match=r"fourth\.py is not Python"):
        names(tmp_path / "toylabs")


@pytest.mark.parametrize("wrong", [{"seeds": ()}, {"minutes": 0.0}, {"tokens": -1}])
def test_an_empty_budget_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        Budget(**wrong)


def budget(tmp_path: Path, **changes: Any) -> Budget:
    return Budget(**{"out": tmp_path, "lab": "toy", "sources": "abc", **changes})


class Counted:
    """A measurement that counts how often it is made."""

    def __init__(self, value: Any) -> None:
        self.value, self.times = value, 0

    def __call__(self) -> Any:
        self.times += 1
        return self.value


def test_a_part_is_made_once_and_comes_back_the_same(tmp_path: Path) -> None:
    make = Counted({"a": (1, 2.5), "nan": [math.inf], "t": "接"})
    first = part(budget(tmp_path), ("size", 100, 0), make)
    again = part(budget(tmp_path), ("size", 100, 0), make)
    assert first == again == {"a": [1, 2.5], "nan": [math.inf], "t": "接"} and make.times == 1


@pytest.mark.parametrize(
    "key, changes",
    [
        (("size", 100, 1), {}),
        ("other", {}),
        (0, {"sources": "abd"}),
        (0, {"minutes": 2.0}),
        (0, {"tokens": 5}),
        (0, {"lab": "b"}),
    ],
)
def test_a_part_of_another_key_source_size_or_lab_is_made_anew(
    tmp_path: Path, key: Any, changes: dict[str, Any]
) -> None:
    make = Counted(1)
    part(budget(tmp_path), 0, make)
    part(budget(tmp_path, **changes), key, make)
    assert make.times == 2


def test_other_seeds_do_not_unmake_a_part(tmp_path: Path) -> None:
    make = Counted(1)
    part(budget(tmp_path, seeds=(0,)), 0, make)
    part(budget(tmp_path, seeds=(0, 1)), 0, make)
    assert make.times == 1


@pytest.mark.parametrize("junk", ["", "{", "[1]", '{"value": 1}'])
def test_a_broken_part_is_made_anew(tmp_path: Path, junk: str) -> None:
    make = Counted(7)
    part(budget(tmp_path), 0, make)
    (file,) = parts_folder(budget(tmp_path)).iterdir()
    file.write_text(junk)
    assert part(budget(tmp_path), 0, make) == 7 and make.times == 2


def test_parts_of_an_interrupted_lab_are_used_and_their_time_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    stop = [True]

    def measure(seed: int) -> float:
        if stop[0] and seed == 2:
            raise KeyboardInterrupt
        made.append(seed)
        return 0.9 + seed / 100

    class Toy(Lab):
        def run(self, budget: Budget) -> Result:
            values = [part(budget, seed, lambda seed=seed: measure(seed)) for seed in budget.seeds]
            row = Row("r", sum(values) / 3, Interval(0.9, 0.93), 3, 0.5)
            return Result("toy", "Toy", (judge(row, "above"),), meta={"mode": "exact"})

    toy = Toy("toy", "jielong.labs.lab", "c", "s", "e")
    given = Budget(out=tmp_path, talk=Talk(stream=io.StringIO()))
    with pytest.raises(KeyboardInterrupt):
        store.measure(toy, given, folder=tmp_path / "results")
    assert made == [0, 1] and store.load("toy", tmp_path / "results") is None
    stop[0] = False
    clock = iter([100.0, 160.0])
    for file in parts_folder(Budget(out=tmp_path, lab="toy")).iterdir():
        file.write_text(json.dumps({**json.loads(file.read_text()), "seconds": 60}))
    # The name in that module alone: time.monotonic itself is asked by other threads too, and by the part's own timing.
    monkeypatch.setattr(store, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    result = store.measure(toy, given, command="jielong lab run toy --seeds 3", folder=tmp_path / "results")
    assert made == [0, 1, 2] and result.row("r").estimate == pytest.approx(0.91)
    assert result.meta["minutes"] == pytest.approx((60 + 120) / 60, abs=0.01)
    assert store.load("toy", tmp_path / "results") == result
    assert not parts_folder(Budget(out=tmp_path, lab="toy")).exists()
    assert (
        result.meta["mode"] == "exact"
        and result.meta["verdict"] == "held"
        and result.meta["seeds"] == [0, 1, 2]
    )
    assert result.meta["sources"]["jielong/labs/lab.py"] and result.meta["command"].endswith("--seeds 3")


def simple(value: object) -> Lab:
    class Simple(Lab):
        def run(self, budget: Budget) -> Result:
            part(budget, 0, lambda: 1)
            if isinstance(value, Exception):
                raise value
            return Result("toy", "Toy", (Row("r", 1, Interval(0, 1), 1, 0.5, verdict="held"),))

    return Simple("toy", "jielong.labs.lab", "c", "s", "e")


def test_a_lab_may_begin_anew(tmp_path: Path) -> None:
    given = Budget(out=tmp_path)
    with pytest.raises(ZeroDivisionError):
        store.measure(simple(ZeroDivisionError()), given, folder=tmp_path)
    (file,) = parts_folder(Budget(out=tmp_path, lab="toy")).iterdir()
    before = file.stat().st_ino
    with pytest.raises(ZeroDivisionError):
        store.measure(simple(ZeroDivisionError()), given, folder=tmp_path, resume=False)
    assert file.stat().st_ino != before or file.stat().st_mtime_ns > 0
    assert len(list(file.parent.iterdir())) == 1


def test_sources_edited_during_the_run_leave_a_stale_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([{"jielong/labs/lab.py": "before"}, {"jielong/labs/lab.py": "after"}])
    monkeypatch.setattr(store, "sources", lambda module, root=None: next(answers))
    said = io.StringIO()
    result = store.measure(simple(None), Budget(out=tmp_path, talk=Talk(stream=said)), folder=tmp_path)
    assert (
        result.meta["sources"] == {"jielong/labs/lab.py": "before"}
        and "edited while it ran" in said.getvalue()
    )


def test_what_a_lab_returns_must_be_its_result(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("toylabs.first")
    for wrong in ({"rows": []}, Result("other", "Other", ())):
        monkeypatch.setattr(module, "run", lambda budget, wrong=wrong: wrong)
        with pytest.raises(UserError, match="lab first must return a Result of that name"):
            lab("first", package).run(Budget(out=tmp_path))
    right = Result("first", "First", ())
    monkeypatch.setattr(module, "run", lambda budget: right)
    assert lab("first", package).run(Budget(out=tmp_path)) is right


def test_stored_results_and_broken_ones(tmp_path: Path) -> None:
    assert store.load_all(tmp_path / "none") == [] and store.load("x", tmp_path) is None
    for name in ("b", "a"):
        store.save(Result(name, name, ()), tmp_path)
    assert [result.name for result in store.load_all(tmp_path)] == ["a", "b"]
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json"):
        store.load("a", tmp_path)
    assert not store.fresh(Lab("b", "m", "c", "s", "e"), tmp_path)


def fill(folder: Path) -> None:
    (folder / "model").write_text("weights")


def test_a_shared_folder_is_made_once_whole_and_for_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"jielong/x.py": "1"}
    monkeypatch.setattr(lab_module, "sources", lambda module: files)
    given = Budget(out=tmp_path, talk=Talk(verbosity=-1))

    def fail(folder: Path) -> None:
        fill(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shared(given, ("base", 1), fail)
    path = shared(given, ("base", 1), fill)
    assert (path / "model").read_text() == "weights" and shared(given, ("base", 1), fail) == path
    assert shared(given, ("base", 2), fill) != path
    files["jielong/x.py"] = "2"
    assert shared(given, ("base", 1), fill) != path
