"""Several adapters behind one server: a request names its own by `model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jielong.base.errors import UserError
from jielong.cli.serve import told
from jielong.infer.engine import Engine
from jielong.lm.local import Local, Parts
from jielong.nets import checkpoint
from jielong.nets.adapters.config import Bottleneck
from jielong.nets.adapters.folder import upon
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.serve.load import around, open_service
from tests.infer.adapters import KINDS, merged, trained
from tests.serve.conftest import Inside, the_codec
from tests.serve.test_engine import CHAT, TEXT, USER

RESPONSES = "/v1/responses"
GREEDY = {"temperature": 0, "max_tokens": 12}
BESIDE = ("lora", "ia3", "dora")


def model_of(seed: int) -> Transformer:
    import torch

    codec = the_codec()
    config = TransformerConfig(vocab=codec.size, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, hidden=64,
                               context=512)  # fmt: skip
    model = Transformer(config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.2, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> Transformer:
    return model_of(1)


@pytest.fixture
def client(model: Transformer) -> Inside:
    adapters = {name: trained(model, KINDS[name], i, 0.2) for i, name in enumerate(BESIDE)}
    return Inside(around(Engine(model, the_codec(), adapters=adapters), model, the_codec(), "tiny", adapters=adapters))


def test_a_request_names_its_adapter(client: Inside, model: Transformer) -> None:
    texts = {}
    for i, name in enumerate(BESIDE):
        own = Local(Parts(merged(model, trained(model, KINDS[name], i, 0.2)), the_codec()))
        expected = own.sample("the cat", **GREEDY)[0].text
        for asked in (f"tiny:{name}", name):
            answer = client.post(TEXT, json={"model": asked, "prompt": "the cat", **GREEDY}).json()
            assert answer["choices"][0]["text"] == expected and answer["model"] == f"tiny:{name}"
        texts[name] = answer["system_fingerprint"], expected
    base = client.post(TEXT, json={"model": "tiny", "prompt": "the cat", **GREEDY}).json()
    texts[""] = base["system_fingerprint"], base["choices"][0]["text"]
    assert len({mark for mark, _ in texts.values()}) == 4 and len({text for _, text in texts.values()}) == 4


def test_chats_responses_and_streams_name_it_too(client: Inside) -> None:
    chat = client.post(CHAT, json={"model": "tiny:lora", "messages": USER, **GREEDY}).json()
    said = chat["choices"][0]["message"]["content"]
    asked = {"model": "tiny:lora", "input": "the cat", "temperature": 0, "max_output_tokens": 12}
    answer = client.post(RESPONSES, json=asked).json()
    assert (chat["model"], answer["model"]) == ("tiny:lora", "tiny:lora")
    assert answer["output"][0]["content"][0]["text"] == said
    streamed = client.post(CHAT, json={"model": "lora", "messages": USER, "stream": True, **GREEDY}).text
    assert streamed.count('"model":"tiny:lora"') == streamed.count("data: {")
    three = client.post(CHAT, json={"model": "tiny:ia3", "messages": USER, "n": 3, "seed": 1, "max_tokens": 9}).json()
    one = client.post(CHAT, json={"model": "tiny:ia3", "messages": USER, "n": 1, "seed": 1, "max_tokens": 9}).json()
    assert len(three["choices"]) == 3 and three["choices"][:1] == one["choices"]


def test_all_are_listed_and_others_are_not_found(client: Inside) -> None:
    found = client.get("/v1/models").json()["data"]
    assert [each["id"] for each in found] == ["tiny", "tiny:lora", "tiny:ia3", "tiny:dora"]
    assert [each.get("parent") for each in found] == [None, "tiny", "tiny", "tiny"]
    assert client.get("/v1/models/tiny:ia3").json() == found[2]
    for name in ("tiny:other", "other", "tiny:", ":lora", "other:lora", "tiny:tiny"):
        for path, more in ((TEXT, {"prompt": "a"}), (CHAT, {"messages": USER}), (RESPONSES, {"input": "a"})):
            answer = client.post(path, json={"model": name, **more})
            error = answer.json()["error"]
            assert answer.status_code == 404 and error["code"] == "model_not_found"
            assert "'tiny:lora', 'tiny:ia3'" in error["message"]
    answer = client.post("/v1/embeddings", json={"model": "tiny:lora", "input": "a"})
    assert answer.status_code == 400 and "ask 'tiny'" in answer.json()["error"]["message"]


def test_each_adapters_texts_are_counted(client: Inside) -> None:
    for name, n in (("tiny:lora", 2), ("tiny", 1), ("ia3", 1)):
        client.post(TEXT, json={"model": name, "prompt": [1, 2, 3], "n": n, "ignore_eos": True, **GREEDY})
    page = client.get("/metrics").text

    def count(what: str, adapter: str) -> float:
        line = f'jielong:adapter_{what}_total{{adapter="{adapter}",engine="0",model_name="tiny"}} '
        return float(page.split(line)[1].split()[0])

    assert [count("requests", name) for name in BESIDE] == [2, 1, 0]
    assert [count("prompt_tokens", name) for name in BESIDE] == [6, 3, 0]
    assert [count("generation_tokens", name) for name in BESIDE] == [24, 12, 0]


def saved(model: Transformer, folder: Path, config: Any, seed: int = 0) -> Path:
    """An adapter's folder."""
    base = upon(checkpoint.load(folder))
    place = folder.parent / f"adapter-{type(config).__name__}-{seed}"
    base.save(place, trained(model, config, seed, 0.2), the_codec(), {"model": str(folder)}, overwrite=True)
    return place


def test_folders_are_read_and_those_of_another_base_refused(model: Transformer, tmp_path: Path) -> None:
    for i, each in enumerate((model, model_of(2))):
        checkpoint.save(tmp_path / f"base{i}", each, the_codec(), {})
    one = saved(model, tmp_path / "base0", KINDS["lora"], 1)
    two = saved(model, tmp_path / "base0", KINDS["lora"], 2)
    client = Inside(open_service(tmp_path / "base0", name="tiny", adapters={"one": one, "two": two}, mode="exact"))
    asked = {"prompt": "the cat", **GREEDY}
    texts = [client.post(TEXT, json={"model": n, **asked}).json()["choices"][0]["text"] for n in ("one", "two", "tiny")]
    alone = Inside(open_service(tmp_path / "base0", name="tiny", adapter=one))  # merged
    assert alone.post(TEXT, json={"model": "tiny", **asked}).json()["choices"][0]["text"] == texts[0]
    assert len(set(texts)) == 3
    prints = [upon(checkpoint.load(tmp_path / f"base{i}")).fingerprint[:12] for i in (0, 1)]
    with pytest.raises(UserError, match=f"another base .*{prints[0]}.*{prints[1]}"):
        open_service(tmp_path / "base1", adapters={"one": one})
    with pytest.raises(UserError, match=r"of kind bottleneck .* serve it alone"):
        open_service(tmp_path / "base0", adapters={"it": saved(model, tmp_path / "base0", Bottleneck(4))})
    for name in ("tiny", "a:b", "", "a b"):
        with pytest.raises(UserError, match="cannot be called"):
            open_service(tmp_path / "base0", name="tiny", adapters={name: one})


def test_what_the_flag_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a=b").mkdir()
    assert told(()) == (None, {}) and told(("runs/a",)) == ("runs/a", {}) and told(("a=b",)) == ("a=b", {})
    assert told(("x=runs/a", "y=runs/b=c")) == (None, {"x": "runs/a", "y": "runs/b=c"})
    for wrong, said in ((("runs/a", "x=runs/b"), "need names"), (("x=a", "x=b"), "two adapters"), (("a", "b"), "need")):
        with pytest.raises(UserError, match=said):
            told(wrong)
