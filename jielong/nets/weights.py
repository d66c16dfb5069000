"""Tensors in safetensors files: one file, or shards with an index. Nothing is unpickled.

    stored = look(folder)                    # names, shapes, types; no tensor is read yet
    fill(model, parts, stored)               # every tensor in its place, one at a time
    write(folder, tensors, shard=5e9)        # one file, or shards and their index

Whatever is wrong with the files is one line that names the file or the tensor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from jielong.base import files
from jielong.base.errors import UserError
from jielong.nets.config import TransformerConfig
from jielong.nets.families.family import BUFFERS, Part

T = TypeVar("T")
NAME = "model.safetensors"
INDEX = "model.safetensors.index.json"
# safetensors' names of what can be read into float32 and written back bit for bit
TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Stored:
    """What a folder's weights are, before any is read: shape, type and file of each tensor, by name."""

    folder: Path = Path()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def renamed(self, rename: Callable[[str], str]) -> dict[str, str]:
        """Full name -> name in the files; buffers that follow from the configuration are left out."""
        return {rename(name): name for name in self.files if not name.endswith(BUFFERS)}


def look(folder: Path) -> Stored:
    """Read the headers. Raises UserError for files that are missing, cut short, or disagree with the index."""
    index = _index(folder)
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, str] = {}
    where: dict[str, str] = {}
    for name in sorted(set(index.values())) if index else [NAME]:
        with ExitStack() as stack:
            file = _open(folder, name, stack)
            for tensor in file.keys():  # noqa: SIM118 (not a mapping)
                part = file.get_slice(tensor)
                shapes[tensor], types[tensor], where[tensor] = tuple(part.get_shape()), part.get_dtype(), name
    lost = [f"{tensor} in {name}" for tensor, name in index.items() if where.get(tensor) != name]
    if lost:
        raise UserError(f"{folder / INDEX} speaks of {few(lost)}, which is not there: fetch the shard again")
    odd = [f"{name} ({kind})" for name, kind in types.items() if kind not in TYPES and not name.endswith(BUFFERS)]
    if odd:
        raise UserError(f"{folder}: {few(odd)} is of a type that is not read; {', '.join(TYPES)} are")
    return Stored(folder, shapes, types, where)


def shards(folder: Path) -> list[str]:
    """The files that an index speaks of."""
    return sorted(set(_index(folder).values()))


def _index(folder: Path) -> dict[str, str]:
    """Tensor -> file; empty where the weights are one file."""
    if (folder / NAME).is_file() or not (folder / INDEX).is_file():
        return {}
    data = files.read_json(folder / INDEX)
    found = data.get("weight_map") if isinstance(data, Mapping) else None
    if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found.values()):
        raise UserError(f"{folder / INDEX} has no weight_map {{tensor: file}}; fetch it again")
    for name in found.values():
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(f"{folder / INDEX} speaks of {name}, which is no safetensors file beside it")
    return found


def _open(folder: Path, name: str, stack: ExitStack) -> Any:
    from safetensors import SafetensorError, safe_open

    path = folder / name
    if not path.is_file():
        raise UserError(f"{path} is not there; weights are read from safetensors files only")
    try:
        return stack.enter_context(safe_open(path, framework="pt"))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is half-written or no safetensors file ({error!s:.200}); fetch it again") from error


def check_size(config: TransformerConfig, numbers: int, folder: Path) -> None:
    """UserError where a model would be several times larger than the weights beside its configuration: it must not be
    built, whatever memory there is. (Names and shapes are compared afterwards.)"""
    wanted = config.parameters + config.context * config.dim * (config.position == "learned")
    if wanted > 4 * numbers:
        raise UserError(f"{folder}: config.json describes a model of {wanted:,} numbers and {NAME} holds {numbers:,}; "
                        "config.json belongs to other weights")  # fmt: skip


def check(
    model: nn.Module, parts: Sequence[Part], stored: Stored, names: Mapping[str, str], spare: Iterable[str]
) -> None:
    """Every tensor there, none left over but the `spare` ones, shapes as the configuration says. `names` as of
    `Stored.renamed`. Raises UserError."""
    wanted = {part.theirs for part in parts}
    missing = [part.theirs for part in parts if part.theirs not in names]
    extra = sorted(set(names) - wanted - set(spare))
    if missing or extra:
        what = [f"lacks {few(missing)}"] * bool(missing)
        what += [f"has {few(extra)} that this shape has not"] * bool(extra)
        raise UserError(f"{stored.folder}: {NAME} {' and '.join(what)}; config.json belongs to other weights")
    state = model.state_dict()
    for part in parts:
        mine = list(_place(state, part).shape)
        theirs = list(stored.shapes[names[part.theirs]])
        if mine != theirs:
            raise UserError(f"{stored.folder}: {part.theirs} has shape {theirs}, config.json says {mine}")


def fill(model: nn.Module, parts: Sequence[Part], stored: Stored, names: Mapping[str, str]) -> None:
    """Copy every tensor to its place; a file is open only while it is read."""
    state = model.state_dict()
    for file in sorted(set(stored.files.values())):
        with ExitStack() as stack:
            opened = _open(stored.folder, file, stack)
            for part in parts:
                name = names[part.theirs]
                if stored.files[name] == file:
                    _place(state, part).copy_(opened.get_tensor(name))


def same(stored: Stored, one: str, other: str) -> bool:
    """Whether two tensors in the files are equal."""
    with ExitStack() as stack:
        first, second = (_open(stored.folder, stored.files[n], stack).get_tensor(n) for n in (one, other))
        return torch.equal(first, second)


def take(state: Mapping[str, Tensor], part: Part) -> Tensor:
    """The value of one of their tensors."""
    return _place(state, part).contiguous()


def _place(state: Mapping[str, Tensor], part: Part) -> Tensor:
    whole = state[part.ours]
    rows = whole[part.start : part.start + part.rows] if part.rows else whole
    return rows.t() if part.turned else rows


def write(
    folder: Path, tensors: Mapping[str, Tensor], shard: float = 5e9, where: Mapping[str, str] | None = None
) -> None:
    """Write `tensors` as one file, or as shards of at most `shard` bytes each (a larger tensor has one of its own)
    with their index; `where` says which tensor lies in which file instead."""
    from safetensors.torch import save_file

    groups = _groups(tensors, shard) if where is None else _given(tensors, where)
    for name, inside in groups.items():
        save_file({key: tensors[key].contiguous() for key in inside}, folder / name, metadata={"format": "pt"})
    if list(groups) != [NAME]:
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        weight_map = {key: name for name, inside in groups.items() for key in inside}
        data = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
        files.atomic_write(folder / INDEX, json.dumps(data, indent=2) + "\n")


def write_one(path: Path | str, kind: str, config: Any, tensors: Mapping[str, Tensor]) -> None:
    """A small model as one file, whole or not at all. The header says what `kind` it is and holds its `config`, a
    dataclass of numbers and words."""
    from safetensors.torch import save_file

    about = {"kind": kind, **{k: str(v) for k, v in asdict(config).items() if v is not None}}
    with files.atomic_file(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, about)


def read_one(path: Path | str, kind: str, build: Callable[[dict[str, str], dict[str, Tensor]], T]) -> T:
    """What `build(header, tensors)` makes of a file of `write_one`. Raises UserError for anything else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            about = file.metadata() or {}
            if about.get("kind") != kind:
                raise UserError(f"{path} holds no model of the kind {kind}")
            return build(about, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} cannot be read as a model of the kind {kind}: {error}") from error


def _groups(tensors: Mapping[str, Tensor], shard: float) -> dict[str, list[str]]:
    groups: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        bytes_ = tensor.numel() * tensor.element_size()
        if groups[-1] and size + bytes_ > shard:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += bytes_
    if len(groups) == 1:
        return {NAME: groups[0]}
    return {f"model-{i:05}-of-{len(groups):05}.safetensors": names for i, names in enumerate(groups, 1)}


def _given(tensors: Mapping[str, Tensor], where: Mapping[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in tensors:
        groups.setdefault(where[name], []).append(name)
    return groups


def few(names: Sequence[str]) -> str:
    """The first three, and how many more."""
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
