"""The flags of adapters: few parameters trained beside a model, and a model that writes with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from jielong.nets.adapters.adapter import Adapter
    from jielong.nets.adapters.config import Config
    from jielong.nets.checkpoint import Loaded

Kind = Literal["lora", "ia3", "bottleneck", "prefix", "bitfit", "prompt"]


@Parameter(name="*", group="Adapter")
@dataclass(frozen=True)
class Adapting:
    """Few parameters beside --model, which stays as it is."""

    adapter: Kind | None = None
    (
        "Train an adapter instead of the model. lora: its matrices change by products of two thin ones; ia3: what they "
        "give or read is scaled; bottleneck: narrow feed-forwards are put between; prefix: keys and values before "
        "every text; bitfit: biases alone; prompt: embeddings before every text."
    )
    rank: int = 8
    "lora: how thin."
    alpha: float = 16.0
    "lora: the change is scaled by alpha / rank."
    dropout: float = 0.0
    "lora: share of what the change reads that is left out in training."
    rslora: Annotated[bool, Parameter(negative=())] = False
    "lora: scaled by alpha / sqrt(rank)."
    dora: Annotated[bool, Parameter(negative=())] = False
    "lora: the direction and the length of each row apart."
    pissa: Annotated[bool, Parameter(negative=())] = False
    "lora: begin at the principal part of each matrix."
    narrow: int = 16
    "bottleneck: how narrow."
    parallel: Annotated[bool, Parameter(negative=())] = False
    "bottleneck: beside the feed-forward, not behind each half of a block."
    virtual: int = 20
    "prefix, prompt: how many virtual tokens."
    words: str = ""
    "prompt: the text that it begins as (default: tokens drawn)."
    targets: str = ""
    (
        "lora, ia3: modules to change, as the model's family calls them: q_proj,v_proj (default: of lora all; of ia3 "
        "keys, values, and what the feed-forward's second matrix reads)."
    )

    def config(self) -> Config | None:
        """What the flags say; None without --adapter. UserError for flags that are another's."""
        from jielong.base.errors import UserError
        from jielong.nets.adapters.config import KINDS

        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        kind = given.pop("adapter", None)
        if kind is None:
            if given:
                raise UserError(f"{_flags(given)}: for an adapter; give --adapter too")
            return None
        made = KINDS[kind]
        other = set(given) - {f.name for f in fields(made)}
        if other:
            raise UserError(f"--adapter {kind} takes no {_flags(other)}")
        if "targets" in given:
            given["targets"] = tuple(name.strip() for name in self.targets.split(",") if name.strip())
        values: dict[str, Any] = given
        return made(**values)


ADAPTING = Adapting()
MEASURED = 96  # the width at which the rates of adapters were measured (docs/train.md)


def slower(rate: float, width: int) -> float:
    """AdamW's rate of an adapter on a model so wide: what was best at `MEASURED`, by 1 / width above it (Yang et al.
    2022, arXiv 2203.03466, table 3)."""
    return rate * min(1.0, MEASURED / width)


def put_on(loaded: Loaded | None, config: Config, seed: int, heads: Sequence[str] = ()) -> Adapter:
    """A fresh adapter on a model that was read, with `heads` of a reward model; of one in integers the
    floats are let go. UserError where there is no model."""
    import torch

    from jielong.base.errors import UserError
    from jielong.nets import quant
    from jielong.nets.adapters.attach import attach, fresh
    from jielong.nets.adapters.config import SoftPrompt
    from jielong.nets.adapters.folder import upon

    if loaded is None:
        raise UserError("--adapter is trained beside a model: name it with --model")
    words = loaded.codec.encode(config.words) if isinstance(config, SoftPrompt) else ()
    adapter = fresh(loaded.model, config, upon(loaded).family, seed, words)
    if heads:
        adapter.judges(heads, torch.zeros(len(heads), loaded.config.dim, device=loaded.model.device))
    attach(loaded.model, adapter)
    quant.lean(loaded.model)
    return adapter


def _flags(names: Any) -> str:
    return ", ".join(f"--{name}" for name in sorted(names))
