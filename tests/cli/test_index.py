"""jielong index: texts in, texts found, and what is wrong in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jielong.cli.main import main
from jielong.nets import checkpoint
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.store import store
from jielong.units import chars

LINES = ["The cat sat on the mat.", "玉山很高。", "The dog sat on the cat."]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    codec = chars.train(LINES)
    shape = {"dim": 32, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 32, "hidden": 32}
    path = tmp_path / "small"
    checkpoint.save(path, Transformer(TransformerConfig(vocab=codec.size, context=16, **shape)), codec)
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in LINES))
    return path


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    return code, *capsys.readouterr()


def test_texts_go_in_and_are_found(folder: Path, capsys: Any) -> None:
    out, texts = folder.parent / "s.db", folder.parent / "texts.jsonl"
    code, said, told = run(capsys, "index", texts, "--out", out, "--find", "cat")
    assert code == 0 and "texts.jsonl:1" in said and "玉山" not in said and "next: jielong" in told
    code, said, _ = run(capsys, "index", "--out", out, "--find", "玉山", "--json")
    answer = json.loads(said)
    assert code == 0 and [hit["text"] for hit in answer["found"]] == [LINES[1]] and answer["documents"] == 3
    assert "nothing in it" in run(capsys, "index", "--out", out, "--find", "xylophone")[1]


def test_tokens_and_vectors(folder: Path, capsys: Any) -> None:
    out, texts = folder.parent / "s.db", folder.parent / "texts.jsonl"
    flags = ("--out", out, "--model", folder, "--json")
    answer = json.loads(run(capsys, "index", texts, *flags, "--vectors", 25)[1])
    codec = checkpoint.load(folder).codec
    assert answer["vectors"] == 25 and answer["width"] == 32 and answer["codec"] == codec.fingerprint
    assert answer["tokens"] == sum(len(codec.encode(line)) + 1 for line in LINES)
    with store.load(out, codec, model=answer["model"]) as here:
        assert here.continuations(codec.encode("The cat s"), 2) == [(tuple(codec.encode("at")), 1)]
        assert here.count(codec.encode("cat")) == 2
    code, said, told = run(capsys, "index", texts, *flags, "--add", "--vectors", 1000)
    assert code == 0 and json.loads(said)["vectors"] == 25 + answer["tokens"] and "only" in told
    with store.load(out, codec) as here:
        assert here.count(codec.encode("cat")) == 4 and len(here) == 6


def test_the_world(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "s.db"
    answer = json.loads(run(capsys, "index", "world", "--n", 200, "--out", out, "--find", "住在", "--json")[1])
    assert answer["documents"] == 200 and all("住在" in hit["text"] for hit in answer["found"][:1])
    with store.load(out) as here:
        assert here.document(1).id.startswith("world:") and here.document(1).meta["origin"]["kind"]


@pytest.mark.parametrize("words, told", [
    ((), "name the texts"), (("world", "--vectors", 5), "--model"), (("world", "--n", 0), "--n must be"),
    (("nowhere.txt",), "nowhere.txt"), (("--find", "x"), "no store"), (("world:sums:9", "--add"), "no store"),
    (("world:sums:9", "--model", "nowhere"), "nowhere"),
])  # fmt: skip
def test_wrong_input_is_one_line_and_leaves_nothing(in_tmp: Path, capsys: Any, words: tuple, told: str) -> None:
    code, out, err = run(capsys, "index", *words, "-q")
    assert (code, out) == (2, "") and told in err and len(err.strip().splitlines()) == 1
    assert list(in_tmp.iterdir()) == []


def test_a_store_that_is_there_is_kept(folder: Path, capsys: Any) -> None:
    out = folder.parent / "s.db"
    assert run(capsys, "index", "world:sums:9", "--out", out)[0] == 0
    before = out.read_bytes()
    code, _, err = run(capsys, "index", "world:facts:9", "--out", out, "-q")
    assert code == 2 and "--overwrite" in err and out.read_bytes() == before
    code, _, err = run(capsys, "index", "world:facts:9", "--out", out, "--add", "--model", folder, "-q")
    assert code == 2 and "no tokens" in err and out.read_bytes() == before
    assert run(capsys, "index", "world:facts:9", "--out", out, "--overwrite")[0] == 0 and out.read_bytes() != before


def test_a_folder_of_documents(in_tmp: Path, capsys: Any) -> None:
    notes = in_tmp / "notes"
    (notes / "pay").mkdir(parents=True)
    (notes / "a.md").write_text("# 玉山\n\n玉山是臺灣最高的山。\n")
    (notes / "pay" / "b.txt").write_text("The boss earns 玉山 high sums.")
    (notes / "broken.docx").write_bytes(b"no")
    (in_tmp / "rights.toml").write_text('"pay/*" = ["boss"]')
    flags = ("index", "notes", "--out", "i.db", "--json")
    code, said, told = run(capsys, *flags, "--rights", "rights.toml")
    answer = json.loads(said)
    assert code == 0 and (answer["added"], answer["skipped"], answer["documents"]) == (2, 1, 1)
    assert "broken.docx" in told
    answer = json.loads(run(capsys, *flags, "--find", "玉山")[1])
    assert [hit["source"] for hit in answer["found"]] == ["notes/a.md, 玉山, characters 0-10"] and answer["same"] == 2
    answer = json.loads(run(capsys, "index", "--out", "i.db", "--find", "玉山", "--reader", "boss, x", "--json")[1])
    assert len(answer["found"]) == 2 and answer["documents"] == 2
    assert "nothing in it" in run(capsys, "index", "--out", "i.db", "--find", "boss")[1]
    (notes / "a.md").unlink()
    assert json.loads(run(capsys, *flags)[1])["deleted"] == 1
    assert json.loads(run(capsys, *flags, "--remove")[1])["documents"] == 0
    for words, told in [(("index", "notes", "--out", "s.db", "--overwrite"), "by itself"),
                        (("index", "world:sums:9", "--remove"), "--remove"), (("index", "pay"), "no such"),
                        (("index", "notes", "--out", "j.db", "--embed", "nowhere"), "nowhere")]:  # fmt: skip
        code, _, err = run(capsys, *words, "-q")
        assert code == 2 and told in err and len(err.strip().splitlines()) == 1


def test_vectors_of_a_model_of_ours(folder: Path, capsys: Any) -> None:
    notes = folder.parent / "notes"
    notes.mkdir()
    (notes / "a.txt").write_text("\n\n".join(LINES) + " the cat" * 40)  # longer than the model's context
    (notes / "b.txt").write_text("The dog sat.")
    out = folder.parent / "i.db"
    code, said, told = run(capsys, "index", notes, "--out", out, "--embed", folder, "--find", "dog", "--json")
    assert code == 0, told
    answer = json.loads(said)
    assert answer["width"] == 32 and answer["vectors"] == 2 and {hit["document"] for hit in answer["found"]} == {
        "notes/a.txt", "notes/b.txt"}  # fmt: skip
    answer = json.loads(run(capsys, "index", "--out", out, "--find", "zebra", "--json")[1])
    assert len(answer["found"]) == 2  # by vectors
    (notes / "b.txt").write_text("new")
    code, _, err = run(capsys, "index", notes, "--out", out, "-q")
    assert code == 2 and "give --embed" in err
