"""Memory of a training step: the whole model, a LoRA beside floats, and a LoRA beside 8- and 4-bit integers (QLoRA).

    python scripts/adapter_memory.py [15M 100M]     # a minute or two; Linux (it resets the process's high-water mark)

Each case has a process of its own. What is told are MiB: what the process holds before the first step less what it held
before there was a model, and the peak of the second step, likewise.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

SIZES = {"15M": (384, 6, 4096), "100M": (768, 12, 16384)}
CASES = ("whole", "lora", "lora 8 bits", "lora 4 bits")
ROWS, CONTEXT = 2, 128


def memory(key: str) -> float:
    """MiB of the process: VmRSS now, VmHWM at most."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def measure(size: str, case: str) -> None:
    import ctypes

    import torch

    from jielong.data.pack import Batch
    from jielong.nets.adapters.attach import attach
    from jielong.nets.adapters.config import Lora
    from jielong.nets.config import shape
    from jielong.nets.quant import lean, quantise
    from jielong.nets.transformer import Transformer, count
    from jielong.train.loop import Course, _Driver
    from jielong.train.next_token import NextToken

    torch.set_num_threads(1)
    ids = torch.randint(0, 4096, (ROWS, CONTEXT + 1)).numpy()
    flat = torch.zeros(ROWS, CONTEXT, dtype=torch.int32).numpy()
    batch = Batch(ids[:, :-1], ids[:, 1:], flat, flat)
    torch.randn(64, 64).to(torch.bfloat16) @ torch.randn(64, 64).to(torch.bfloat16)
    before = memory("VmRSS")
    width, layers, vocab = SIZES[size]
    model = Transformer(shape(width, vocab, CONTEXT, layers), seed=0)
    numbers = count(model)
    adapter = None
    if case != "whole":
        if "bits" in case:
            quantise(model, int(case.split()[1]))
        adapter = attach(model, Lora(rank=8))
        lean(model)
    objective = NextToken(model, None, None, 1, torch.float32, adapter=adapter)  # type: ignore[arg-type]
    driver = _Driver(objective.phases[0], Course(100))
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    held = memory("VmRSS") - before
    driver.step([batch], 0)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    driver.step([batch], 1)
    told = f"held {held:7.0f} MiB   a step's peak {memory('VmHWM') - before:7.0f} MiB"
    print(f"{size:5s} {numbers / 1e6:6.1f}M  {case:12s} {told}")


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[2] in CASES:
        measure(sys.argv[1], sys.argv[2])
    else:
        for size in sys.argv[1:] or SIZES:
            for case in CASES:
                subprocess.run([sys.executable, __file__, size, case], check=True)
