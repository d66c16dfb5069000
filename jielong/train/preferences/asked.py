"""Prompts to be answered, from whatever file holds some: what was asked, and what else its record says.

    {"prompt"}                                               a text or messages; also of files of preferences
    {"messages"} | {"conversations"} | {"instruction"}       a chat of any shape: its last answer is left out, and is
                                                             the column "answer" where the record has none
    {"question"} | {"text"}                                  a text
    lines of a .txt file; world:KIND[:N]                     questions of the built-in world, with their answers
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jielong.base.errors import UserError
from jielong.base.plain import plain as plain_json
from jielong.data.chats import Turn, to_chat
from jielong.data.decode import lines
from jielong.data.records import Record, records, whole_characters
from jielong.data.sources import RECORDS, TEXT, Files, Worldly, find, suffix
from jielong.train.preferences.data import Side, plain

NAMES = ("prompt", "question", "text")
SHAPES = '{"prompt"}, {"question"}, {"text"}, {"messages"}, {"conversations"} or {"instruction"}'


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, and what else its record holds (a right answer, say): rewards may look at it."""

    prompt: Side
    columns: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    as_text: bool = False  # whether its record holds the prompt as a text

    @property
    def question(self) -> str:
        """As one text; a single message without its role."""
        if not isinstance(self.prompt, str) and len(self.prompt) == 1:
            return self.prompt[0]["content"]
        return plain(self.prompt)

    @property
    def shown(self) -> Side:
        """As rewards see it: a text where the data holds a text, else messages."""
        return self.question if self.as_text else self.prompt


def read_asked(spec: str, text: bool = False) -> list[Asked]:
    """All prompts, those that are empty left out. `text`: they are plain text, not what a user says in a chat.

    UserError naming the line for an unknown shape, and for a file without a prompt.
    """
    source = find(spec, RECORDS + TEXT)
    if isinstance(source, Worldly):
        found = list(_worldly(source))
    elif isinstance(source, Files):
        found = [asked for path in source.paths for asked in _file(path)]
    else:
        found = [_of(record) for record in records(source)]
    kept = [asked for asked in found if asked.question.strip()]
    if not kept:
        raise UserError(f"{source}: empty; there is no prompt in it")
    if text:
        return [Asked(asked.question, asked.columns, asked.id) for asked in kept]
    return [Asked(turns(asked.prompt), asked.columns, asked.id, isinstance(asked.prompt, str)) for asked in kept]


def turns(prompt: Side) -> list[Turn]:
    """A text as what a user says."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def _file(path: Path) -> Iterator[Asked]:
    if suffix(path) in RECORDS:
        yield from (_of(record) for record in records(Files((path,))))
        return
    for number, line in lines(path, "utf-8"):
        yield Asked(line.strip(), id=f"{path}:{number}")


def _of(record: Record) -> Asked:
    fields = record.fields
    name = next((name for name in NAMES if isinstance(fields.get(name), str)), None)
    if name is not None:
        return Asked(whole_characters(fields[name]), _others(fields, name), record.id)
    shape = next((name for name in ("prompt", "messages", "conversations", "instruction") if name in fields), None)
    if shape is None:
        raise UserError(f"{record.where}: it has {', '.join(fields) or 'nothing'}; understood are {SHAPES}")
    turns, own = _answered(record, shape)
    last = max(i for i, turn in enumerate(turns) if turn["role"] == "assistant")
    answer = {"answer": turns[last]["content"]} if own else {}
    return Asked(turns[:last], answer | _others(fields, shape), record.id)


def _answered(record: Record, shape: str) -> tuple[list[Turn], bool]:
    """A chat that ends with an answer, and whether it is its own: where it has none, one is put there."""
    fields, own = record.fields, False
    if shape == "prompt":
        fields = {"prompt": fields["prompt"], "completion": "-"}
    elif shape == "instruction":
        fields = {k: fields[k] for k in ("instruction", "input", "system", "history") if k in fields} | {"output": "-"}
    else:
        listed = fields[shape]
        last = listed[-1] if isinstance(listed, list) and listed and isinstance(listed[-1], dict) else {}
        own = last.get("role", last.get("from")) not in ("user", "human")
        said = {"role": "assistant", "content": "-"} if "role" in last else {"from": "gpt", "value": "-"}
        fields = fields if own else {**fields, shape: [*listed, said]}
    return to_chat(Record(record.where, record.id, fields)).messages, own


def _others(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


def _worldly(source: Worldly) -> Iterator[Asked]:
    from jielong.world.world import World

    for number, question in enumerate(World().questions(source.kind, source.n, split="train")):
        origin = plain_json(question.origin) | {"extra": dict(question.origin.extra)}  # as `data world` writes it
        known = {"answer": question.answer, "accept": list(question.accept), "origin": origin}
        yield Asked(question.prompt, known, f"world:{source.kind}:{number}")
