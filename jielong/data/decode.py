"""Files of bytes as text, in pieces of bounded size; what cannot be text is named with its place."""

from __future__ import annotations

import codecs
import gzip
import io
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from jielong.base.errors import UserError

CHUNK = 1 << 20  # bytes


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, `.gz` unpacked. Raises UserError for what cannot be opened or read to its end."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield cast(BinaryIO, file)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except EOFError:
        raise UserError(
            f"{path}: ends before the end of its gzip stream (half-written?); copy it again"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: not gzip, or damaged ({error}); copy it again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def chunks(path: Path, encoding: str = "utf-8") -> Iterator[str]:
    """The text of a file in pieces, line ends as \\n, a byte order mark dropped.

    Raises UserError naming the file and the byte where it is not text in `encoding`.
    """
    try:
        inner = codecs.getincrementaldecoder(encoding)()
    except LookupError:
        raise UserError(
            f"no encoding {encoding!r}; for example utf-8, utf-16, big5, gb18030, cp1252"
        ) from None
    newlines = io.IncrementalNewlineDecoder(inner, translate=True)
    read, first = 0, True
    with open_bytes(path) as file:
        while True:
            raw = file.read(CHUNK)
            if first and encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
                _refuse_utf16(path, raw)
            try:
                text = newlines.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                # error.object holds bytes kept from before `raw`, so count back from its end
                at = read + len(raw) - len(error.object) + error.start
                raise UserError(_not_text(path, encoding, error, at, ended=not raw)) from None
            if "\0" in text:
                at = read + max(raw.find(0), 0)
                raise UserError(f"{path}: binary, not text (a NUL at byte {at})")
            if first:
                text = text.removeprefix("\ufeff")
                first = False
            if text:
                yield text
            if not raw:
                return
            read += len(raw)


def lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """(1, first line), (2, second line), ... without line ends; in memory one line and one piece."""
    number, begun = 1, list[str]()
    for chunk in chunks(path, encoding):
        *whole, rest = chunk.split("\n")
        for line in whole:
            yield number, "".join([*begun, line])
            begun.clear()
            number += 1
        begun.append(rest)
    if last := "".join(begun):
        yield number, last


def _refuse_utf16(path: Path, raw: bytes) -> None:
    if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise UserError(f"{path}: not UTF-8 at byte 0; it looks like UTF-16: give encoding=utf-16")


def _not_text(path: Path, encoding: str, error: UnicodeDecodeError, at: int, ended: bool) -> str:
    if ended and error.end == len(error.object):
        return f"{path}: ends in the middle of a character at byte {at} (half-written?); copy it again"
    raw = bytes(error.object)
    if b"\0" in raw:
        return f"{path}: binary, not text (byte {at} is not {encoding}, and there are NUL bytes)"
    guess = _guess(raw[max(0, error.start - 2000) : error.start + 20_000], encoding)
    hint = f"if it is {guess}, give encoding={guess}" if guess else "give its encoding, or it is binary"
    return f"{path}: not {encoding.upper()} at byte {at} (0x{raw[error.start]:02x}); {hint}"


def _guess(raw: bytes, tried: str) -> str:
    """The likeliest encoding: most characters beyond ASCII are ordinary in it; "" when none is likely."""
    best, most = "", 0.8
    for encoding in ("utf-8", "big5", "gb18030", "cp1252"):
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(raw)
        except UnicodeDecodeError:
            continue
        beyond = [c for c in text if ord(c) > 127]
        share = sum(_ordinary(c, encoding) for c in beyond) / max(1, len(beyond))
        if encoding != tried and share > most:
            best, most = encoding, share
    return best


def _ordinary(c: str, encoding: str) -> bool:
    """In Big5 and GB the first byte tells common characters (and punctuation) from rare ones."""
    first = c.encode(encoding, "replace")[0]
    if encoding == "big5":
        return 0xA1 <= first <= 0xC6
    if encoding == "gb18030":
        return first in (0xA1, 0xA3) or 0xB0 <= first <= 0xD7
    return unicodedata.category(c) in ("Ll", "Lo", "Pi", "Pf", "Pd", "Po", "Zs")
