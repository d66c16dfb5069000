"""The tokenizer of CLIP and Stable Diffusion (Radford et al. 2021, arXiv 2103.00020, section 2.4): text in lower case,
words with a mark at their end, byte pairs; a start and an end around every text, more ends behind it.

    codec = train(texts, size=1024, length=32)     codec.save(folder)     # transformers' CLIPTokenizer reads it

The same texts give the same tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jielong.base.errors import UserError
from jielong.base.files import atomic_write, read_json, write_json

START, END, AT_END = "<|startoftext|>", "<|endoftext|>", "</w>"
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True)
class ClipWords:
    """`backend` of the tokenizers library; rows are `length` ids long."""

    backend: Any
    length: int

    @property
    def size(self) -> int:
        """How many ids there are."""
        return int(self.backend.get_vocab_size())

    @property
    def start(self) -> int:
        """The id that begins a text."""
        return int(self.backend.token_to_id(START))

    @property
    def end(self) -> int:
        """The id that ends it, and fills its row."""
        return int(self.backend.token_to_id(END))

    def encode(self, text: str) -> list[int]:
        """The ids of a text, start and end included, cut to `length`."""
        inner = self.backend.encode(text, add_special_tokens=False).ids[: self.length - 2]
        return [self.start, *inner, self.end]

    def row(self, text: str) -> list[int]:
        """The same, filled up with ends."""
        ids = self.encode(text)
        return ids + [self.end] * (self.length - len(ids))

    def save(self, folder: str | Path) -> None:
        """`vocab.json`, `merges.txt` and `tokenizer_config.json`, as CLIPTokenizer has them."""
        model = json.loads(self.backend.to_str())["model"]
        merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
        vocab = dict(sorted(self.backend.get_vocab().items(), key=lambda item: item[1]))
        write_json(Path(folder) / "vocab.json", vocab)
        atomic_write(Path(folder) / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]))
        write_json(Path(folder) / "tokenizer_config.json", {
            "tokenizer_class": "CLIPTokenizer", "model_max_length": self.length, "do_lower_case": True,
            "bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END, "add_prefix_space": False,
        })  # fmt: skip


def train(texts: Iterable[str], size: int, length: int = 77) -> ClipWords:
    """Of at most `size` ids: bytes, bytes at a word's end, what is merged of them, start and end."""
    from tokenizers import pre_tokenizers, trainers

    if size < 2 * 256 + 2:
        raise UserError(f"a vocabulary of {size} is too small: bytes, twice, and two marks are {2 * 256 + 2}")
    backend = _backend({}, [])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size - 258, initial_alphabet=alphabet, end_of_word_suffix=AT_END, show_progress=False,
        special_tokens=[],
    ))  # fmt: skip
    model = json.loads(backend.to_str())["model"]
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
    names = [*alphabet, *(each + AT_END for each in alphabet)]
    names += [made for a, b in merges if (made := a + b) not in set(names)]
    return ClipWords(_backend({name: i for i, name in enumerate([*names, START, END])}, merges), length)


def load(folder: str | Path) -> ClipWords:
    """Read what `save` wrote, or the `tokenizer` of a Stable Diffusion folder. Raises UserError for another thing."""
    place = Path(folder)
    config = read_json(place / "tokenizer_config.json")
    vocab, merges = _whole(place) if (place / "tokenizer.json").is_file() else _two(place)
    if not isinstance(vocab, dict) or not {START, END} <= set(vocab) or not isinstance(config, dict):
        raise UserError(f"{place} holds no tokenizer of CLIP's kind: vocab.json, merges.txt, tokenizer_config.json")
    return ClipWords(_backend(vocab, merges), int(config.get("model_max_length", 77)))


def _two(place: Path) -> tuple[Any, list[tuple[str, ...]]]:
    """Of `vocab.json` and `merges.txt`."""
    path = place / "merges.txt"
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    merges = [tuple(line.split(" ")) for line in lines if line.count(" ") == 1 and not line.startswith("#version")]
    return read_json(place / "vocab.json"), merges


def _whole(place: Path) -> tuple[Any, list[tuple[str, ...]]]:
    """Of `tokenizer.json`, which newer versions of transformers write alone."""
    model = read_json(place / "tokenizer.json").get("model", {})
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model.get("merges", [])]
    return model.get("vocab"), merges


def _backend(vocab: dict[str, int], merges: Sequence[tuple[str, ...]]) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    known: dict[str, Any] = {"unk_token": END} if vocab else {}
    backend = Tokenizer(models.BPE(vocab, list(merges), end_of_word_suffix=AT_END, **known))  # type: ignore[arg-type]
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    backend.decoder = decoders.ByteLevel()
    if vocab:
        backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in (START, END)])
    return backend
