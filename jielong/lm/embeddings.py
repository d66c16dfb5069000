"""Vectors of texts, for an index: from our own model or from any server that speaks OpenAI's API.

    embed = open_embedder("runs/demo")                      # or "http://127.0.0.1:8000/v1#MODEL"
    embed(["a text", "another"])                            # (2, D)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jielong.base.errors import UserError
from jielong.lm.meter import count_words
from jielong.lm.protocol import LM, gather
from jielong.lm.remote import Remote

TOGETHER = 32  # texts in a request


class RemoteEmbeddings(Remote):
    """`Remote` with POST /embeddings: the vectors as the server gives them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.capabilities |= {"embed"}

    async def aembed(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D) float32. WorkFailed for what is no vectors, or not one for each text."""
        await self._named()
        some = [list(texts[at : at + TOGETHER]) for at in range(0, len(texts), TOGETHER)]
        found = await gather(*(self._embedded(each) for each in some))
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)

    async def _embedded(self, texts: list[str]) -> np.ndarray:
        read = sum(map(count_words, texts))
        with self.meter.call(sum(16 + len(text.encode("utf-8", "replace")) // 2 for text in texts)) as bill:
            body = {"model": self.model, "input": texts, "encoding_format": "float"}
            answer = await self._post("/embeddings", body, lambda said: vectors(said, len(texts)))
            used = (answer.get("usage") or {}).get("prompt_tokens")
            bill.add(prompt=used if isinstance(used, int) else read)
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
        except UserError:  # our engine says so of a text that is too long, a server (`BadPrompt`, which is one) too
            return np.stack([self._one(text) for text in texts])

    def _one(self, text: str) -> np.ndarray:
        try:
            return np.asarray(self.lm.embed([text])[0], dtype=np.float32)
        except UserError:
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
        remote = RemoteEmbeddings(url, model)
        remote.embed(["a text"])  # which model it is, and whether it can
        return Embedder(remote, f"remote {remote.model}", f"{url}#{remote.model}")
    from jielong.base.device import pick
    from jielong.infer.fingerprint import fingerprint
    from jielong.lm.local import load

    lm = load(name, device=pick(device))
    return Embedder(lm, fingerprint(lm.model, lm.codec), name)
