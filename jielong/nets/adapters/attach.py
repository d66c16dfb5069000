"""Adapters on a model: put on, taken off, written into its matrices and out again.

    adapter = attach(model, Lora(rank=8))        # in place; the base is frozen, and none of it is copied
    adapter.parameters()                         # what is trained
    merge(model)                                 # now plain matrices again: full speed in every decoder
    unmerge(model); detach(model)

Several may be attached under names of their own; each changes what those before it have left. What a fresh adapter
changes is nothing: the model's logits are the same until it is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.nets import quant
from jielong.nets.adapters import bitfit, bottleneck, ia3, lora, prefix, soft_prompt
from jielong.nets.adapters.adapter import Adapter
from jielong.nets.adapters.config import Bitfit, Bottleneck, Config, Ia3, Prefix, SoftPrompt
from jielong.nets.adapters.config import name as kind_of
from jielong.nets.adapters.targets import MATRICES, Target, chosen, family_of, halves, scaled, targets
from jielong.nets.config import TransformerConfig
from jielong.nets.families.family import Family
from jielong.nets.transformer import Transformer

DEFAULT = "adapter"
BIASES = (("qkv_bias", "attention", "qkv"), ("out_bias", "attention", "out"), ("mlp_bias", "feed", "up"),
          ("mlp_bias", "feed", "down"))  # fmt: skip


def fresh(
    model: Transformer, config: Config, family: Family | None = None, seed: int = 0, words: Sequence[int] = ()
) -> Adapter:
    """An untrained adapter for this model, not yet attached. `family`: whose names the modules have (default: of the
    first family of this shape). `words`: the tokens that a soft prompt begins as (none: drawn)."""
    family = family or family_of(model.config)
    wanted, make = _made(model.config, config, family, seed)
    adapter = Adapter(config, wanted, family, make)
    for (half, matrix), site in adapter.items():
        if matrix in MATRICES:
            module: Any = model.get_submodule(half)
            whole = module.integers.get(matrix)
            site.start((getattr(module, matrix).detach() if whole is None else whole.values()).cpu())
        elif matrix == soft_prompt.BEFORE:
            cast(Any, site).begin(model.embed.detach(), words, seed)
    return adapter.to(model.device)


def _made(
    shape: TransformerConfig, config: Config, family: Family, seed: int
) -> tuple[list[Target], Callable[[list[Target]], nn.Module]]:
    """What an adapter of this kind changes, and what makes its sites."""
    if isinstance(config, Bottleneck):
        return halves(shape, ("feed",) if config.parallel else ("attention", "feed")), bottleneck.maker(config, seed)
    if isinstance(config, Prefix):
        return halves(shape, ("attention",), "past"), prefix.maker(config, shape, seed)
    if isinstance(config, SoftPrompt):
        return soft_prompt.place(shape), soft_prompt.maker(config, shape)
    among = targets(shape, family)
    if isinstance(config, Bitfit):
        return among, bitfit.BitfitSite
    wanted = chosen(among, config.targets)
    if isinstance(config, Ia3):
        return wanted if config.targets else scaled(among, shape), ia3.make
    return wanted, lora.maker(config, seed)


def attach(
    model: Transformer, what: Config | Adapter, name: str = DEFAULT, *, family: Family | None = None, seed: int = 0
) -> Adapter:
    """Attach an adapter, made afresh where `what` is a configuration; the model's own parameters are frozen.

    Raises UserError for a name that is taken, and for DoRA over another adapter of the same matrix.
    """
    if name in model.adapters:
        raise UserError(f"an adapter is attached as {name!r} already: detach it, or give another name")
    adapter = what if isinstance(what, Adapter) else fresh(model, what, family, seed)
    for (half, matrix), _ in adapter.items():
        module: Any = model.get_submodule(half)
        if getattr(adapter.config, "dora", False) and module.changes.get(matrix):
            raise UserError("DoRA measures the base's rows: attach it before other adapters, or merge these")
    model.requires_grad_(False)
    model.adapters[name] = adapter
    _wire(model)
    return adapter


def detach(model: Transformer, name: str = DEFAULT) -> Adapter:
    """Take an adapter off, out of the matrices too where it was merged. After the last, the model can be trained."""
    adapter = _found(model, name)
    if name in model.merged:
        unmerge(model, name)
    del model.adapters[name]
    _wire(model)
    if not model.adapters:
        model.requires_grad_(True)
    return adapter


@torch.no_grad()
def merge(model: Transformer, name: str = DEFAULT) -> None:
    """Write an adapter into the base's matrices. Those before it are merged first: UserError where they are not."""
    adapter = _found(model, name)
    if name in model.merged:
        raise UserError(f"the adapter {name!r} is merged already")
    if not merges(adapter):
        raise UserError(f"an adapter of kind {kind_of(adapter.config)} is no change of matrices: it cannot be merged")
    waiting = [each for each in loose(model) if merges(_found(model, each))]  # what stands between blocks may wait
    if waiting[0] != name:
        raise UserError(f"the adapter {waiting[0]!r} was attached before {name!r}: merge it first")
    quant.full(model)
    for (half, matrix), site in adapter.items():
        _write(model.get_submodule(half), matrix, site.merged)
    model.merged.append(name)
    _biased(model)
    _wire(model)


@torch.no_grad()
def unmerge(model: Transformer, name: str = DEFAULT) -> None:
    """Out of the matrices again: they are what they were to float32's rounding, and to the bit where they stand for
    integers (`nets/quant.py`). The one merged last goes first."""
    adapter = _found(model, name)
    if name not in model.merged:
        raise UserError(f"the adapter {name!r} is not merged")
    if model.merged[-1] != name:
        raise UserError(f"the adapter {model.merged[-1]!r} was merged after {name!r}: unmerge it first")
    for (half, matrix), site in adapter.items():
        _write(model.get_submodule(half), matrix, site.unmerged)
        whole = model.quantised.get(f"{half}.{matrix}")
        if whole is not None and len(model.merged) == 1:
            getattr(model.get_submodule(half), matrix).copy_(whole.values())
    model.merged.remove(name)
    _biased(model)
    _wire(model)


def parameters(model: Transformer, name: str = DEFAULT) -> list[nn.Parameter]:
    """What is trained of an attached adapter."""
    return list(_found(model, name).parameters())


@contextmanager
def off(model: Transformer) -> Iterator[None]:
    """Inside, a model is what it is without the adapters that are not merged: a reference that needs no copy of it."""
    if not loose(model):
        yield
        return
    halves_: list[Any] = [half for block in cast(Any, model.blocks) for half in (block.attention, block.feed)]
    kept = [(each, each.changes) for each in (model, *halves_)]
    adapters, model.adapters = model.adapters, {name: model.adapters[name] for name in model.merged}
    for each, _ in kept:
        each.changes = {}
    try:
        yield
    finally:
        model.adapters = adapters
        for each, changes in kept:
            each.changes = changes


def loose(model: Any) -> list[str]:
    """Names of the adapters that a plain product does not know of: attached and not merged."""
    merged = getattr(model, "merged", ())
    return [name for name in getattr(model, "adapters", {}) if name not in merged]


def prefixed(model: Transformer) -> bool:
    """Whether an adapter stands before every text: how far from it a token is then counts."""
    return bool(model.changes) or any("past" in block.attention.changes for block in cast(Any, model.blocks))


def _found(model: Transformer, name: str) -> Adapter:
    if name not in model.adapters:
        raise UserError(f"no adapter {name!r} is attached; there are: {', '.join(model.adapters) or 'none'}")
    return cast(Adapter, model.adapters[name])


def _wire(model: Transformer) -> None:
    """Let every product know the adapters that are attached and not merged, in their order."""
    model.changes = {}
    for block in model.blocks:
        block.attention.changes, block.feed.changes = {}, {}  # type: ignore[union-attr]
    for name in loose(model):
        adapter: Any = model.adapters[name]
        for (half, matrix), site in adapter.items():
            module: Any = model.get_submodule(half)
            module.changes = {**module.changes, matrix: (*module.changes.get(matrix, ()), site)}


def _write(half: Any, matrix: str, change: Any) -> None:
    weight, bias = getattr(half, matrix), getattr(half, f"{matrix}_bias")
    new, shifted = change(weight.detach(), bias if bias is None else bias.detach())
    weight.copy_(new)
    if bias is not None and shifted is not None:
        bias.copy_(shifted)
    elif shifted is not None:
        setattr(half, f"{matrix}_bias", nn.Parameter(shifted, requires_grad=False))


def _biased(model: Any) -> None:
    """The model's shape says which biases it has: an adapter's, merged, are among them; out again, they are gone."""
    added = any(isinstance(model.adapters[name].config, Bitfit) for name in model.merged)
    own = model.unbiased or model.config
    for kind, half, matrix in BIASES:
        if not added and not getattr(own, kind):
            for block in model.blocks:
                setattr(getattr(block, half), f"{matrix}_bias", None)
    model.unbiased = own if added else None
    model.config = replace(own, **dict.fromkeys(("qkv_bias", "out_bias", "mlp_bias"), True)) if added else own


def merges(adapter: Adapter) -> bool:
    """Whether it can be written into the base's matrices."""
    return all(matrix in MATRICES for _, matrix in adapter.places)


def fingerprint(model: Transformer) -> str:
    """Names a base by its shape and by numbers all over its weights, rounded to bf16, so that a copy in another type
    has the same. Adapters must not be merged."""
    from jielong.base import files
    from jielong.base.plain import dumps
    from jielong.nets import config as configs

    parts = [dumps(configs.to_json(model.config)).encode()]
    for name, tensor in quant.tensors(model):
        parts += [name.encode(), _sample(tensor)]
    return files.digest(b"".join(parts))


def _sample(tensor: Tensor, most: int = 1024) -> bytes:
    flat = tensor.detach().flatten()
    return flat[:: max(1, len(flat) // most)].to(torch.bfloat16).cpu().view(torch.uint8).numpy().tobytes()
