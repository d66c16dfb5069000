"""Which files a result depends on, and whether they have changed since.

The imports of a module are read from its syntax tree (at the top and inside functions alike) and followed
through the package; each file's code is hashed. Comments, docstrings and blank lines are not code: improving
a sentence makes no result stale. What only shows or keeps results (SHOWS), and the version number, are left
out: a prettier page does not make a number doubtful.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from jielong.base.errors import UserError
from jielong.base.result import Result

PACKAGE = "jielong"
SHOWS = frozenset(
    {"views", "cli", "base.talk", "labs.claims", "labs.pages", "labs.results", "labs.sources", "labs.store"}
)


def package_parent() -> Path:
    """The folder that holds the package."""
    return Path(__file__).resolve().parents[2]


def sources(module: str, root: Path | None = None) -> dict[str, str]:
    """{path below `root`: hash of its code} of a module and all it imports from the package, sorted by path.

    Raises UserError when the module is not there or one of the files is not Python.
    """
    root = root or package_parent()
    if _path(module, root) is None:
        raise UserError(f"there is no module {module} below {root}")
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or _shows(name):
            continue
        seen.add(name)
        waiting += _imports(name, root)
    paths = [path for name in seen if (path := _path(name, root)) is not None]
    return {str(path.relative_to(root).as_posix()): digest(path) for path in sorted(paths)}


def combined(files: Mapping[str, str]) -> str:
    """One hash of all: 16 hexadecimal digits."""
    lines = "".join(f"{path} {files[path]}\n" for path in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def stale(result: Result, root: Path | None = None) -> list[str]:
    """The files whose code has changed, or that are gone, since the result was made; "?" where it does not
    say what it was made from. Files that its lab does not read today say nothing where they alone have changed."""
    files = result.meta.get("sources")
    if not isinstance(files, Mapping):
        return ["?"]
    root = root or package_parent()
    changed = [path for path, was in sorted(files.items()) if digest(root / path) != was]
    module = f"{PACKAGE}.labs.{result.name}"
    if changed and _path(module, root) is not None:
        today = sources(module, root)
        if not any(path in today or not (root / path).is_file() for path in changed):
            return []
    return changed


def digest(path: Path) -> str:
    """Hash of a file's code: 16 hexadecimal digits, "" where there is no such file.

    Raises UserError when it is not Python.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    return _digest(text, str(path))


@cache  # every part of every lab asks for hundreds of files; the same text has the same code
def _digest(text: str, name: str) -> str:
    return hashlib.sha256(code(text, name).encode()).hexdigest()[:16]


def code(text: str, name: str = "source") -> str:
    """The text without comments, docstrings, blank lines and blanks at the ends of lines."""
    tree = _parse(text, name)
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for first, last in _docstrings(tree):
        lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _parse(text: str, name: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{name} is not Python: {error}") from error


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """First and last line of every docstring that has its lines to itself."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0] if node.body else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            alone = isinstance(node, ast.Module) or first.lineno > node.lineno
            crowded = len(node.body) > 1 and node.body[1].lineno <= (first.end_lineno or first.lineno)
            if alone and not crowded:
                yield first.lineno, first.end_lineno or first.lineno


def _shows(name: str) -> bool:
    inner = name.removeprefix(f"{PACKAGE}.")
    return name == PACKAGE or inner in SHOWS or inner.split(".")[0] in SHOWS


def _path(name: str, root: Path) -> Path | None:
    """The file of a module of the package; None for anything else."""
    if name.split(".")[0] != PACKAGE:
        return None
    place = root.joinpath(*name.split("."))
    for path in (place.with_suffix(".py") if "." in name else place / "__init__.py", place / "__init__.py"):
        if path.is_file():
            return path
    return None


def _imports(name: str, root: Path) -> list[str]:
    """The package's modules that this one imports, itself a part of its parents."""
    path = _path(name, root)
    if path is None:
        return []
    parts = name.split(".")
    package = tuple(parts if path.name == "__init__.py" else parts[:-1])
    named, made = _named(path.read_text(encoding="utf-8"), str(path), package)
    found = [".".join(parts[:end]) for end in range(1, len(parts))] + list(named)
    words = _words(path.read_text(encoding="utf-8"), str(path)) if made else frozenset()
    for call in made:
        found += _called(call, root, words)
    return [module for module in found if _path(module, root) is not None]


@cache
def _named(text: str, name: str, package: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[ast.Call, ...]]:
    """What a file's statements import, and its calls that may."""
    found, calls = [], []
    for node in ast.walk(_parse(text, name)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            base = base if node.level else node.module or ""
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and _asks(node):
            calls.append(node)
    return tuple(found), tuple(calls)


def _asks(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name == "import_module" and bool(call.args)


@cache
def _words(text: str, name: str) -> frozenset[str]:
    """All strings of a file: what an import that is put together from one may mean."""
    values = (node.value for node in ast.walk(_parse(text, name)) if isinstance(node, ast.Constant))
    return frozenset(value for value in values if isinstance(value, str))


def _called(call: ast.Call, root: Path, words: frozenset[str]) -> list[str]:
    """What `import_module("jielong.a.b")` imports, or may: for f"jielong.a.{x}" the modules of that room that the file
    names, all of them where it names none."""
    asked = call.args[0]
    if isinstance(asked, ast.Constant) and isinstance(asked.value, str):
        return [asked.value]
    if not (isinstance(asked, ast.JoinedStr) and isinstance(asked.values[0], ast.Constant)):
        return []
    room = str(asked.values[0].value).removesuffix(".")
    place = root.joinpath(*room.split("."))
    if not room.startswith(f"{PACKAGE}.") or not place.is_dir():
        return []
    every = [path.stem for path in sorted(place.glob("*.py")) if path.stem != "__init__"]
    return [room, *(f"{room}.{stem}" for stem in ([stem for stem in every if stem in words] or every))]
