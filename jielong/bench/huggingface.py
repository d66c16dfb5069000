"""Hugging Face's Trainer as a contestant: its own loop, data loader and optimizer, stopped before each timed step.

It runs in a process of its own: the Trainer drives itself, and a second pool of threads in ours would make every
contestant a third slower.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from jielong.base.errors import WorkFailed
from jielong.data.pack import Packer

MANY = 1_000_000


def trainer_rounds(fields: Mapping[str, Any], rows: Packer, autocast: bool) -> Rounds:
    """A function that lets the Trainer make one step over a Qwen3 of these `fields`, and returns when it is made."""
    return Rounds(_work, dict(fields), rows, autocast)


class Rounds:
    """`work(gate, *given)` in a process of its own; called, it lets it make one step. The work receives from its gate
    before each step (None: it is to end), and sends after it what is then returned."""

    def __init__(self, work: Callable[..., None], *given: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.gate, theirs = context.Pipe()
        self.process = context.Process(target=_begun, args=(work, theirs, *given), daemon=True)
        self.process.start()
        theirs.close()

    def __call__(self, i: int) -> Any:
        try:
            self.gate.send(i)
            return self.gate.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise WorkFailed("Hugging Face's Trainer stopped; what it said stands above") from error

    def close(self) -> None:
        """End the process: each holds half a gigabyte."""
        self.gate.send(None)
        self.process.join(10)


def wait(gate: Connection) -> None:
    """Of the work: until it may make a step."""
    if gate.recv() is None:
        os._exit(0)  # the Trainer is in the middle of its loop, and nobody waits for what it would still do


def _begun(work: Callable[..., None], gate: Connection, *given: Any) -> None:
    import torch

    from jielong.base import device

    torch.set_num_threads(device.threads())
    device.keep_memory()
    work(gate, *given)


def _work(gate: Connection, fields: dict[str, Any], rows: Packer, autocast: bool) -> None:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM, Trainer, TrainerCallback, TrainingArguments

    class Rows(torch.utils.data.Dataset[dict[str, Any]]):
        def __len__(self) -> int:
            return MANY

        def __getitem__(self, i: int) -> dict[str, Any]:
            batch = rows.rows(i // rows.batch)
            row = i % rows.batch
            return {"input_ids": torch.from_numpy(batch.ids[row]), "labels": torch.from_numpy(batch.ids[row])}

    class Wait(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            wait(gate)

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            gate.send(True)

    class InOrder(Trainer):
        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
            return torch.utils.data.SequentialSampler(Rows())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=rows.batch,
            max_steps=MANY,
            bf16=autocast,
            use_cpu=True,
            optim="adamw_torch_fused",
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_num_workers=0,
        )
        model = Qwen3ForCausalLM(Qwen3Config(**fields))
        InOrder(model=model, args=arguments, train_dataset=Rows(), callbacks=[Wait()]).train()
