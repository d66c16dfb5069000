"""--draft from the command line: the same text, what became of the guesses, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from jielong.cli.guessing import Guessing
from jielong.nets import checkpoint
from jielong.serve.app import build
from jielong.serve.load import open_service
from jielong.serve.metrics import Metrics

from .test_lm_verbs import folder, run

__all__ = ["folder"]


@pytest.mark.parametrize(
    "flags", [("lookup",), ("int8", "--guess", 3), ("MODEL",), ("int4,lookup", "--guess", 3)], ids=str
)
def test_the_text_is_the_one_without(folder: Path, capsys: Any, flags: tuple[Any, ...]) -> None:
    words = ("generate", "the cat sat on the cat", "--model", folder, "--max-tokens", 40, "--json")
    plain = json.loads(run(capsys, *words)[1])
    code, out, _ = run(capsys, *words, "--draft", *(folder if f == "MODEL" else f for f in flags))
    found = json.loads(out)
    assert code == 0 and [d["text"] for d in found["draws"]] == [d["text"] for d in plain["draws"]]
    guesses = found["guesses"]
    assert not guesses["reasons"] and len(guesses["accepted"]) <= len(guesses["proposed"])
    if "--guess" in flags:
        assert guesses["drafts"] > 0 and len(guesses["proposed"]) <= 3


def test_another_law_is_not_another_text(folder: Path, capsys: Any) -> None:
    words = ("generate", "the cat", "--model", folder, "--draft", "int8", "--guess", 4, "--verify", "block", "--json")
    assert len(json.loads(run(capsys, *words)[1])["draws"][0]["ids"]) > 0


@pytest.mark.parametrize(
    "flags, told",
    [
        (("--draft", "nowhere"), "lookup, int8"), (("--draft", "early:one"), "early:2"), (("--draft", "early:1"), "1"),
        (("--guess", 3), "--draft"), (("--draft", "lookup", "--guess", -1), "--guess -1"),
        (("--draft", "store:none.db"), "none.db"),
    ],
)  # fmt: skip
def test_wrong_drafters_are_told(folder: Path, capsys: Any, flags: tuple[Any, ...], told: str) -> None:
    code, _, err = run(capsys, "generate", "the cat", "--model", folder, *flags)
    assert code == 2 and told in err and len(err.strip().splitlines()) == 1


def test_the_servers_page_counts_guesses_by_place(folder: Path) -> None:
    from jielong.infer.request import Request
    from jielong.infer.sampling import Sampling

    service = open_service(folder, drafting=Guessing(draft="int8", guess=3).drafting)
    core = service.engine.core
    core.submit(Request((1, 2, 3), Sampling(max_tokens=30, temperature=0)))
    while core.busy:
        core.step()
    page = Metrics("small", service.engine.stats).page().decode()
    lines = [line.split(" ") for line in page.splitlines() if line.startswith("vllm:spec_decode")]
    counts = {name: float(value) for name, value in lines if not name.split("{")[0].endswith("_created")}
    drafted = counts['vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="small"}']
    accepted = counts['vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="small"}']
    by_place = [value for name, value in counts.items() if "per_pos" in name]
    assert 0 < accepted <= drafted and sum(by_place) == accepted and by_place == sorted(by_place, reverse=True)


def test_a_request_says_who_guesses_for_it(folder: Path) -> None:
    service = open_service(folder, drafting=Guessing(draft="int8,lookup", guess=3).drafting)
    with TestClient(build(service), base_url="http://localhost") as client:

        def ask(path: str = "/v1/completions", **more: Any) -> Any:
            body = {"model": service.name, "prompt": [1, 2, 1, 2, 1], "max_tokens": 20, "temperature": 0}
            return client.post(path, json={**body, **more})

        def steps() -> int:
            return service.engine.stats().drafts

        texts, guessed = [], []
        for draft in ({}, {"draft": "int8"}, {"draft": "lookup"}, {"draft": "none"}, {"guess": 0}, {"guess": 1}):
            before = steps()
            texts.append(ask(**draft).json()["choices"][0]["text"])
            guessed.append(steps() - before)
        assert len(set(texts)) == 1
        assert guessed[3:5] == [0, 0] and min(guessed[0], guessed[1], guessed[5]) > 0 and guessed[2] < guessed[1]
        wrong = ask(draft="early:2")
        assert wrong.status_code == 400 and "int8, lookup, none" in wrong.json()["error"]["message"]
    service = open_service(folder)
    with TestClient(build(service), base_url="http://localhost") as client:
        assert ask(draft="none").status_code == 200
        wrong = ask(draft="lookup")
        assert wrong.status_code == 400 and "--draft" in wrong.json()["error"]["message"]


def test_a_drafter_with_another_tokenizer_is_translated(folder: Path, tmp_path: Path) -> None:
    from jielong.infer.draft.named import named
    from jielong.infer.draft.other_tokenizer import OtherTokenizer
    from jielong.nets.config import TransformerConfig
    from jielong.nets.transformer import Transformer
    from jielong.units import chars

    codec = chars.train(["another alphabet: xyz"])
    shape = {"dim": 32, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 32, "hidden": 32}
    checkpoint.save(tmp_path / "other", Transformer(TransformerConfig(vocab=codec.size, **shape)), codec)
    loaded = checkpoint.load(folder)
    assert isinstance(named(str(tmp_path / "other"), loaded.model, loaded.codec), OtherTokenizer)


def test_a_model_that_does_not_say_which_slots_it_fills_cannot_guess(folder: Path, tmp_path: Path) -> None:
    from jielong.base.errors import UserError
    from jielong.infer.draft.named import named

    loaded = checkpoint.load(folder)
    checkpoint.save(tmp_path / "slots", loaded.model, loaded.codec, info={"parallel": {"slots": 8}})
    with pytest.raises(UserError, match="must name slots and length"):
        named(str(tmp_path / "slots"), loaded.model, loaded.codec)
