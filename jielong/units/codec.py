"""Text to token ids and back: the face every tokenizer has, and the one class behind all of them.

Byte-pair tokens, characters and hand-made lists differ only in their vocabulary; all are a ``tokenizer.json``
of the tokenizers library, so ``Tokenizer`` serves them and any Hugging Face folder alike.

    codec = load("runs/demo/model")
    codec.decode(codec.encode("玉山 is high")) == "玉山 is high"
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from jielong.base.errors import UserError
from jielong.base.files import atomic_write, digest, read_json, write_json
from jielong.units.family import pieces, unknown_id, with_guards

END, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (END, TURN_START, TURN_END)
LOST = "\ufffd".encode()  # what an id that no token has decodes to
TURN_ENDS = (TURN_END, "<|eot_id|>", "<end_of_turn>", "<turn|>", "<|end|>")  # of known families
BATCH_CHARACTERS = 2_000_000  # encoded at once: the library keeps ~100 bytes of notes for each token


class Codec(Protocol):
    """What the rooms above need of a tokenizer. Ids are 0 .. size-1."""

    @property
    def size(self) -> int:
        """One more than the highest id."""

    @property
    def special(self) -> Mapping[str, int]:
        """The control tokens and their ids. No text encodes to one of these."""

    @property
    def end(self) -> int:
        """The id that ends a document."""

    def encode(self, text: str) -> list[int]:
        """The ids of plain text; a control token written in it is text like any other."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` of each, on all cores, without Python's lock."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of any sequence of ids; never fails."""

    def bytes_of(self, id: int) -> bytes:
        """The bytes that this id adds to a text."""

    def save(self, folder: str | Path) -> None:
        """Write ``tokenizer.json`` and ``tokenizer_config.json``."""


class Tokenizer:
    """A ``tokenizers.Tokenizer`` whose specials cannot be forged and whose decoding loses nothing.

    ``backend``: the library's object (it is now ours: its settings are changed). ``config``: the content of
    ``tokenizer_config.json``. ``template``: the chat template, "" for none.
    """

    def __init__(self, backend: Any, config: Mapping[str, Any] | None = None, template: str = "") -> None:
        self.config: dict[str, Any] = dict(config or {})
        self.template = template
        self.backend, model = with_guards(backend, self.names)
        self.backend.no_truncation()  # a setting some files carry; it would cut documents in silence
        self.backend.no_padding()
        self.backend.encode_special_tokens = True  # the library's name for "do not recognise them in text"
        added: dict[int, Any] = self.backend.get_added_tokens_decoder()
        self.special: dict[str, int] = {t.content: id for id, t in sorted(added.items()) if t.special}
        self._pieces, self.exact = pieces(self.backend, model.get("decoder"), added)
        self.control = frozenset(self.special.values()) - {unknown_id(model["model"], self.special)}

    @property
    def size(self) -> int:
        return len(self._pieces)

    @cached_property
    def names(self) -> dict[str, str]:
        """The tokens that the configuration names, as templates see them: bos_token, eos_token, ..."""
        found = {}
        for key, value in self.config.items():
            content = value.get("content") if isinstance(value, Mapping) else value
            if key.endswith("_token") and isinstance(content, str):
                found[key] = content
        return found

    @property
    def end(self) -> int:
        """The id of ``eos_token``, else of <|endoftext|>. Raises UserError when there is neither."""
        for name in (self.names.get("eos_token", END), END, "</s>"):
            if name in self.special:
                return self.special[name]
        raise UserError('this tokenizer has no end token; name one as "eos_token" in tokenizer_config.json')

    @property
    def turn_end(self) -> int:
        """The id that ends a chat turn: <|im_end|> or its like in known families, else ``end``."""
        return next((self.special[name] for name in TURN_ENDS if name in self.special), None) or self.end

    @cached_property
    def opening(self) -> tuple[int, ...]:
        """What this tokenizer's family puts before every text (<s>, <bos>); nothing for most, and for our own."""
        wanted, first = self.config.get("add_bos_token"), self.special.get(self.names.get("bos_token", ""))
        if isinstance(wanted, bool) and first is not None:
            return (first,) if wanted else ()
        bare = self.backend.encode("a", add_special_tokens=False).ids
        whole = self.backend.encode("a", add_special_tokens=True).ids
        at = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
        return tuple(whole[:at])

    def encode(self, text: str) -> list[int]:
        try:
            ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        except TypeError:  # the library's word for it
            check_unicode(text)
            raise
        return ids if self.control.isdisjoint(ids) else self._encode_cut(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        different = list(dict.fromkeys(texts))
        known: dict[str, list[int]] = {}
        for chunk in _chunks(different):
            try:
                found = self.backend.encode_batch_fast(chunk, add_special_tokens=False)
            except TypeError:
                for text in chunk:
                    check_unicode(text)
                raise
            for text, encoding in zip(chunk, found, strict=True):
                ids = encoding.ids
                known[text] = ids if self.control.isdisjoint(ids) else self._encode_cut(text)
        if len(different) == len(texts):
            return list(known.values())
        return [list(known[text]) for text in texts]

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """``skip_special`` leaves control tokens out; they are shown as written otherwise."""
        count = len(self._pieces)
        hidden = frozenset(self.special.values()) if skip_special else frozenset()
        kept = [id for id in ids if id not in hidden]
        if not self.exact:  # a family with rules of its own, such as a space before each word
            inside = [int(id) for id in kept if 0 <= id < count]
            return str(self.backend.decode(inside, skip_special_tokens=False))
        pieces = [self._pieces[id] if 0 <= id < count else LOST for id in kept]
        return b"".join(pieces).decode("utf-8", errors="replace")

    def bytes_of(self, id: int) -> bytes:
        return self._pieces[id] if 0 <= id < len(self._pieces) else LOST

    @cached_property
    def trusted(self) -> Any:
        """The library's object that does recognise control tokens: only for text from a template."""
        import tokenizers

        return tokenizers.Tokenizer.from_str(self.backend.to_str())

    @cached_property
    def written(self) -> re.Pattern[str]:
        """Finds the control tokens in a text, the longest at each place."""
        names = sorted(self.special, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or "(?!)")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the ids. The chat template is not part of it."""
        whole = json.loads(self.backend.to_str())
        return digest(json.dumps(whole, sort_keys=True).encode())

    def save(self, folder: str | Path) -> None:
        folder = Path(folder)
        atomic_write(folder / "tokenizer.json", self.backend.to_str(pretty=True))
        config = {**self.config, **({"chat_template": self.template} if self.template else {})}
        write_json(folder / "tokenizer_config.json", config)
        if (folder / "chat_template.jinja").exists():  # readers prefer this file: it must not go stale
            atomic_write(folder / "chat_template.jinja", self.template)

    def _encode_cut(self, text: str) -> list[int]:
        """Some vocabularies hold control tokens as ordinary pieces: cut each after its first character."""
        ids: list[int] = []
        last = 0
        for match in re.finditer(f"(?={self.written.pattern})", text):
            ids += self.backend.encode(text[last : match.start() + 1], add_special_tokens=False).ids
            last = match.start() + 1
        ids += self.backend.encode(text[last:], add_special_tokens=False).ids
        if self.control.isdisjoint(ids):
            return ids
        raise UserError("the text holds a control token that this tokenizer cannot write as plain text")


def load(folder: str | Path) -> Tokenizer:
    """Read a Hugging Face tokenizer: a folder with ``tokenizer.json`` (or that file), ours or anybody's.

    The chat template is that of ``chat_template.jinja`` or of ``tokenizer_config.json``, as transformers
    chooses. Raises UserError when a file is missing or broken. No code from the folder is run.
    """
    import tokenizers

    path = Path(folder)
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"{path} is not there; a tokenizer is a folder with a tokenizer.json")
    try:
        backend = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises plain Exception, and panics for some files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path} is not a tokenizer that can be read ({reason})") from error
    beside = path.parent / "tokenizer_config.json"
    config = read_json(beside) if beside.is_file() else {}
    if not isinstance(config, dict):
        raise UserError(f"{beside} is not an object {{...}}; mend or remove it")
    return Tokenizer(backend, config, _template(path.parent, config))


def check_fits(codec: Codec, vocabulary: int, fingerprint: str = "") -> None:
    """Raises UserError unless ``codec`` can be that of a model with ``vocabulary`` rows.

    A model may have more rows than tokens (rounded up) and not a thousand more; fewer only by control tokens that
    it was never taught (Gemma 3's mark for a picture in its models for text).
    ``fingerprint``: of the tokenizer that the model was trained with, where it is known.
    """
    mend = "use the tokenizer that was saved with the model"
    beyond = {id for id in codec.special.values() if id >= vocabulary}
    needed = beyond and not beyond.isdisjoint({codec.end, getattr(codec, "turn_end", codec.end)})
    if codec.size - len(beyond) > vocabulary or needed:
        raise UserError(f"the tokenizer has {codec.size} tokens, the model only {vocabulary}; {mend}")
    if vocabulary - codec.size >= max(1024, vocabulary // 20):
        raise UserError(f"the tokenizer has only {codec.size} tokens, the model {vocabulary}; {mend}")
    if fingerprint and getattr(codec, "fingerprint", fingerprint) != fingerprint:
        raise UserError(f"this is not the tokenizer the model was trained with; {mend}")


def check_unicode(text: str, name: str = "the text") -> None:
    """Raises UserError for text that cannot be UTF-8 (JSON may hold halves of surrogate pairs)."""
    try:
        str.encode(text)
    except UnicodeEncodeError as error:
        raise UserError(f"{name} is not Unicode: it holds half a character at place {error.start}") from error


def new_config() -> dict[str, Any]:
    """The ``tokenizer_config.json`` of a tokenizer made here."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "clean_up_tokenization_spaces": False,
    }


def _template(folder: Path, config: Mapping[str, Any]) -> str:
    own = folder / "chat_template.jinja"
    if own.is_file():
        try:
            return own.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{own} is not UTF-8; mend or remove it") from error
    template = config.get("chat_template", "")
    if isinstance(template, list):  # several, by name
        named = {str(t.get("name")): t.get("template") for t in template if isinstance(t, Mapping)}
        template = named.get("default", "")
    return template if isinstance(template, str) else ""


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
