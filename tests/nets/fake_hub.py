"""A Hugging Face Hub of one's own on this machine: enough of its protocol for huggingface_hub to pull from.

Facts: the Hub's public API (`/api/models/NAME/revision/REV`) and how files are served (`/NAME/resolve/REV/FILE`).
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """`repos`: name -> folder. `gated` names want consent. `asked` collects the files that were sent; of those in
    `broken` only the first half is."""

    repos: dict[str, Path]
    gated: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """The hub on a port of localhost while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            """Quiet."""

        def answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            headers.setdefault("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def refuse(self, status: int, code: str) -> None:
            self.answer(status, b"{}", X_Error_Code=code, X_Error_Message=code)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            parts = unquote(self.path.split("?")[0]).strip("/").split("/")
            api = parts[:2] == ["api", "models"]
            name = "/".join(parts[2:4] if api else parts[:2])
            rest = parts[4:] if api else parts[2:]
            folder = hub.repos.get(name)
            if folder is None:
                return self.refuse(401, "RepoNotFound")
            if len(rest) > 1 and rest[1] not in ("main", COMMIT):
                return self.refuse(404, "RevisionNotFound")
            if api:
                files = sorted(path.name for path in folder.iterdir())
                data = {"id": name, "modelId": name, "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]}
                return self.answer(200, json.dumps(data).encode(), Content_Type="application/json")
            if name in hub.gated:
                return self.refuse(403, "GatedRepo")
            path = folder / "/".join(rest[2:])
            if not path.is_file():
                return self.refuse(404, "EntryNotFound")
            body = path.read_bytes()
            if self.command == "GET":
                hub.asked.append(path.name)
            etag = f'"{hashlib.sha1(body).hexdigest()}"'
            if self.command == "GET" and path.name in hub.broken:
                self.close_connection = True
                return self.answer(200, body[: len(body) // 2], ETag=etag, X_Repo_Commit=COMMIT,
                                   Content_Length=str(len(body)))  # fmt: skip
            return self.answer(200, body, ETag=etag, X_Repo_Commit=COMMIT)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
