"""A model as one GGUF file, for llama.cpp and what is built on it.

    write(loaded, "model.gguf", "q8_0")

The container and the rounding are the gguf package's; here is what each family is called there and what llama.cpp
does otherwise: its Llama turns neighbouring dimensions (rows of queries and keys are re-ordered), Gemma's norms are
stored as they multiply, Llama 3's frequencies are a tensor. What llama.cpp cannot say is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jielong.base import files
from jielong.base.errors import UserError
from jielong.nets import rope as ropes
from jielong.nets import weights
from jielong.nets.checkpoint import Loaded, parts
from jielong.nets.config import Rope, TransformerConfig
from jielong.nets.families import known
from jielong.nets.families.family import Family
from jielong.units import ggml

if TYPE_CHECKING:
    import numpy as np

KINDS = ("f32", "f16", "bf16", "q8_0")
BLOCK = 32  # values that share a scale in Q8_0


@dataclass(frozen=True)
class Arch:
    """What llama.cpp calls a family, and what of it llama.cpp honours."""

    name: str
    windows: bool = False  # layers that look back a window
    biases: tuple[str, ...] = ()
    scalings: tuple[str, ...] = ("none", "linear", "yarn")
    paired: bool = False  # turns neighbouring dimensions
    heads_fill: bool = True  # wants heads x head size to be the width
    tied: bool | None = None  # must be so


ARCHS = {
    "qwen3": Arch("qwen3", heads_fill=False),
    "qwen2": Arch("qwen2", biases=("qkv_bias",)),
    "llama": Arch("llama", biases=("out_bias", "qkv_bias", "mlp_bias"), scalings=("none", "linear", "yarn", "llama3"),
                  paired=True, heads_fill=False),
    "mistral": Arch("llama", paired=True, heads_fill=False),
    "gemma2": Arch("gemma2", windows=True, heads_fill=False, tied=True),
    "gemma3_text": Arch("gemma3", windows=True, heads_fill=False),
    "phi3": Arch("phi3", scalings=("none", "longrope")),
    "olmo2": Arch("olmo2"),
    "gpt2": Arch("gpt2", biases=("qkv_bias", "out_bias", "mlp_bias")),
}  # fmt: skip


def write(
    loaded: Loaded, path: str | Path, kind: str = "f16", name: str = "", overwrite: bool = False
) -> dict[str, Any]:
    """Write the file whole or not at all; `kind` is one of KINDS. Norms and biases stay float32.

    Returns {"architecture", "tensors", "bytes", "pre"}. Raises UserError for what llama.cpp cannot hold.
    """
    gguf = _package()
    if kind not in KINDS:
        raise UserError(f"weights in a GGUF file are {', '.join(KINDS)}, not {kind}")
    path = Path(path)
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; choose another name or allow it to be overwritten")
    family, reason = known.fitting(loaded.config, loaded.said.get("model_type"))
    if family is None:
        raise UserError(f"{loaded.path} fits no family that llama.cpp knows: {reason}")
    arch = ARCHS[family.name]
    _check(loaded.config, arch, family.name)
    words = ggml.vocabulary(loaded.codec, loaded.config.vocab)
    with files.atomic_file(path) as place:
        writer = gguf.GGUFWriter(place, arch.name)
        _describe(writer, gguf, loaded.config, kind)
        name = name or loaded.path.name
        # llama.cpp takes a name with phi3 in it for Microsoft's model, and stops where its tokens are missing
        if not any(phi in name.lower() for phi in ("phi3", "phi-3")) or "</s>" in words.tokens:
            writer.add_name(name)
        _speak(writer, words)
        places = list(_tensors(gguf, family, arch, loaded))
        for title, tensor in places:
            data, type_ = _packed(gguf, title, tensor, kind)
            writer.add_tensor_info(title, data.shape, data.dtype, data.nbytes, raw_dtype=type_)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for title, tensor in places:  # packed twice, so that they are never all in memory
            writer.write_tensor_data(_packed(gguf, title, tensor, kind)[0])
        writer.close()
    return {"architecture": arch.name, "tensors": len(places), "bytes": path.stat().st_size, "pre": words.pre}


def _package() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise UserError('writing GGUF needs the gguf package: pip install "jielong[gguf]"') from error
    return gguf


def _check(config: TransformerConfig, arch: Arch, name: str) -> None:
    """Raises UserError naming the first option that llama.cpp's code for this family does not have."""
    odd = [f"{o}=True" for o in ("qkv_bias", "out_bias", "mlp_bias") if getattr(config, o) and o not in arch.biases]
    for layer in config.blocks:
        if layer.window is not None and layer.window < config.context and not arch.windows:
            odd.append(f"layer.window={layer.window}")
        if layer.rope and layer.rope.scaling not in arch.scalings:
            odd.append(f"rope scaling {layer.rope.scaling!r}")
        if layer.rope and layer.rope.scaling == "yarn" and layer.rope.attention:
            odd.append(f"rope attention factor {layer.rope.attention}")
    if config.attention_scale:
        odd.append(f"attention_scale={config.attention_scale}")
    if config.position == "learned" and config.activation != "gelu_tanh":
        odd.append(f"activation={config.activation}")
    if arch.heads_fill and config.heads * config.head_dim != config.dim:
        odd.append(f"head_dim={config.head_dim}")
    if arch.tied is not None and config.tied != arch.tied:
        odd.append(f"tied={config.tied}")
    if arch.name == "gemma2" and (config.softcap is None or config.blocks[0].softcap is None):
        odd.append("softcap=None")
    if odd:
        raise UserError(f"llama.cpp has no {odd[0]} for {name}; export with --to hf instead")


def _describe(writer: Any, gguf: Any, config: TransformerConfig, kind: str) -> None:
    """`general.*` and the shape. Facts: ggml's docs/gguf.md."""
    types = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
    writer.add_file_type(gguf.LlamaFileType[types[kind]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config.vocab)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.dim)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.hidden)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    (writer.add_layer_norm_eps if config.norm == "layer" else writer.add_layer_norm_rms_eps)(config.norm_eps)
    if config.softcap is not None:
        writer.add_final_logit_softcapping(config.softcap)
    if config.blocks[0].softcap is not None:
        writer.add_attn_logit_softcapping(config.blocks[0].softcap)
    windows = [layer.window for layer in config.blocks]
    if any(window is not None and window < config.context for window in windows):
        writer.add_sliding_window(next(window for window in windows if window))
        writer.add_sliding_window_pattern([window is not None for window in windows])
    far = next((layer.rope for layer in config.blocks if not layer.window), config.blocks[0].rope)
    near = next((layer.rope for layer in config.blocks if layer.window), far)
    if far is not None and config.position == "rope":
        _turn(writer, gguf, config, far)
        if near is not None and near != far:
            writer.add_rope_freq_base_swa(near.base)


def _turn(writer: Any, gguf: Any, config: TransformerConfig, rope: Rope) -> None:
    writer.add_rope_dimension_count(int(config.head_dim * rope.fraction))
    writer.add_rope_freq_base(rope.base)
    kinds = {"linear": "LINEAR", "yarn": "YARN", "longrope": "LONGROPE"}
    if rope.scaling in kinds:
        writer.add_rope_scaling_type(gguf.RopeScalingType[kinds[rope.scaling]])
    if rope.scaling in ("linear", "yarn"):  # longrope's factor stands in its tensors
        writer.add_rope_scaling_factor(rope.factor)
    if rope.scaling in ("yarn", "longrope"):
        writer.add_rope_scaling_orig_ctx_len(rope.original or config.context)
    if rope.scaling == "yarn":
        writer.add_rope_scaling_yarn_beta_fast(rope.beta_fast)
        writer.add_rope_scaling_yarn_beta_slow(rope.beta_slow)
    if rope.scaling == "longrope":
        writer.add_rope_scaling_attn_factors(ropes.frequencies(rope, config.head_dim, config.context)[1])


def _speak(writer: Any, words: ggml.Vocabulary) -> None:
    writer.add_tokenizer_model(words.model)
    writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(list(words.tokens))
    writer.add_token_types(list(words.types))
    if words.merges:
        writer.add_token_merges(list(words.merges))
    if words.scores:
        writer.add_token_scores(list(words.scores))
        writer.add_add_space_prefix(words.add_space)
    for name, id in (words.ids or {}).items():
        getattr(writer, f"add_{name}_token_id")(id)
    writer.add_add_bos_token(words.add_bos)
    if words.template:
        writer.add_chat_template(words.template)


def _tensors(gguf: Any, family: Family, arch: Arch, loaded: Loaded) -> Iterator[tuple[str, Tensor]]:
    """(llama.cpp's name, value) of every tensor."""
    config = loaded.config
    code = next(one for one, name in gguf.MODEL_ARCH_NAMES.items() if name == arch.name)
    names = gguf.get_tensor_name_map(code, config.layers)
    state = {name: value.detach().float().cpu() for name, value in loaded.model.state_dict().items()}
    for part in parts(family, loaded.model):
        title = names.get_name(part.theirs, try_suffixes=(".weight", ".bias"))
        if title is None:
            raise UserError(f"llama.cpp's {arch.name} has no tensor {part.theirs}; export with --to hf instead")
        value = weights.take(state, replace(part, turned=False))
        if arch.paired and part.theirs.split(".")[-2] in ("q_proj", "k_proj"):
            pairs = value.unflatten(0, (-1, 2, config.head_dim // 2))
            value = pairs.transpose(1, 2).reshape(value.shape)
        if config.norm_offset and value.ndim == 1:
            value = value + config.norm_offset
        yield title, value
    if config.tied and arch.name == "olmo2":  # the one that does not look for the head in the table
        yield "output.weight", state["embed"]
    rope = config.blocks[0].rope
    if rope is not None and rope.scaling == "llama3":
        plain = ropes.frequencies(replace(rope, scaling="none"), config.head_dim, config.context)[0]
        yield "rope_freqs.weight", plain / ropes.frequencies(rope, config.head_dim, config.context)[0]
    if rope is not None and rope.scaling == "longrope":
        yield "rope_factors_long.weight", torch.tensor(rope.long)
        yield "rope_factors_short.weight", torch.tensor(rope.short)


def _packed(gguf: Any, title: str, tensor: Tensor, kind: str) -> tuple[np.ndarray, Any]:
    """The bytes of one tensor and its type: vectors, norms and places in float32, rows that are no multiple of 32
    values in float16 where 8 bits are asked."""
    types = gguf.GGMLQuantizationType
    data = tensor.contiguous().numpy()
    if tensor.ndim == 1 or title.endswith("_norm.weight") or title == "position_embd.weight" or kind == "f32":
        return data, types.F32
    wanted = types[kind.upper()]
    if kind == "q8_0" and tensor.shape[-1] % BLOCK:
        wanted = types.F16
    if wanted == types.F16 and float(tensor.abs().max()) > torch.finfo(torch.float16).max:
        raise UserError(f"{title} holds values beyond float16; export with --type bf16 or f32")
    return gguf.quants.quantize(data, wanted), wanted
