"""What a person may name as data: a file, a folder of files, `hf:NAME[:CONFIG][:SPLIT]`, `world:KIND[:N]`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from jielong.base.errors import UserError

TEXT = (".txt", ".md")
LINES = (".jsonl", ".ndjson")
RECORDS = (*LINES, ".json", ".parquet")
WORLD_N = 1000


@dataclass(frozen=True)
class Hub:
    """A data set on the Hugging Face hub."""

    name: str
    config: str | None
    split: str

    def __str__(self) -> str:
        return ":".join(["hf", self.name, *([self.config] if self.config else []), self.split])


@dataclass(frozen=True)
class Worldly:
    """A kind of text of the built-in world, and how much of it."""

    kind: str
    n: int

    def __str__(self) -> str:
        return f"world:{self.kind}:{self.n}"


@dataclass(frozen=True)
class Files:
    """Files in a fixed order; `folder` when they were found in one."""

    paths: tuple[Path, ...]
    folder: Path | None = None

    def __str__(self) -> str:
        return str(self.folder or self.paths[0])


Source = Hub | Worldly | Files


def suffix(path: Path) -> str:
    """The suffix in lower case, that before `.gz` for a packed file."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def find(spec: str | Path, suffixes: tuple[str, ...] = TEXT + RECORDS) -> Source:
    """What `spec` names. Raises UserError for a path that is not there or a folder without such files."""
    if isinstance(spec, str) and spec.startswith("hf:"):
        return _hub(spec)
    if isinstance(spec, str) and spec.startswith("world:"):
        return _world(spec)
    path = Path(spec).expanduser()
    if path.is_dir():
        return _folder(path, suffixes)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder (also understood: hf:NAME[:SPLIT], world:KIND[:N])")
    return Files((path,))


def _hub(spec: str) -> Hub:
    name, *rest = spec.removeprefix("hf:").split(":")
    if not name or len(rest) > 2 or not all(rest):
        raise UserError(f"{spec!r}: write hf:NAME, hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT")
    return Hub(name, rest[0] if len(rest) == 2 else None, rest[-1] if rest else "train")


def _world(spec: str) -> Worldly:
    kind, _, n = spec.removeprefix("world:").partition(":")
    if not kind or (n and not (n.isdecimal() and int(n) > 0)):
        raise UserError(f"{spec!r}: write world:KIND or world:KIND:N with N 1 or more")
    return Worldly(kind, int(n) if n else WORLD_N)


def _folder(folder: Path, suffixes: tuple[str, ...]) -> Files:
    """All files below with these suffixes, hidden ones left out, sorted by their path inside the folder."""
    found: list[Path] = []
    for here, below, names in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".")]
        found += [Path(here, name) for name in names if not name.startswith(".")]
    paths = sorted((p for p in found if suffix(p) in suffixes), key=lambda p: p.relative_to(folder).parts)
    if not paths:
        raise UserError(f"{folder}: no {', '.join(suffixes)} file in it (packed as .gz or not)")
    return Files(tuple(paths), folder)
