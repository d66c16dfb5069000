"""The room's page says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from jielong.serve.app import GETS, POSTS
from jielong.serve.fields import Harmless
from jielong.serve.schema import ChatRequest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")


def test_every_endpoint_is_on_the_page():
    for path in (*POSTS, *GETS, "/metrics"):
        assert path.replace("{name:path}", "NAME") in PAGE


def test_the_list_of_the_harmless_is_whole():
    rows = re.findall(r"^\| (`.*?) \|", PAGE[PAGE.index("## Fields") : PAGE.index("## Things to know")], re.M)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(Harmless.model_fields)
    for name in ("top_k", "min_p", "typical_p", "repetition_penalty", "bad_words", "stop_token_ids", "ignore_eos",
                 "draft", "guess"):  # fmt: skip
        assert name in ChatRequest.model_fields and f"`{name}`" in PAGE


def test_every_metric_named_is_told(serve):
    told = serve().get("/metrics").text
    for name in re.findall(r"`(vllm:\w+)`", PAGE):
        assert name in told


def test_every_module_is_listed():
    room = Path(__file__).resolve().parents[2] / "jielong" / "serve"
    listed = set(re.findall(r"`(\w+)`", PAGE[PAGE.index("## Modules") : PAGE.index("## Measured")]))
    assert {p.stem for p in room.glob("*.py")} - {"__init__"} == listed
