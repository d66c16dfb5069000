"""What every verb shares: the flags ``--json``, ``-v``, ``-q``, and the exit codes.

A verb is a plain typed function whose last, keyword-only parameter is ``common``:

    def doctor(*, common: Common = Common()) -> None:
        talk = common.talk()
        ...
        talk.document(facts)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

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
