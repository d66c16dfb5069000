"""Several drafts of one row, read in one step: the first stands in the row's text, each other in a branch beside it.

A branch is a row of its own for one step. It shares the full pages of what was read; the page that is half full is
copied, and the token before the guesses is read again. When a branch's guesses stay, its pages take the place of the
row's. So nothing about drafts is known to a runner, and what a branch reads has the bits that the row would have read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jielong.infer.draft.types import Draft
from jielong.infer.runner import pages_for
from jielong.infer.schedule import Row, Work
from jielong.nets.pages import SIZE

if TYPE_CHECKING:
    from jielong.infer.core import Core


@dataclass(frozen=True, eq=False)
class Path:
    """A draft that the model has read: `row` is the draft's own, or a branch; its logits begin at `place`."""

    draft: Draft
    row: Row
    place: int = 0


def begins(draft: Draft, tokens: Sequence[int]) -> bool:
    """Whether a draft begins with these."""
    return draft.tokens[: len(tokens)] == tuple(tokens)


def different(drafts: Sequence[Draft]) -> list[Draft]:
    """Those that say more than the ones before them; what a verifier makes of the others is nothing."""
    found: list[Draft] = []
    for draft in drafts:
        if draft.tokens and not any(begins(other, draft.tokens) for other in found):
            found.append(draft)
    return found or [Draft()]


def fork(core: Core, row: Row, drafts: Sequence[Draft], most: int, budget: int) -> list[Path]:
    """Branches of a row whose guesses are fed whole in this step, for as many of these drafts as there is room for.

    `most`: how long a draft could have been. Whether there is room must not depend on what was drawn, or those that
    are left would not follow the law they were drawn from.
    """
    blocks, trunk = core.scheduler.blocks, len(row.text) - row.guesses
    full, part = divmod(row.held, SIZE)
    paths, sources, copies = list[Path](), list[int](), list[int]()
    for draft in drafts:
        width = 1 + len(draft.tokens)
        fresh = pages_for(row.held + width) - full
        if 1 + most > budget or pages_for(row.held + 1 + most) - full > blocks.room:
            break
        branch = Row(row.number, row.request, row.limit, trunk=row)
        branch.text = [*row.text[:trunk], *draft.tokens]
        branch.read, branch.dropped, branch.guesses = row.read, row.dropped, len(draft.tokens)
        blocks.share(row.table[:full])
        branch.table = row.table[:full] + blocks.take(fresh)
        if part:
            sources.append(row.table[full])
            copies.append(branch.table[full])
        paths.append(Path(draft, branch))
        budget -= 1 + most
    core.runner.copy(sources, copies)
    return paths


def works(paths: Sequence[Path]) -> list[Work]:
    """What the branches are to be fed."""
    return [Work(path.row, path.row.unread) for path in paths]


def adopt(core: Core, row: Row, branch: Row) -> None:
    """What the branch has read of its guesses is the row's own from now on. Pages that were certain stay: others may
    have found them."""
    same = max(row.named, branch.held // SIZE) if not row.dropped else branch.held // SIZE
    row.table[same:], branch.table[same:] = branch.table[same:], row.table[same:]


def drop(core: Core, paths: Sequence[Path]) -> None:
    """The step is over: the branches' pages go back."""
    for path in paths:
        core.scheduler.blocks.drop(path.row.table)
        path.row.table = []

