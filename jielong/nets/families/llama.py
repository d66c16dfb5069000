"""Llama 2 and 3 (Touvron et al. 2023; Meta 2024), which SmolLM 1 and 2 are too, and Mistral (Jiang et al. 2023)."""

from __future__ import annotations

from typing import Any

from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.families import positions
from jielong.nets.families.family import DECODER, Family, Said

DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": None, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False, "rope_theta": 10_000.0, "rope_scaling": None, "rope_parameters": None,
}  # fmt: skip


def _read(said: Said) -> dict[str, Any]:
    layer = Layer(rope=positions.read(said), qk_norm=None)
    bias = bool(said["attention_bias"])
    return {"layer_list": [layer] * said["num_hidden_layers"], "qkv_bias": bias, "out_bias": bias}


def _write(config: TransformerConfig) -> dict[str, Any]:
    return {**positions.write(config), "attention_bias": config.qkv_bias}


def _read_mistral(said: Said) -> dict[str, Any]:
    kind = positions.FULL if said["sliding_window"] is None else positions.SLIDING
    rope = positions.read(said)
    windows = positions.windows(said, [kind] * said["num_hidden_layers"])
    return {"layer_list": [Layer(rope=rope, qk_norm=None, window=window) for window in windows]}


def _write_mistral(config: TransformerConfig) -> dict[str, Any]:
    return {**positions.write(config), "sliding_window": positions.first_window(config)}


LLAMA = Family(
    name="llama",
    architecture="LlamaForCausalLM",
    read=_read,
    write=_write,
    defaults=DEFAULTS | {"head_dim": None, "attention_bias": False, "mlp_bias": False},
    fields=DECODER | {"mlp_bias": "mlp_bias"},
    whole_heads=True,
)
MISTRAL = Family(
    name="mistral",
    architecture="MistralForCausalLM",
    read=_read_mistral,
    write=_write_mistral,
    defaults=DEFAULTS
    | {"head_dim": None, "num_key_value_heads": 8, "max_position_embeddings": 131_072, "sliding_window": 4096},
)
