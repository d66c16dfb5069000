"""What a Transformer looks like: frozen dataclasses, read and written as plain JSON. No torch here.

>>> TransformerConfig(vocab=512, dim=128, layers=4).head_dim
32
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from jielong.base.errors import UserError

Norm = Literal["rms", "layer"]
QKNorm = Literal["head", "whole"]
# Where a sublayer f is normalised: pre x + f(n(x)) (GPT-2 on); post n(x + f(x)) (the original, BERT);
# out x + n(f(x)) (OLMo-2); sandwich x + n(f(n(x))) (Gemma-2)
Placement = Literal["pre", "post", "out", "sandwich"]
Position = Literal["rope", "learned", "sinusoid", "alibi", "none"]
Activation = Literal["swiglu", "geglu", "geglu_tanh", "gelu", "gelu_tanh", "relu", "relu2"]
GATED = ("swiglu", "geglu", "geglu_tanh")
# What a number may be: beyond, a file is broken, and memory or float32 would be the first to say so.
LARGEST, MOST = (1 << 31) - 1, {"layers": 10_000, "context": 1 << 24}
TINY, HUGE = 1e-9, 1e18
REALS = (("norm_eps", 0.0, 1.0), ("norm_offset", -HUGE, HUGE), ("embed_scale", -HUGE, HUGE),
         ("attention_scale", -HUGE, HUGE), ("softcap", TINY, HUGE))  # fmt: skip


@dataclass(frozen=True)
class Rope:
    """Rotary positions (Su et al. 2021). `scaling` follows Hugging Face's `rope_scaling` fields:

    `linear` (position interpolation, Chen et al. 2023), `ntk` (bloc97 2023), `yarn` (Peng et al. 2023,
    eq. 17-23), `llama3` (Meta 2024). `dynamic` (emozilla 2023: ntk by the length of the text) and `longrope` (Ding
    et al. 2024: a factor for each frequency, one set for texts within `original`, one beyond) depend on the text's
    length; with a cache, whose keys must not change while a text grows, on the model's context instead.
    `fraction` is the share of each head that turns (partial rotary).
    """

    base: float = 10_000.0
    scaling: Literal["none", "linear", "ntk", "yarn", "llama3", "dynamic", "longrope"] = "none"
    factor: float = 1.0
    original: int = 0  # context the frequencies were trained for; 0 = the model's own
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    low_frequency: float = 1.0
    high_frequency: float = 4.0
    attention: float = 0.0  # factor on cos and sin; 0 = yarn's 0.1 ln(factor) + 1, longrope's own of section 3.3
    short: tuple[float, ...] = ()  # longrope: what each frequency is divided by within `original`
    long: tuple[float, ...] = ()  # and beyond it
    fraction: float = 1.0


@dataclass(frozen=True)
class Layer:
    """One block's own options. Everything that may differ from layer to layer stands here."""

    window: int | None = None  # attend to this many latest positions only, oneself included
    rope: Rope | None = Rope()  # None: no rotation in this layer
    norm: Placement = "pre"
    qk_norm: QKNorm | None = "head"  # RMSNorm of queries and keys, per head or over all heads at once
    softcap: float | None = None  # cap * tanh(score / cap) on attention scores (Gemma-2)
    cross: bool = False  # a cross-attention after self-attention, to `memory`
    adaln: bool = False  # scale, shift and gate from a condition vector (DiT's adaLN-zero)


@dataclass(frozen=True)
class TransformerConfig:
    """One Transformer for text, pixels, codes and speech. The default shape is Qwen3's."""

    vocab: int
    dim: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    hidden: int = 384
    context: int = 512
    causal: bool = True
    layer: Layer = Layer()
    layer_list: tuple[Layer, ...] = ()  # one per block where blocks differ; empty: `layer` for all
    position: Position = "rope"
    activation: Activation = "swiglu"
    norm: Norm = "rms"
    norm_eps: float = 1e-6
    norm_offset: float = 0.0  # weights are stored as (w - offset): Gemma's 1
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    tied: bool = True
    embed_scale: float = 1.0  # multiplies embeddings (Gemma: sqrt(dim))
    attention_scale: float = 0.0  # 0 = head_dim ** -0.5
    softcap: float | None = None  # cap on the logits
    final_norm: bool = True
    embed_norm: bool = False  # normalise embeddings before the first block (BERT)
    types: int = 0  # number of token types (BERT's segments)
    parallel: bool = False  # attention and feed-forward read the same input (GPT-J, Phi)
    condition: int = 0  # width of the condition vector that adaLN reads
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("vocab", "dim", "layers", "heads", "kv_heads", "head_dim", "hidden", "context"):
            _whole(name, getattr(self, name), MOST.get(name, LARGEST))
        for name, low, high in REALS:
            _real(name, getattr(self, name), low, high)
        if self.heads % self.kv_heads:
            raise UserError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if self.layer_list and len(self.layer_list) != self.layers:
            raise UserError(f"layer_list has {len(self.layer_list)} entries for {self.layers} layers")
        if not 0.0 <= self.dropout < 1.0:
            raise UserError(f"dropout must lie in [0, 1), not {self.dropout}")
        for layer in self.layer_list or (self.layer,):
            if layer.window is not None:
                _whole("window", layer.window)
            _real("softcap", layer.softcap, TINY)
            if layer.adaln and not self.condition:
                raise UserError("a layer with adaln needs condition=WIDTH of the condition vector")
            if self.position == "rope" and layer.rope:
                _check_rope(layer.rope, self.head_dim)

    @property
    def blocks(self) -> tuple[Layer, ...]:
        """One `Layer` for each block."""
        return self.layer_list or (self.layer,) * self.layers

    @property
    def gated(self) -> bool:
        """Whether the feed-forward has a gate beside its first matrix."""
        return self.activation in GATED

    @property
    def parameters(self) -> int:
        """Number of weights in matrices and tables (norms and biases, well under one percent, left out)."""
        return self._block_weights * self.layers + self.dim * self.vocab * (1 if self.tied else 2)

    @property
    def _block_weights(self) -> int:
        attention, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return 2 * self.dim * (attention + kv) + self.dim * self.hidden * (3 if self.gated else 2)

    def matrix_flops(self, context: int) -> int:
        """Multiply-adds times two of one forward pass for one token: matrices, head, and attention.

        Attention counts the lower triangle (causal) of `context` keys; norms and softmax are not counted.
        """
        keys = context / 2 if self.causal else context
        scores = 2 * self.heads * self.head_dim * keys
        return int(2 * (self.layers * (self._block_weights + scores) + self.dim * self.vocab))


def to_json(config: TransformerConfig) -> dict[str, Any]:
    """As plain JSON values."""
    data = asdict(config)
    data["layer_list"] = [asdict(layer) for layer in config.layer_list]
    return data


def from_json(data: Mapping[str, Any]) -> TransformerConfig:
    """Read what `to_json` wrote; an unknown field is a UserError that names it."""
    values = dict(data)
    if "layer" in values:
        values["layer"] = _layer(values["layer"])
    values["layer_list"] = tuple(_layer(x) for x in values.get("layer_list", ()))
    return _build(TransformerConfig, values)


def _whole(name: str, value: object, most: int = LARGEST) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise UserError(f"model option {name} must be a whole number from 1 to {most:,}, not {value!r:.60}")


def _real(name: str, value: object, low: float = -HUGE, high: float = HUGE) -> None:
    """None stands for an option that is not used."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise UserError(f"model option {name} must be a number from {low:g} to {high:g}, not {value!r:.60}")


def _check_rope(rope: Rope, head_dim: int) -> None:
    for name in ("base", "factor", "beta_fast", "beta_slow", "low_frequency", "high_frequency", "fraction"):
        _real(f"rope {name}", getattr(rope, name), TINY, 1.0 if name == "fraction" else HUGE)
    for name, value in (("original", rope.original), ("attention", rope.attention)):
        _real(f"rope {name}", value, 0.0)
    for value in (*rope.short, *rope.long):
        _real("rope factors", value, TINY)
    dims = int(head_dim * rope.fraction)
    if dims % 2:
        raise UserError(f"head_dim {head_dim} x rope fraction {rope.fraction} must be even")
    if rope.scaling == "longrope" and not len(rope.short) == len(rope.long) == dims // 2:
        counts = f"{len(rope.short)} and {len(rope.long)}"
        raise UserError(f"longrope wants {dims // 2} short and long factors, one a frequency, not {counts}")


def _layer(data: Mapping[str, Any]) -> Layer:
    values = dict(data)
    if values.get("rope") is not None:
        rope = {key: tuple(value) if isinstance(value, list) else value for key, value in values["rope"].items()}
        values["rope"] = _build(Rope, rope)
    return _build(Layer, values)


def _build(kind: type[Any], values: Mapping[str, Any]) -> Any:
    known = {field.name for field in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise UserError(f"{kind.__name__} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return kind(**values)


def shape(width: int, vocab: int, context: int, layers: int | None = None) -> TransformerConfig:
    """A balanced Qwen3 shape of one dial: `width` (a multiple of 32) chooses heads, hidden size and depth."""
    if width < 32 or width % 32:
        raise UserError(f"width must be a multiple of 32, not {width}")
    heads = max(1, width // 32)
    return TransformerConfig(
        vocab=vocab,
        dim=width,
        layers=layers or max(2, width // 32),
        heads=heads,
        kv_heads=max(1, heads // 2) if heads % 2 == 0 else heads,
        head_dim=32,
        hidden=3 * width,
        context=context,
    )
