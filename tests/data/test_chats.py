import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.base.errors import UserError
from jielong.data.read import read_chats
from jielong.world.world import World

USER = {"role": "user", "content": "hi"}
ASSISTANT = {"role": "assistant", "content": "hello"}
PAIR = [USER, ASSISTANT]


def put(folder: Path, *rows: object, name: str = "a.jsonl") -> Path:
    path = folder / name
    text = json.dumps(list(rows)) if name.endswith(".json") else "\n".join(map(json.dumps, rows))
    path.write_text(text, encoding="utf-8")
    return path


def says(path: Path | str) -> str:
    with pytest.raises(UserError) as caught:
        list(read_chats(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def turns(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in pairs]


CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'

SHAPES = {
    "messages": ({"messages": PAIR}, PAIR),
    "content in parts": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]},
                ASSISTANT,
            ]
        },
        PAIR,
    ),
    "tool calls": (
        {
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"function": {"name": "add", "arguments": '{"a": 1}'}}],
                },
                {"role": "tool", "content": ""},
                {
                    "role": "assistant",
                    "content": "so",
                    "tool_calls": [{"name": "add", "arguments": {"a": 1}}],
                },
            ]
        },
        [USER, *turns(("assistant", CALL), ("tool", ""), ("assistant", f"so\n{CALL}"))],
    ),
    "alpaca": (
        {"instruction": "Spell.", "input": "freind", "output": "friend"},
        turns(("user", "Spell.\n\nfreind"), ("assistant", "friend")),
    ),
    "alpaca without input": (
        {"instruction": "Spell.", "input": "", "output": "x"},
        turns(("user", "Spell."), ("assistant", "x")),
    ),
    "alpaca with history": (
        {"instruction": "c", "output": "d", "history": [["a", "b"]], "system": "s"},
        turns(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")),
    ),
    "sharegpt": (
        {
            "conversations": [
                {"from": "human", "value": "hi"},
                {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
                {"from": "observation", "value": "2"},
                {"from": "gpt", "value": "hello"},
            ],
            "system": "s",
        },
        turns(("system", "s"), ("user", "hi"), ("assistant", CALL), ("tool", "2"), ("assistant", "hello")),
    ),
    "sharegpt with a system turn": (
        {
            "conversations": [{"from": "system", "value": "s"}, USER, {"from": "gpt", "value": "x"}],
            "system": "",
        },
        turns(("system", "s"), ("user", "hi"), ("assistant", "x")),
    ),
    "prompt and completion": ({"prompt": "hi", "completion": "hello"}, PAIR),
    "prompt and completion as messages": ({"prompt": [USER], "completion": [ASSISTANT]}, PAIR),
}


@pytest.mark.parametrize("row, expected", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_shapes(tmp_path: Path, row, expected, name):
    path = put(tmp_path, {**row, "label": True}, name=name)
    (chat,) = read_chats(path)
    assert chat.messages == expected
    assert chat.id == f"{path}:1" and chat.meta == {"label": True}


@pytest.mark.parametrize(
    "row, expected",
    [
        (
            {"question": "q", "answer": "a"},
            "line 2: no known shape of chat; it has question, answer; understood are",
        ),
        ({}, "line 2: no known shape of chat; it has nothing; understood are"),
        ({"instruction": "x"}, "it has instruction; understood are"),
        ({"messages": "hi"}, "line 2: 'messages' is not a list"),
        ({"messages": ["hi"]}, "line 2, message 1: not a message"),
        ({"messages": []}, "line 2: the assistant says nothing"),
        ({"messages": [USER]}, "line 2: the assistant says nothing"),
        (
            {"messages": [USER, {"role": "bot", "content": "x"}]},
            "line 2, message 2: role 'bot' is none of system, user",
        ),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "message 1: role ['user'] is none"),
        (
            {"messages": [USER, {"role": "assistant", "content": " \n"}]},
            "message 2: the assistant's message is empty",
        ),
        ({"messages": [{"role": "user"}, ASSISTANT]}, "line 2, message 1: the user's message is empty"),
        ({"messages": [USER, {"role": "assistant", "content": 3}]}, "message 2: a int where text is needed"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "a list where text is needed"),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [{}]}]},
            "message 2: a tool call without a name",
        ),
        ({"messages": [USER, {"role": "assistant", "tool_calls": {"a": 1}}]}, "'tool_calls' is not a list"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{"}]}]},
            "the arguments of 'f' are not JSON",
        ),
        (
            {"conversations": [{"from": "dog", "value": "x"}]},
            "message 1: speaker 'dog' is none of human, user, gpt",
        ),
        ({"conversations": [{"from": {}, "value": "x"}]}, "message 1: speaker {} is none of"),
        ({"conversations": [{"value": "x"}]}, "line 2, message 1: not a message"),
        ({"conversations": [USER, {"role": "dog", "content": "x"}]}, "line 2, message 2: role 'dog'"),
        (
            {"conversations": [{"from": "human", "value": "x"}], "chosen": {}, "rejected": {}},
            "says nothing in this chat (chosen and rejected: preferences",
        ),
        (
            {"conversations": [{"from": "function_call", "value": " "}]},
            "message 1: the assistant's message is empty",
        ),
        ({"instruction": "x", "output": ""}, "line 2, message 2: the assistant's message is empty"),
        ({"instruction": "", "input": "", "output": "y"}, "line 2, message 1: the user's message is empty"),
        ({"instruction": 3, "output": "y"}, "a int where text is needed"),
        (
            {"instruction": "x", "output": "y", "history": [["a"]]},
            "history must be a list of [asked, answered]",
        ),
        ({"prompt": {}, "completion": "x"}, "line 2: a dict where text is needed"),
    ],
)
def test_wrong_chats_are_named_by_line(tmp_path: Path, row, expected):
    path = put(tmp_path, {"messages": PAIR}, row)
    assert expected in says(path) and says(path).startswith(str(path))


def test_wrong_files(tmp_path: Path):
    (tmp_path / "a.txt").write_text("x")
    assert "chats are kept in .jsonl" in says(tmp_path / "a.txt")
    assert "no .jsonl" in says(tmp_path)
    (tmp_path / "a.jsonl").write_text("\n")
    assert "empty; there is no chat in it" in says(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"messages": [')
    assert "line 1: not JSON" in says(tmp_path)
    assert "no such file" in says(tmp_path / "b.jsonl")


def test_folders_and_parquet(tmp_path: Path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"messages": [PAIR, PAIR]}), tmp_path / "b.parquet")
    put(tmp_path, {"prompt": "hi", "completion": "hello"}, name="a.json")
    (tmp_path / "README.md").write_text("not a chat")
    assert [chat.messages for chat in read_chats(tmp_path)] == [PAIR, PAIR, PAIR]


def test_equal_chats_have_equal_texts(tmp_path: Path):
    a, b, c = read_chats(
        put(tmp_path, {"messages": PAIR}, {"prompt": "hi", "completion": "hello"}, {"messages": PAIR[::-1]})
    )
    assert a.text == b.text != c.text


def test_the_world():
    chats = list(read_chats("world:facts:4"))
    expected = list(World().chats("facts", 4))
    assert [[(m["role"], m["content"]) for m in chat.messages] for chat in chats] == [
        [(m.role, m.content) for m in chat.messages] for chat in expected
    ]
    assert chats[2].meta["origin"] == expected[2].origin and chats[2].id == "world:facts:2"


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=3)
    | st.sampled_from(["user", "assistant", "gpt", "hi"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "tool_calls", "name", "type", "text"]), inner
        )
    ),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "messages",
        "conversations",
        "instruction",
        "input",
        "output",
        "history",
        "system",
        "prompt",
        "completion",
    ]
)


@given(st.dictionaries(names, anything, max_size=5))
def test_anything_gives_chats_or_one_line(tmp_path_factory, row):
    path = put(tmp_path_factory.mktemp("t"), row)
    try:
        (chat,) = read_chats(path)
    except UserError as error:
        line = str(error)
    else:
        line = ""
    if line:
        assert line.startswith(f"{path} line 1") and "\n" not in line
        return
    assert any(turn["role"] == "assistant" and turn["content"].strip() for turn in chat.messages)
    assert all(type(turn["content"]) is str for turn in chat.messages)
    chat.text.encode()


# ---- real files


@pytest.mark.parametrize(
    "name, count",
    [
        ("rasbt_llm/instruction-data.json", 1100),
        ("rasbt_llm/instruction-data-with-preference.json", 1100),
        ("factory_demos/alpaca_en_demo.json", 999),
        ("factory_demos/alpaca_zh_demo.json", 1000),
        ("factory_demos/glaive_toolcall_en_demo.json", 300),
        ("factory_demos/kto_en_demo.json", 300),
    ],
)
def test_real_chats(data: Path, name, count):
    rows = json.loads((data / name).read_text(encoding="utf-8"))
    chats = list(read_chats(data / name))
    assert len(chats) == len(rows) == count
    for chat, row in zip(chats, rows):
        said = "".join(turn["content"] for turn in chat.messages)
        for text in (row.get("instruction"), row.get("input"), row.get("output")):
            assert (text or "").strip() in said
        assert len(chat.messages) == len(row.get("messages") or row.get("conversations") or PAIR)


def test_preferences_are_not_chats(data: Path):
    assert "item 1: the assistant says nothing" in says(data / "factory_demos" / "dpo_en_demo.json")
