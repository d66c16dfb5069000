"""Documents as one flat array of token ids, in memory or mapped from disk.

A document is stored with its end token. `train[i]` says whether token i counts when it is the *target* (false
for the user's side of a chat). Documents shorter than two tokens hold no (input, target) pair: they are
dropped and counted.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jielong.base.errors import UserError
from jielong.base.files import atomic_dir

FORMAT = 1
IDS = "ids.npy"
STARTS = "starts.npy"
TRAIN = "train.npy"
HEADER = "tokens.json"

Ids = Sequence[int] | npt.NDArray[Any]
Mask = Sequence[bool] | Sequence[int] | npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Tokens:
    """ids (N,) uint16 or uint32; starts (D+1,) int64 with starts[0] = 0 and starts[D] = N; train (N,) bool.

    `dropped` counts documents left out because they had fewer than two tokens.
    """

    ids: npt.NDArray[Any]
    starts: npt.NDArray[np.int64]
    train: npt.NDArray[np.bool_]
    dropped: int = 0

    def __post_init__(self) -> None:
        starts, n = self.starts, len(self.ids)
        if len(starts) == 0 or starts[0] != 0 or starts[-1] != n or bool((np.diff(starts) < 0).any()):
            raise UserError(f"document starts do not fit the {n} token ids: make the token file again")
        if len(self.train) != n:
            raise UserError(f"{len(self.train)} training marks for {n} token ids: make the token file again")

    @property
    def documents(self) -> int:
        return len(self.starts) - 1

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.ids)

    def document(self, i: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """(ids, train) of document i."""
        piece = slice(int(self.starts[i]), int(self.starts[i + 1]))
        return self.ids[piece], self.train[piece]

    @staticmethod
    def from_documents(documents: Iterable[tuple[Ids, Mask | None]]) -> Tokens:
        """Lays (ids, mask) after each other; mask None: every token is a target.

        Raises UserError on a bad id or mask.
        """
        ids, starts, train, dropped = array("I"), array("q", [0]), bytearray(), 0
        for number, (document, mask) in enumerate(documents):
            n = len(document)
            if mask is not None and len(mask) != n:
                raise UserError(f"document {number}: {len(mask)} training marks for {n} token ids")
            if n < 2:
                dropped += 1
                continue
            try:
                ids.extend(document.tolist() if isinstance(document, np.ndarray) else document)
            except (OverflowError, TypeError) as error:
                raise UserError(
                    f"document {number}: token ids must be whole numbers, 0 to 2**32-1"
                ) from error
            train += b"\x01" * n if mask is None else np.asarray(mask, dtype=bool).tobytes()
            starts.append(len(ids))
        flat = np.frombuffer(ids, dtype=np.uint32) if len(ids) else np.zeros(0, np.uint32)
        small = len(flat) == 0 or int(flat.max()) < 2**16
        return Tokens(
            flat.astype(np.uint16) if small else flat,
            np.array(starts, dtype=np.int64),
            np.frombuffer(bytes(train), dtype=np.bool_),
            dropped,
        )

    @staticmethod
    def concat(parts: Sequence[Tokens]) -> Tokens:
        """The documents of all parts, in order."""
        if not parts:
            return Tokens.from_documents([])
        offsets = np.cumsum([0] + [len(part) for part in parts])
        return Tokens(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([[0], *(part.starts[1:] + o for part, o in zip(parts, offsets, strict=False))]),
            np.concatenate([part.train for part in parts]),
            sum(part.dropped for part in parts),
        )

    def save(self, folder: str | Path) -> None:
        """Writes FOLDER/ids.npy, starts.npy, train.npy and tokens.json; it appears whole or not at all.

        Raises UserError if FOLDER exists, WorkFailed on a full disk.
        """
        head = {"format": FORMAT, "tokens": len(self), "documents": self.documents, "dropped": self.dropped}
        with atomic_dir(folder) as temporary:
            np.save(temporary / IDS, self.ids)
            np.save(temporary / STARTS, self.starts)
            np.save(temporary / TRAIN, self.train)
            (temporary / HEADER).write_text(json.dumps(head) + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: str | Path, memmap: bool = True) -> Tokens:
        """Reads what `save` wrote; `memmap` leaves the arrays on disk.

        Raises UserError on a missing or damaged file.
        """
        folder = Path(folder)
        try:
            head = json.loads((folder / HEADER).read_text(encoding="utf-8"))
            arrays = [_array(folder / name, memmap) for name in (IDS, STARTS, TRAIN)]
            known = head["format"] == FORMAT
            dropped = int(head["dropped"])
        except FileNotFoundError as error:
            raise UserError(
                f"{error.filename} is missing; a folder of tokens holds {HEADER}, {IDS}, ..."
            ) from error
        except (ValueError, OSError, KeyError, TypeError, EOFError) as error:
            raise UserError(f"{folder}: a damaged folder of tokens ({error}); make it again") from error
        if not known:
            raise UserError(
                f"{folder / HEADER}: unknown format {head['format']!r}, this version reads {FORMAT}"
            )
        return Tokens(arrays[0], arrays[1], arrays[2], dropped)


def _array(path: Path, memmap: bool) -> npt.NDArray[Any]:
    loaded: npt.NDArray[Any] = np.load(path, mmap_mode="r" if memmap else None, allow_pickle=False)
    return loaded
