"""``jielong train tokenizer``: a vocabulary learnt from text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jielong.cli.common import Common

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.units.codec import Tokenizer

Kind = Literal["bpe", "characters", "list"]
MEASURED = 1_000_000  # characters of each language that are looked at afterwards
SHOWN = 12  # examples of tokens


@dataclass
class _Read:
    """What was read: all texts, and those of each language."""

    texts: list[str] = field(default_factory=list)
    languages: dict[str, list[str]] = field(default_factory=dict)
    bytes: int = 0
    cut: bool = False


def tokenizer(
    *,
    data: list[str],
    size: int = 2048,
    out: Path = Path("runs/tokenizer"),
    kind: Kind = "bpe",
    tokens: Path | None = None,
    min_frequency: int = 2,
    at_most: bool = False,
    megabytes: float = 100.0,
    text_field: str = "text",
    overwrite: bool = False,
    dry_run: bool = False,
    common: Common = Common(),
) -> None:
    """Learn a vocabulary from text: byte-level byte pairs, single characters, or a list written by hand.

    Parameters
    ----------
    data
        Text to learn from: a file, a folder, world:KIND[:N] or hf:NAME. May be given several times.
    size
        How many tokens, bytes and special tokens included (bpe only).
    out
        The folder to write; transformers' AutoTokenizer reads it too.
    kind
        bpe, characters, or list (the tokens of --tokens).
    tokens
        A file with one token a line, for --kind list.
    min_frequency
        Pairs (bpe) or characters that occur less often are not learnt.
    at_most
        Take a smaller vocabulary where the text cannot give --size tokens.
    megabytes
        Read no more text than this.
    text_field
        The field that holds the text, in records.
    overwrite
        Replace an earlier run at --out.
    dry_run
        Say what would be done, and do nothing.
    """
    from jielong.base.errors import UserError
    from jielong.base.files import run_dir

    talk = common.talk()
    asked = {"data": data, "size": size, "out": str(out), "kind": kind, "megabytes": megabytes}
    if (kind == "list") != (tokens is not None):
        raise UserError("--kind list and --tokens FILE belong together")
    if megabytes <= 0:
        raise UserError(f"--megabytes must be above 0, not {megabytes}")
    if dry_run:
        talk.answer("\n".join(f"{name}: {value}" for name, value in asked.items()))
        talk.document({"dry_run": True, **asked})
        return
    if out.exists() and not overwrite and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} exists; choose another name with --out, or replace it with --overwrite")
    read = _read(talk, data, megabytes, text_field)
    start = time.perf_counter()
    made = _make(kind, read.texts, size, tokens, min_frequency, at_most)
    seconds = time.perf_counter() - start
    made.save(run_dir(out.parent, out.name, overwrite))
    languages = {name: _measure(made, texts) for name, texts in sorted(read.languages.items())}
    _tell(talk, made, read, languages, seconds, out)
    about = {"size": made.size, "kind": kind, "fingerprint": made.fingerprint, "seconds": seconds}
    found = {"texts": len(read.texts), "bytes": read.bytes, "cut": read.cut, "languages": languages}
    talk.document({"out": str(out), **about, **found})
    talk.next_command(f"jielong train lm --data {data[0]} --tokenizer {out}")


def _read(talk: Talk, data: list[str], megabytes: float, text_field: str) -> _Read:
    from jielong.data.read import read

    found = _Read()
    with talk.progress(None, "read", "MB") as bar:
        for spec in data:
            for document in read(spec, field=text_field):
                found.bytes += len(document.text.encode("utf-8", "replace"))
                if found.bytes > megabytes * 1e6 and found.texts:
                    found.cut = True
                    break
                found.texts.append(document.text)
                found.languages.setdefault(_language(document.text, document.meta), []).append(document.text)
                bar.update(found.bytes / 1e6)
    if found.cut:
        talk.warn(f"only the first {megabytes:g} MB were read; --megabytes allows more")
        found.bytes = sum(len(text.encode("utf-8", "replace")) for text in found.texts)
    return found


def _make(
    kind: Kind, texts: list[str], size: int, tokens: Path | None, min_frequency: int, at_most: bool
) -> Tokenizer:
    from jielong.units import bpe, chars, tokenlist

    if tokens is not None:
        return tokenlist.read(tokens)
    if kind == "characters":
        return chars.train(texts, min_frequency=1 if min_frequency == 2 else min_frequency)
    return bpe.train(texts, size, min_frequency=min_frequency, at_most=at_most)


def _language(text: str, meta: Mapping[str, Any]) -> str:
    """As the document says, else by its script."""
    said = meta.get("lang") or getattr(meta.get("origin"), "lang", "")
    if isinstance(said, str) and said:
        return said
    sample = text[:2000]
    chinese = sum("\u2e80" <= character <= "\u9fff" for character in sample)
    return "zh" if chinese * 4 > len(sample) else "other"


def _measure(made: Tokenizer, texts: list[str]) -> dict[str, Any]:
    """How far a token reaches, on the beginning of what was learnt from. One byte a token is the control."""
    sample = list(_first(texts, MEASURED))
    ids = made.encode_batch(sample)
    count = sum(map(len, ids)) or 1
    sizes = sum(len(text.encode()) for text in sample), sum(map(len, sample))
    return {
        "documents": len(texts),
        "bytes_per_token": sizes[0] / count,
        "characters_per_token": sizes[1] / count,
        "example": [_shown(made, id) for id in ids[0][:SHOWN]],
    }


def _shown(made: Tokenizer, id: int) -> str:
    """The text of a token; of a part of a character, its bytes."""
    text = made.decode([id])
    return f"<{made.bytes_of(id).hex(' ')}>" if "\ufffd" in text else text


def _first(texts: Iterable[str], characters: int) -> Iterable[str]:
    for text in texts:
        yield text[:characters]
        characters -= len(text)
        if characters <= 0:
            return


def _tell(
    talk: Talk, made: Tokenizer, read: _Read, languages: Mapping[str, Any], seconds: float, out: Path
) -> None:
    rows = [
        (name, it["documents"], it["bytes_per_token"], it["characters_per_token"], "|".join(it["example"]))
        for name, it in languages.items()
    ]
    head = ("language", "documents", "bytes/token", "characters/token", "a beginning")
    talk.table(head, [(*row[:4], row[4].replace("\n", "\\n")) for row in rows])
    texts = (made.decode([id]) for id in range(made.size) if id not in made.control)
    longest = sorted((text for text in texts if "\ufffd" not in text), key=len)
    talk.say("longest tokens: " + "  ".join(repr(token) for token in longest[: -SHOWN - 1 : -1]))
    talk.say(f"{made.size} tokens from {read.bytes / 1e6:.2f} MB in {seconds:.1f} s; written to {out}")
