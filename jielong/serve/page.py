"""The page at `/`: chat with the model and see each token's alternatives. One file, nothing fetched from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path

from jielong.serve.service import Service


@cache
def source() -> str:
    """The page as it is written, with places for the server's own facts."""
    return Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def html(service: Service, keyed: bool) -> str:
    """The page of this server."""
    facts = {"model": service.name, "context": service.context, "keyed": keyed, "chat": bool(service.codec.template)}
    safe = json.dumps(facts, ensure_ascii=False).replace("<", "\\u003c")
    return source().replace("{FACTS}", safe)


def policy() -> str:
    """Content-Security-Policy: the page's own script and style, and requests to this server only."""
    found = re.findall(r"<(script|style)>(.*?)</\1>", source(), re.DOTALL)
    allowed = {kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for kind, text in found}
    return (
        f"default-src 'none'; script-src 'sha256-{allowed['script']}'; style-src 'sha256-{allowed['style']}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def headers() -> dict[str, str]:
    """The page cannot be framed, and tells no other site of itself."""
    return {
        "content-security-policy": policy(),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
