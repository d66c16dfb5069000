"""Many clients at once, a third of them hanging up: no error that is not theirs, and nothing stays behind."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jielong.infer.sampling import Sampling
from jielong.serve.service import Ask
from tests.serve.conftest import running, service_of, the_codec

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "serve_clients.py"


@pytest.fixture(scope="module")
def clients():
    spec = importlib.util.spec_from_file_location("serve_clients", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_two_hundred_clients_for_some_seconds(clients):
    service = service_of(lambda r: f"the cat {r.prompt[-1]} sat {r.index} on the mat " * 3, delay=0.002)
    with running(service) as url:
        args = argparse.Namespace(url=url, name="cat", pid=os.getpid(), clients=200, seconds=4, leaving=1 / 3, kinds=64,
                                  same=True)  # fmt: skip
        tally = asyncio.run(clients.run(args))
        found = clients.report(args, tally)
        assert found["fine"], found
        assert found["answers"] > 100 and found["hung_up"] > 30
        end = time.monotonic() + 10
        while (service.busy or service.engine.open) and time.monotonic() < end:
            time.sleep(0.05)
        assert service.busy == service.engine.open == 0


@pytest.mark.parametrize("again", [0, 1, 2])
def test_whoever_leaves_at_whatever_moment_nothing_stays(again):
    """Cancelled after every number of steps of the loop there can be, and a second time `again` steps later."""
    ask = Ask(((5, 6),), Sampling(max_tokens=4), 4, 2)

    async def leave(after: int) -> bool:
        service = service_of("the cat sat")
        task = asyncio.create_task(service.written(ask))
        for _ in range(after):
            await asyncio.sleep(0)
        finished = task.done()
        task.cancel()
        if again:
            for _ in range(again):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.01)
        assert service.busy == service.engine.open == 0, f"left after {after} steps"
        return finished

    after = 0
    while not asyncio.run(leave(after)):
        after += 1
    assert after > 5


def test_an_error_and_growth_are_seen(clients):
    """The measurement can fail."""
    service = service_of("the cat")
    with running(service) as url:
        args = argparse.Namespace(url=url, name="dog", pid=0, clients=3, seconds=0.5, leaving=0.0, kinds=8, same=True)
        found = clients.report(args, asyncio.run(clients.run(args)))
    assert not found["fine"] and any(e.startswith("404") for e in found["errors"])
    assert clients.ends([(i, 100 + i) for i in range(90)]) == (102, 187) and clients.ends([]) == (0, 0)
    assert not clients.flat([(i, 100 + i) for i in range(90)])[0] and clients.flat([(i, 100) for i in range(90)])[0]
    with pytest.raises(ValueError):
        clients.text_of({"stream": True}, b'data: {"choices": []}')


def small_model(folder: Path) -> Path:
    """A random model of some hundred thousand parameters, saved."""
    import torch

    from jielong.nets import checkpoint
    from jielong.nets.config import TransformerConfig
    from jielong.nets.transformer import Transformer

    shape = {"dim": 64, "layers": 4, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden": 128, "context": 512}
    model = Transformer(TransformerConfig(vocab=the_codec().size, **shape))
    chance = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.2, generator=chance)
    checkpoint.save(folder, model.eval(), the_codec())
    return folder


@pytest.mark.slow
def test_five_minutes_of_two_hundred_clients(tmp_path):
    """The real engine in a process of its own; the same request must have the same answer each time."""
    model = small_model(tmp_path / "model")
    command = [sys.executable, str(SCRIPT), "--model", str(model), "--mode", "exact", "--same"]
    done = subprocess.run([*command, "--clients", "200", "--seconds", "300"], capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
