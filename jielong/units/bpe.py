"""Byte-level byte-pair encoding through the tokenizers library: trained here, or GPT-2's.

    codec = train(texts, size=2048)
    codec.save("runs/tokenizer")        # transformers.AutoTokenizer reads it with the same ids

Ids: the special tokens, then the 256 bytes, then one token for each merge. The same texts give the same
tokenizer, whatever their order and the number of threads. ``teach.py`` shows how the merges are found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jielong.base.errors import UserError
from jielong.base.files import read_json
from jielong.units.alphabet import QWEN2, splitter
from jielong.units.chat import TEMPLATE
from jielong.units.codec import END, SPECIAL, Tokenizer, check_unicode, new_config


def train(
    texts: Iterable[str],
    size: int,
    special: Sequence[str] = SPECIAL,
    min_frequency: int = 2,
    at_most: bool = False,
    template: str = TEMPLATE,
) -> Tokenizer:
    """A tokenizer of ``size`` tokens, special ones and the 256 bytes included.

    Pairs that occur less than ``min_frequency`` times are not merged. When the texts cannot give ``size``
    tokens: UserError naming the largest size that they can, or, with ``at_most``, that size is taken.
    About 2 MB of text a second on one core; a few million characters decide a small vocabulary.
    """
    from tokenizers import pre_tokenizers, trainers

    if len(set(special)) != len(special) or not all(special):
        raise UserError("the special tokens must differ from each other and not be empty")
    least = len(special) + 256
    if size < least:
        raise UserError(f"a vocabulary of {size} is too small: bytes and special tokens alone are {least}")
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=max(min_frequency, 1),
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend = _empty(_words())
    backend.train_from_iterator(_utf8(texts), trainer)
    found = backend.get_vocab_size()
    if found < size and not at_most:
        raise UserError(
            f"the text gives at most {found} tokens, not {size}; ask for {found} or less, or bring more text"
        )
    return Tokenizer(backend, new_config(), template)


def from_gpt2(vocab: str | Path, merges: str | Path) -> Tokenizer:
    """GPT-2's tokenizer, or one of its kind, from ``encoder.json`` and ``vocab.bpe``.

    Raises UserError for a file that is missing, broken, or does not fit the other.
    """
    from tokenizers import AddedToken, models, pre_tokenizers

    numbers = read_json(vocab)
    if not isinstance(numbers, dict) or not all(isinstance(id, int) and id >= 0 for id in numbers.values()):
        raise UserError(f"{vocab} is not a vocabulary {{token: id}}")
    try:
        lines = Path(merges).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {merges} ({error})") from error
    kept = (line for line in lines if line and not line.startswith("#version"))
    pairs = [(left, right) for left, _, right in (line.partition(" ") for line in kept)]
    for pair in pairs:
        if any(token not in numbers for token in (*pair, "".join(pair))):
            raise UserError(f"{vocab} and {merges} do not belong together: the merge {pair} has no token")
    backend = _empty(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True))
    backend.model = models.BPE(numbers, pairs)
    if END in numbers:
        backend.add_special_tokens([AddedToken(END, special=True, normalized=False)])
    return Tokenizer(backend, new_config(), TEMPLATE)


def merges_of(codec: Tokenizer) -> list[tuple[str, str]]:
    """The merges in their order, as visible characters (``alphabet.read`` gives the bytes)."""
    model: dict[str, Any] = json.loads(codec.backend.to_str())["model"]
    return [tuple(pair) for pair in model.get("merges", ())]


def _words() -> Any:
    """Qwen2's words, each then written in visible characters."""
    from tokenizers import pre_tokenizers

    visible = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    return pre_tokenizers.Sequence([splitter(QWEN2), visible])


def _empty(words: Any) -> Any:
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, processors

    backend = Backend(models.BPE())
    backend.pre_tokenizer = words
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    return backend


def _utf8(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts, 1):
        check_unicode(text, f"text {number}")
        yield text
