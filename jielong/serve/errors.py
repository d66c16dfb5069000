"""What the server says when it does not answer: OpenAI's error shape, whatever went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS: Mapping[int, str] = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
BROKEN = "the server failed on this request; its log says why"


class ApiError(Exception):
    """One HTTP error. `param` names the field at fault, `code` is a word that programs can test for."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None, retry: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.retry = status, message, param, code, retry

    def body(self) -> dict[str, Any]:
        """{"error": {"message", "type", "param", "code"}}"""
        kind = KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """`Retry-After` where waiting helps, and how to log in where that is the matter."""
        found = {} if self.retry is None else {"retry-after": str(max(1, round(self.retry)))}
        return found | ({"www-authenticate": "Bearer"} if self.status == 401 else {})


def refused(name: str, why: str) -> ApiError:
    """A field that is known and not implemented, or whose value is not."""
    return ApiError(400, f"{name}: {why}", name, "unsupported_parameter")


def wrong(name: str, why: str) -> ApiError:
    """A field whose value makes no sense."""
    return ApiError(400, f"{name}: {why}", name, "invalid_value")
