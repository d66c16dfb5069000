"""What stands before every text, in PEFT's own format: prefixes (PREFIX_TUNING) and soft prompts (PROMPT_TUNING).

Both are one table there, `prompt_embeddings`, a row for each virtual token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from jielong.base.errors import UserError
from jielong.nets.adapters import prefix, soft_prompt
from jielong.nets.adapters.adapter import Adapter
from jielong.nets.adapters.config import Config, Prefix, SoftPrompt
from jielong.nets.adapters.targets import halves
from jielong.nets.config import TransformerConfig
from jielong.nets.families.family import Family

PROMPT = "prompt_embeddings"
KINDS = ("PREFIX_TUNING", "PROMPT_TUNING")


def written(adapter: Adapter, base: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """As of `peft_format.written`."""
    said = {
        "task_type": "CAUSAL_LM", "inference_mode": True, "base_model_name_or_path": base or None,
        "num_transformer_submodules": 1,
    }  # fmt: skip
    more, table = _soft(adapter) if isinstance(adapter.config, SoftPrompt) else _prefix(adapter)
    return said | more, {PROMPT: table.detach().cpu().contiguous()}


def read(
    said: Mapping[str, Any], tensors: Mapping[str, Tensor], shape: TransformerConfig, family: Family,
    own: Config | None,
) -> Adapter:  # fmt: skip
    """As of `peft_format.read`."""
    if set(tensors) != {PROMPT} or tensors[PROMPT].ndim != 2:
        raise UserError(f"the adapter holds {', '.join(sorted(tensors))[:200]}; what stands before a text is one "
                        f"table, {PROMPT}")  # fmt: skip
    if said.get("peft_type") == "PROMPT_TUNING":
        return _read_soft(tensors[PROMPT], shape, family, own if isinstance(own, SoftPrompt) else None)
    if said.get("prefix_projection"):
        raise UserError("adapter_config.json has prefix_projection=True, which is not honoured here")
    return _read_prefix(tensors[PROMPT], shape, family)


def _soft(adapter: Adapter) -> tuple[dict[str, Any], Tensor]:
    site: Any = adapter.sites[0]
    shape = site.shape
    said = {
        "peft_type": "PROMPT_TUNING", "prompt_tuning_init": "RANDOM", "num_virtual_tokens": len(site.embeds),
        "num_layers": shape.layers, "num_attention_heads": shape.heads, "token_dim": shape.dim,
    }  # fmt: skip
    return said, site.embeds


def _read_soft(rows: Tensor, shape: TransformerConfig, family: Family, own: SoftPrompt | None) -> Adapter:
    if rows.shape[1] != shape.dim:
        raise UserError(f"{PROMPT} has shape {list(rows.shape)}, and this base is {shape.dim} wide: the adapter was "
                        "made for another one")  # fmt: skip
    config = own or SoftPrompt(len(rows))
    adapter = Adapter(config, soft_prompt.place(shape), family, soft_prompt.maker(config, shape))
    site: Any = adapter.sites[0]
    if len(rows) != len(site.embeds):
        raise UserError(f"{PROMPT} has {len(rows)} rows, jielong.json says {len(site.embeds)}: the files belong to two "
                        "adapters")  # fmt: skip
    with torch.no_grad():
        site.embeds.copy_(rows)
    return adapter.eval()


def _prefix(adapter: Adapter) -> tuple[dict[str, Any], Tensor]:
    """One row of all blocks' keys and values for each virtual token."""
    sites: list[Any] = list(adapter.sites)
    whole = torch.stack([torch.stack([site.keys, site.values], 1) for site in sites], 1)  # (n, layers, 2, K, C)
    heads, size = whole.shape[-2:]
    said = {
        "peft_type": "PREFIX_TUNING", "prefix_projection": False, "num_virtual_tokens": len(whole),
        "num_layers": len(sites), "num_attention_heads": heads, "token_dim": heads * size,
        "encoder_hidden_size": heads * size,
    }  # fmt: skip
    return said, whole.flatten(1)


def _read_prefix(rows: Tensor, shape: TransformerConfig, family: Family) -> Adapter:
    size = (shape.layers, 2, shape.kv_heads, shape.head_dim)
    if rows.shape[1] != math.prod(size):
        raise UserError(f"{PROMPT} has shape {list(rows.shape)}, and this base wants {math.prod(size)} columns: the "
                        "adapter was made for another one")  # fmt: skip
    config = Prefix(len(rows))
    adapter = Adapter(config, halves(shape, ("attention",), "past"), family, prefix.maker(config, shape, 0))
    sites: list[Any] = list(adapter.sites)
    with torch.no_grad():
        for site, (keys, values) in zip(sites, rows.unflatten(1, size).permute(1, 2, 0, 3, 4), strict=True):
            site.keys.copy_(keys)
            site.values.copy_(values)
    return adapter.eval()
