"""What an adapter is: frozen dataclasses of plain values, one for each method. No torch here.

>>> name(Lora(rank=4))
'lora'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from jielong.base.errors import UserError

LARGEST = 1 << 16  # numbers of one product: more is no adapter any more


@dataclass(frozen=True)
class Lora:
    """Low-rank change of matrices (`lora.py`). `targets`: modules by the names that the base's family gives them
    (`q_proj`, `mlp.c_proj`), as in PEFT's `target_modules`; none means every matrix of the blocks."""

    rank: int = 8
    alpha: float = 16.0  # the change is scaled by alpha / rank
    dropout: float = 0.0  # of what the change reads, in training
    rslora: bool = False  # by alpha / sqrt(rank)
    dora: bool = False  # direction and length of each row apart
    pissa: bool = False  # starts at the matrix's principal part
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _whole("rank", self.rank)
        if not 0.0 <= self.dropout < 1.0:
            raise UserError(f"an adapter's dropout lies in [0, 1), not {self.dropout}")
        if not 0.0 < self.alpha < float("inf"):
            raise UserError(f"an adapter's alpha must be above 0, not {self.alpha}")

    @property
    def scale(self) -> float:
        """What the change is multiplied by."""
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)


@dataclass(frozen=True)
class Ia3:
    """What matrices give, or read, times one number each (`ia3.py`). `targets` as of `Lora`; none means keys, values
    and the second matrix of the feed-forward (where these are parts of a fused matrix, all of it)."""

    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bottleneck:
    """Narrow feed-forwards behind each half of a block, or beside the feed-forward (`bottleneck.py`)."""

    narrow: int = 16  # width between the two matrices
    parallel: bool = False

    def __post_init__(self) -> None:
        _whole("width", self.narrow)


@dataclass(frozen=True)
class Bitfit:
    """Biases alone (`bitfit.py`)."""


@dataclass(frozen=True)
class Prefix:
    """Learnt keys and values before every text (`prefix.py`)."""

    virtual: int = 20  # of them

    def __post_init__(self) -> None:
        _whole("number of virtual tokens", self.virtual)


@dataclass(frozen=True)
class SoftPrompt:
    """Learnt embeddings before every text (`soft_prompt.py`). `words`: the text whose embeddings they begin as, again
    and again until they are enough; without, tokens drawn from the vocabulary."""

    virtual: int = 20  # of them
    words: str = ""

    def __post_init__(self) -> None:
        _whole("number of virtual tokens", self.virtual)


Config = Lora | Ia3 | Bottleneck | Bitfit | Prefix | SoftPrompt
KINDS: Mapping[str, type[Config]] = {
    "lora": Lora, "ia3": Ia3, "bottleneck": Bottleneck, "prefix": Prefix, "bitfit": Bitfit,
    "prompt": SoftPrompt,
}  # fmt: skip


def name(config: Config) -> str:
    """The kind of a configuration."""
    return next(each for each, kind in KINDS.items() if isinstance(config, kind))


def to_json(config: Config) -> dict[str, Any]:
    """As plain JSON values, the kind among them."""
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}
    return {"kind": name(config), **values}


def from_json(data: Mapping[str, Any]) -> Config:
    """Read what `to_json` wrote. UserError for what is none."""
    kind = KINDS.get(str(data.get("kind")))
    if kind is None:
        raise UserError(f"there is no adapter of kind {data.get('kind')!r:.60}: there are {', '.join(KINDS)}")
    known = {field.name for field in fields(kind)}
    given = {key: value for key, value in data.items() if key != "kind"}
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    if not known.issuperset(values):
        raise UserError(f"an adapter of kind {data['kind']} has no option {', '.join(sorted(set(values) - known))}")
    return kind(**values)


def _whole(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
        raise UserError(f"an adapter's {what} is a whole number from 1 to {LARGEST:,}, not {value!r:.60}")
