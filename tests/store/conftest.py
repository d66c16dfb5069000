"""A handful of texts in two languages, and a tokenizer of their characters."""

from __future__ import annotations

import pytest

from jielong.data.read import Document
from jielong.units import chars
from jielong.units.codec import Tokenizer

TEXTS = (
    "玉山是臺灣最高的山。",
    "The highest mountain of Taiwan is 玉山.",
    "陳美玲住在台南，她喜歡吃蘋果。",
    "Karl Wren lives in Tarn. He likes apples, and the apples of Tarn most.",
    "蘋果公司在美國。",
    "The river Tarn is in France.",
)


def documents(texts: tuple[str, ...] | list[str] = TEXTS) -> list[Document]:
    return [Document(text, f"t:{i}", {"place": i}) for i, text in enumerate(texts, 1)]


@pytest.fixture(scope="session")
def codec() -> Tokenizer:
    return chars.train(list(TEXTS))
