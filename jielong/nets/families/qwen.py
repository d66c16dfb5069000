"""Qwen2, Qwen2.5 and Qwen3 (Qwen Team 2024, 2025). Qwen3 is the shape of our own models."""

from __future__ import annotations

from typing import Any

from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.families import positions
from jielong.nets.families.family import Family, Said

DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": 32, "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
    "rope_theta": 10_000.0, "rope_scaling": None, "rope_parameters": None, "use_sliding_window": False,
    "sliding_window": 4096, "max_window_layers": 28, "layer_types": None,
}  # fmt: skip


def _read(said: Said) -> dict[str, Any]:
    """Both: some of the later blocks may look back a window only."""
    layers, full = said["num_hidden_layers"], said["max_window_layers"]
    windowed = bool(said["use_sliding_window"]) and said["sliding_window"] is not None
    kinds = [positions.SLIDING if windowed and i >= full else positions.FULL for i in range(layers)]
    if not windowed:  # then transformers drops the window, whatever layer_types say
        said = {**said, "layer_types": [positions.FULL for _ in said["layer_types"] or kinds]}
    rope = positions.read(said)
    return {"layer_list": [Layer(rope=rope, window=window) for window in positions.windows(said, kinds)]}


def _read_qwen2(said: Said) -> dict[str, Any]:
    layers = [Layer(rope=layer.rope, window=layer.window, qk_norm=None) for layer in _read(said)["layer_list"]]
    return {"layer_list": layers, "qkv_bias": True}


def _read_qwen3(said: Said) -> dict[str, Any]:
    bias = bool(said["attention_bias"])
    return {**_read(said), "qkv_bias": bias, "out_bias": bias}


def _write(config: TransformerConfig) -> dict[str, Any]:
    made = {**positions.write(config), **positions.layer_types(config)}
    kinds = made["layer_types"]
    first = kinds.index(positions.SLIDING) if positions.SLIDING in kinds else config.layers
    return {**made, "use_sliding_window": made["sliding_window"] is not None, "max_window_layers": first}


def _write_qwen3(config: TransformerConfig) -> dict[str, Any]:
    return {**_write(config), "attention_bias": config.qkv_bias}


QWEN2 = Family("qwen2", "Qwen2ForCausalLM", _read_qwen2, _write, defaults=DEFAULTS)
QWEN3 = Family(
    "qwen3",
    "Qwen3ForCausalLM",
    _read_qwen3,
    _write_qwen3,
    defaults=DEFAULTS | {"head_dim": 128, "attention_bias": False},
)
