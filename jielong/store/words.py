"""A text as the terms it is found by: the same function for what is stored and for what is asked."""

from __future__ import annotations

import re
import unicodedata

# Scripts without spaces between words: Chinese (with 々〇〻), bopomofo, kana, Thai, Lao, Khmer, Burmese.
UNSPACED = (
    "\u2e80-\u2fdf\u3005\u3007\u303b\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\U00020000-\U0003ffff"
)
RUNS = re.compile(rf"[{UNSPACED}]+|[^\W_{UNSPACED}]+")
UNSPACED_FIRST = re.compile(f"[{UNSPACED}]")


def terms(text: str) -> list[str]:
    """The words of a text, folded (NFKC, no case); of Chinese every character and every two that stand together.

    Trigrams, which SQLite offers for such scripts, cannot find a word of two characters, and most have two.
    """
    found: list[str] = []
    for run in RUNS.findall(unicodedata.normalize("NFKC", text).casefold()):
        found.append(run) if not UNSPACED_FIRST.match(run) else found.extend(_pieces(run))
    return found


def _pieces(run: str) -> list[str]:
    return [*run, *(run[i : i + 2] for i in range(len(run) - 1))]
