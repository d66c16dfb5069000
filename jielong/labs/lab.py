"""What a lab is, how labs are found, and what one is given to run with.

A lab is a file of this folder with a claim at its top, and a function that measures it:

    CLAIM = {"en": "...", "zh": "..."}
    SOURCE = {"en": "Lecture 6; Ouyang et al. 2022, section 4", "zh": "第 6 講；…"}
    EXPECT = {"en": "what should be seen if it is true", "zh": "..."}
    MINUTES, SEEDS = 4.0, 3                     # optional: what it needs on two cores

    def run(budget: Budget) -> Result:
        import torch                            # heavy imports stay inside
        for seed in budget.seeds:
            scores = part(budget, ("size", 100, seed), lambda: measure(seed))
        return Result("its_name", "Its title", rows=(judge(row, "above"), check(control)))

No list of labs is kept anywhere: the folder is the list.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from jielong.base.errors import UserError
from jielong.base.files import atomic_dir, digest, read_json, write_json
from jielong.base.plain import dumps, loads
from jielong.base.result import Result
from jielong.base.talk import Talk
from jielong.labs.sources import combined, sources
from jielong.views.markup import Prose, words

T = TypeVar("T")
SEEDS = 3


@dataclass(frozen=True)
class Budget:
    """What a lab may spend and where it may write.

    `minutes` or `tokens` is the size of the whole lab (None: its own choice); `seeds` the seeds to repeat it
    with; `out` a folder shared by all labs (checkpoints, finished parts). `lab` and `sources` are filled in
    by the runner and address the parts; `spent` collects the seconds that reused parts once took.
    """

    minutes: float | None = None
    tokens: int | None = None
    seeds: tuple[int, ...] = tuple(range(SEEDS))
    out: Path = Path("runs/labs")
    talk: Talk = field(default_factory=lambda: Talk(verbosity=-1))
    lab: str = ""
    sources: str = ""
    spent: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.seeds:
            raise UserError("a lab needs one seed or more; give --seeds 3")
        if any(limit is not None and limit <= 0 for limit in (self.minutes, self.tokens)):
            raise UserError("the budget is nought or less; give --minutes or --tokens above 0")


@dataclass(frozen=True)
class Lab:
    """A lab as it is found: its name, its prose, and what it would like to spend."""

    name: str
    module: str
    claim: Prose
    source: Prose
    expect: Prose
    minutes: float | None = None
    seeds: int = SEEDS

    @property
    def command(self) -> str:
        """The line that measures it."""
        return f"jielong lab run {self.name}"

    def run(self, budget: Budget) -> Result:
        """Measure. Raises what the lab raises, and UserError when what it returns is not its result."""
        result = importlib.import_module(self.module).run(budget)
        if not isinstance(result, Result) or result.name != self.name:
            raise UserError(f"lab {self.name} must return a Result of that name, not {_what(result)}")
        return result


def _what(value: object) -> str:
    return f"the result {value.name!r}" if isinstance(value, Result) else type(value).__name__


def names(folder: Path | None = None) -> list[str]:
    """The labs of a folder (default: this one): its files with a CLAIM at the top, none of them imported."""
    folder = folder or Path(__file__).parent
    return sorted(path.stem for path in folder.glob("*.py") if _claims(path))


def _claims(path: Path) -> bool:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path} is not Python: {error}") from error
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "CLAIM" for target in targets):
            return True
    return False


def find(package: str = "jielong.labs") -> list[Lab]:
    """All labs, by name. Importing one costs no more than its prose: labs import torch inside `run`."""
    folder = Path(inspect.getfile(importlib.import_module(package))).parent
    return [lab(name, package) for name in names(folder)]


def lab(name: str, package: str = "jielong.labs") -> Lab:
    """The lab of that name. Raises UserError when there is none (it names all) or it lacks a part."""
    folder = Path(inspect.getfile(importlib.import_module(package))).parent
    known = names(folder)
    if name not in known:
        raise UserError(f"there is no lab {name!r}; there are: {', '.join(known) or 'none'}")
    module = importlib.import_module(f"{package}.{name}")
    missing = [part for part in ("SOURCE", "EXPECT", "run") if not hasattr(module, part)]
    if missing:
        raise UserError(f"lab {name} lacks {', '.join(missing)} (see docs/labs.md)")
    claim, source, expect = (words(getattr(module, part)) for part in ("CLAIM", "SOURCE", "EXPECT"))
    minutes, seeds = getattr(module, "MINUTES", None), getattr(module, "SEEDS", SEEDS)
    return Lab(name, module.__name__, claim, source, expect, minutes, seeds)


def part(budget: Budget, key: Any, make: Callable[[], T]) -> T:
    """What `make` returns, kept as JSON so that an interrupted lab need not measure it again.

    It is used again only for the same key, sources and size of budget. Fresh or kept, the value has been
    through JSON (tuples are lists), so both give the same result. `key` is anything plain, as ("size", 9, 0).
    """
    identity = {
        "lab": budget.lab,
        "key": loads(dumps(key)),
        "sources": budget.sources,
        "minutes": budget.minutes,
        "tokens": budget.tokens,
    }
    path = parts_folder(budget) / f"{_slug(dumps(key))}-{digest(dumps(identity['key']).encode())[:8]}.json"
    kept = _kept(path)
    if kept is not None and {name: kept.get(name) for name in identity} == identity:
        budget.spent.append(float(kept["seconds"]))
        budget.talk.detail(f"{budget.lab}: {dumps(key)} kept from an earlier run")
        value: T = kept["value"]
        return value
    began = time.monotonic()
    fresh: T = loads(dumps(make()))
    write_json(path, {**identity, "seconds": time.monotonic() - began, "value": fresh})
    return fresh


def _kept(path: Path) -> dict[str, Any] | None:
    """A part's file; None where there is none or it cannot be read (then the part is made again)."""
    try:
        found = read_json(path) if path.is_file() else None
    except UserError:
        return None
    return found if isinstance(found, dict) and "value" in found and "seconds" in found else None


def parts_folder(budget: Budget) -> Path:
    """Where the finished parts of the budget's lab are kept until the lab is done."""
    return Path(budget.out) / "parts" / (budget.lab or "unnamed")


def forget(budget: Budget) -> None:
    """Remove the parts: the lab is done, or is to begin anew."""
    shutil.rmtree(parts_folder(budget), ignore_errors=True)


def shared(budget: Budget, key: Any, make: Callable[[Path], object]) -> Path:
    """A folder (a checkpoint) that several labs use: made once by `make(folder)`, whole or not there.

    It is made again when the code of the module that defines `make`, or of anything that imports, changes.
    So `make` belongs in a module that labs share, and all it depends on belongs in `key`.
    """
    address = {"key": loads(dumps(key)), "sources": combined(sources(make.__module__))}
    path = Path(budget.out) / "shared" / f"{_slug(dumps(key))}-{digest(dumps(address).encode())[:12]}"
    if not path.is_dir():
        budget.talk.say(f"making {path.name}, which other labs will use too")
        with atomic_dir(path) as folder:
            make(folder)
    return path


def _slug(shown: str) -> str:
    return re.sub(r"[^\w]+", "-", shown, flags=re.ASCII).strip("-").lower()[:48] or "part"
