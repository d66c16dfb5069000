"""Vectors of texts, for an index: from our own model or from any server that speaks OpenAI's API.

    embed = open_embedder("runs/demo")                      # or "http://127.0.0.1:8000/v1#MODEL"
    embed(["a text", "another"])                            # (2, D)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jielong.base.errors import UserError
from jielong.lm.meter import count_words
from jielong.lm.protocol import LM, BadPrompt, gather

if TYPE_CHECKING:
    from jielong.lm.remote import Remote

TOGETHER = 32  # texts in a request


async def served(remote: Remote, texts: Sequence[str]) -> np.ndarray:
    """`Remote.aembed`: POST /embeddings."""
    await remote.named()
    some = [list(texts[at : at + TOGETHER]) for at in range(0, len(texts), TOGETHER)]
    found = await gather(*(_served(remote, each) for each in some))
    return np.concatenate(found) if found else np.zeros((0, 0), np.float32)


async def _served(remote: Remote, texts: list[str]) -> np.ndarray:
    read = sum(map(count_words, texts))
    with remote.meter.call(sum(16 + len(text.encode("utf-8", "replace")) // 2 for text in texts)) as bill:
        body = {"model": remote.model, "input": texts, "encoding_format": "float"}
        answer = await remote.post("/embeddings", body, lambda said: vectors(said, len(texts)))
        used = answer.get("usage")
        told = used.get("prompt_tokens") if isinstance(used, dict) else None
        bill.add(prompt=told if isinstance(told, int) and told >= 0 else read)
    return vectors(answer, len(texts))


def vectors(answer: Any, count: int) -> np.ndarray:
    """The vectors (count, D) in a server's answer, by their indices. ValueError, KeyError or TypeError for others."""
    rows = {int(each["index"]): each["embedding"] for each in answer["data"]}
    found = np.array([rows[i] for i in range(count)], dtype=np.float32)
    if found.ndim != 2 or len(rows) != count or not found.size or not np.isfinite(found).all():
        raise ValueError("no vectors")
    return found


class Embedder:
    """A model as a function of texts, with the name that decides whether vectors are of the same model (`model`) and
    the one for people (`name`). A text that is too long for the model is read in halves, whose vectors are averaged."""

    def __init__(self, lm: LM, model: str, name: str) -> None:
        if "embed" not in lm.capabilities:
            raise lm.cannot("embed")
        self.lm, self.model, self.name = lm, model, name

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D) float32."""
        try:
            return np.asarray(self.lm.embed(list(texts)), dtype=np.float32)
        except BadPrompt:  # one of them is too long
            return np.stack([self._one(text) for text in texts])

    def _one(self, text: str) -> np.ndarray:
        try:
            return np.asarray(self.lm.embed([text])[0], dtype=np.float32)
        except BadPrompt:
            if len(text) < 2:
                raise
            half = len(text) // 2
            parts = np.stack([self._one(text[:half]), self._one(text[half:])])
            return np.asarray(parts.mean(axis=0))


def open_embedder(name: str, device: str = "auto") -> Embedder:
    """The model at a folder, or at URL#MODEL. UserError where there is none, or one that makes no vectors."""
    if not name:
        raise UserError("name a model: a checkpoint folder, a run, or URL#MODEL")
    if name.startswith(("http://", "https://")):
        url, _, model = name.partition("#")
        from jielong.lm.remote import Remote

        remote = Remote(url, model)
        remote.embed(["a text"])  # which model it is, and whether it can
        return Embedder(remote, f"remote {remote.model}", f"{url}#{remote.model}")
    from jielong.base.device import pick
    from jielong.infer.fingerprint import fingerprint
    from jielong.lm.local import load

    lm = load(name, device=pick(device))
    return Embedder(lm, fingerprint(lm.model, lm.codec), name)
