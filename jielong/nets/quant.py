"""Weights in 8 or 4 bits: a quarter or an eighth of the memory that each token reads.

    quantise(model, bits=8)                            # in place: every matrix becomes what its integers stand for
    save(folder, loaded, bits=4); load(folder, config)

8 bits: one scale a row (largest magnitude / 127), and activations of each token in 8 bits while they are multiplied
(LLM.int8's row-wise scheme without its outliers, Dettmers et al. 2022, section 2), as int8 instructions want it. 4
bits: a scale and a zero for each GROUP of a row, activations in bf16; embeddings stay at 8. The model itself holds the
floats that the integers stand for, so everything in the package runs on it; `Decoder` multiplies by the integers.

    lean(model)                                        # lets go of the floats, and an adapter is trained beside it

A lean model's products make one matrix at a time into floats, forwards and again backwards (QLoRA, Dettmers et al.
2023, arXiv 2305.14314, eq. 5); embeddings and a head of its own stay floats, as there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from jielong.base import files
from jielong.base.errors import UserError
from jielong.nets import weights

if TYPE_CHECKING:
    from jielong.nets.config import TransformerConfig
    from jielong.nets.transformer import Transformer

NAME = "quantised.safetensors"
KEY = "quantised"  # in config.json: {"bits": 8}
GROUP = 32  # numbers that share a scale in 4 bits
MATRICES = ("qkv", "out", "up", "down", "embed", "head")


@dataclass(frozen=True)
class Quantised:
    """A matrix (N, K) as integers. 8 bits: `kept` is int8, scales (N, 1). 4 bits: two of 0 to 15 in each byte of
    `kept`, and (N, K / GROUP, 2) of scale and zero, value = (q - 8) * scale + zero, rounded to bf16 as the product's
    routine reads them."""

    bits: int
    kept: Tensor
    scales: Tensor

    @property
    def q(self) -> Tensor:
        """The integers (N, K), int8."""
        if self.bits == 8:
            return self.kept
        return torch.stack([self.kept & 15, self.kept >> 4], -1).flatten(1).view(torch.int8)

    def values(self) -> Tensor:
        """The float32 numbers that the integers stand for."""
        if self.bits == 8:
            return self.q.float() * self.scales
        scale, zero = self.scales.float().unbind(-1)
        grouped = self.q.float().unflatten(1, (-1, GROUP)).sub_(8)
        return grouped.mul_(scale[..., None]).add_(zero[..., None]).flatten(1)

    def rows(self, order: Tensor | slice) -> Quantised:
        """Some rows, in this order."""
        return Quantised(self.bits, self.kept[order], self.scales[order])

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, rows: slice) -> Tensor:
        """The floats of some rows, as of a float matrix."""
        return self.rows(rows).values()

    def to(self, device: torch.device) -> Quantised:
        """Elsewhere."""
        return Quantised(self.bits, self.kept.to(device), self.scales.to(device))

    def product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (..., K) times the matrix -> (..., N), as `ops.linear` of its floats, which the backward makes again."""
        y: Tensor = _Product.apply(x, self)
        return y if bias is None else y + bias.to(y.dtype)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, whole: Quantised) -> Tensor:
        ctx.whole = whole
        return F.linear(x, whole.values().to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad @ ctx.whole.values().to(grad.dtype), None


def lean(model: Transformer) -> None:
    """Let go of the floats of a quantised model's blocks: their products are made of the integers from now on. Only an
    adapter can be trained then, and nothing else reads these matrices, until `full` has brought them back."""
    still = kept(model)
    for path, half in _halves(model):
        for name in MATRICES:
            whole = still.get(f"{path}.{name}")
            if whole is not None:
                model.quantised[f"{path}.{name}"] = half.integers[name] = whole.to(getattr(half, name).device)
                setattr(half, name, None)


def full(model: Transformer) -> None:
    """The floats again, where a model is lean."""
    for _, half in _halves(model):
        for name, whole in half.integers.items():
            setattr(half, name, torch.nn.Parameter(whole.values(), requires_grad=False))
        half.integers = {}


def tensors(model: Transformer) -> Iterator[tuple[str, Tensor]]:
    """As `state_dict().items()`, of a lean model too: one matrix at a time."""
    for path, module in model.named_modules():
        for key, value in module._parameters.items():
            name = f"{path}.{key}" if path else key
            if value is not None:
                yield name, value
            elif key in getattr(module, "integers", ()):
                yield name, model.quantised[name].values()


def _halves(model: Transformer) -> Iterator[tuple[str, Any]]:
    for number, block in enumerate(model.blocks):
        for half in ("attention", "feed"):
            yield f"blocks.{number}.{half}", getattr(block, half)


def integers(weight: Tensor, bits: int) -> Quantised:
    """The nearest integers. A matrix whose shape 4 bits do not fit (rows by 16, columns by GROUP) gets 8."""
    weight = weight.detach().float()
    if bits == 8 or weight.shape[1] % GROUP or weight.shape[0] % 16:
        scale = weight.abs().amax(1, keepdim=True).div(127).clamp(min=1e-12)
        return Quantised(8, (weight / scale).round().to(torch.int8), scale)
    grouped = weight.unflatten(1, (-1, GROUP))
    low, high = grouped.aminmax(dim=-1)
    scale = ((high - low) / 15).clamp(min=1e-8).bfloat16()
    zero = (low + 8 * scale.float()).bfloat16()
    q = ((grouped - zero.float()[..., None]) / scale.float()[..., None] + 8).round().clamp(0, 15)
    return Quantised(4, _packed(q.flatten(1).to(torch.uint8)), torch.stack([scale, zero], -1))


def _packed(q: Tensor) -> Tensor:
    return (q[:, ::2] | q[:, 1::2] << 4).contiguous()


@torch.no_grad()
def quantise(model: Transformer, bits: int) -> None:
    """Every matrix of a model becomes what its integers stand for; `model.quantised` keeps these. UserError unless
    bits is 8 or 4."""
    if bits not in (8, 4):
        raise UserError(f"weights are quantised to 8 or 4 bits, not {bits}")
    for name, parameter in model.named_parameters():
        last = name.rsplit(".", 1)[-1]
        if last in MATRICES and parameter.ndim == 2:
            found = integers(parameter, 8 if last in ("embed", "head") else bits)
            parameter.copy_(found.values())
            model.quantised[name] = found


def save(folder: str | Path, loaded: Any, bits: int, overwrite: bool = False) -> None:
    """Quantise a checkpoint that was read and write it as a folder of our own kind, whole or not at all."""
    from safetensors.torch import save_file

    from jielong.nets import config as configs

    model = loaded.model
    quantise(model, bits)
    stored: dict[str, Tensor] = {}
    for name, parameter in model.state_dict().items():
        if name in model.quantised:
            found = model.quantised[name]
            stored |= {f"{name}.q{found.bits}": found.kept.contiguous(), f"{name}.scales": found.scales}
        else:
            stored[name] = parameter.detach().contiguous()
    said = {"model_type": "jielong", "jielong": configs.to_json(model.config), KEY: {"bits": bits}}
    ends = {key: loaded.said[key] for key in ("eos_token_id", "bos_token_id", "pad_token_id") if key in loaded.said}
    with files.atomic_dir(folder, overwrite=overwrite) as place:
        save_file(stored, place / NAME, metadata={"format": "pt"})
        files.write_json(place / "config.json", said | ends)
        loaded.codec.save(place)
        info = {
            **loaded.info,
            "tokenizer": loaded.codec.fingerprint,
            KEY: {"bits": bits, "from": str(loaded.path.name)},
        }
        files.write_json(place / "jielong.json", info)


def load(folder: Path, config: TransformerConfig) -> Transformer:
    """The model in a folder that `save` wrote. UserError when a tensor is missing, left over or of another shape."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from jielong.nets.transformer import Transformer

    path = folder / NAME
    if not path.is_file():
        raise UserError(f"{path} is not there, and config.json says that the weights are quantised")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is half-written or no safetensors file ({error!s:.200})") from error
    weights.check_size(config, 2 * sum(tensor.numel() for tensor in tensors.values()), folder)  # two of 4 bits a byte
    model = Transformer(config, seed=None)
    with torch.no_grad():
        for name, place in model.state_dict().items():
            value = tensors.pop(name, None)
            if value is None:
                value = _read(model, name, tensors, path)
            if value.shape != place.shape:
                raise UserError(f"{path}: {name} has shape {list(value.shape)}, config.json says {list(place.shape)}")
            place.copy_(value)
    if tensors:
        raise UserError(f"{path} has {', '.join(sorted(tensors)[:3])}, which this shape has not")
    return model


def _read(model: Transformer, name: str, tensors: dict[str, Tensor], path: Path) -> Tensor:
    bits = next((b for b in (8, 4) if f"{name}.q{b}" in tensors), 0)
    if not bits or f"{name}.scales" not in tensors:
        raise UserError(f"{path} lacks {name}; config.json belongs to other weights")
    q, scales = tensors.pop(f"{name}.q{bits}"), tensors.pop(f"{name}.scales")
    expected = (len(q), 1) if bits == 8 else (len(q), 2 * q.shape[1] // GROUP, 2)
    if scales.shape != expected:
        raise UserError(f"{path}: {name}.scales has shape {list(scales.shape)} and should have {list(expected)}")
    model.quantised[name] = Quantised(bits, q, scales)
    return model.quantised[name].values()


def kept(model: Any) -> Mapping[str, Quantised]:
    """The integers of matrices that still are what these stand for (training changes them)."""
    found: Mapping[str, Quantised] = getattr(model, "quantised", {})
    state = dict(model.named_parameters()) if found else {}
    return {name: each for name, each in found.items()
            if name not in state or torch.equal(each.values(), state[name].detach())}  # fmt: skip
