"""What every verb shares: the flags ``--json``, ``-v``, ``-q``, and the exit codes.

A verb is a plain typed function whose last, keyword-only parameter is ``common``:

    def doctor(*, common: Common = Common()) -> None:
        talk = common.talk()
        ...
        talk.document(facts)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jielong.base.errors import WorkFailed

if TYPE_CHECKING:
    from jielong.base.talk import Talk

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


@Parameter(name="*", group="Common")
@dataclass(frozen=True)
class Common:
    """Flags that every verb takes."""

    json: Annotated[bool, Parameter(negative=())] = False
    "Print exactly one JSON document on standard output; everything else goes to standard error."
    verbose: Annotated[int, Parameter(alias="-v", count=True)] = 0
    "Say more."
    quiet: Annotated[bool, Parameter(alias="-q", negative=())] = False
    "Say nothing but the result and errors."

    def talk(self) -> Talk:
        """The messages object of this call: ``-q`` is verbosity -1, ``-v`` is 1."""
        from jielong.base.talk import Talk

        return Talk(verbosity=-1 if self.quiet else self.verbose, json=self.json)


@contextmanager
def going_on_with(command: str) -> Iterator[None]:
    """What is interrupted inside, or stopped by a full disk, ends in a line with the command that takes it up."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; `{command}` goes on where it stopped") from None
    except WorkFailed as error:
        if error.__cause__ is None:  # not the system's refusal: the same again would fail again
            raise
        raise WorkFailed(f"{error}; then `{command}` goes on where it stopped") from error
