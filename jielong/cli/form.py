"""The flags that hold a text to a form: a regular expression, a JSON schema or a Lark grammar."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.lm.local import Local

Grammar = tuple[str, str]


@Parameter(name="*", group="Form")
@dataclass(frozen=True)
class Form:
    """What the text must look like."""

    regex: str = ""
    "The whole text matches this regular expression."
    schema: str = ""
    "The text is JSON of this schema: a file, or the schema itself."
    grammar: str = ""
    "The text belongs to this Lark grammar: a file, or the grammar itself."
    faithful: Annotated[bool, Parameter(negative=())] = False
    "Each text as likely as the model itself makes it among those of the form, by rejection; masking shifts that."

    def rule(self) -> Grammar | None:
        """(kind, text) as `lm` takes it, None where no form was asked for. UserError for more than one."""
        from jielong.base.errors import UserError

        given = {"regex": self.regex, "json_schema": self.schema, "lark": self.grammar}
        found = [(kind, text) for kind, text in given.items() if text]
        if len(found) > 1:
            raise UserError("give one of --regex, --schema and --grammar")
        if self.faithful and not found:
            raise UserError("--faithful is about a form: add --regex, --schema or --grammar")
        if not found:
            return None
        kind, text = found[0]
        return kind, text if kind == "regex" else _content(text, "{" if kind == "json_schema" else ":")


def _content(text: str, mark: str) -> str:
    """The text itself where it has the mark, else what is in the file of that name."""
    from jielong.base.errors import UserError

    if mark in text or text in ("true", "false"):
        return text
    try:
        return Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"cannot read {text} ({error}): give a file, or the text itself") from error


def faithful(talk: Talk, lm: Local, asked: Any, n: int, settings: dict[str, Any], rule: Grammar) -> None:
    """Draw by rejection, one after the other; what the first teach, the later ones use."""
    from jielong.base import noise
    from jielong.base.errors import UserError
    from jielong.infer import grammar
    from jielong.infer.grammar.rejection import Reading, Rejection
    from jielong.infer.sampling import Sampling
    from jielong.lm.prompts import key_of
    from jielong.lm.protocol import check_draws

    check_draws(n, 0)
    wanted = Sampling(**settings)
    if wanted.stop or wanted.logprobs:
        raise UserError("--faithful cannot be had with --stop or --logprobs: leave them out")
    ids, began = lm.ids(asked), time.perf_counter()
    longest = min(wanted.max_tokens, (lm.context or 1 << 30) - len(ids))
    sampler = Rejection(Reading(lm.model, wanted), grammar.make(lm.codec, *rule), ids, longest)
    request = key_of(lm.fingerprint, ids, wanted.law(), rule, "faithful")
    source, draws = noise.RandomSource(noise.seed_of("draw", request)), []
    for number in range(n):
        drawn = sampler.draw(source, number)
        text = lm.pieces.text(drawn.ids)
        talk.say(talk.paint(f"--- {number + 1} ({drawn.attempts} attempts, {len(drawn.ids)} tokens)", "dim"))
        talk.answer(text)
        draws.append({"text": text, "ids": drawn.ids, "attempts": drawn.attempts})
    talk.detail(f"the model itself writes such a text with a probability of {sampler.bound:.3g} or less")
    about = {"model": lm.name, "fingerprint": lm.fingerprint, "prompt": asked, "sampling": settings, "grammar": rule}
    seconds = time.perf_counter() - began
    talk.document({**about, "draws": draws, "mass_at_most": sampler.bound, "seconds": seconds})
