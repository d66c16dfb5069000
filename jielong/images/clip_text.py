"""The text encoder of CLIP and Stable Diffusion: transformers' `CLIPTextModel` (Radford et al. 2021, arXiv 2103.00020,
section 2.4), a causal Transformer read at every word, as a form of the one Transformer. Its GELU is the exact one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.transformer import Transformer

PREFIX = "text_model."
ENDS = {"embeddings.token_embedding": "embed", "embeddings.position_embedding": "place", "final_layer_norm": "norm."}
BLOCK = {"layer_norm1": "attention_norm.", "self_attn.out_proj": "attention.out", "layer_norm2": "feed_norm.",
         "mlp.fc1": "feed.up", "mlp.fc2": "feed.down"}  # fmt: skip


@dataclass(frozen=True)
class TextConfig:
    """`vocab` ids, `start` and `end` among them; rows of `length`."""

    vocab: int
    start: int
    end: int
    length: int = 77
    dim: int = 96
    layers: int = 2
    heads: int = 3
    hidden: int = 384

    @property
    def shape(self) -> TransformerConfig:
        """As the one Transformer has it."""
        return TransformerConfig(
            self.vocab, self.dim, self.layers, self.heads, self.heads, self.dim // self.heads, self.hidden, self.length,
            position="learned", activation="gelu", norm="layer", norm_eps=1e-5, qkv_bias=True, out_bias=True,
            mlp_bias=True, layer=Layer(rope=None, qk_norm=None),
        )  # fmt: skip


class ClipText(nn.Module):
    """ids (B, T) to vectors (B, T, dim)."""

    def __init__(self, config: TextConfig, seed: int = 0) -> None:
        super().__init__()
        if config.dim % config.heads:
            raise UserError(f"a width of {config.dim} is no multiple of {config.heads} heads")
        self.config, self.body = config, Transformer(config.shape, seed)
        with torch.no_grad():
            self.body.embed.mul_(10.0)  # words are told apart from the first step on

    def forward(self, ids: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """After the last norm."""
        return self.body.hidden(ids, dtype=dtype)

    def empty(self, n: int, length: int) -> Tensor:
        """(n, length) ids of no words: a start, and ends."""
        ids = torch.full((n, length), self.config.end)
        ids[:, 0] = self.config.start
        return ids

    def last(self, ids: Tensor) -> Tensor:
        """(B,) where the first end stands."""
        return (ids == self.config.end).int().argmax(1)


def to_transformers(model: ClipText) -> dict[str, Tensor]:
    """The tensors of a `CLIPTextModel`."""
    state, found = model.body.state_dict(), {}
    for theirs, ours in _names(model.config):
        value = state[ours]
        found[theirs] = value.chunk(3)[("q_proj", "k_proj", "v_proj").index(theirs.split(".")[-2])] if (
            ".qkv" in ours) else value  # fmt: skip
    return {name: value.contiguous() for name, value in found.items()}


def fill(model: ClipText, tensors: Mapping[str, Tensor]) -> None:
    """The tensors of a `CLIPTextModel` into ours. Raises UserError where one is missing or has another shape."""
    given = {name if name.startswith(PREFIX) else PREFIX + name: value for name, value in tensors.items()}
    state: dict[str, list[Tensor]] = {}
    try:
        for theirs, ours in _names(model.config):
            state.setdefault(ours, []).append(given[theirs])
        model.body.load_state_dict({name: torch.cat(values) for name, values in state.items()})
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"this text encoder does not fit its config.json: {reason}") from error


def _names(config: TextConfig) -> list[tuple[str, str]]:
    """(theirs, ours) of every tensor; q, k and v are rows of one of ours, in this order."""
    places = [(PREFIX, ENDS, "")]
    for i in range(config.layers):
        places.append((f"{PREFIX}encoder.layers.{i}.", BLOCK, f"blocks.{i}."))
    found = []
    for there, modules, here in places:
        for theirs, ours in modules.items():
            table = not ours.endswith(".") and not here
            kinds = ("weight",) if table else ("weight", "bias")
            for kind in kinds:
                ending = kind if ours.endswith(".") else "" if kind == "weight" else "_bias"
                found.append((f"{there}{theirs}.{kind}", here + ours + ending))
        if here:
            found += [(f"{there}self_attn.{each}_proj.{kind}", f"{here}attention.qkv{ending}")
                      for kind, ending in (("weight", ""), ("bias", "_bias")) for each in ("q", "k", "v")]  # fmt: skip
    return found


def write_config(config: TextConfig) -> dict[str, Any]:
    """As `config.json` of a `CLIPTextModel`."""
    return {
        "architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "vocab_size": config.vocab,
        "hidden_size": config.dim, "intermediate_size": config.hidden, "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads, "max_position_embeddings": config.length, "hidden_act": "gelu",
        "layer_norm_eps": 1e-5, "bos_token_id": config.start, "eos_token_id": config.end, "pad_token_id": config.end,
        "projection_dim": config.dim, "attention_dropout": 0.0, "dtype": "float32",
    }  # fmt: skip


def read_config(said: Mapping[str, Any], start: int, end: int) -> TextConfig:
    """Read such a file. Raises UserError where it says what is not built here."""
    if said.get("hidden_act", "quick_gelu") != "gelu" or said.get("layer_norm_eps", 1e-5) != 1e-5:
        raise UserError(f"this text encoder has hidden_act {said.get('hidden_act', 'quick_gelu')!r}; gelu is read here")
    return TextConfig(said["vocab_size"], start, end, said["max_position_embeddings"], said["hidden_size"],
                      said["num_hidden_layers"], said["num_attention_heads"], said["intermediate_size"])  # fmt: skip
