"""TRL's and PEFT's trainers as contestants, each in a process of its own (`huggingface.py`), over ids made beforehand.

Nothing is tokenised, saved, logged or reported in a timed step. Documents of a packed row are kept apart by
transformers' own mask, which it makes of the positions that TRL's collator gives it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from jielong.bench.huggingface import MANY, Rounds, wait

AT_ONCE = 2  # packed rows
Chat = tuple[list[int], list[int]]  # what was asked and what was answered
Pair = tuple[list[int], list[int], list[int]]  # what was asked, the better answer and the worse one


@dataclass(frozen=True)
class Setting:
    """How TRL runs. `rows` (SFT): "packed" into rows of the context by best fit, chats kept apart (TRL reads these rows
    as one long sequence, whose attention costs its square without a GPU's kernels: two at a time, then accumulated);
    "wrapped", cut from one stream, where attention crosses from chat to chat; "padded", a chat a row, in the order that
    is given. `known` (DPO): the reference's log-probabilities are computed before the first step."""

    autocast: bool = False
    eager: bool = False  # transformers' own attention, else torch's fused one
    compiled: bool = False
    rows: str = "padded"
    known: bool = False
    rank: int = 0  # of a LoRA; 0: the whole model

    @property
    def name(self) -> str:
        """For people."""
        parts = ["bfloat16" if self.autocast else "float32", "eager" if self.eager else "sdpa"]
        parts += ["compiled"] * self.compiled
        return ", ".join(parts)


def sft(folder: str, chats: Sequence[Chat], setting: Setting, batch: int, context: int) -> Rounds:
    """SFTTrainer over these chats in their order: each call makes one step of `batch` rows, and says what time of
    processors its process has taken so far, in seconds."""
    return Rounds(_sft, folder, list(chats), setting, batch, context)


def dpo(folder: str, pairs: Sequence[Pair], setting: Setting, batch: int) -> Rounds:
    """DPOTrainer over these pairs in their order: each call makes one step of `batch` pairs, and says the same."""
    return Rounds(_dpo, folder, list(pairs), setting, batch)


def _sft(gate: Connection, folder: str, chats: list[Chat], setting: Setting, batch: int, context: int) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [{"input_ids": a + b, "completion_mask": [0] * len(a) + [1] * len(b)} for a, b in chats]
    with tempfile.TemporaryDirectory() as place:
        arguments = SFTConfig(
            **_arguments(place, setting, batch), packing=setting.rows != "padded", max_length=context,
            packing_strategy="wrapped" if setting.rows == "wrapped" else "bfd", completion_only_loss=True,
        )  # fmt: skip
        made = _in_order(SFTTrainer)(
            model=_model(folder, setting), args=arguments, train_dataset=Dataset.from_list(rows),
            processing_class=_tokenizer(folder), peft_config=_peft(setting), callbacks=[_wait(gate)],
        )  # fmt: skip
        made.train()


def _dpo(gate: Connection, folder: str, pairs: list[Pair], setting: Setting, batch: int) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class Ready(_in_order(DPOTrainer)):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
            return dataset

    rows = [dict(zip(("prompt_ids", "chosen_ids", "rejected_ids"), pair, strict=True)) for pair in pairs]
    with tempfile.TemporaryDirectory() as place:
        arguments = DPOConfig(**_arguments(place, setting, batch), precompute_ref_log_probs=setting.known)
        made = Ready(
            model=_model(folder, setting), args=arguments, train_dataset=Dataset.from_list(rows),
            processing_class=_tokenizer(folder), peft_config=_peft(setting), callbacks=[_wait(gate)],
        )  # fmt: skip
        made.train()


def _arguments(place: str, setting: Setting, batch: int) -> dict[str, Any]:
    at_once = min(batch, AT_ONCE) if setting.rows == "packed" else batch
    return {
        "output_dir": place, "per_device_train_batch_size": at_once, "gradient_accumulation_steps": batch // at_once,
        "max_steps": MANY, "bf16": setting.autocast,
        "use_cpu": True, "optim": "adamw_torch_fused", "logging_strategy": "no", "save_strategy": "no",
        "report_to": [], "disable_tqdm": True, "dataloader_num_workers": 0, "gradient_checkpointing": False,
        "torch_compile": setting.compiled,
    }  # fmt: skip


def _model(folder: str, setting: Setting) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    how = "eager" if setting.eager else "sdpa"
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=how, dtype=torch.float32)


def _tokenizer(folder: str) -> Any:
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(folder)
    found.pad_token = found.pad_token or found.eos_token
    return found


def _peft(setting: Setting) -> Any:
    from peft import LoraConfig

    if not setting.rank:
        return None
    return LoraConfig(r=setting.rank, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")


def _in_order(trainer: Any) -> Any:
    import torch

    class InOrder(trainer):
        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    return InOrder


def _wait(gate: Connection) -> Any:
    from transformers import TrainerCallback

    class Wait(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            wait(gate)

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            gate.send(time.process_time())

    return Wait()
