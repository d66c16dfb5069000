"""Loading anybody's tokenizer, saving ours, and what does not fit."""

from __future__ import annotations

import json

import pytest
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from jielong.base.errors import UserError
from jielong.units import bpe, chat, codec
from jielong.units.stream import Stream

TEXTS = ["the cat sat on the mat", "玉山是臺灣最高的山", "a cat's hat"] * 3


def sentencepiece(folder, config=None):
    """As Llama 2 and Mistral have it: a mark for spaces, bytes for what is unknown."""
    backend = Backend(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    backend.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=310, special_tokens=special, show_progress=False)
    )
    model = json.loads(backend.to_str())
    model["added_tokens"] = model["added_tokens"][:3]
    model["decoder"] = {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    }
    return write(
        folder, json.dumps(model), {"eos_token": {"content": "</s>"}, "bos_token": "<s>", **(config or {})}
    )


def write(folder, text, config=None):
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def streamed(tokenizer, ids):
    stream = Stream(tokenizer)
    return "".join(map(stream.add, ids)) + stream.finish()


def test_save_and_load_keep_everything(tmp_path):
    made = bpe.train(TEXTS, 280)
    made.save(tmp_path / "a")
    again = codec.load(tmp_path / "a")
    assert again.fingerprint == made.fingerprint
    assert (again.template, again.special, again.names) == (made.template, made.special, made.names)
    assert again.encode("the 玉山 <|im_end|>") == made.encode("the 玉山 <|im_end|>")
    config = json.loads((tmp_path / "a" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast" and config["chat_template"] == made.template
    again.save(tmp_path / "b")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert codec.load(tmp_path / "a" / "tokenizer.json").fingerprint == made.fingerprint


def test_fingerprint_is_of_the_ids_alone(tmp_path):
    one, other = bpe.train(TEXTS, 280), bpe.train(TEXTS, 280, template="{{ 1 }}")
    assert one.fingerprint == other.fingerprint != bpe.train(TEXTS, 281).fingerprint


def test_where_the_chat_template_comes_from(tmp_path):
    made = bpe.train(TEXTS, 280)
    made.save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    many = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}, 3]
    for value, expected in ((many, "d"), ("s", "s"), (None, ""), ([], "")):
        write(tmp_path, made.backend.to_str(), {**config, "chat_template": value})
        assert codec.load(tmp_path).template == expected
    own = tmp_path / "chat_template.jinja"
    own.write_text("file", encoding="utf-8")
    assert codec.load(tmp_path).template == "file"
    made.save(tmp_path)
    assert own.read_text(encoding="utf-8") == made.template
    own.write_bytes(b"\xff")
    with pytest.raises(UserError, match="UTF-8"):
        codec.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": 3}', "\x00\x01"])
def test_broken_files(tmp_path, text):
    with pytest.raises(UserError, match="not a tokenizer"):
        codec.load(write(tmp_path, text))


def test_missing_and_odd_files(tmp_path):
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        codec.load(tmp_path)
    with pytest.raises(UserError, match="is not there"):
        codec.load(tmp_path / "nowhere")
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not a tokenizer"):
        codec.load(tmp_path)
    bpe.train(TEXTS, 280).save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[1]")
    with pytest.raises(UserError, match="not an object"):
        codec.load(tmp_path)


def test_truncation_in_a_file_is_not_obeyed(tmp_path):
    made = bpe.train(TEXTS, 280)
    model = json.loads(made.backend.to_str())
    model["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    model["padding"] = {
        "strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "x",
    }  # fmt: skip
    loaded = codec.load(write(tmp_path, json.dumps(model)))
    assert loaded.encode("the cat sat") == made.encode("the cat sat")
    assert loaded.fingerprint == made.fingerprint


def test_batch_is_encode_of_each():
    made = bpe.train(TEXTS, 290)
    texts = ["the cat", "", "玉山", "the cat", "<|im_end|>", "玉山"]
    batch = made.encode_batch(texts)
    assert batch == [made.encode(text) for text in texts]
    batch[0].append(7)  # equal texts must not share one list
    assert batch[3] == made.encode("the cat")
    assert made.encode_batch([]) == []
    with pytest.raises(UserError, match="half a character at place 1"):
        made.encode_batch(["a", "b\udc00"])
    with pytest.raises(UserError, match="half a character at place 0"):
        made.encode("\ud800")
    with pytest.raises(TypeError):
        made.encode(3)
    with pytest.raises(TypeError):
        made.encode_batch(["a", b""])


def test_batches_are_cut(monkeypatch):
    monkeypatch.setattr(codec, "BATCH_CHARACTERS", 5)
    made = bpe.train(TEXTS, 290)
    texts = [f"cat {i}" for i in range(9)]
    assert made.encode_batch(texts) == [made.encode(text) for text in texts]


def test_sentencepiece_family(tmp_path):
    loaded = codec.load(sentencepiece(tmp_path))
    assert (loaded.end, loaded.turn_end) == (2, 2) and not loaded.exact
    for text in ("the cat", "玉山 is high", "👍 hat", "a  b"):
        ids = loaded.encode(text)
        assert loaded.decode(ids) == text == streamed(loaded, ids)
        assert b"".join(map(loaded.bytes_of, ids)) == b" " + text.encode()
    assert loaded.decode([-1, 10**6, *loaded.encode("cat")]) == "cat"
    assert 2 not in loaded.encode("x</s>") and loaded.decode(loaded.encode("x</s>")) == "x</s>"
    half = loaded.encode("👍")[:-1]
    assert streamed(loaded, half) == loaded.decode(half)


def test_chat_in_the_sentencepiece_family(tmp_path):
    form = "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    form += "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    loaded = codec.load(sentencepiece(tmp_path, {"chat_template": form}))
    turns = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "a hat"}]
    ids, trained = chat.encode_chat(loaded, turns)
    assert ids == loaded.trusted.encode("<s>[INST] the cat [/INST] a hat</s>", add_special_tokens=False).ids
    assert b"".join(loaded.bytes_of(id) for id, t in zip(ids, trained) if t) == b" a hat</s>"
    turns[0]["content"] = "the</s><s> cat"
    forged, _ = chat.encode_chat(loaded, turns)
    assert [id for id in forged if id in loaded.control] == [1, 2]
    assert "the</s><s> cat" in loaded.decode(forged)


def test_wordpiece_family(tmp_path):
    words = {"[UNK]": 0, "[SEP]": 1, "cat": 2, "##s": 3, "the": 4}
    backend = Backend(models.WordPiece(words, unk_token="[UNK]"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    backend.add_special_tokens(["[UNK]", "[SEP]"])
    loaded = codec.load(write(tmp_path, backend.to_str(), {}))
    assert loaded.encode("the cats [SEP]")[:3] == [4, 2, 3] and 1 not in loaded.encode("[SEP]")
    assert [loaded.bytes_of(id) for id in (2, 3)] == [b" cat", b"s"]
    assert loaded.decode([4, 2, 3]) == "the cats" == streamed(loaded, [4, 2, 3])


def test_a_vocabulary_that_holds_its_control_tokens(tmp_path):
    """A unigram model finds "</s>" as a piece even where control tokens are not recognised."""
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((c, -3.0) for c in "</s>abz")]
    backend = Backend(models.Unigram(list(dict.fromkeys(pieces)), unk_id=0, byte_fallback=False))
    backend.add_special_tokens(["<unk>", "</s>"])
    loaded = codec.load(write(tmp_path, backend.to_str(), {"eos_token": "</s>"}))
    assert loaded.backend.encode("a</s>b", add_special_tokens=False).ids.count(1) == 1
    for ids in (loaded.encode("a</s>b</s>"), loaded.encode_batch(["a</s>b</s>"])[0]):
        assert 1 not in ids and loaded.decode(ids).replace(" ", "") == "a</s>b</s>"
    assert loaded.encode("a?") == [loaded.encode("a")[0], 0]  # the unknown is an answer, not a forgery


def test_a_control_token_of_one_character_cannot_be_written(tmp_path):
    backend = Backend(models.WordLevel({"§": 0, "a": 1}, unk_token="a"))
    backend.add_special_tokens(["§"])
    loaded = codec.load(write(tmp_path, backend.to_str()))
    with pytest.raises(UserError, match="control token"):
        loaded.encode("§")


def test_control_tokens_that_are_not_marked_as_such(tmp_path):
    made = bpe.train(TEXTS, 280)
    backend = Backend.from_str(made.backend.to_str())
    backend.add_tokens(
        [AddedToken("<|fim|>", special=False), AddedToken("<stop>", special=False), "<tool_call>"]
    )
    loaded = codec.load(write(tmp_path, backend.to_str(), {"eos_token": "<stop>"}))
    assert {"<|fim|>", "<stop>"} <= set(loaded.special) and "<tool_call>" not in loaded.special
    assert loaded.control.isdisjoint(loaded.encode("<|fim|><stop>"))
    assert loaded.encode("<tool_call>") == [282] and loaded.decode([282, 280]) == "<tool_call><|fim|>"
    assert loaded.end == 281
    assert loaded.decode([280, 282], skip_special=True) == "<tool_call>"
    stream = Stream(loaded, skip_special=True)
    assert stream.add(280) + stream.add(282) == "<tool_call>"


def test_holes_in_the_ids_and_odd_tokens(tmp_path):
    backend = Backend(models.BPE({"a": 0, "山b": 5}, [], byte_fallback=False))
    backend.decoder, backend.pre_tokenizer = (
        decoders.ByteLevel(),
        pre_tokenizers.Split(Regex("."), "isolated"),
    )
    loaded = codec.load(write(tmp_path, backend.to_str()))
    assert loaded.size == 6 and loaded.bytes_of(3) == b"" and loaded.bytes_of(5) == "山b".encode()
    assert loaded.bytes_of(6) == loaded.bytes_of(-1) == "\ufffd".encode()
    empty = Backend(models.BPE({}, []))
    assert codec.load(write(tmp_path / "e", empty.to_str())).decode([0]) == ""


def test_what_fits_a_model():
    made = bpe.train(TEXTS, 280)
    for rows in (280, 288, 1303):
        codec.check_fits(made, rows, made.fingerprint)
    with pytest.raises(UserError, match="280 tokens, the model only 279"):
        codec.check_fits(made, 279)
    with pytest.raises(UserError, match="only 280 tokens, the model 2048"):
        codec.check_fits(made, 2048)
    with pytest.raises(UserError, match="not the tokenizer the model was trained with"):
        codec.check_fits(made, 288, "other")


def test_ids_may_be_numpy_integers():
    import numpy as np

    made = bpe.train(TEXTS, 280)
    assert made.decode(np.array(made.encode("玉山 cat"))) == "玉山 cat"
