"""``jielong pull``: a checkpoint from the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jielong.cli.common import Common


def pull(
    model: str,
    *,
    out: Path | None = None,
    revision: str | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    common: Common = Common(),
) -> None:
    """Fetch a model from the Hugging Face Hub into a folder: safetensors only, no code of others is run.

    Parameters
    ----------
    model
        hf:OWNER/NAME.
    out
        The folder to write (default runs/NAME).
    revision
        A branch, tag or commit.
    overwrite
        Replace what is at --out.
    """
    from jielong.base.errors import UserError
    from jielong.nets import hub

    talk = common.talk()
    name = model.removeprefix("hf:")
    if name == model or not name:
        raise UserError(f"{model!r}: write hf:OWNER/NAME, as in hf:HuggingFaceTB/SmolLM2-135M")
    if not talk.chatty:
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
    place = out or Path("runs") / name.split("/")[-1]
    found = hub.pull(name, place, revision, overwrite, talk.detail)
    size = sum(found.files.values())
    talk.say(f"{len(found.files)} files, {size / 1e6:.1f} MB, commit {found.revision[:12]}; written to {place}")
    talk.document({"out": str(place), "source": model, "revision": found.revision, "files": found.files})
    talk.next_command(f"jielong chat {place}")
