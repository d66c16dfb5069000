"""``jielong quantize``: a checkpoint in 8 or 4 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jielong.cli.common import Common


def quantize(
    model: Path,
    *,
    bits: int = 8,
    out: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    common: Common = Common(),
) -> None:
    """Write a checkpoint's weights in 8 or 4 bits, in a folder that every verb here reads.

    Parameters
    ----------
    model
        A checkpoint folder or a run.
    bits
        8: one scale a row. 4: a scale for each 32 numbers; embeddings stay at 8.
    out
        The folder to write (default: the model's name with -int8 or -int4 after it).
    overwrite
        Write over a folder that is there.
    """
    from jielong.base.errors import UserError
    from jielong.nets import checkpoint, quant

    talk = common.talk()
    if bits not in (8, 4):
        raise UserError(f"--bits is {bits}: give 8 or 4")
    loaded = checkpoint.load(model)
    if quant.KEY in loaded.said:
        raise UserError(f"{loaded.path} is quantised already: name the checkpoint it was made from")
    folder = out or Path(f"{model.resolve().name}-int{bits}")
    before = size(loaded.path)
    quant.save(folder, loaded, bits, overwrite)
    after = size(folder)
    talk.say(f"{folder}: {after / 1e6:.1f} MB of weights, before {before / 1e6:.1f} MB")
    talk.document({"out": str(folder), "bits": bits, "bytes": after, "bytes_before": before})
    talk.next_command(f"jielong chat {folder}")


def size(folder: Path) -> int:
    """Bytes of a folder's weights."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors") if path.name != "state.safetensors")
