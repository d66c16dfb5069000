import codecs
import gzip
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.base.errors import UserError, WorkFailed
from jielong.data import decode
from jielong.data.read import Document, read
from jielong.data.sources import Files, Hub, Worldly, find
from jielong.world.world import World


def texts(spec: str | Path, **options) -> list[str]:
    return [document.text for document in read(spec, **options)]


def says(spec: str | Path, **options) -> str:
    """The one line that reading ends with."""
    with pytest.raises(UserError) as caught:
        list(read(spec, **options))
    line = str(caught.value)
    assert "\n" not in line
    return line


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# ---- text


@pytest.mark.parametrize("name", ["a.txt", "a.md", "corpus.en", "LICENSE", "A.TXT"])
def test_a_text_file_is_one_document(tmp_path: Path, name):
    path = put(tmp_path / name, "one\n\ntwo 接龍 🐉\n")
    assert list(read(path)) == list(read(str(path))) == [Document("one\n\ntwo 接龍 🐉\n", str(path))]


def test_line_ends_and_byte_order_mark(tmp_path: Path):
    assert texts(put(tmp_path / "a.txt", b"\xef\xbb\xbfa\r\nb\rc\n")) == ["a\nb\nc\n"]
    path = put(tmp_path / "b.jsonl", b'\xef\xbb\xbf{"text": "x"}\r\n{"text": "y\\r\\n"}\r\n')
    assert texts(path) == ["x", "y\r\n"]  # what a record says is left as it is


@pytest.mark.parametrize(
    "split_on, expected",
    [
        (None, ["a\nb\n\n\n \nc<|endoftext|>\nd\n"]),
        ("blank", ["a\nb", "c<|endoftext|>\nd"]),
        ("line", ["a", "b", "c<|endoftext|>", "d"]),
        ("<|endoftext|>", ["a\nb\n\n\n \nc", "d"]),
    ],
)
def test_splitting_a_file(tmp_path: Path, split_on, expected):
    path = put(tmp_path / "a.txt", "a\nb\n\n\n \nc<|endoftext|>\nd\n")
    assert texts(path, split_on=split_on) == expected
    if split_on:
        assert [d.id for d in read(path, split_on=split_on)] == [
            f"{path}#{i + 1}" for i in range(len(expected))
        ]


@given(st.text(alphabet=st.sampled_from("ab\n|<é龍🐉"), max_size=60), st.integers(1, 9))
def test_pieces_of_any_size_give_the_same(tmp_path_factory, text, size):
    path = put(tmp_path_factory.mktemp("t") / "a.txt", text + ".")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "CHUNK", size)
        assert texts(path) == [text + "."]
        assert texts(path, split_on="line") == [line for line in f"{text}.".split("\n") if line.strip()]
        cut = [part.strip("\n") for part in f"{text}.".split("<|")]
        assert texts(path, split_on="<|") == [part for part in cut if part.strip()]
        assert list(decode.lines(path)) == list(enumerate(f"{text}.".split("\n"), 1))


def test_packed_files(tmp_path: Path):
    assert texts(put(tmp_path / "a.txt.gz", gzip.compress(b"hello"))) == ["hello"]
    assert texts(put(tmp_path / "b.jsonl.gz", gzip.compress(b'{"text": "x"}\n'))) == ["x"]
    assert texts(put(tmp_path / "c.json.gz", gzip.compress(b'["x", "y"]'))) == ["x", "y"]
    whole = gzip.compress(b"hello " * 1000)
    assert "half-written" in says(put(tmp_path / "d.txt.gz", whole[:-12]))
    assert "not gzip" in says(put(tmp_path / "e.txt.gz", b"hello"))


@pytest.mark.parametrize("encoding", ["utf-16", "big5", "gb18030"])
def test_other_encodings(tmp_path: Path, encoding):
    path = put(tmp_path / "a.txt", "玉山是臺灣最高的山。\n".encode(encoding))
    assert texts(path, encoding=encoding) == ["玉山是臺灣最高的山。\n"]


@pytest.mark.parametrize(
    "raw, expected",
    [
        ("玉山是臺灣最高的山。".encode("big5"), "encoding=big5"),
        ("这是简体中文的一段文字，没有别的。".encode("gb18030"), "encoding=gb18030"),
        (
            "Où est le café ? Là-bas, près de la forêt.".encode("cp1252"),
            "not UTF-8 at byte 1 (0xf9); if it is cp1252",
        ),
        ("text".encode("utf-16"), "encoding=utf-16"),
        (codecs.BOM_UTF16_BE + "text".encode("utf-16-be"), "encoding=utf-16"),
        (b"ab\x00cd", "binary, not text (a NUL at byte 2)"),
        (b"ab\xff\x00cd", "binary"),
        (b"a\xff\xfe\x81\x8d\x8f", "not UTF-8 at byte 1 (0xff); give its encoding, or it is binary"),
        ("café".encode()[:-1], "ends in the middle of a character at byte 3 (half-written?)"),
        (b"", "empty"),
        (b" \n\n", "empty"),
    ],
)
def test_what_is_not_text(tmp_path: Path, raw, expected):
    path = put(tmp_path / "a.txt", raw)
    line = says(path)
    assert expected in line and str(path) in line


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_the_offset_of_a_bad_byte_does_not_depend_on_pieces(tmp_path: Path, monkeypatch, size):
    monkeypatch.setattr(decode, "CHUNK", size)
    assert "at byte 7 " in says(put(tmp_path / "a.txt", "龍é ".encode() + b"x\xe9\x20abc\n"))
    assert "at byte 6 " in says(put(tmp_path / "b.txt", "龍é ".encode() + b"\xe9\x9f"))


def test_wrong_encoding_named(tmp_path: Path):
    path = put(tmp_path / "a.txt", "é" * 10)
    assert "no encoding 'klingon'" in says(path, encoding="klingon")
    assert "not ASCII at byte 0 (0xc3); if it is utf-8" in says(path, encoding="ascii")


def test_missing_is_told_at_once(tmp_path: Path):
    with pytest.raises(UserError, match="no such file or folder"):
        read(tmp_path / "no.txt")  # not only when the first document is asked for


def test_vanished_and_forbidden_files(tmp_path: Path, monkeypatch):
    path = put(tmp_path / "a.txt", "x")
    documents = read(path)
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        next(documents)
    put(path, "x")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "Permission denied" in says(path)


def test_an_empty_string_divides_nothing(tmp_path: Path):
    assert "split_on" in says(put(tmp_path / "a.txt", "x"), split_on="")


# ---- folders


def test_folders_in_order(tmp_path: Path):
    put(tmp_path / "b.txt", "b")
    put(tmp_path / "a/z.md", "az")
    put(tmp_path / "a/b.jsonl", '{"text": "ab"}')
    put(tmp_path / "a.txt.gz", gzip.compress(b"packed"))
    put(tmp_path / "c.txt", "")  # an empty file among others does no harm
    put(tmp_path / ".git/x.txt", "hidden")
    put(tmp_path / ".x.txt", "hidden")
    put(tmp_path / "picture.png", b"\0")
    assert texts(tmp_path) == ["ab", "az", "packed", "b"]


def test_folders_without_text(tmp_path: Path):
    assert "no .txt, .md" in says(tmp_path)
    put(tmp_path / "a.txt", "")
    assert f"{tmp_path}: empty" in says(tmp_path)


# ---- records


def test_jsonl(tmp_path: Path):
    path = put(
        tmp_path / "a.jsonl", '{"text": "one", "n": 1}\n\n{"text": ""}\n{"text": null}\n{"text": "two"}'
    )
    assert list(read(path)) == [Document("one", f"{path}:1", {"n": 1}), Document("two", f"{path}:5")]


def test_fields(tmp_path: Path):
    path = put(tmp_path / "a.jsonl", '{"question": "q", "lines": ["a", "b"], "n": 3, "mixed": ["a", 1]}\n')
    assert texts(path, field="question") == ["q"]
    assert texts(path, field="lines") == ["a\nb"]
    assert (
        says(path)
        == f"{path} line 1: no field 'text'; it has question, lines, n, mixed: choose one with field=..."
    )
    assert "field 'n' is a int, not text" in says(path, field="n")
    assert "field 'mixed' is a list" in says(path, field="mixed")
    assert "no fields at all" in says(put(tmp_path / "b.jsonl", "{}\n"))


@pytest.mark.parametrize(
    "name, content, expected",
    [
        ("a.jsonl", '{"text": "x"}\n{"text": }\n', "a.jsonl line 2: not JSON (Expecting value, column 10)"),
        ("a.jsonl", '{"text": "x"}\n{"text": "y', "a.jsonl line 2: not JSON (Unterminated string"),
        ("a.jsonl", '{"text": "x"}\n{"text": "y', "breaks off (half-written?)"),
        ("a.jsonl", '{"text": "x"}\n["y"]\n', "a.jsonl line 2: a JSON list where an object"),
        ("a.jsonl", "3\n", "a JSON number where an object"),
        ("a.jsonl", "[" * 100_000, "line 1: JSON nested too deeply"),
        ("a.json", '[{"text": "x"},\n{"text": ]\n', "a.json line 2: not JSON (Expecting value)"),
        ("a.json", '[{"text": "x"},', "breaks off (half-written?)"),
        ("a.json", '[{"text": "x"}, true]', "a.json item 2: a JSON true/false where"),
        ("a.json", "null", "a JSON null where"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", "[]", "empty"),
        ("a.json", " \n", "empty"),
        ("a.parquet", "no parquet", "not Parquet, or half-written"),
    ],
)
def test_broken_records(tmp_path: Path, name, content, expected):
    assert expected in says(put(tmp_path / name, content))


def test_json_shapes(tmp_path: Path):
    assert texts(put(tmp_path / "a.json", '[{"text": "x"}, "y"]')) == ["x", "y"]
    assert texts(put(tmp_path / "b.json", '{"text": "x"}')) == ["x"]
    assert texts(put(tmp_path / "c.json", '{"text": "x"}\n{"text": "y"}\n')) == [
        "x",
        "y",
    ]  # JSONL by another name


def test_half_a_character_in_json(tmp_path: Path):
    path = put(tmp_path / "a.jsonl", r'{"text": "\ud83d\udc09 \ud83d"}')
    assert texts(path) == ["🐉 \ufffd"]  # and can be encoded


@given(st.lists(st.text(min_size=1).filter(lambda text: text.strip()), min_size=1, max_size=5))
def test_any_text_comes_back(tmp_path_factory, wanted):
    folder = tmp_path_factory.mktemp("t")
    plain = "\n".join(json.dumps({"text": text}) for text in wanted)
    raw = "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in wanted)
    assert texts(put(folder / "a.jsonl", plain)) == wanted
    assert texts(put(folder / "b.jsonl", raw)) == wanted
    assert texts(put(folder / "c.json", json.dumps(wanted))) == wanted


def test_parquet_in_row_groups(tmp_path: Path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    many = [f"text {i}" for i in range(3000)]
    pq.write_table(pa.table({"text": many, "n": range(3000)}), path, row_group_size=700)
    documents = list(read(path))
    assert [d.text for d in documents] == many and documents[2999].id == f"{path}:3000"
    assert documents[0].meta == {}  # only the column that is needed is read
    assert "row 1: no field 'body'; it has text, n" in says(path, field="body")
    put(tmp_path / "b.parquet", path.read_bytes()[:-100])
    assert "half-written" in says(tmp_path / "b.parquet")
    damaged = bytearray(path.read_bytes())
    damaged[4:400] = bytes(396)
    assert "b.parquet" in says(put(tmp_path / "b.parquet", bytes(damaged)))


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'jielong[hf]'" in says(put(tmp_path / "a.parquet", "x"))


# ---- the hub and the world


def fake_datasets(monkeypatch, load) -> None:
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))


def test_hub(monkeypatch):
    calls = []

    def load(name, config, **options):
        calls.append((name, config, options))
        return iter([{"text": "a", "n": 1}, {"text": "b", "n": 2}])

    fake_datasets(monkeypatch, load)
    assert list(read("hf:org/name")) == [
        Document("a", "hf:org/name:train:1", {"n": 1}),
        Document("b", "hf:org/name:train:2", {"n": 2}),
    ]
    assert texts("hf:name:validation") == texts("hf:name:config:test") == ["a", "b"]
    stream = {"streaming": True}
    assert calls == [
        ("org/name", None, {"split": "train", **stream}),
        ("name", None, {"split": "validation", **stream}),
        ("name", "config", {"split": "test", **stream}),
    ]
    assert "hf:name:train row 1: no field 'body'" in says("hf:name", field="body")


def test_hub_out_of_reach(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "needs the library `datasets`: pip install 'jielong[hf]'" in says("hf:name")

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach the Hub\nmore")

    fake_datasets(monkeypatch, offline)
    assert (
        "hf:name:train: cannot be loaded (Couldn't reach the Hub); check the name and the connection"
        in says("hf:name")
    )


def test_hub_breaks_off(monkeypatch):
    def rows():
        yield {"text": "a"}
        raise OSError("gone")

    fake_datasets(monkeypatch, lambda *_, **__: rows())
    documents = read("hf:name")
    next(documents)
    with pytest.raises(WorkFailed, match="broke off after row 1"):
        next(documents)


def test_the_world():
    world = World(seed=1)
    documents = list(read("world:facts:7", world=world))
    assert [d.text for d in documents] == [t.text for t in world.texts("facts", 7)]
    assert documents[3].id == "world:facts:3" and documents[3].meta["origin"].kind == "facts"
    assert texts("world:facts:3") == [t.text for t in World().texts("facts", 3)]
    assert "no kind" in says("world:weather")


@pytest.mark.parametrize(
    "spec, expected",
    [
        ("hf:a/b", Hub("a/b", None, "train")),
        ("hf:a/b:test", Hub("a/b", None, "test")),
        ("hf:a/b:en:test", Hub("a/b", "en", "test")),
        ("world:facts", Worldly("facts", 1000)),
        ("world:facts:12", Worldly("facts", 12)),
    ],
)
def test_specs(spec, expected):
    assert find(spec) == expected


@pytest.mark.parametrize(
    "spec", ["hf:", "hf:a:b:c:d", "hf:a:", "world:", "world:facts:x", "world:facts:0", "world:facts:-1"]
)
def test_malformed_specs(spec):
    with pytest.raises(UserError, match="write "):
        find(spec)


def test_sources_name_themselves(tmp_path: Path):
    path = put(tmp_path / "a.txt", "x")
    assert str(find(path)) == str(path) and str(find(tmp_path)) == str(tmp_path)
    assert isinstance(find(path), Files)
    assert str(find("hf:a/b:en:test")) == "hf:a/b:en:test" and str(find("world:facts")) == "world:facts:1000"


# ---- real files


def test_real_files(data: Path):
    (whole,) = read(data / "tinyshakespeare" / "input.txt")
    assert whole.text.encode() == (data / "tinyshakespeare" / "input.txt").read_bytes()
    names = texts(data / "names" / "names.txt", split_on="line")
    assert len(names) == 32_033 and names[0] == "emma"
    questions = texts(data / "gsm8k" / "train.jsonl", field="question")
    assert len(questions) == 7473 and questions[0].startswith("Natalia sold clips")
    stories = texts(data / "cs336_fixtures" / "fixtures" / "tinystories_sample.txt", split_on="<|endoftext|>")
    assert all("<|endoftext|>" not in story for story in stories) and len(stories) > 3
    poem = next(read(data / "chinese_poetry" / "tang300.json", field="paragraphs"))
    assert poem.text.startswith("西陸蟬聲唱，南冠客思侵。\n")
    assert "binary" in says(data / "mnist_t10k" / "t10k-labels-idx1-ubyte.gz")
