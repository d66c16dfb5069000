"""A checkpoint from the Hugging Face Hub, into a folder: safetensors and text files only, no code is ever run.

    pull("HuggingFaceTB/SmolLM2-135M", "runs/SmolLM2-135M")

config.json comes first and is checked before gigabytes follow. What arrives lies beside the folder under a name of
its own until all of it is there: an interrupted pull goes on where it stopped, and the folder is whole or not there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jielong.base import files
from jielong.base.errors import UserError, WorkFailed

INFO = "jielong.json"  # as in `checkpoint`, which imports torch
MISSING = 'pulling from the Hub needs huggingface_hub: pip install "jielong[hf]"'


@dataclass(frozen=True)
class Pulled:
    """What came: the commit, and the bytes of each file."""

    name: str
    revision: str
    files: Mapping[str, int]


def pull(
    name: str,
    out: str | Path,
    revision: str | None = None,
    overwrite: bool = False,
    said: Callable[[str], None] = lambda line: None,
    endpoint: str | None = None,
) -> Pulled:
    """Fetch a model into the folder `out`; `said` hears the name of each file. `endpoint` is the Hub's address where
    HF_ENDPOINT is not to decide; HF_TOKEN is honoured as the library does.

    Raises UserError for a model that is not there, is gated, has no safetensors, or is of a family that is not read;
    WorkFailed when the Hub cannot be reached.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists; choose another name with --out, or replace it with --overwrite")
    place = out.with_name(f".{out.name}.part")
    where = endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    api = _hub().HfApi(endpoint=where)
    try:
        with _telling(name, where):
            info = api.model_info(name, revision=revision)

            def fetch(names: Sequence[str]) -> None:
                for one in names:
                    said(one)
                    api.hf_hub_download(name, one, revision=info.sha, local_dir=place)

            names = _fetch(name, place, {one.rfilename for one in info.siblings or ()}, fetch)
    except UserError:
        shutil.rmtree(place, ignore_errors=True)  # it would not go on
        raise
    sizes = {one: (place / one).stat().st_size for one in sorted(names)}
    with files.atomic_dir(out, overwrite=overwrite) as final:
        for one in names:
            (place / one).rename(final / one)
        own = files.read_json(final / INFO) if INFO in names else {}
        files.write_json(final / INFO, {**own, "source": f"hf:{name}", "revision": info.sha})
    shutil.rmtree(place, ignore_errors=True)
    return Pulled(name, str(info.sha), sizes)


def _fetch(name: str, place: Path, there: Collection[str], fetch: Callable[[Sequence[str]], None]) -> list[str]:
    """Fetch what belongs to the model, the small and the telling first. The names of its files."""
    from jielong.nets import checkpoint, weights

    if checkpoint.CONFIG not in there:
        raise UserError(f"{name} has no config.json: it is no model for transformers")
    fetch([checkpoint.CONFIG])
    checkpoint.read_config(files.read_json(place / checkpoint.CONFIG), Path(name))
    if weights.NAME not in there and weights.INDEX not in there:
        raise UserError(f"{name} has no safetensors weights, and others can run code when they are read: not fetched")
    names = [one for one in checkpoint.BESIDE if one in there]
    if weights.NAME in there:
        names.append(weights.NAME)
    else:
        fetch([weights.INDEX])
        names += weights.shards(place)
    fetch(names)
    weights.look(place)
    return [checkpoint.CONFIG, *names, *([] if weights.NAME in there else [weights.INDEX])]


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(MISSING) from error
    return huggingface_hub


@contextmanager
def _telling(name: str, where: str) -> Iterator[None]:
    """The library's errors in one line each."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise UserError(f"{name!r} is no name of a model: write hf:OWNER/NAME") from error
    except errors.GatedRepoError as error:
        raise UserError(f"{name} wants its terms accepted: do so at {where}/{name}, then set HF_TOKEN") from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"{name} has no such revision: leave --revision out, or name a branch, tag or commit"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(f"{where} has no model {name}, or it is private: check the name, or set HF_TOKEN") from error
    except errors.RemoteEntryNotFoundError as error:
        raise UserError(f"{name} lacks a file that it speaks of ({_line(error)})") from error
    except errors.OfflineModeIsEnabled as error:
        raise UserError("HF_HUB_OFFLINE is set: unset it to pull, or use a folder that is already here") from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.FileMetadataError) as error:
        raise WorkFailed(
            f"{where} did not give {name} ({_line(error)}); run the same command again to go on"
        ) from error
    except Exception as error:
        # the library's transport has error classes of its own package, which has changed before
        if type(error).__module__.split(".")[0] not in ("httpx", "httpx2", "requests"):
            raise
        raise WorkFailed(
            f"cannot reach {where} ({_line(error)}): are you offline? Run the same command again to go on; a folder "
            "copied from another machine works as it is"
        ) from error


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
