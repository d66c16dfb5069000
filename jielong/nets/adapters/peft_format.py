"""Adapters in PEFT's own format: adapter_config.json and adapter_model.safetensors, with the base family's names.

    said, tensors = written(adapter, among, base="Qwen/Qwen3-0.6B")     # what the two files hold
    adapter = read(said, tensors, shape, family)                        # UserError for what would be lost

What PEFT can write and is not honoured here (biases, whole modules, embeddings) is refused by name, never dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from jielong.base.errors import UserError
from jielong.nets.adapters import lora, peft_prompts
from jielong.nets.adapters.adapter import Adapter
from jielong.nets.adapters.config import Config, Ia3, Lora, Prefix, SoftPrompt
from jielong.nets.adapters.ia3 import Ia3Site
from jielong.nets.adapters.lora import Low
from jielong.nets.adapters.targets import Target, chosen, endings, targets
from jielong.nets.config import TransformerConfig
from jielong.nets.families.family import Family, full_name

PREFIX = "base_model.model."
A, B, LENGTH, SCALE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector", ".ia3_l"
SCORE = "score.weight"  # a reward model's head: transformers' name, after PREFIX or, where nothing is changed, HELD
HELD = "base_model."
HEADS = {"score", "classifier"}  # what PEFT saves whole of any model for sequence classification
# Fields that change what is computed and are honoured when they are empty or false only.
EMPTY = (
    "trainable_token_indices", "alora_invocation_tokens", "use_qalora", "layer_replication",
    "lora_bias", "target_parameters", "use_bdlora", "arrow_config", "kasa_config", "monteclora_config",
)  # fmt: skip
CHANGED = ("pissa", "olora", "corda", "loftq", "lora_ga")  # starts that take something out of the base


def written(adapter: Adapter, among: Sequence[Target], base: str = "") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The configuration and the tensors. `among`: all targets of the base; `base`: its name."""
    said, tensors = _written(adapter, among, base)
    if adapter.head is not None:
        said |= {"task_type": "SEQ_CLS", "modules_to_save": ["score"]}
        tensors[(HELD if peft_prompts.PROMPT in tensors else PREFIX) + SCORE] = adapter.head.detach().cpu().contiguous()
    return said, tensors


def _written(adapter: Adapter, among: Sequence[Target], base: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if isinstance(adapter.config, (Prefix, SoftPrompt)):
        return peft_prompts.written(adapter, base)
    about = {"base_model_name_or_path": base or None, "task_type": "CAUSAL_LM", "inference_mode": True,
             "target_modules": modules(adapter.targets, among), "fan_in_fan_out": adapter.family.turned,
             "modules_to_save": None}  # fmt: skip
    if isinstance(adapter.config, Lora):
        said, tensors = _lora(adapter.config, lows(adapter))
    else:
        said, tensors = _ia3(adapter, among)
    return about | said, {PREFIX + name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def read(
    said: Mapping[str, Any], tensors: Mapping[str, Tensor], shape: TransformerConfig, family: Family,
    config: Config | None = None,
) -> Adapter:  # fmt: skip
    """The adapter in two files of PEFT's, or of ours; `config`: what ours says that it is. Raises UserError naming
    what is missing, left over, of another shape, or not honoured."""
    tensors = dict(tensors)
    heads = [tensors.pop(place + SCORE) for place in (PREFIX, HELD) if place + SCORE in tensors]
    whole = set(said.get("modules_to_save") or ())
    if not whole <= HEADS or bool(whole) != bool(heads):
        raise UserError(f"adapter_config.json has modules_to_save={sorted(whole)!r:.60}, which is not honoured here")
    adapter = _read(said, tensors, shape, family, config)
    for head in heads:
        if head.ndim != 2 or head.shape[1] != shape.dim:
            raise UserError(f"{SCORE} has shape {list(head.shape)}: the adapter was made for another base")
        adapter.judges([str(i) for i in range(len(head))], head)
    return adapter


def _read(
    said: Mapping[str, Any], tensors: Mapping[str, Tensor], shape: TransformerConfig, family: Family,
    config: Config | None,
) -> Adapter:  # fmt: skip
    kind, among = said.get("peft_type"), targets(shape, family)
    if kind in peft_prompts.KINDS:
        return peft_prompts.read(said, tensors, shape, family, config)
    if kind == "IA3":
        return _read_ia3(said, tensors, among, family, config if isinstance(config, Ia3) else None)
    if kind != "LORA":
        raise UserError(f"adapter_config.json has peft_type={kind!r:.60}, which is not read here; LORA, IA3, "
                        f"{' and '.join(peft_prompts.KINDS)} are")  # fmt: skip
    return _read_lora(said, tensors, among, family, config if isinstance(config, Lora) else None)


def known(config: Config) -> bool:
    """Whether PEFT has this method."""
    return isinstance(config, (Lora, Ia3, Prefix, SoftPrompt))


def lows(adapter: Adapter) -> dict[str, Low]:
    """The change of each module, by its name in full."""
    sites: list[Any] = list(adapter.sites)
    found = zip(adapter.places.values(), sites, strict=True)
    pairs = [(t, low) for ts, site in found for t, low in zip(sorted(ts, key=lambda t: t.start), site.parts)]
    return {target.name: low for target, low in pairs}


def modules(mine: Sequence[Target], among: Sequence[Target]) -> list[str]:
    """Names that choose these of all: the last parts where those say it, else the names in full."""
    short = endings(mine)
    names = [target.name for target in mine]
    return short if {t.name for t in chosen(among, short)} == set(names) else names


def _lora(config: Lora, found: Mapping[str, Low]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """With PiSSA's start the change has twice the rank, and says its scale by itself."""
    tensors: dict[str, Tensor] = {}
    ranks, alphas = {}, {}
    for name, low in found.items():
        a, b = low.pair
        tensors |= {name + A: a, name + B: b}
        if low.length is not None:
            tensors[name + LENGTH] = low.length
        ranks[name] = len(a)
        alphas[name] = low.scale * (len(a) ** 0.5 if config.rslora else len(a))
    rank = config.rank * (2 if config.pissa else 1)
    alpha = config.scale * (rank**0.5 if config.rslora else rank)
    said = {
        "peft_type": "LORA", "r": rank, "lora_alpha": int(alpha) if alpha == int(alpha) else alpha, "bias": "none",
        "lora_dropout": config.dropout, "use_rslora": config.rslora, "use_dora": config.dora, "init_lora_weights": True,
        "rank_pattern": {name: r for name, r in ranks.items() if r != rank},
        "alpha_pattern": {name: a for name, a in alphas.items() if abs(a - alpha) > 1e-9 * alpha},
    }  # fmt: skip
    return said, tensors


def _read_lora(
    said: Mapping[str, Any], tensors: Mapping[str, Tensor], among: Sequence[Target], family: Family, own: Lora | None
) -> Adapter:
    _refuse(said)
    dora = bool(said.get("use_dora"))
    found = _sorted(tensors, (A, B, *([LENGTH] if dora else [])), {target.name for target in among}, family)
    ranks = {name: len(parts[A]) for name, parts in found.items()}
    rank = _number(said, "r")
    config = own or Lora(rank=int(rank), alpha=_number(said, "lora_alpha"), dropout=said.get("lora_dropout") or 0.0,
                         rslora=bool(said.get("use_rslora")), dora=dora)  # fmt: skip
    scales = {name: _scale(said, name, ranks[name]) for name in found}
    twice = 2 if config.pissa else 1
    mine = [target for target in among if target.name in found]
    make = lora.maker(config, 0, {name: r // twice for name, r in ranks.items()}, scales)
    adapter = Adapter(config, mine, family, make)
    with torch.no_grad():
        for target in mine:
            _fill(lows(adapter)[target.name], found[target.name], target)
    return adapter.eval()


def _fill(low: Low, parts: Mapping[str, Tensor], target: Target) -> None:
    a, b = parts[A], parts[B]
    wanted = {A: (len(a), target.inputs), B: (target.rows, len(a)), LENGTH: (target.rows,)}
    for ending, value in parts.items():
        if tuple(value.shape) != wanted[ending]:
            raise UserError(f"{target.name}{ending} has shape {list(value.shape)}, and this base wants "
                            f"{list(wanted[ending])}: the adapter was made for another one")  # fmt: skip
    rank = len(low.a)
    low.a.copy_(a[:rank])
    low.b.copy_(b[:, :rank])
    if low.a0 is not None and low.b0 is not None:
        low.a0.copy_(a[rank:])
        low.b0.copy_(-b[:, rank:])
    if low.length is not None:
        low.length.copy_(parts[LENGTH])


def _ia3(adapter: Adapter, among: Sequence[Target]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A column where rows are scaled, a row where inputs are."""
    tensors, reading = {}, []
    sites: list[Any] = list(adapter.sites)
    for site in sites:
        for target, scale in zip(site.targets, site.scales):
            tensors[target.name + SCALE] = scale[None] if site.reads else scale[:, None]
            reading += [target] * site.reads
    feed = modules(reading, among) if reading else []
    return {"peft_type": "IA3", "feedforward_modules": feed, "init_ia3_weights": True}, tensors


def _read_ia3(
    said: Mapping[str, Any], tensors: Mapping[str, Tensor], among: Sequence[Target], family: Family, own: Ia3 | None
) -> Adapter:
    _refuse(said)
    found = _sorted(tensors, (SCALE,), {target.name for target in among}, family)
    mine = [target for target in among if target.name in found]
    reads = {}
    for target in mine:
        shape = tuple(found[target.name][SCALE].shape)
        if shape not in ((target.rows, 1), (1, target.inputs)):
            raise UserError(f"{target.name}{SCALE} has shape {list(shape)}: the adapter was made for another base")
        reads[target.name] = shape == (1, target.inputs)
        if reads[target.name] and sum(t.half == target.half and t.matrix == target.matrix for t in among) > 1:
            raise UserError(f"the adapter scales what {target.name} alone reads, which shares a matrix here")
    config = own or Ia3(tuple(modules(mine, among)))
    adapter = Adapter(config, mine, family, lambda ts: Ia3Site(ts, reads[ts[0].name]))
    sites: list[Any] = list(adapter.sites)
    with torch.no_grad():
        for site in sites:
            for target, scale in zip(site.targets, site.scales):
                scale.copy_(found[target.name][SCALE].flatten())
    return adapter.eval()


def _refuse(said: Mapping[str, Any]) -> None:
    for field in EMPTY:
        if said.get(field):
            raise UserError(f"adapter_config.json has {field}={said[field]!r:.60}, which is not honoured here")
    if said.get("bias", "none") != "none":
        raise UserError(f"adapter_config.json has bias={said['bias']!r:.60}, which is not honoured here")
    start = said.get("init_lora_weights")
    if isinstance(start, str) and start.startswith(CHANGED):
        raise UserError(f"the adapter began with {start}, which changed its base: save it in PEFT with "
                        "path_initial_model_for_weight_conversion=, as a plain LoRA")  # fmt: skip


def _sorted(
    tensors: Mapping[str, Tensor], kinds: Sequence[str], known: set[str], family: Family
) -> dict[str, dict[str, Tensor]]:
    """Tensors by module, then by what they are."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        ending = next((each for each in kinds if key.endswith(each)), "")
        name = full_name(family, key.removeprefix(PREFIX).removesuffix(ending))
        if not ending or name not in known:
            raise UserError(f"the adapter has {key}, which is no change of a matrix in this base's blocks")
        found.setdefault(name, {})[ending] = value
    lacking = [name + each for name, parts in found.items() for each in kinds if each not in parts]
    if lacking or not found:
        raise UserError(f"the adapter lacks {lacking[0] if lacking else 'tensors'}: it is not whole, save it again")
    return found


def _scale(said: Mapping[str, Any], name: str, rank: int) -> float:
    """alpha / r or alpha / sqrt(r), with this module's own r and alpha where patterns give them."""
    told = _pattern(said.get("rank_pattern"), name, _number(said, "r"))
    if told != rank:
        raise UserError(f"{name} has rank {rank}, adapter_config.json says {told:g}: the files belong to two adapters")
    alpha = _pattern(said.get("alpha_pattern"), name, _number(said, "lora_alpha"))
    return alpha / (rank**0.5 if said.get("use_rslora") else rank)


def _pattern(patterns: Any, name: str, otherwise: float) -> float:
    """As PEFT looks one up: the first expression that the name ends in."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return float(value)
    return otherwise


def _number(said: Mapping[str, Any], key: str) -> float:
    value = said.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise UserError(f"adapter_config.json has {key}={value!r:.60}, which does not make sense")
    return float(value)
