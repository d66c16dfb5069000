"""From a checkpoint folder to a service."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from jielong.base.errors import UserError
from jielong.serve.service import Limits, Service

if TYPE_CHECKING:
    from jielong.nets.adapters.adapter import Adapter
    from jielong.nets.checkpoint import Loaded

NAME = r"[A-Za-z0-9_.-]{1,64}"  # of an adapter
NONE: Mapping[str, Any] = MappingProxyType({})


def open_service(
    path: str | Path,
    *,
    name: str = "",
    device: str = "cpu",
    mode: Literal["fast", "exact"] = "fast",
    streams: int = 32,
    limits: Limits | None = None,
    drafting: Callable[[Any, Any], Any] | None = None,
    adapter: str | Path | None = None,
    adapters: Mapping[str, str | Path] = NONE,
) -> Service:
    """The model at `path`, perhaps with the `adapter` in another folder written into it, and an engine of its own.
    `adapters`: folders by name, each of which requests may ask for. UserError when something cannot be read, and for an
    adapter of another base. `drafting` makes of model and tokenizer who guesses ahead (`infer.draft.drafting`).

    Everything is in memory afterwards: the folder may change or vanish while it is being served.
    """
    from jielong.infer import slots
    from jielong.infer.engine import Engine
    from jielong.nets import checkpoint

    loaded = checkpoint.load(path, device=device)
    slots.refuse(loaded.info, path)
    if adapter is not None:
        from jielong.nets.adapters.folder import with_adapter

        loaded = with_adapter(loaded, adapter)
    name = name or Path(path).name or str(path)
    beside = _adapters(loaded, adapters, name)
    engine = Engine(loaded.model, loaded.codec, mode=mode, streams=streams, adapters=beside,
                    drafting=drafting and drafting(loaded.model, loaded.codec))  # fmt: skip
    return around(engine, loaded.model, loaded.codec, name, limits, beside)


def _adapters(loaded: Loaded, folders: Mapping[str, str | Path], model: str) -> dict[str, Adapter]:
    """The adapters in some folders, by name."""
    from jielong.nets.adapters.folder import upon

    if not folders:
        return {}
    base, found = upon(loaded), {}
    for name, folder in folders.items():
        if not re.fullmatch(NAME, name) or name == model:
            raise UserError(f"an adapter cannot be called {name!r:.80}: give letters, digits, _, . and -, and not the "
                            "model's own name")  # fmt: skip
        found[name] = base.load(folder, loaded.codec).model
        if found[name].heads:
            raise UserError(f"the adapter in {folder} judges texts and writes none: ask it with jielong score")
    return found


def around(
    engine: Any, model: Any, codec: Any, name: str, limits: Limits | None = None,
    adapters: Mapping[str, Adapter] = NONE,
) -> Service:  # fmt: skip
    """A service of an engine that runs already, which knows these adapters."""
    from jielong.infer.fingerprint import fingerprint
    from jielong.infer.runner import context_of
    from jielong.nets.adapters import thin

    width = getattr(getattr(model, "config", None), "dim", None)
    return Service(
        engine,
        codec,
        name=name,
        context=context_of(model),
        width=width,
        fingerprint=fingerprint(model, codec),
        limits=limits or Limits(),
        adapters={each: thin.fingerprint(adapter) for each, adapter in adapters.items()},
    )
