"""Who may ask, and how often: the API key, the browser's rules, and the rate."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from jielong.serve.errors import ApiError
from jielong.serve.http import Gone, Sender
from jielong.serve.service import new_id

OPEN_PATHS = ("/", "/health")  # the page is no secret, and whether the server lives is none
CLIENTS = 10_000  # whose rate is remembered


@dataclass
class Rate:
    """A bucket of tokens for each client: `a_minute` requests flow in, as many may be saved up."""

    a_minute: float
    clock: Callable[[], float] = time.monotonic
    left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, client: str) -> float:
        """0 when the request may pass, else the seconds to wait."""
        now = self.clock()
        tokens, at = self.left.pop(client, (self.a_minute, now))
        tokens = min(self.a_minute, tokens + (now - at) * self.a_minute / 60)
        passes = tokens >= 1
        self.left[client] = (tokens - passes, now)
        while len(self.left) > CLIENTS:
            self.left.popitem(last=False)
        return 0.0 if passes else (1 - tokens) * 60 / self.a_minute


@dataclass
class Guard:
    """ASGI middleware. `key`: "" for none; `rate`: requests a minute from one client, 0 for no limit."""

    app: ASGIApp
    key: str = ""
    rate: float = 0.0
    stall: float = 60.0
    buckets: Rate = field(init=False)

    def __post_init__(self) -> None:
        self.buckets = Rate(max(1.0, self.rate))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope)
            except ApiError as error:
                with suppress(Gone):
                    await Sender(send, self.stall, new_id("req_")).refuse(error, receive)
                return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        check_browser(headers, bool(self.key))
        if self.key and scope["path"] not in OPEN_PATHS and not same(bearer(headers), self.key):
            said = "is wrong" if headers.get(b"authorization") else "is missing: send Authorization: Bearer KEY"
            raise ApiError(401, f"the API key {said}", code="invalid_api_key")
        if self.rate and scope["path"] not in OPEN_PATHS:
            wait = self.buckets.take((scope.get("client") or ("",))[0])
            if wait:
                raise ApiError(
                    429, f"more than {self.rate:g} requests a minute: wait", None, "rate_limit_exceeded", wait
                )


def bearer(headers: Mapping[bytes, bytes]) -> str:
    """The key that was sent."""
    kind, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return key.strip() if kind.lower() == "bearer" else ""


def same(given: str, key: str) -> bool:
    """Whether the two are equal, in a time that tells nothing about where they differ, or how long the key is."""
    digests = (hashlib.sha256(text.encode()).digest() for text in (given, key))
    return hmac.compare_digest(*digests)


def check_browser(headers: Mapping[bytes, bytes], keyed: bool) -> None:
    """ApiError 403 for what a strange page makes a browser send here.

    A request of another origin than this server's own page is refused. Without a key the host must be this
    machine's own name, or a page could point its domain here (DNS rebinding) and be of our origin.
    """
    host = headers.get(b"host", b"").decode("latin-1")
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin and urlsplit(origin).netloc.lower() != host.lower():
        raise ApiError(403, "requests from other sites' pages are refused", code="cross_origin")
    if host and not keyed and not is_here(urlsplit(f"//{host}").hostname or ""):
        raise ApiError(403, "without an API key the server is asked as localhost only", code="wrong_host")


def is_here(name: str) -> bool:
    """Whether a host name means this machine: localhost, or a loopback address."""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
