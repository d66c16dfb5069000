"""Preferences from the shapes in which people keep them.

    {"prompt", "chosen", "rejected"}                         texts, or lists of messages (TRL's explicit prompt)
    {"chosen", "rejected"}                                   lists of messages, or texts that begin alike: what both
                                                             begin with is the prompt (TRL's implicit prompt)
    {"conversations" | "messages", "chosen", "rejected"}     what was said, then two messages (LLaMA-Factory)
    {"instruction", "input", "chosen", "rejected"}           Alpaca, with two answers
    {"prompt", "completion", "label"}                        one answer, wanted (true) or not; also any shape of chat
                                                             (`data/chats.py`) with a "label"

A pair may also say its "margin" (a number: how much better) and its "head" (in which respect). Texts are turned into a
user's and an assistant's turn, as `train sft` does, but for texts that only begin alike, and where `text` is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jielong.base.errors import UserError
from jielong.data.chats import Turn, to_chat
from jielong.data.records import Record, records, whole_characters
from jielong.data.sources import RECORDS, Worldly, find

Side = list[Turn] | str  # messages, or plain text
PAIRS = '{"prompt", "chosen", "rejected"}, {"chosen", "rejected"} or a chat with "chosen" and "rejected"'
LABELLED = '{"prompt", "completion", "label"} or a chat with a "label"; pairs are understood too'
SPOKEN = ("messages", "conversations")
ANSWERED = ("chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Example:
    """What was asked, and answers to it: the better and the worse one, or a single one with its `label`."""

    prompt: Side
    answers: tuple[Side, ...]
    id: str
    label: bool = True
    margin: float = 0.0
    head: str = ""

    @property
    def text(self) -> str:
        """What was asked: examples of one prompt stay on one side of a split."""
        return plain(self.prompt)


def plain(side: Side) -> str:
    """A side as one string."""
    return side if isinstance(side, str) else "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in side)


def read_pairs(spec: str, text: bool = False) -> list[Example]:
    """All pairs of a file, folder or hf:NAME, those with equal or empty answers too (`sort_out`).

    `text`: prompts and answers are plain text. Raises UserError naming the line for an unknown shape.
    """
    return _read(spec, lambda record: pair(record, text))


def read_labelled(spec: str, text: bool = False) -> list[Example]:
    """All single answers with their labels; of a pair the chosen one is labelled true, the rejected one false. A pair
    of equal answers stays one, for `sort_out` to count."""

    def some(record: Record) -> Iterator[Example]:
        if all(name in record.fields for name in ANSWERED):
            for both in pair(record, text):
                if plain(both.answers[0]) == plain(both.answers[1]):
                    yield both
                    continue
                for answer, label in zip(both.answers, (True, False)):
                    yield Example(both.prompt, (answer,), both.id, label)
        else:
            yield labelled(record, text)

    return _read(spec, some)


def _read(spec: str, make: Callable[[Record], Iterator[Example]]) -> list[Example]:
    source = find(spec, RECORDS)
    if isinstance(source, Worldly):
        raise UserError(f"{source}: the world writes texts and chats, not preferences: name a file of {PAIRS}")
    found = [example for record in records(source) for example in make(record)]
    if not found:
        raise UserError(f"{source}: empty; there is no preference in it")
    return found


def pair(record: Record, text: bool = False) -> Iterator[Example]:
    """The pair of a record."""
    fields, where = record.fields, record.where
    if any(name not in fields for name in ANSWERED):
        raise UserError(f"{where}: it has {', '.join(fields) or 'nothing'}; understood are {PAIRS}")
    both = [fields[name] for name in ANSWERED]
    if "prompt" in fields and all(_begins_with_user(answer) for answer in both):
        fields = {name: value for name, value in fields.items() if name != "prompt"}  # the answers repeat it
    asked = [name for name in ("prompt", "instruction", *SPOKEN) if name in fields]
    margin, head = _margin(fields.get("margin"), where), _head(fields.get("head"), where)
    if all(isinstance(answer, str) for answer in both) and (text or not asked):
        texts = [whole_characters(answer) for answer in both]
        prompt = whole_characters(_string(fields["prompt"], "prompt", where)) if "prompt" in fields else None
        prompt, texts = (prompt, texts) if prompt is not None else _common_text(texts)
        yield Example(prompt, tuple(texts), record.id, True, margin, head)
        return
    sides = [_side(record, fields, asked[0] if asked else "", answer) for answer in both]
    if not asked:
        sides = _common_turns([[*prompt, *answer] for prompt, answer in sides], where)
    yield Example(sides[0][0], (sides[0][1], sides[1][1]), record.id, True, margin, head)


def labelled(record: Record, text: bool = False) -> Example:
    """The single answer of a record."""
    fields, where = record.fields, record.where
    name = next((name for name in ("label", "kto_tag") if name in fields), None)
    if name is None:
        raise UserError(f"{where}: it has no label; understood are {LABELLED}")
    label = fields[name]
    if label not in (True, False) or not isinstance(label, int):
        raise UserError(f"{where}: the label {label!r} is neither true nor false")
    completion = fields.get("completion")
    if text and isinstance(completion, str):
        prompt = whole_characters(_string(fields.get("prompt"), "prompt", where))
        return Example(prompt, (whole_characters(completion),), record.id, bool(label))
    asked = next((name for name in ("prompt", "instruction", *SPOKEN) if name in fields), "")
    answer = completion if asked == "prompt" else fields.get("output") if asked == "instruction" else None
    if asked in SPOKEN:
        said = fields[asked]
        if not isinstance(said, list) or len(said) < 2:
            raise UserError(f"{where}: {asked!r} must be what was asked and what was answered, two messages or more")
        fields, answer = {**fields, asked: said[:-1]}, said[-1]
    prompt_turns, answered = _side(record, fields, asked, answer)
    return Example(prompt_turns, (answered,), record.id, bool(label))


def _side(record: Record, fields: Mapping[str, Any], asked: str, answer: Any) -> tuple[list[Turn], list[Turn]]:
    """Prompt and answer as messages: read as a chat that ends with this answer. An empty answer stays empty."""
    listed = answer if isinstance(answer, list) else [answer]
    if not listed or any(not isinstance(part, str | dict) and part is not None for part in listed):
        raise UserError(f"{record.where}: an answer must be a text or messages, not {_kind(answer)}")
    empty = [part is None or not str(_content(part)).strip() for part in listed]
    filled = [_filled(part) if nothing else part for part, nothing in zip(listed, empty)]
    if asked in SPOKEN:
        chat: dict[str, Any] = {asked: [*_listed(fields[asked], asked, record.where),
                                        *(_message(part, asked) for part in filled)]}  # fmt: skip
        chat |= {name: fields[name] for name in ("system",) if name in fields}
    elif asked == "instruction":
        chat = {name: fields[name] for name in ("instruction", "input", "system", "history") if name in fields}
        chat["output"] = _content(filled[-1])
    elif asked == "prompt":
        whole = filled[0] if isinstance(filled[0], str) else filled
        chat = {"prompt": fields["prompt"], "completion": whole}
    else:
        chat = {"messages": [_message(part, "messages") for part in filled]}
    turns = to_chat(Record(record.where, record.id, chat)).messages
    prompt, answered = turns[: len(turns) - len(filled)], turns[len(turns) - len(filled) :]
    if any(turn["role"] == "user" for turn in answered) and asked:
        raise UserError(f"{record.where}: an answer holds a user's message, but the prompt stands apart")
    return prompt, [turn | {"content": ""} if nothing else turn for turn, nothing in zip(answered, empty)]


def _message(part: Any, asked: str) -> Any:
    """A message in the form of the list it is put into."""
    if isinstance(part, str):
        return {"role": "assistant", "content": part}
    if asked == "messages" and "from" in part:
        return {"role": "user" if part["from"] in ("human", "user") else "assistant", "content": part.get("value")}
    return part


def _content(part: Any) -> Any:
    return part if isinstance(part, str) else part.get("content", part.get("value", "")) or part.get("tool_calls", "")


def _filled(part: Any) -> Any:
    """An empty answer with a word in it, so that it is read as any other."""
    if not isinstance(part, dict):
        return "empty"
    return part | ({"value": "empty"} if "from" in part else {"content": "empty"})


def _begins_with_user(answer: Any) -> bool:
    first = answer[0] if isinstance(answer, list) and answer else None
    return isinstance(first, dict) and first.get("role", first.get("from")) in ("system", "user", "human")


def _common_turns(both: list[list[Turn]], where: str) -> list[tuple[list[Turn], list[Turn]]]:
    """Messages that both begin with are the prompt; the last message of each is always its answer."""
    most = min(len(side) for side in both) - 1
    shared = next((i for i in range(most) if both[0][i] != both[1][i]), most)
    if not shared:
        raise UserError(f"{where}: chosen and rejected begin with other messages, so there is no prompt")
    return [(side[:shared], side[shared:]) for side in both]


def _common_text(texts: Sequence[str]) -> tuple[str, list[str]]:
    """What both begin with is the prompt; a space between it and the answers goes to the answers."""
    shared = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    if shared and texts[0][shared - 1] == " ":
        shared -= 1
    return texts[0][:shared], [text[shared:] for text in texts]


def _margin(value: Any, where: str) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{where}: the margin {value!r} is not a number")
    return float(value)


def _head(value: Any, where: str) -> str:
    return "" if value is None else _string(value, "head", where)


def _string(value: Any, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where}: {name!r} must be a text, not {_kind(value)}")
    return value


def _listed(value: Any, name: str, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"{where}: {name!r} is not a list")
    return value


def _kind(value: Any) -> str:
    return "nothing" if value is None or value == [] else f"a {type(value).__name__}"
