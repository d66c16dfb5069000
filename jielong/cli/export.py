"""``jielong export``: a checkpoint for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from jielong.cli.common import Common

To = Literal["gguf", "hf"]
Kind = Literal["f32", "f16", "bf16", "q8_0"]


def export(
    model: Path,
    *,
    to: To,
    kind: Annotated[Kind | None, Parameter(name="--type")] = None,
    out: Path | None = None,
    shard_gb: float | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    common: Common = Common(),
) -> None:
    """Write a model for other programs: one GGUF file for llama.cpp, or a Hugging Face folder.

    A Hugging Face folder that was read comes back bit for bit, unless --type or --shard-gb ask for a change.

    Parameters
    ----------
    model
        A checkpoint folder or a run.
    to
        gguf, or hf.
    kind
        How weights are kept (gguf: f16 when not said; hf: as they are, q8_0 is for gguf only).
    out
        The file or folder to write (default: the model's name here, NAME-f16.gguf or NAME-hf).
    shard_gb
        Largest file of a Hugging Face folder, in gigabytes.
    overwrite
        Replace what is at --out.
    """
    from jielong.base.errors import UserError
    from jielong.nets import checkpoint

    talk = common.talk()
    if to == "hf" and kind == "q8_0":
        raise UserError("--type q8_0 is for --to gguf; a Hugging Face folder takes f32, f16 or bf16")
    if shard_gb is not None and (to == "gguf" or shard_gb <= 0):
        raise UserError("--shard-gb is for --to hf, and above 0")
    name = model.resolve().name
    loaded = checkpoint.load(model)
    if to == "hf":
        place = out or Path(f"{name}-hf")
        checkpoint.copy(loaded, place, kind or "", (shard_gb or 0) * 1e9, overwrite)
        said = {"files": sorted(path.name for path in place.iterdir())}
        following = f"jielong chat {place}"
    else:
        from jielong.nets import gguf

        place = out or Path(f"{name}-{kind or 'f16'}.gguf")
        said = gguf.write(loaded, place, kind or "f16", name, overwrite)
        following = f"llama-cli --model {place}"
    talk.say(f"written to {place}")
    talk.document({"out": str(place), "to": to, "type": kind or ("f16" if to == "gguf" else "as it was"), **said})
    talk.next_command(following)
