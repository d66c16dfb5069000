"""Who may read which documents: rules of patterns and groups, and readers as the groups they belong to.

    # rights.toml: a document that several patterns match wants a group of each; one that none matches is open to all
    "salaries/*" = ["boss", "bookkeeping"]
    "*.draft.md" = ["authors"]

Rights are kept as what is wanted: a list of clauses, each a list of groups of which a reader must have one. Rights hold
within this program: whoever may read the file of the index may read all that is in it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from jielong.base.errors import UserError
from jielong.base.plain import dumps, loads

Rules = Mapping[str, Sequence[str]]


def read_rules(path: str | Path) -> dict[str, list[str]]:
    """The rules in a TOML file. UserError where it is none, or has anything but lists of names."""
    try:
        rules = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the rights in {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"the rights in {path} are not TOML ({error}): mend it") from error
    for pattern, groups in rules.items():
        if not isinstance(groups, list) or not groups or not all(isinstance(each, str) and each for each in groups):
            raise UserError(f'{path}: {pattern!r} wants a list of groups, such as "{pattern}" = ["boss"]')
    return rules


def clauses(rules: Rules, path: str) -> str:
    """What the rules want of who reads the document at `path` (with / between folders, whatever the case)."""
    wanted = {tuple(sorted(set(groups))) for pattern, groups in rules.items() if _matches(path, pattern)}
    return dumps(sorted(wanted))


def _matches(path: str, pattern: str) -> bool:
    """`*` goes over folders too. Case is passed over: a rule must not fail by an upper-case suffix."""
    return fnmatchcase(path.casefold(), pattern.casefold())


def may(reader: Collection[str], clauses: str) -> bool:
    """Whether who belongs to these groups may read it."""
    return all(set(reader) & set(each) for each in loads(clauses))
