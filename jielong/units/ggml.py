"""A tokenizer as llama.cpp wants it: the fields of a GGUF file, and which kinds it knows.

    words = vocabulary(codec, rows=151_936)

llama.cpp names the way text is cut before merging instead of carrying its expression; ours is its "qwen2". Kinds
that it cuts otherwise are refused: a model read with other tokens would answer worse, and nobody would see why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jielong.base.errors import UserError
from jielong.units.alphabet import QWEN2
from jielong.units.codec import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # llama.cpp's types of token
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")  # digits in threes
SPACE = "\u2581"  # SentencePiece's mark for a space
NEVER = -1e9  # the score of a token that no merge makes


@dataclass(frozen=True)
class Vocabulary:
    """`tokenizer.ggml.*`: what llama.cpp calls the model and the cut, and a text and a type for every row."""

    model: str  # "gpt2": byte-level pairs; "llama": SentencePiece
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    ids: Mapping[str, int] | None = None  # bos, eos, eot, pad, unk
    add_bos: bool = False
    add_space: bool = False
    template: str = ""


def vocabulary(codec: Tokenizer, rows: int) -> Vocabulary:
    """The fields for a model with `rows` rows: rows without a token are unused, tokens without a row are left out.

    Raises UserError for a tokenizer that llama.cpp would not read in the same way.
    """
    whole = json.loads(codec.backend.to_str())
    model = whole["model"]
    if model["type"] != "BPE":
        raise UserError(f"llama.cpp reads byte-pair tokenizers; this one is {model['type']}")
    added = {token["id"]: token for token in whole["added_tokens"]}
    names = {id: token for token, id in codec.backend.get_vocab(with_added_tokens=True).items()}
    tokens = tuple(names.get(id, f"[PAD{id}]") for id in range(rows))
    pieces = bool(model.get("byte_fallback"))
    unknown = model.get("unk_token")

    def kind(id: int) -> int:
        if id in added:
            return CONTROL if added[id]["special"] and tokens[id] != unknown else USER_DEFINED
        if id not in names:
            return UNUSED
        return BYTE if pieces and re.fullmatch("<0x[0-9A-F]{2}>", tokens[id]) else NORMAL

    types = tuple(UNKNOWN if pieces and tokens[id] == unknown else kind(id) for id in range(rows))
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    ends: dict[str, Any] = {"ids": _ids(codec), "add_bos": bool(codec.opening), "template": codec.template}
    if pieces:
        scores = _scores(tokens, pairs)
        return Vocabulary("llama", "default", tokens, types, scores=scores, add_space=_spaces(whole), **ends)
    merges = tuple(" ".join(pair) for pair in pairs)
    return Vocabulary("gpt2", _cut(whole), tokens, types, merges, **ends)


def _ids(codec: Tokenizer) -> dict[str, int]:
    """llama.cpp takes GPT-2's numbers for what is not said, so bos is always said."""
    found = {"eos": codec.end, "bos": codec.special.get(codec.names.get("bos_token", ""), codec.end)}
    if codec.turn_end != codec.end:
        found["eot"] = codec.turn_end
    for name in ("pad", "unk"):
        token = codec.names.get(f"{name}_token", "")
        if token in codec.special:
            found[name] = codec.special[token]
    return found


def _cut(whole: Mapping[str, Any]) -> str:
    """llama.cpp's name for how a byte-level tokenizer cuts text before merging."""
    steps = _steps(whole["pre_tokenizer"], "pretokenizers")
    cuts = [(step["type"], *_how(step)) for step in steps]
    known = {
        (("Split", QWEN2, "Isolated"), ("ByteLevel", False)): "qwen2",
        (("Split", LLAMA3, "Isolated"), ("ByteLevel", False)): "llama-bpe",
        (("ByteLevel", True),): "gpt-2",
        (("Digits", True), ("ByteLevel", True)): "smollm",
    }
    found = known.get(tuple(cuts))
    spaced = any(step.get("add_prefix_space") for step in steps)
    normal = {step["type"] for step in _steps(whole["normalizer"], "normalizers")} - {"NFC"}
    if found is None or spaced or normal or bool(whole["model"].get("ignore_merges")) != (found == "llama-bpe"):
        raise UserError(
            "llama.cpp knows no tokenizer that cuts text as this one does "
            f"({', '.join(str(cut[0]) for cut in cuts) or 'not at all'}); read here: {', '.join(known.values())}"
        )
    return found


def _how(step: Mapping[str, Any]) -> tuple[Any, ...]:
    if step["type"] == "Split":
        return (step["pattern"].get("Regex"), step["behavior"])
    return (step.get({"ByteLevel": "use_regex", "Digits": "individual_digits"}.get(step["type"], "")),)


def _steps(node: Mapping[str, Any] | None, inside: str) -> list[Mapping[str, Any]]:
    return [] if node is None else list(node[inside]) if node["type"] == "Sequence" else [node]


def _scores(tokens: Sequence[str], pairs: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """llama.cpp merges the neighbours that make the token of the highest score: the earlier a merge, the higher."""
    rank: dict[str, int] = {}
    for number, pair in enumerate(pairs):
        rank.setdefault("".join(pair), number)
    return tuple(float(-rank[token]) if token in rank else NEVER for token in tokens)


def _spaces(whole: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text. Raises UserError for any other treatment of text than SentencePiece's."""
    normal = _steps(whole["normalizer"], "normalizers")
    before = _steps(whole["pre_tokenizer"], "pretokenizers")
    front = any(step["type"] == "Prepend" and step["prepend"] == SPACE for step in normal)
    front |= any(step["type"] == "Metaspace" and step.get("prepend_scheme") != "never" for step in before)
    marks = [step for step in normal if step["type"] == "Replace" and step["content"] == SPACE]
    marks += [step for step in before if step["type"] == "Metaspace"]
    odd = {step["type"] for step in (*normal, *before)} - {"Prepend", "Replace", "Metaspace", "Split"}
    if odd or not marks:
        raise UserError(f"llama.cpp knows no SentencePiece tokenizer with {', '.join(sorted(odd)) or 'bare spaces'}")
    return front
