"""The small endpoints: embeddings, models, tokens, health."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError
from jielong.lm.tokens import opening
from jielong.serve.chat import prompt_ids
from jielong.serve.completions import prompt_ids as text_ids
from jielong.serve.completions import read_prompts
from jielong.serve.errors import ApiError, refused, wrong
from jielong.serve.http import Call
from jielong.serve.schema import DetokenizeRequest, EmbeddingRequest, TokenizeRequest
from jielong.serve.service import Service
from jielong.serve.strict import parse
from jielong.serve.tokens import shown

if TYPE_CHECKING:
    import numpy as np


async def embeddings(service: Service, call: Call) -> dict[str, Any]:
    """POST /v1/embeddings: vectors of length 1, so that a product of two is their cosine."""
    body = parse(EmbeddingRequest, call.body)
    adapter = service.adapter(body.model)
    if adapter:
        raise refused("model", f"vectors are of the base alone: ask {service.name!r} for them")
    if body.dimensions is not None and body.dimensions != service.width:
        raise refused("dimensions", f"only the model's own width ({service.width}) is implemented")

    def read() -> list[tuple[int, ...]]:
        return [text_ids(service, one, at) for one, at in read_prompts(body.input, "input")]

    ids = await service.prepare(read)
    try:
        vectors = await service.engine.embed(ids)
    except UserError as error:
        raise ApiError(400, str(error)) from error
    read_ = sum(map(len, ids))
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": encoded(v, body.encoding_format)}
            for i, v in enumerate(vectors)
        ],
        "model": service.name,
        "usage": {"prompt_tokens": read_, "total_tokens": read_},
    }


def encoded(vector: np.ndarray, form: str) -> Any:
    """A vector of length 1 as a list of numbers, or as float32 in base64."""
    import numpy as np

    unit = (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype("<f4")
    return base64.b64encode(unit.tobytes()).decode() if form == "base64" else unit.tolist()


def card(service: Service, adapter: str = "") -> dict[str, Any]:
    """The model, or the model with an adapter, as clients list it."""
    facts = {"id": service.called(adapter), "object": "model", "created": service.born, "owned_by": "jielong"}
    return {**facts, "max_model_len": service.context, **({"parent": service.name} if adapter else {})}


async def models(service: Service, call: Call) -> dict[str, Any]:
    """GET /v1/models"""
    return {"object": "list", "data": [card(service, each) for each in ("", *service.adapters)]}


async def model(service: Service, call: Call) -> dict[str, Any]:
    """GET /v1/models/NAME"""
    return card(service, service.adapter(call.path["name"]))


async def tokenize(service: Service, call: Call) -> dict[str, Any]:
    """POST /tokenize: a text's tokens, or those of a chat as the model reads it.

    A text that is exactly one control token gives its id: scoring tools ask for a model's end token so. In any
    longer text a control token is text like any other.
    """
    body = parse(TokenizeRequest, call.body)
    service.adapter(body.model)
    if (body.prompt is None) == (body.messages is None):
        raise wrong("prompt", "give a prompt or messages, one of them")
    if body.messages is not None and not body.add_generation_prompt:
        raise refused("add_generation_prompt", "only true is implemented")

    def read() -> list[int]:
        if body.messages is not None:
            return list(prompt_ids(service, body.messages, ()))
        text = body.prompt or ""
        if text in service.codec.special:
            return [service.codec.special[text]]
        return [*(opening(service.codec) if body.add_special_tokens else ()), *service.codec.encode(text)]

    ids = await service.prepare(read)
    found = {"tokens": ids, "count": len(ids), "max_model_len": service.context}
    return found | ({"token_strs": [shown(service.codec, i) for i in ids]} if body.return_token_strs else {})


async def detokenize(service: Service, call: Call) -> dict[str, Any]:
    """POST /detokenize"""
    body = parse(DetokenizeRequest, call.body)
    service.adapter(body.model)
    return {"prompt": await service.prepare(service.codec.decode, body.tokens)}


async def tokenizer_info(service: Service, call: Call) -> dict[str, Any]:
    """GET /tokenizer_info: what `tokenizer_config.json` holds, with the tokens' names as text."""
    codec = service.codec
    names = {"eos_token": None, "bos_token": None, "pad_token": None, **codec.names}
    return {**codec.config, **names, "chat_template": codec.template, "vocab_size": codec.size}


async def health(service: Service, call: Call) -> dict[str, Any]:
    """GET /health"""
    return {"status": "ok"}
