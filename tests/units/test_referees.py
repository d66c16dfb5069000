"""transformers reads what we save: the same ids, the same text of a chat. (make referees)"""

from __future__ import annotations

import json

import pytest

from jielong.units import bpe, chars, chat, codec, tokenlist

pytestmark = pytest.mark.referee

TEXTS = ["the answer is 5, the user said\n\n2+3?", "玉山是臺灣最高的山", "👩‍👩‍👧 ok 👍🏽"] * 3
ODD = ["hello 玉山 👩‍👩‍👧 is 1234\n\n x  y's", "café ﬁ Å \x00 it'll 10,000", "", " ", "\ufeff\u200b<0x41>"]
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"é": "<b>"}}}]
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": "é<"}}}
CHATS = [
    [{"role": "user", "content": "2+3?"}],
    [
        {"role": "system", "content": "be 好"},
        {"role": "user", "content": " a<b & c\n"},
        {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": "so 3", "tool_calls": [CALL]},
    ],
]


@pytest.fixture(scope="module", params=["bpe", "chars", "list"])
def both(request, tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    made = {
        "bpe": lambda: bpe.train(TEXTS, 320, at_most=True),
        "chars": lambda: chars.train(TEXTS),
        "list": lambda: tokenlist.build(["玉山", "answer", "an", "the ", "is"]),
    }[request.param]()
    folder = tmp_path_factory.mktemp(request.param)
    made.save(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3"}))  # as beside a checkpoint
    return made, codec.load(folder), transformers.AutoTokenizer.from_pretrained(folder)


def test_ids_and_decoding(both):
    made, loaded, theirs = both
    assert len(theirs) == made.size and theirs.eos_token_id == made.end
    for text in (*TEXTS, *ODD):
        ids = made.encode(text)
        assert theirs(text)["input_ids"] == ids == loaded.encode(text)
        assert theirs.decode(ids) == text
    marked = "<|im_start|>user\nhi<|im_end|>"
    assert theirs(marked)["input_ids"] == made.trusted.encode(marked, add_special_tokens=False).ids


@pytest.mark.parametrize("turns", CHATS)
@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("opened", [True, False])
def test_chats(both, turns, tools, opened):
    made, _, theirs = both
    text = theirs.apply_chat_template(turns, tools=tools, tokenize=False, add_generation_prompt=opened)
    assert chat.render(turns, made.template, opened, tools, made.names) == text
    ids = theirs.apply_chat_template(turns, tools=tools, add_generation_prompt=opened)["input_ids"]
    ours = (
        chat.encode_prompt(made, turns, tools=tools)
        if opened
        else chat.encode_chat(made, turns, tools=tools)[0]
    )
    assert ours == ids


def test_gpt2(data):
    transformers = pytest.importorskip("transformers")
    files = [str(data / "gpt2_bpe" / name) for name in ("encoder.json", "vocab.bpe")]
    theirs = transformers.GPT2TokenizerFast(*files)
    ours = bpe.from_gpt2(*files)
    folder = data / "cs336_fixtures" / "fixtures"
    whole = [(folder / name).read_text(encoding="utf-8") for name in ("tinystories_sample.txt", "german.txt")]
    for text in (*TEXTS, *ODD, *(part.replace("<|endoftext|>", "") for part in whole)):
        assert theirs(text)["input_ids"] == ours.encode(text)
