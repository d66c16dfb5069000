"""Phi-3 and Phi-4-mini (Abdin et al. 2024), OLMo-2 (OLMo Team 2025), and GPT-2 (Radford et al. 2019)."""

from __future__ import annotations

from typing import Any

from jielong.base.errors import UserError
from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.families import positions
from jielong.nets.families.family import PRE_NORMS, PROJECTIONS, Family, Said
from jielong.nets.families.llama import DEFAULTS

ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu"}


def _read_phi3(said: Said) -> dict[str, Any]:
    kind = positions.FULL if said["sliding_window"] is None else positions.SLIDING
    given = dict(said["rope_scaling"] or said["rope_parameters"] or {})
    for name in ("type", "rope_type"):  # the first checkpoints called it so
        if given.get(name) == "yarn":
            given[name] = "longrope"
    rope = positions.read(said, given)
    windows = positions.windows(said, [kind] * said["num_hidden_layers"])
    return {"layer_list": [Layer(rope=rope, qk_norm=None, window=window) for window in windows]}


def _write_phi3(config: TransformerConfig) -> dict[str, Any]:
    made = positions.write(config)
    rope = made["rope_parameters"]
    original = rope.get("original_max_position_embeddings", config.context)
    layer_rope = config.blocks[0].rope
    rope["partial_rotary_factor"] = fraction = layer_rope.fraction if layer_rope else 1.0
    return {
        **made, "original_max_position_embeddings": original, "partial_rotary_factor": fraction,
        "sliding_window": positions.first_window(config),
    }  # fmt: skip


def _read_olmo2(said: Said) -> dict[str, Any]:
    layer = Layer(rope=positions.read(said), norm="out", qk_norm="whole")
    bias = bool(said["attention_bias"])
    return {"layer_list": [layer] * said["num_hidden_layers"], "qkv_bias": bias, "out_bias": bias}


def _write_olmo2(config: TransformerConfig) -> dict[str, Any]:
    return {**positions.write(config), "attention_bias": config.qkv_bias}


def _read_gpt2(said: Said) -> dict[str, Any]:
    kind = said["activation_function"]
    if kind not in ACTIVATIONS:
        raise UserError(f"config.json has activation_function={kind!r}; read here: {', '.join(ACTIVATIONS)}")
    return {
        "layer_list": [Layer(rope=None, qk_norm=None)] * said["n_layer"], "position": "learned", "norm": "layer",
        "activation": ACTIVATIONS[kind], "hidden": said["n_inner"] or 4 * said["n_embd"], "qkv_bias": True,
        "out_bias": True, "mlp_bias": True, "attention_scale": 0.0 if said["scale_attn_weights"] else 1.0,
    }  # fmt: skip


def _write_gpt2(config: TransformerConfig) -> dict[str, Any]:
    names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    return {
        "activation_function": names.get(config.activation, "gelu_new"), "n_inner": config.hidden,
        "scale_attn_weights": config.attention_scale != 1.0, "n_ctx": config.context,
    }  # fmt: skip


PHI3 = Family(
    "phi3", "Phi3ForCausalLM", _read_phi3, _write_phi3,
    defaults=DEFAULTS
    | {"max_position_embeddings": 4096, "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
       "sliding_window": None, "partial_rotary_factor": 1.0},
    block={"self_attn.qkv_proj": "attention.qkv", "self_attn.o_proj": "attention.out", "mlp.gate_up_proj": "feed.up",
           "mlp.down_proj": "feed.down"} | PRE_NORMS,
)  # fmt: skip
OLMO2 = Family(
    "olmo2", "Olmo2ForCausalLM", _read_olmo2, _write_olmo2,
    defaults=DEFAULTS | {"rms_norm_eps": 1e-5, "attention_bias": False},
    block=PROJECTIONS
    | {"post_attention_layernorm": "attention_after.", "post_feedforward_layernorm": "feed_after."},
)  # fmt: skip
GPT2 = Family(
    "gpt2", "GPT2LMHeadModel", _read_gpt2, _write_gpt2, fixed={}, prefix="transformer.", blocks="transformer.h.",
    turned=True,
    fields={"vocab_size": "vocab", "n_embd": "dim", "n_layer": "layers", "n_head": "heads", "n_positions": "context",
            "layer_norm_epsilon": "norm_eps", "tie_word_embeddings": "tied"},
    defaults={"n_positions": 1024, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "n_inner": None,
              "activation_function": "gelu_new", "scale_attn_weights": True},
    ends={"transformer.wte": "embed", "transformer.wpe": "place", "transformer.ln_f": "norm.", "lm_head": "head"},
    block={"ln_1": "attention_norm.", "attn.c_attn": "attention.qkv", "attn.c_proj": "attention.out",
           "ln_2": "feed_norm.", "mlp.c_fc": "feed.up", "mlp.c_proj": "feed.down"},
)  # fmt: skip
