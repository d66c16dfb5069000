"""What a family is: how one kind of `config.json`, and the tensors beside it, map onto the one Transformer.

    config = read(QWEN3, data)                      # their configuration as ours
    data = write(QWEN3, config)                     # and back
    reasons = differences(QWEN3, config)            # the options that QWEN3 cannot say; empty: it fits
    parts = plan(QWEN3, config, model.state_dict()) # which rows of ours each of their tensors is

A family is data and two small functions; everything else is here, once. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from jielong.base.errors import UserError
from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.families import positions

# What changes nothing that is computed here: notes of makers, training-time rates, settings of text generation,
# and `auto_map`, which names code that is never run. Any other field that a family does not read is refused.
HARMLESS = frozenset(
    "architectures model_type transformers_version _name_or_path name_or_path torch_dtype dtype initializer_range "
    "use_cache cache_implementation attn_implementation _attn_implementation _attn_implementation_autoset "
    "attention_dropout attn_pdrop resid_pdrop embd_pdrop hidden_dropout classifier_dropout bos_token_id eos_token_id "
    "pad_token_id sep_token_id decoder_start_token_id return_dict return_dict_in_generate output_hidden_states "
    "output_attentions output_scores torchscript use_bfloat16 tf_legacy_loss pruned_heads prefix problem_type id2label "
    "label2id num_labels finetuning_task task_specific_params tokenizer_class chunk_size_feed_forward pretraining_tp "
    "is_llama_config transformers.js_config auto_map unsloth_version unsloth_fixed n_ctx summary_type summary_use_proj "
    "summary_activation summary_proj_to_labels summary_first_dropout reorder_and_upcast_attn max_window_layers "
    "_sliding_window_pattern max_length min_length do_sample temperature top_k top_p typical_p repetition_penalty "
    "num_beams num_return_sequences jielong".split()
)
# What transformers writes into every full configuration, and SmolLM's makers into theirs: fine as it stands here.
TOLERATED: Mapping[str, Any] = {
    "is_decoder": False, "is_encoder_decoder": False, "add_cross_attention": False, "tie_encoder_decoder": False,
    "rope_interleaved": False, "lm_head_bias": False, "mlp_bias": False, "attention_bias": False,
    "use_bidirectional_attention": False, "full_attn_mod": 1, "interpolate_factor": 1,
    "scale_attn_by_inverse_layer_idx": False,
}  # fmt: skip
# Shared by all but GPT-2: their field -> ours, copied as it is.
DECODER: dict[str, str] = {
    "vocab_size": "vocab", "hidden_size": "dim", "intermediate_size": "hidden", "num_hidden_layers": "layers",
    "num_attention_heads": "heads", "num_key_value_heads": "kv_heads", "head_dim": "head_dim",
    "max_position_embeddings": "context", "rms_norm_eps": "norm_eps", "tie_word_embeddings": "tied",
}  # fmt: skip
ENDS: dict[str, str] = {"model.embed_tokens": "embed", "model.norm": "norm.", "lm_head": "head"}
PROJECTIONS: dict[str, str] = {
    "self_attn.q_proj": "attention.q", "self_attn.k_proj": "attention.k", "self_attn.v_proj": "attention.v",
    "self_attn.o_proj": "attention.out", "self_attn.q_norm": "attention.q_norm", "self_attn.k_norm": "attention.k_norm",
    "mlp.gate_proj": "feed.gate", "mlp.up_proj": "feed.wide", "mlp.down_proj": "feed.down",
}  # fmt: skip
PRE_NORMS: dict[str, str] = {
    "input_layernorm": "attention_norm.",
    "post_attention_layernorm": "feed_norm.",
}
# Masks and frequencies that older writers kept as tensors: they follow from the configuration.
BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
MOST_LAYERS = 10_000  # no model has as many: a number of another meaning, or a broken file
Said = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """One `model_type`. In `ends` and `block` a module of theirs stands beside a matrix of ours, or beside a norm
    (written with a dot at its end); attention.q|k|v and feed.gate|wide are rows of our fused matrices."""

    name: str
    architecture: str
    read: Callable[[Said], dict[str, Any]]  # our options that are no copies; `layer_list` for every block
    write: Callable[[TransformerConfig], dict[str, Any]]
    defaults: Mapping[str, Any]  # what a field that is left out means, as in transformers
    fixed: Mapping[str, Any] = field(default_factory=lambda: {"hidden_act": "silu"})  # honoured at this value only
    fields: Mapping[str, str] = field(default_factory=lambda: DECODER)
    ends: Mapping[str, str] = field(default_factory=lambda: ENDS)
    block: Mapping[str, str] = field(default_factory=lambda: PROJECTIONS | PRE_NORMS)
    blocks: str = "model.layers."
    prefix: str = "model."  # left off by some writers
    turned: bool = False  # matrices of the blocks are kept as (in, out)
    whole_heads: bool = False  # transformers refuses a width that is no multiple of the number of heads


@dataclass(frozen=True)
class Part:
    """One of their tensors: `rows` rows of ours from `start` on (0: all of it), perhaps transposed."""

    theirs: str
    ours: str
    start: int = 0
    rows: int = 0
    turned: bool = False


def read(family: Family, data: Said) -> TransformerConfig:
    """Their `config.json` as our configuration. Raises UserError naming what cannot be honoured."""
    known = {*family.fields, *family.defaults, *family.fixed, *HARMLESS}
    said = {**family.defaults, **data}
    derived = ("num_key_value_heads", "head_dim")  # may be null: then they follow from the others
    for key, value in data.items():
        if key in known or value is None or (key in TOLERATED and value == TOLERATED[key]):
            continue
        raise UserError(f"config.json has {key}={_short(value)}, which is not honoured for {family.name}")
    for key, value in family.fixed.items():
        if said.get(key, value) != value:
            raise UserError(f"config.json has {key}={said[key]!r}; {family.name} is read with {value!r} only")
    missing = [key for key in family.fields if said.get(key) is None and key not in derived]
    if missing:
        raise UserError(f"config.json lacks {', '.join(missing)}")
    given = {key: said[key] for key in family.fields if said.get(key) is not None}
    options = {family.fields[key]: _checked(key, value, family.fields[key]) for key, value in given.items()}
    if not 1 <= options["layers"] <= MOST_LAYERS:
        raise UserError(f"config.json speaks of {options['layers']} blocks, which does not make sense")
    options.setdefault("kv_heads", options["heads"])
    options.setdefault("head_dim", options["dim"] // max(options["heads"], 1))
    options |= family.read(said)
    layers = options.pop("layer_list")
    options["layer"] = layers[0]
    return TransformerConfig(**options, layer_list=tuple(layers) if len(set(layers)) > 1 else ())


def write(family: Family, config: TransformerConfig) -> dict[str, Any]:
    """The fields of a `config.json`; what the family has no field for is left out (see `differences`)."""
    data: dict[str, Any] = {"architectures": [family.architecture], "model_type": family.name}
    data |= {theirs: getattr(config, ours) for theirs, ours in family.fields.items()}
    if "head_dim" in data and "head_dim" not in family.defaults and config.head_dim * config.heads == config.dim:
        del data["head_dim"]  # no field of its own there: it follows from the width
    data |= {**family.fixed, **family.write(config)}
    return {**data, "initializer_range": 0.02, "use_cache": True, "dtype": "float32"}


def differences(family: Family, config: TransformerConfig) -> list[str]:
    """Options, as `name=value`, that come back otherwise when written as this family and read again.

    Raises UserError where what is written cannot even be read.
    """
    mine, theirs = canonical(config), canonical(read(family, write(family, config)))
    found = [f"heads={config.heads}"] if family.whole_heads and config.dim % config.heads else []
    found += [
        f"{f.name}={getattr(mine, f.name)}"
        for f in fields(TransformerConfig)
        if f.name not in ("layer", "layer_list") and getattr(mine, f.name) != getattr(theirs, f.name)
    ]
    for f in fields(Layer):
        pairs = ((getattr(a, f.name), getattr(b, f.name)) for a, b in zip(mine.blocks, theirs.blocks, strict=False))
        found += [f"layer.{f.name}={a}" for a, b in pairs if a != b][:1]
    return found


def canonical(config: TransformerConfig) -> TransformerConfig:
    """The same model said in one way: options that do nothing at their defaults, what is implied spelt out.

    Dropout is left out: it belongs to a training run.
    """
    layers = tuple(
        replace(layer, rope=positions.canonical(layer.rope, config) if config.position == "rope" else None)
        for layer in config.blocks
    )
    scale = config.attention_scale if config.attention_scale != config.head_dim**-0.5 else 0.0
    same = len(set(layers)) == 1
    return replace(config, layer=layers[0], layer_list=() if same else layers, attention_scale=scale, dropout=0.0)


def plan(family: Family, config: TransformerConfig, names: Collection[str]) -> Iterator[Part]:
    """Each of their tensors and the rows of ours that it is. `names` are our tensors: what is not there (a bias,
    a norm) is not there in theirs."""
    size, heads, kv, hidden = config.head_dim, config.heads, config.kv_heads, config.hidden
    spans = {
        "attention.q": ("attention.qkv", 0, heads * size),
        "attention.k": ("attention.qkv", heads * size, kv * size),
        "attention.v": ("attention.qkv", (heads + kv) * size, kv * size),
        "feed.gate": ("feed.up", 0, hidden),
        "feed.wide": ("feed.up", hidden, hidden),
    }
    places = [("", family.ends, "")]
    places += [(f"{family.blocks}{i}.", family.block, f"blocks.{i}.") for i in range(config.layers)]
    for there, modules, here in places:
        for module, stem in modules.items():
            ours, start, rows = spans.get(stem, (stem, 0, 0))
            kinds = ("weight", "bias") if ours.endswith(".") else ("", "_bias")
            for kind, ending in zip(("weight", "bias"), kinds, strict=True):
                if here + ours + ending in names:
                    turned = family.turned and bool(here) and kind == "weight" and not ours.endswith(".")
                    yield Part(f"{there}{module}.{kind}", here + ours + ending, start, rows, turned)


def full_name(family: Family, name: str) -> str:
    """A tensor's name with the prefix that some writers leave off."""
    return name if name.startswith((family.prefix, "lm_head.")) else family.prefix + name


def _checked(key: str, value: Any, ours: str) -> Any:
    kind = {f.name: f.type for f in fields(TransformerConfig)}[ours]
    wanted: tuple[type, ...] = {"int": (int,), "float": (int, float), "bool": (bool,)}[str(kind)]
    if not isinstance(value, wanted) or (kind != "bool" and isinstance(value, bool)):
        raise UserError(f"config.json has {key}={_short(value)}, which does not make sense")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
