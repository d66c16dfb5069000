"""From a checkpoint folder to a service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from jielong.serve.service import Limits, Service


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
) -> Service:
    """The model at `path`, perhaps with the `adapter` in another folder, and an engine of its own. UserError when it
    cannot be read. `drafting` makes of model and tokenizer who guesses ahead (`infer.draft.drafting`).

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
    engine = Engine(loaded.model, loaded.codec, mode=mode, streams=streams,
                    drafting=drafting and drafting(loaded.model, loaded.codec))  # fmt: skip
    return around(engine, loaded.model, loaded.codec, name or Path(path).name or str(path), limits)


def around(engine: Any, model: Any, codec: Any, name: str, limits: Limits | None = None) -> Service:
    """A service of an engine that runs already."""
    from jielong.infer.fingerprint import fingerprint
    from jielong.infer.runner import context_of

    width = getattr(getattr(model, "config", None), "dim", None)
    return Service(
        engine,
        codec,
        name=name,
        context=context_of(model),
        width=width,
        fingerprint=fingerprint(model, codec),
        limits=limits or Limits(),
    )
