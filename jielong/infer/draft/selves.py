"""A model guesses for itself: with coarser weights, or with its first layers only.

    drafter = quantised(model, bits=8)
    drafter = early_exit(model, layers=2)

No second model has to be trained or fetched, and the vocabulary is its own.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from jielong.base.errors import UserError
from jielong.infer.draft.model import ModelDrafter
from jielong.nets.quant import quantise
from jielong.nets.transformer import Transformer


def quantised(model: Any, bits: int = 8, **options: Any) -> ModelDrafter:
    """A copy of the model with its weights in 8 or 4 bits (`nets/quant.py`); `options` as in `ModelDrafter`.

    It agrees with the model nearly always and is faster where reading the weights is what takes the time.
    """
    own = copy.deepcopy(_transformer(model))
    quantise(own, bits)
    return ModelDrafter(own, own.config.vocab, **{"name": f"int{bits}", **options})


def early_exit(model: Any, layers: int, **options: Any) -> ModelDrafter:
    """The model's first layers, then its last norm and its head; the parameters are the model's own, not copies.

    A model trained with losses at its layers (LayerSkip, Elhoushi et al. 2024, arXiv 2404.16710) guesses well like
    this; any other as well as its middle layers happen to. UserError unless 1 <= layers < the model's.
    """
    return ModelDrafter(first_layers(model, layers), model.config.vocab, **{"name": f"exit{layers}", **options})


def first_layers(model: Any, layers: int) -> Transformer:
    """A Transformer of the model's first layers that shares every parameter with it."""
    whole = _transformer(model)
    config = whole.config
    if not 1 <= layers < config.layers:
        raise UserError(f"an early exit after {layers} of {config.layers} layers: give 1 to {config.layers - 1}")
    with torch.device("meta"):  # a frame only: nothing is allocated
        short = Transformer(replace(config, layers=layers, layer_list=config.layer_list[:layers]), seed=None)
    short.embed, short.place, short.kind = whole.embed, whole.place, whole.kind
    short.embed_norm, short.norm = whole.embed_norm, whole.norm
    short.blocks = nn.ModuleList(list(whole.blocks)[:layers])
    short.head, short.head_bias = whole.head, whole.head_bias
    kept = dict(short.named_parameters())
    short.quantised = {name: each for name, each in whole.quantised.items() if name in kept}
    return short.train(whole.training)


def _transformer(model: Any) -> Transformer:
    if not isinstance(model, Transformer):
        raise UserError(f"a {type(model).__name__} cannot guess for itself: give a Transformer")
    return model
