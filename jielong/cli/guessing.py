"""The flags of guessing ahead: who guesses, how far, and how guesses are verified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from jielong.infer.draft.drafting import Drafting


@Parameter(name="*", group="Guessing ahead")
@dataclass(frozen=True)
class Guessing:
    """Several tokens a step, from the same law."""

    draft: str = ""
    "Who guesses: lookup, int8, int4, early:LAYERS, store:FILE, or a model's or trained drafter's folder; A,B for both."
    guess: int = 0
    "How many tokens a step; 0: found out while writing, and none where it does not pay."
    verify: Literal["same", "token", "block"] = "same"
    "same: the text is the one without guesses. token, block: more guesses stay; the law is the same, the text not."

    def drafting(self, model: Any, codec: Any) -> Drafting | None:
        """As the engine takes it; None where nobody guesses. UserError for a drafter that there is not."""
        from jielong.base.errors import UserError

        if self.guess < 0:
            raise UserError(f"--guess {self.guess}: give 1 or more, or 0 to have it found out")
        if not self.draft:
            if self.guess or self.verify != "same":
                raise UserError("--guess and --verify are for --draft: say who guesses")
            return None
        from jielong.infer.draft.control import Controller
        from jielong.infer.draft.drafting import Drafting
        from jielong.infer.draft.named import named
        from jielong.infer.draft.several import AllOf
        from jielong.infer.draft.verify import VERIFIERS

        names = [name.strip() for name in self.draft.split(",")]
        drafter = AllOf([named(name, model, codec) for name in names], names)
        # one draft is verified by `multi` as by `token`; of several all are looked at
        verify = None if self.verify == "same" else VERIFIERS["multi" if self.verify == "token" else self.verify]
        return Drafting(drafter, verify, self.guess or Controller())


GUESSING = Guessing()


def told(drafting: Drafting | None) -> dict[str, Any]:
    """What became of the guesses, as JSON values; empty where nobody guessed."""
    if drafting is None:
        return {}
    from jielong.infer.draft.control import Controller

    tally = drafting.tally
    return {
        "drafts": tally.steps, "tokens_a_draft": tally.tokens / tally.steps if tally.steps else None,
        "proposed": tally.proposed, "accepted": tally.accepted, "reasons": drafting.reasons,
        "promised": drafting.guess.speedup() if isinstance(drafting.guess, Controller) else None,
    }  # fmt: skip
