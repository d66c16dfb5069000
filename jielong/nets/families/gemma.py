"""Gemma 2 and Gemma 3, text only (Gemma Team 2024, 2025): norms before and after, weights of norms kept as w - 1."""

from __future__ import annotations

from typing import Any

from jielong.nets.config import Layer, Rope, TransformerConfig
from jielong.nets.families import positions
from jielong.nets.families.family import PROJECTIONS, Family, Said

NORMS = {
    "input_layernorm": "attention_norm.", "post_attention_layernorm": "attention_after.",
    "pre_feedforward_layernorm": "feed_norm.", "post_feedforward_layernorm": "feed_after.",
}  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": 4, "head_dim": 256, "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "rope_scaling": None,
    "rope_parameters": None, "attention_bias": False, "query_pre_attn_scalar": 256, "sliding_window": 4096,
    "layer_types": None,
}  # fmt: skip
FIXED = {"hidden_activation": "gelu_pytorch_tanh", "hidden_act": "gelu_pytorch_tanh"}


def _read(said: Said, every: int) -> tuple[dict[str, Any], list[int | None]]:
    """What both have, and each block's window: `every`-th block sees everything."""
    kinds = [positions.SLIDING if (i + 1) % every else positions.FULL for i in range(said["num_hidden_layers"])]
    bias, scalar = bool(said["attention_bias"]), said["query_pre_attn_scalar"]
    options = {
        "activation": "geglu_tanh", "norm_offset": 1.0, "embed_scale": float(said["hidden_size"]) ** 0.5,
        "attention_scale": 0.0 if scalar == said["head_dim"] else float(scalar) ** -0.5,
        "softcap": said["final_logit_softcapping"], "qkv_bias": bias, "out_bias": bias,
    }  # fmt: skip
    return options, positions.windows(said, kinds)


def _read_gemma2(said: Said) -> dict[str, Any]:
    options, windows = _read(said, 2)
    cap, rope = said["attn_logit_softcapping"], positions.read(said)
    layers = [Layer(rope=rope, qk_norm=None, norm="sandwich", softcap=cap, window=window) for window in windows]
    return {**options, "layer_list": layers}


def _read_gemma3(said: Said) -> dict[str, Any]:
    options, windows = _read(said, said["sliding_window_pattern"])
    parts = said["rope_parameters"] or {}
    near = positions.read(said, parts.get(positions.SLIDING) or {}, said["rope_local_base_freq"])
    far = parts.get(positions.FULL) or {}
    far = positions.read(said, {**far, **(said["rope_scaling"] or {})}, said["rope_theta"])
    layers = [Layer(rope=near if window else far, norm="sandwich", window=window) for window in windows]
    return {**options, "layer_list": layers}


def _write(config: TransformerConfig) -> dict[str, Any]:
    scale = (config.attention_scale or config.head_dim**-0.5) ** -2
    scalar = round(scale) if float(round(scale)) ** -0.5 == config.attention_scale else scale
    return {
        **positions.layer_types(config), "attention_bias": config.qkv_bias, "final_logit_softcapping": config.softcap,
        "query_pre_attn_scalar": scalar if config.attention_scale else config.head_dim,
    }  # fmt: skip


def _write_gemma2(config: TransformerConfig) -> dict[str, Any]:
    return {**_write(config), **positions.write(config), "attn_logit_softcapping": config.blocks[0].softcap}


def _write_gemma3(config: TransformerConfig) -> dict[str, Any]:
    near = next((layer.rope for layer in config.blocks if layer.window), Rope())
    far = next((layer.rope for layer in config.blocks if not layer.window), Rope(base=1e6))
    parts = {
        positions.SLIDING: positions.parameters(near, config),
        positions.FULL: positions.parameters(far, config),
    }
    plain = parts[positions.FULL]["rope_type"] == "default"
    return {
        **_write(config), "rope_parameters": parts, "rope_theta": parts[positions.FULL]["rope_theta"],
        "rope_scaling": None if plain else parts[positions.FULL],
        "rope_local_base_freq": parts[positions.SLIDING]["rope_theta"],
    }  # fmt: skip


GEMMA2 = Family(
    "gemma2", "Gemma2ForCausalLM", _read_gemma2, _write_gemma2, fixed=FIXED, block=PROJECTIONS | NORMS,
    whole_heads=True,
    defaults=DEFAULTS
    | {"max_position_embeddings": 8192, "rope_theta": 10_000.0, "final_logit_softcapping": 30.0,
       "attn_logit_softcapping": 50.0},
)  # fmt: skip
GEMMA3 = Family(
    "gemma3_text", "Gemma3ForCausalLM", _read_gemma3, _write_gemma3, fixed=FIXED, block=PROJECTIONS | NORMS,
    whole_heads=True,
    defaults=DEFAULTS
    | {"max_position_embeddings": 131_072, "rope_theta": 1_000_000.0, "rope_local_base_freq": 10_000.0,
       "sliding_window_pattern": 6, "final_logit_softcapping": None},
)  # fmt: skip
