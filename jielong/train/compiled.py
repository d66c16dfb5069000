"""Letting torch compile a model's blocks: when that pays, and when it is left aside.

Blocks are alike, so one is compiled and serves for all (seconds, not the half minute of the whole model).
"""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from jielong.nets.transformer import Transformer
from jielong.train.settings import REFERENCE_RATE, Settings

WORTH = 60.0  # seconds of training, by the reference rate, that win back some ten seconds of compiling


def pays(model: Transformer, settings: Settings) -> bool:
    """Whether this run is long enough, and a compiler is there. Only settings and the machine's programs decide,
    so that a run that is resumed decides as it did before. `settings.compile` overrules it."""
    if any(block.attention.integers for block in cast(Any, model.blocks)):
        return False  # one matrix at a time becomes floats, and is to be forgotten again
    if settings.compile is not None:
        return settings.compile
    flops = 3.0 * model.config.matrix_flops(settings.context) * settings.length * settings.step_tokens
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    ready = model.device.type == "cuda" or (shutil.which("g++") is not None and headers.is_file())
    return ready and flops / REFERENCE_RATE > WORTH


def compile_blocks(model: Transformer) -> None:
    """From now on, blocks run as compiled code; the first batch waits for it."""
    for block in model.blocks:
        block.compile(dynamic=False)


@contextmanager
def compiled(model: Transformer, wanted: bool) -> Iterator[None]:
    """Inside, blocks run as compiled code where `wanted`; afterwards as they are written."""
    if not wanted:
        yield
        return
    compile_blocks(model)
    try:
        yield
    finally:
        for block in model.blocks:
            block._compiled_call_impl = None


@contextmanager
def plainly(model: nn.Module) -> Iterator[None]:
    """Inside, nothing is compiled anew: rows of other lengths, or without gradients, run as they are written."""
    blocks = getattr(model, "blocks", ())
    if not any(getattr(block, "_compiled_call_impl", None) for block in blocks):
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
