"""A model that begins every prompt with the same prefix."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from jielong.lm.prompts import Prompt, join, kind_of
from jielong.lm.protocol import LM, Draw, Score, Usage

if TYPE_CHECKING:
    import numpy as np


class Fork(LM):
    """`prefix` joined before each prompt; for models that have no cache to share."""

    def __init__(self, lm: LM, prefix: Prompt) -> None:
        kind_of(prefix)
        self.lm, self.prefix = lm, prefix
        self.name, self.capabilities = lm.name, lm.capabilities

    @property
    def usage(self) -> Usage:
        return self.lm.usage

    async def asample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        return await self.lm.asample(join(self.prefix, prompt), n, start, **sampling)

    def astream(self, prompt: Prompt, start: int = 0, **sampling: Any) -> AsyncIterator[str]:
        return self.lm.astream(join(self.prefix, prompt), start, **sampling)

    async def ascore(self, prompt: Prompt, continuations: Sequence[str]) -> list[Score]:
        return await self.lm.ascore(join(self.prefix, prompt), continuations)

    async def aembed(self, texts: Sequence[str]) -> np.ndarray:
        return await self.lm.aembed(texts)
