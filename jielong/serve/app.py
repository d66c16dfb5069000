"""All endpoints as one ASGI application.

app = build(service, key="")
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jielong.serve import chat, completions, metrics, page, responses, small
from jielong.serve.errors import ApiError
from jielong.serve.guard import Guard
from jielong.serve.http import Endpoint, dump
from jielong.serve.service import Service

POSTS: dict[str, Callable[..., Any]] = {
    "/v1/chat/completions": chat.chat,
    "/v1/completions": completions.complete,
    "/v1/embeddings": small.embeddings,
    "/v1/responses": responses.respond,
    "/tokenize": small.tokenize,
    "/detokenize": small.detokenize,
}
GETS: dict[str, Callable[..., Any]] = {
    "/v1/models": small.models,
    "/v1/models/{name:path}": small.model,
    "/tokenizer_info": small.tokenizer_info,
    "/health": small.health,
}


def build(service: Service, key: str = "") -> Starlette:
    """The application; when it shuts down, the engine finishes what it has begun and stops."""

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        yield
        await service.engine.close()

    async def measured(request: Request) -> Response:
        return Response(service.metrics.page(), media_type=metrics.CONTENT_TYPE)

    async def shown(request: Request) -> Response:
        return Response(page.html(service, bool(key)), headers=page.headers(), media_type="text/html")

    routes = [
        *(
            Route(path, Endpoint(service, partial(work, service), named=path == "/v1/responses"), methods=["POST"])
            for path, work in POSTS.items()
        ),
        *(
            Route(path, Endpoint(service, partial(work, service), reads=False), methods=["GET"])
            for path, work in GETS.items()
        ),
        Route("/metrics", measured, methods=["GET"]),
        Route("/", shown, methods=["GET"]),
    ]
    guard = Middleware(Guard, key=key, rate=service.limits.rate, stall=service.limits.stall)
    return Starlette(routes=routes, middleware=[guard], exception_handlers={HTTPException: no_route}, lifespan=life)


async def no_route(request: Request, error: Exception) -> Response:
    """404 and 405 in the shape of all errors."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    path = request.url.path[:100]
    said = f"{request.method} is not what {path} takes" if status == 405 else f"there is nothing at {path}"
    found = ApiError(status, said, code="not_found" if status == 404 else "method_not_allowed")
    headers = dict(getattr(error, "headers", None) or {})
    return Response(dump(found.body()), status, headers, media_type="application/json")
