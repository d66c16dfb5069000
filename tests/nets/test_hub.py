"""`jielong pull` against a hub of our own on localhost: what comes, what is refused before it comes, what is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jielong.base.errors import UserError, WorkFailed
from jielong.nets import checkpoint, hub
from jielong.units import bpe
from jielong.units.codec import Tokenizer
from tests.nets.fake_hub import COMMIT, Hub, serve
from tests.nets.test_families import folder_of


@pytest.fixture(scope="module")
def codec() -> Tokenizer:
    return bpe.train(["a model reads what it is given, 接龍接龍"] * 4, 280, at_most=True)


@pytest.fixture
def there(codec: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    folder = folder_of("llama", codec, tmp_path / "theirs")
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    (folder / "consolidated.safetensors").write_bytes(b"twice the same")
    (folder / "modeling_llama.py").write_text("raise SystemExit('remote code ran')")
    with serve(Hub({"acme/tiny": folder})) as made:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        yield made


def test_a_model_comes_whole_and_nothing_else(there: Hub, tmp_path: Path) -> None:
    found = hub.pull("acme/tiny", tmp_path / "out", endpoint=there.url)
    names = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert set(found.files) == names == set(there.asked) and there.asked[0] == "config.json"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*names, "jielong.json"}
    theirs = there.repos["acme/tiny"]
    assert all((tmp_path / "out" / name).read_bytes() == (theirs / name).read_bytes() for name in names)
    loaded = checkpoint.load(tmp_path / "out")
    assert loaded.info == {"source": "hf:acme/tiny", "revision": COMMIT}
    with pytest.raises(UserError, match="exists"):
        hub.pull("acme/tiny", tmp_path / "out", endpoint=there.url)
    hub.pull("acme/tiny", tmp_path / "out", revision=COMMIT, overwrite=True, endpoint=there.url)
    assert not list(tmp_path.glob(".*"))


def test_shards(there: Hub, tmp_path: Path) -> None:
    folder = there.repos["acme/tiny"]
    checkpoint.copy(checkpoint.load(folder), tmp_path / "sharded", shard=8000)
    there.repos["acme/sharded"] = tmp_path / "sharded"
    found = hub.pull("acme/sharded", tmp_path / "out", endpoint=there.url)
    assert sum(name.endswith(".safetensors") for name in found.files) > 2
    assert torch.equal(checkpoint.load(tmp_path / "out").model.embed, checkpoint.load(folder).model.embed)


@pytest.mark.parametrize(
    ("name", "revision", "word"),
    [("acme/none", None, "no model acme/none"), ("acme/tiny", "v9", "no such revision"), ("a/b/c", None, "hf:OWNER")],
)  # fmt: skip
def test_what_is_not_there(there: Hub, name: str, revision: str | None, word: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=word):
        hub.pull(name, tmp_path / "out", revision, endpoint=there.url)
    assert not (tmp_path / "out").exists()


def test_a_gated_model_says_where_to_ask(there: Hub, tmp_path: Path) -> None:
    there.gated.add("acme/tiny")
    with pytest.raises(UserError, match="terms accepted: do so at http"):
        hub.pull("acme/tiny", tmp_path / "out", endpoint=there.url)


def test_what_is_not_read_is_not_fetched(there: Hub, tmp_path: Path) -> None:
    folder = there.repos["acme/tiny"]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "wings": 2}))
    with pytest.raises(UserError, match=r"acme/tiny/config\.json: has wings=2"):
        hub.pull("acme/tiny", tmp_path / "out", endpoint=there.url)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no safetensors"):
        hub.pull("acme/tiny", tmp_path / "out", endpoint=there.url)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config\.json"):
        hub.pull("acme/tiny", tmp_path / "out", endpoint=there.url)
    assert set(there.asked) == {"config.json"} and not (tmp_path / "out").exists()


def test_a_broken_line_is_taken_up_again(there: Hub, tmp_path: Path) -> None:
    there.broken.add("model.safetensors")
    with pytest.raises(WorkFailed, match="again to go on"):
        hub.pull("acme/tiny", tmp_path / "out", endpoint=there.url)
    assert not (tmp_path / "out").exists()
    there.broken.clear()
    asked = len(there.asked)
    hub.pull("acme/tiny", tmp_path / "out", endpoint=there.url)
    assert there.asked[asked:] == ["model.safetensors"]  # the small files were here already
    checkpoint.load(tmp_path / "out")


def test_rotten_weights_are_said(there: Hub, tmp_path: Path) -> None:
    path = there.repos["acme/tiny"] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="half-written"):
        hub.pull("acme/tiny", tmp_path / "out", endpoint=there.url)
    save_file({"x": torch.ones(1)}, path)
    hub.pull("acme/tiny", tmp_path / "other", endpoint=there.url)  # whole files of other weights: `load` says it
    with pytest.raises(UserError, match="other weights"):
        checkpoint.load(tmp_path / "other")


def test_offline(there: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE"):
        hub.pull("acme/tiny", tmp_path / "out", endpoint=there.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(WorkFailed, match="are you offline"):
        hub.pull("acme/tiny", tmp_path / "out", endpoint="http://127.0.0.1:9")  # nobody listens there


def test_the_command(there: Hub, tmp_path: Path) -> None:
    def run(*words: str, url: str = there.url) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
        line = [sys.executable, "-m", "jielong", "pull", *words]
        return subprocess.run(line, capture_output=True, text=True, env=env, cwd=tmp_path, check=False)

    done = run("hf:acme/tiny", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["out"] == "runs/tiny" and told["revision"] == COMMIT
    assert (tmp_path / "runs/tiny/model.safetensors").is_file()
    for words, url, code, said in (
        (["acme/tiny"], there.url, 2, "hf:OWNER/NAME"),
        (["hf:acme/none"], there.url, 2, "no model"),
        (["hf:acme/tiny", "--out", "x"], "http://127.0.0.1:9", 1, "are you offline"),
    ):
        done = run(*words, url=url)
        assert done.returncode == code and done.stderr.count("\n") == 1 and said in done.stderr
