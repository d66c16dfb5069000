"""Where problems come from: questions of the built-in world, GSM8K's files, and people's own questions and answers.

    load("world:sums", 100)                  # 100 of the world's test questions, judged by its oracle
    load("gsm8k/test.jsonl", 200)            # {"question", "answer"}: steps, then "#### 72"
    load("mine.jsonl")                       # {"question", "answer"}, perhaps "steps", "id", "read"

How an answer is read is told by `read` (a reader's text form, see `spec`), or else from the answers: all numbers, or a
few that come again and again, or any text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError
from jielong.base.files import read_jsonl
from jielong.base.plain import plain
from jielong.lm.prompts import key_of
from jielong.prompting import readers
from jielong.prompting.strategy import Answer, Example, Problem, Reader, whole

if TYPE_CHECKING:
    from jielong.world.text import Question
    from jielong.world.world import World

SHOWN = 32  # examples that a problem carries
FEW = 8  # different answers at most, for a question of choosing one
GSM = re.compile(r"\n?####\s*(.+?)\s*$")
DECLINED = "declined"


def load(
    source: str, n: int | None = None, *, read: str = "", examples: str = "", seed: int = 0, draw: int = 0
) -> list[Problem]:
    """`n` problems of `source` (all of a file, 100 of the world), drawn by `seed` where a file has more.

    `examples`: another source whose questions are shown as examples (of the world: its training questions, by
    themselves). UserError for a source that is none.
    """
    if n is not None and n < 1:
        raise UserError(f"{n} problems: ask for 1 or more")
    if source.startswith("world:"):
        problems = _world(source, n, seed, draw)
    else:
        problems = _some(_file(source, read), n, seed)
    if examples:
        shown = _examples(examples, seed)
        problems = [replace(each, examples=shown) for each in problems]
    if read:
        from jielong.prompting.spec import reader

        problems = [replace(each, read=reader(read), check=None, meta={**each.meta, "read": read}) for each in problems]
    return problems


def ask(question: str, read: str = "whole") -> Problem:
    """One question of somebody's, without an answer."""
    from jielong.prompting.spec import reader

    if not question.strip():
        raise UserError('no question: jielong ask "What is 2 + 3?"')
    return Problem(question, key_of(question)[:12], read=reader(read), meta={"read": read})


def pack(problem: Problem) -> dict[str, Any]:
    """A problem in JSON's types; `unpack` makes it again. A checker goes with it only where it is the world's."""
    examples = [[each.question, each.answer, each.steps] for each in problem.examples]
    known = problem.check is None or "world" in problem.meta
    return {"text": problem.text, "gold": problem.gold, "examples": examples,
            "read": problem.meta.get("read", "") if known else "", "world": problem.meta.get("world")}  # fmt: skip


def unpack(record: Mapping[str, Any]) -> Problem:
    """UserError where reader or checker have no text form: they were given as functions."""
    from jielong.prompting.spec import reader

    if not record["read"]:
        raise UserError(f"problem {record['problem']!r} is read or checked by functions of its own, so it can be "
                        "replayed in Python only")  # fmt: skip
    shown = tuple(Example(*each) for each in record["examples"])
    meta, check = {"read": record["read"]}, None
    if record["world"] is not None:
        from jielong.world.text import Origin, Question
        from jielong.world.world import World

        told = record["world"]
        origin = Origin(**{**told["origin"], "extra": _tuples(told["origin"]["extra"])})
        question = Question(told["prompt"], told["answer"], tuple(told["accept"]), origin)
        meta["world"], check = told, _judge(World(told["seed"]), question)
    return Problem(record["text"], record["problem"], record["gold"], reader(record["read"]), check, shown, meta)


def _tuples(value: Any) -> Any:
    """Lists, as JSON gives them, as the tuples that they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def value_of(field: str) -> Reader:
    """The one value of a list of the world's (town, job, animal, ...) that is named, in lower case; `declined` of who
    says that they do not know; None of several or none."""
    from jielong.world.check import is_refusal, mentioned
    from jielong.world.values import FIELDS

    if field not in FIELDS:
        raise UserError(f"no list {field!r} in the world: there are {', '.join(FIELDS)}")

    def read(reply: str) -> str | None:
        if is_refusal(reply):
            return DECLINED
        found = mentioned(reply, field)
        return found.pop() if len(found) == 1 else None

    return read


def _world(source: str, n: int | None, seed: int, draw: int) -> list[Problem]:
    """world:KIND or world:KIND:N, with examples from training."""
    from jielong.world.world import World

    _, kind, *number = source.split(":")
    if number and not number[0].isdigit():
        raise UserError(f"{source}: write world:KIND or world:KIND:N, as world:sums:100")
    world = World(seed)
    count = n or (int(number[0]) if number else 100)
    shown = tuple(_example(each) for each in world.questions(kind, SHOWN, split="train", lang=None))
    questions = world.questions(kind, count, draw=draw, split="test", lang=None)
    return [_of_world(world, i, each, shown) for i, each in enumerate(questions)]


def _of_world(world: World, number: int, question: Question, shown: tuple[Example, ...]) -> Problem:
    origin = question.origin
    field = str(origin.get("field", ""))
    read = "number" if origin.kind.startswith("sums") and origin.kind != "sums_puzzle" else "whole"
    reader: Reader = readers.number if read == "number" else whole
    if field:
        read, reader = f'value_of("{field}")', value_of(field)
    same = tuple(each for each in shown if _lang(each.question) == _lang(question.prompt))
    gold = question.accept[0] if question.accept else DECLINED if field else question.answer
    meta = {"read": read, "kind": origin.kind, "lang": origin.lang, "world": {"seed": world.seed, **plain(question)}}
    name = f"{origin.kind}.{number}.{key_of(question.prompt)[:8]}"
    return Problem(question.prompt, name, gold, reader, _judge(world, question), same, meta)


def _judge(world: World, question: Question) -> Callable[[Answer], bool]:
    """The world's oracle on what was said; on the value where nothing else was."""

    def check(answer: Answer) -> bool:
        if answer.value is None:
            return False
        said = [answer.value, answer.text] if question.accept else [answer.text]
        return any(world.check(question, each) == "right" for each in said if each)

    return check


def _example(question: Question) -> Example:
    short = question.accept[0] if question.accept else question.answer
    return Example(question.prompt, short, question.answer if question.answer != short else "")


def _lang(text: str) -> bool:
    return any("\u3400" <= c <= "\u9fff" for c in text)


def _file(path: str, read: str) -> list[Problem]:
    """The questions of a JSONL file. UserError for a record without question and answer."""
    if not path.endswith((".jsonl", ".jsonl.gz")) or not Path(path).is_file():
        raise UserError(f"{path}: give a JSONL file of questions and answers, or world:KIND")
    found: list[tuple[str, str, str, str, str]] = []
    for number, line in enumerate(read_jsonl(path), 1):
        question, answer = line.get("question"), line.get("answer")
        if not isinstance(question, str) or isinstance(answer, bool) or not isinstance(answer, str | int | float):
            raise UserError(f'{path}: record {number} is not {{"question": "...", "answer": "..."}}: mend it')
        gold, steps = str(answer), str(line.get("steps") or "")
        if ended := GSM.search(gold):
            gold, steps = ended[1], re.sub(r"<<[^<>]*>>", "", gold[: ended.start()])
        name = str(line.get("id") or f"{Path(path).stem}.{number}")
        found.append((question, gold, steps, name, str(line.get("read") or "")))
    if not found:
        raise UserError(f"{path} holds no question")
    common = read or _reader_for([gold for _, gold, *_ in found])
    from jielong.prompting.spec import reader

    known = {text: reader(text) for text in {common, *(own for *_, own in found if own)}}
    return [Problem(question, name, gold, known[own or common], meta={"read": own or common, "steps": steps})
            for question, gold, steps, name, own in found]  # fmt: skip


def _reader_for(golds: Sequence[str]) -> str:
    """How such answers are read."""
    if all((value := readers.number(gold)) is not None and _bare(gold, value) for gold in golds):
        return "number"
    choices = list(dict.fromkeys(golds))
    if 1 < len(choices) <= FEW and len(golds) >= 3 * len(choices):
        return f"one_of({', '.join(map(_quoted, choices))})"
    return "whole"


def _bare(gold: str, value: str) -> bool:
    return readers.plain(value) == value and not re.search(r"[^\d.,$eE+\-\s%]", gold)


def _quoted(text: str) -> str:
    return repr(text)


def _some(problems: list[Problem], n: int | None, seed: int) -> list[Problem]:
    """`n` of them in their order, drawn by the seed."""
    if n is None or n >= len(problems):
        return problems
    from jielong.base import noise

    chosen = sorted(noise.permutation(noise.seed_of("problems", seed), len(problems))[:n].tolist())
    return [problems[i] for i in chosen]


def _examples(source: str, seed: int) -> tuple[Example, ...]:
    """The first questions of a file, or training questions of the world, as examples."""
    if source.startswith("world:"):
        from jielong.world.world import World

        kind = source.split(":")[1]
        return tuple(_example(each) for each in World(seed).questions(kind, SHOWN, split="train", lang=None))
    shown = _file(source, "")[:SHOWN]
    return tuple(Example(each.text, each.gold or "", str(each.meta.get("steps", ""))) for each in shown)
