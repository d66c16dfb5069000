"""Qwen3's checkpoint format: our default shape under the names everybody's loaders know.

A family is a module of three functions over the one Transformer: `why_not(config)` names the option that keeps a
shape from being saved as this family, `to_json`/`from_json` map the configuration, `tensors` maps the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from jielong.base.errors import UserError
from jielong.nets.config import Layer, Rope, TransformerConfig

MODEL_TYPE = "qwen3"
# Fields of Hugging Face's Qwen3Config that change nothing we compute; any other unknown field is refused by name.
HARMLESS = frozenset(
    "architectures attention_dropout initializer_range use_cache torch_dtype dtype transformers_version _name_or_path "
    "bos_token_id eos_token_id pad_token_id return_dict output_hidden_states output_attentions model_type "
    "max_window_layers id2label label2id problem_type chunk_size_feed_forward is_encoder_decoder "
    "_attn_implementation_autoset jielong".split()
)
READ = frozenset(
    "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim "
    "hidden_act max_position_embeddings rms_norm_eps tie_word_embeddings rope_theta rope_scaling rope_parameters "
    "attention_bias use_sliding_window sliding_window layer_types".split()
)
KINDS = {"none": "default", "linear": "linear", "yarn": "yarn", "llama3": "llama3"}
# rope_parameters' name -> ours
ROPE_FIELDS = {
    "factor": "factor",
    "original_max_position_embeddings": "original",
    "beta_fast": "beta_fast",
    "beta_slow": "beta_slow",
    "low_freq_factor": "low_frequency",
    "high_freq_factor": "high_frequency",
    "attention_factor": "attention",
}


def why_not(config: TransformerConfig) -> str:
    """The first option that Qwen3 does not have, as `name=value`; empty when the shape is a Qwen3."""
    plain = TransformerConfig(vocab=1)
    for name in (
        "causal", "position", "activation", "norm", "norm_offset", "mlp_bias", "head_bias", "embed_scale",
        "attention_scale", "softcap", "final_norm", "embed_norm", "types", "parallel", "condition",
    ):  # fmt: skip
        if getattr(config, name) != getattr(plain, name):
            return f"{name}={getattr(config, name)}"
    if config.qkv_bias != config.out_bias:
        return f"out_bias={config.out_bias} beside qkv_bias={config.qkv_bias}"
    ropes = {layer.rope for layer in config.blocks}
    windows = {layer.window for layer in config.blocks} - {None}
    if len(ropes) > 1 or len(windows) > 1:
        return "layers with different rope or window"
    for layer in config.blocks:
        for name in ("norm", "qk_norm", "softcap", "cross", "adaln"):
            if getattr(layer, name) != getattr(Layer(), name):
                return f"layer.{name}={getattr(layer, name)}"
        if layer.rope is None or layer.rope.fraction != 1.0 or layer.rope.scaling not in KINDS:
            return f"layer.rope={layer.rope}"
    return ""


def to_json(config: TransformerConfig) -> dict[str, Any]:
    """Fields of `config.json`; rope both as transformers 5 reads it and as older readers do."""
    rope = config.blocks[0].rope
    assert rope is not None
    window = next((layer.window for layer in config.blocks if layer.window), None)
    parameters: dict[str, Any] = {"rope_type": KINDS[rope.scaling], "rope_theta": rope.base}
    if rope.scaling != "none":
        wanted = {
            "linear": ("factor",),
            "yarn": ("factor", "original", "beta_fast", "beta_slow", "attention"),
        }
        fields = wanted.get(rope.scaling, ("factor", "original", "low_frequency", "high_frequency"))
        parameters |= {theirs: getattr(rope, ours) for theirs, ours in ROPE_FIELDS.items() if ours in fields}
        if not rope.attention:
            parameters.pop("attention_factor", None)
        if "original" in fields and not rope.original:
            parameters["original_max_position_embeddings"] = config.context
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": MODEL_TYPE,
        "vocab_size": config.vocab,
        "hidden_size": config.dim,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tied,
        "rope_theta": rope.base,
        "rope_scaling": None if rope.scaling == "none" else parameters,
        "rope_parameters": parameters,
        "attention_bias": config.qkv_bias,
        "attention_dropout": 0.0,
        "use_sliding_window": window is not None,
        "sliding_window": window,
        "layer_types": ["sliding_attention" if layer.window else "full_attention" for layer in config.blocks],
        "initializer_range": 0.02,
        "use_cache": True,
        "dtype": "float32",
    }


def from_json(data: Mapping[str, Any]) -> TransformerConfig:
    """Read a Qwen3 `config.json`. Raises UserError naming any field that we would not honour."""
    unknown = sorted(key for key in data if key not in READ | HARMLESS)
    if unknown:
        raise UserError(f"config.json has {', '.join(unknown)}, which this reader does not honour")
    if data.get("hidden_act", "silu") != "silu":
        raise UserError(f"config.json has hidden_act={data['hidden_act']!r}; Qwen3 is read with silu only")
    missing = sorted(
        READ & {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"} - set(data)
    )
    if missing:
        raise UserError(f"config.json lacks {', '.join(missing)}")
    heads = int(data.get("num_attention_heads", 32))
    layers = int(data["num_hidden_layers"])
    kinds = data.get("layer_types") or ["full_attention"] * layers
    if len(kinds) != layers:
        raise UserError(f"config.json has {len(kinds)} layer_types for {layers} layers")
    layer = Layer(rope=_rope(data))
    window = data.get("sliding_window") if data.get("use_sliding_window") else None
    per_block = tuple(
        replace(layer, window=window if kind == "sliding_attention" else None) for kind in kinds
    )
    bias = bool(data.get("attention_bias", False))
    return TransformerConfig(
        vocab=int(data["vocab_size"]),
        dim=int(data["hidden_size"]),
        layers=layers,
        heads=heads,
        kv_heads=int(data.get("num_key_value_heads") or heads),
        head_dim=int(data.get("head_dim") or data["hidden_size"] // heads),
        hidden=int(data["intermediate_size"]),
        context=int(data.get("max_position_embeddings", 32768)),
        layer=per_block[0],
        layer_list=per_block if len(set(per_block)) > 1 else (),
        norm_eps=float(data.get("rms_norm_eps", 1e-6)),
        qkv_bias=bias,
        out_bias=bias,
        tied=bool(data.get("tie_word_embeddings", False)),
    )


def _rope(data: Mapping[str, Any]) -> Rope:
    given = dict(data.get("rope_parameters") or data.get("rope_scaling") or {})
    kind = given.pop("rope_type", given.pop("type", "default"))
    base = float(given.pop("rope_theta", data.get("rope_theta", 10_000.0)))
    given.pop("type", None)
    scaling = {theirs: ours for ours, theirs in KINDS.items()}.get(kind)
    unknown = sorted(set(given) - set(ROPE_FIELDS))
    if scaling is None or unknown:
        raise UserError(
            f"config.json has rope {kind!r} with {', '.join(unknown) or 'no known rule'}: not honoured"
        )
    values = {ROPE_FIELDS[key]: value for key, value in given.items() if value is not None}
    return Rope(base=base, scaling=scaling, **values)  # type: ignore[arg-type]


def tensors(config: TransformerConfig) -> Iterator[tuple[str, str, int, int]]:
    """(their name, our name, first row, number of rows; 0 rows: the whole tensor)."""
    yield "model.embed_tokens.weight", "embed", 0, 0
    yield "model.norm.weight", "norm.weight", 0, 0
    if not config.tied:
        yield "lm_head.weight", "head", 0, 0
    size, heads, kv, hidden = config.head_dim, config.heads, config.kv_heads, config.hidden
    spans = {"q": (0, heads * size), "k": (heads * size, kv * size), "v": ((heads + kv) * size, kv * size)}
    for i in range(config.layers):
        theirs, ours = f"model.layers.{i}.", f"blocks.{i}."
        for letter, (start, rows) in spans.items():
            yield f"{theirs}self_attn.{letter}_proj.weight", f"{ours}attention.qkv", start, rows
            if config.qkv_bias:
                yield f"{theirs}self_attn.{letter}_proj.bias", f"{ours}attention.qkv_bias", start, rows
        yield f"{theirs}self_attn.o_proj.weight", f"{ours}attention.out", 0, 0
        if config.out_bias:
            yield f"{theirs}self_attn.o_proj.bias", f"{ours}attention.out_bias", 0, 0
        yield f"{theirs}self_attn.q_norm.weight", f"{ours}attention.q_norm", 0, 0
        yield f"{theirs}self_attn.k_norm.weight", f"{ours}attention.k_norm", 0, 0
        yield f"{theirs}input_layernorm.weight", f"{ours}attention_norm.weight", 0, 0
        yield f"{theirs}post_attention_layernorm.weight", f"{ours}feed_norm.weight", 0, 0
        yield f"{theirs}mlp.gate_proj.weight", f"{ours}feed.up", 0, hidden
        yield f"{theirs}mlp.up_proj.weight", f"{ours}feed.up", hidden, hidden
        yield f"{theirs}mlp.down_proj.weight", f"{ours}feed.down", 0, 0
