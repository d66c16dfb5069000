"""Hugging Face's Trainer as a contestant: its own loop, data loader and optimizer, stopped after each timed step.

The Trainer drives itself, so it runs in a thread of its own and waits at a gate before each step.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from typing import Any

import torch

from jielong.data.pack import Packer

MANY = 1_000_000


class _Gate:
    """Lets one step through at a time."""

    def __init__(self) -> None:
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.error: BaseException | None = None


def trainer_rounds(model: Any, rows: Packer, autocast: bool) -> Callable[[int], None]:
    """A function that lets the Trainer make one step and returns when it is made."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    gate = _Gate()

    class Rows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return MANY

        def __getitem__(self, i: int) -> dict[str, Any]:
            batch = rows.rows(i // rows.batch)
            row = i % rows.batch
            return {"input_ids": torch.from_numpy(batch.ids[row]), "labels": torch.from_numpy(batch.ids[row])}

    class Wait(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            gate.go.acquire()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            gate.done.release()

    class InOrder(Trainer):
        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
            return torch.utils.data.SequentialSampler(Rows())

    def work() -> None:
        try:
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
                InOrder(model=model, args=arguments, train_dataset=Rows(), callbacks=[Wait()]).train()
        except BaseException as error:
            gate.error = error
            gate.done.release()

    threading.Thread(target=work, daemon=True).start()

    def step(i: int) -> None:
        gate.go.release()
        gate.done.acquire()
        if gate.error is not None:
            raise gate.error

    return step
