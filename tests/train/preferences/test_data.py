"""People's shapes of preferences: what is asked, what is answered, and one line for what cannot be learnt from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jielong.base.errors import UserError
from jielong.data.records import Record
from jielong.train.preferences.data import labelled, pair, read_labelled, read_pairs
from jielong.train.preferences.prepare import encode, preferences
from jielong.units import bpe
from jielong.units.codec import Tokenizer

USER, GOOD, BAD = ({"role": role, "content": text} for role, text in (("user", "hi"), ("assistant", "yes"),
                                                                     ("assistant", "no")))  # fmt: skip
SYSTEM = {"role": "system", "content": "be kind"}


@pytest.fixture(scope="module")
def codec() -> Tokenizer:
    return bpe.train(["the sky is blue and green, yes or no, hi there be kind"] * 20, 280, at_most=True)


def one(fields: dict[str, Any], text: bool = False) -> Any:
    (found,) = pair(Record("here", "x:1", fields), text)
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "hi", "chosen": "yes", "rejected": "no"},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [USER], "chosen": "yes", "rejected": "no"},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": "hi", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": "hi", "chosen": GOOD, "rejected": BAD},
        {"messages": [USER], "chosen": GOOD, "rejected": BAD},
        {"messages": [USER], "chosen": "yes", "rejected": "no"},
        {"instruction": "hi", "input": "", "output": "yes", "chosen": "yes", "rejected": "no"},
        {"conversations": [{"from": "human", "value": "hi"}], "chosen": {"from": "gpt", "value": "yes"},
         "rejected": {"from": "gpt", "value": "no"}},
    ],
)  # fmt: skip
def test_every_shape_is_the_same_pair(fields: dict[str, Any]) -> None:
    found = one(fields)
    assert found.prompt == [USER] and found.answers == ([GOOD], [BAD])


def test_plain_text_of_one_beginning() -> None:
    found = one({"chosen": "The sky is blue.", "rejected": "The sky is green."})
    assert found.prompt == "The sky is" and found.answers == (" blue.", " green.")
    assert one({"prompt": "a", "chosen": "b", "rejected": "c"}, text=True).answers == ("b", "c")


def test_margins_heads_and_long_answers() -> None:
    found = one({"prompt": "hi", "chosen": "yes", "rejected": "no", "margin": 2, "head": "safe"})
    assert (found.margin, found.head) == (2.0, "safe")
    many = one({"chosen": [SYSTEM, USER, GOOD, USER, GOOD], "rejected": [SYSTEM, USER, GOOD, USER, BAD]})
    assert many.prompt == [SYSTEM, USER, GOOD, USER] and many.answers == ([GOOD], [BAD])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": "hi", "chosen": "yes"}, "understood are"),
        ({"prompt": "hi", "chosen": 3, "rejected": "no"}, "an answer must be a text"),
        ({"prompt": 3, "chosen": "yes", "rejected": "no"}, "here"),
        ({"prompt": "hi", "chosen": "yes", "rejected": "no", "margin": "much"}, "not a number"),
        ({"chosen": [USER, GOOD], "rejected": [SYSTEM, BAD]}, "no prompt"),
        ({"messages": "hi", "chosen": GOOD, "rejected": BAD}, "not a list"),
        ({"prompt": [USER], "chosen": [{"role": "x", "content": "y"}], "rejected": [BAD]}, "role 'x'"),
    ],
)
def test_what_is_no_pair_is_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match="here") as error:
        one(fields)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"prompt": "hi", "completion": "yes", "label": True}, True),
        ({"prompt": [USER], "completion": [GOOD], "label": 0}, False),
        ({"messages": [USER, GOOD], "label": False}, False),
        ({"instruction": "hi", "output": "yes", "kto_tag": True}, True),
    ],
)
def test_single_answers(fields: dict[str, Any], label: bool) -> None:
    found = labelled(Record("here", "x:1", fields))
    assert (found.prompt, found.answers, found.label) == ([USER], ([GOOD],), label)


@pytest.mark.parametrize("label", ["yes", None, 2, 0.5, []])
def test_labels_are_true_or_false(label: Any) -> None:
    with pytest.raises(UserError, match="neither true nor false"):
        labelled(Record("here", "x:1", {"prompt": "hi", "completion": "yes", "label": label}))


def test_only_the_answer_is_judged(codec: Tokenizer) -> None:
    ids, marks = encode(codec, [USER, GOOD, USER], [BAD])
    target = codec.decode([i for i, mark in zip(ids, marks) if mark])
    assert target == "no<|im_end|>" and marks[-1]
    ids, marks = encode(codec, "The sky is", " blue.")
    assert codec.decode([i for i, mark in zip(ids, marks) if mark][:-1]) == " blue." and ids[-1] == codec.end


def test_what_is_left_out_is_counted(codec: Tokenizer, tmp_path: Path) -> None:
    records = [
        {"prompt": "the sky", "chosen": "yes", "rejected": "no"},
        {"prompt": "the sky", "chosen": "yes", "rejected": "yes"},
        {"prompt": "the sky", "chosen": "", "rejected": "no"},
        {"prompt": "the sky", "chosen": "yes", "rejected": None},
        {"prompt": "blue and green " * 60, "chosen": "yes", "rejected": "no"},
        {"prompt": "hi", "chosen": "the sky is blue " * 30 + "yes", "rejected": "the sky is blue " * 30 + "no"},
        {"prompt": "hi", "chosen": "the sky is green " * 30, "rejected": "no"},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    made = preferences([str(path)], read_pairs, codec, 48, 0.0, 0)
    assert len(made.answers) == 2 and made.left.of == 7 and made.left.shortened == 1
    counts = {why: len(ids) for why, ids in made.left.out.items()}
    assert counts == {"equal answers": 1, "an empty answer": 2, "a prompt that fills --context": 1,
                      "answers that are equal within --context": 1}  # fmt: skip
    lines = made.left.lines(48, 64)
    assert len(lines) == 5 and "pairs.jsonl:2" in lines[1 if "empty" in lines[0] else 0]
    path.write_text(json.dumps(records[1]))
    with pytest.raises(UserError, match="equal answers"):
        preferences([str(path)], read_pairs, codec, 48, 0.0, 0)


def test_prompts_stay_on_one_side(codec: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    lines = [{"prompt": f"hi {i % 10}", "chosen": f"yes {i}", "rejected": "no"} for i in range(60)]
    path.write_text("\n".join(map(json.dumps, lines)))
    made = preferences([str(path)], read_pairs, codec, 48, 0.3, 0)
    assert made.held is not None and len(made.answers) + len(made.held) == 60

    def prompts(tokens: Any) -> set[bytes]:
        documents = [tokens.document(i) for i in range(tokens.documents)]
        return {ids[: list(marks).index(True)].tobytes() for ids, marks in documents}

    assert not prompts(made.answers.tokens) & prompts(made.held.tokens)


@pytest.mark.parametrize(
    ("name", "pairs", "same"),
    [("rasbt_llm/instruction-data-with-preference.json", 1100, 6), ("factory_demos/dpo_en_demo.json", 300, 0)],
)
def test_peoples_pairs_as_they_are(data: Path, codec: Tokenizer, name: str, pairs: int, same: int) -> None:
    found = read_pairs(str(data / name))
    assert len(found) == pairs
    assert all(e.prompt[-1]["role"] == "user" and e.answers[0][0]["role"] == "assistant" for e in found)
    assert sum(e.answers[0] == e.answers[1] for e in found) == same


def test_peoples_labels_as_they_are(data: Path) -> None:
    found = read_labelled(str(data / "factory_demos/kto_en_demo.json"))
    assert len(found) == 300 and sum(e.label for e in found) == 150
    both = read_labelled(str(data / "factory_demos/dpo_en_demo.json"))
    assert len(both) == 600 and [e.label for e in both[:4]] == [True, False, True, False]
