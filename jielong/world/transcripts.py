"""Oracle transcripts: what an agent, a tool user or a member of a team says when it does everything right.

Five formats over the tools of `tools.py`: `calls` (JSON in <tool_call> tags), `react` (Thought, Action,
Observation, Answer; Yao et al., 2023), `planner`, `worker` and `critic` (half of the drafts it sees are
wrong). In a tenth of the tasks a town is in no register, and the right end is to say so. A fifth of the towns
and two of the six tasks are kept for tests. `problems` says what is wrong with any transcript that calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from jielong.world.draws import langs, shuffled
from jielong.world.kit import Make, asked, lists, origin, pick, several, side, unfill, wording
from jielong.world.text import Chat, Message, Origin, Question
from jielong.world.tools import TOOLS, Call, parse, register, run
from jielong.world.values import TOWNS
from jielong.world.words.transcripts import (
    FIELDS,
    FINAL,
    HELD_OUT,
    NOWHERE,
    REVIEW,
    STEPS,
    SYSTEM,
    TASKS,
    THOUGHTS,
)

if TYPE_CHECKING:
    from jielong.world.world import World

FORMATS = ("calls", "react", "planner", "worker", "critic")
UNKNOWN = 0.1  # how many tasks ask of a town that is in no register
WIDTH = 12
Fields = dict[str, str]
SUMS = {"sum": "{0} + {1}", "difference": "{0} - {1}", "scale": "{0} * {a}", "calculate": "{a} * {b} + {c}"}


@dataclass(frozen=True, slots=True)
class Task:
    """A question, the calls that answer it with their results, and the answer."""

    name: str
    lang: str
    question: str
    calls: tuple[tuple[Call, str], ...]
    final: str
    accept: tuple[str, ...]


def towns(world: World, split: str) -> tuple[tuple[str, str], ...]:
    """The towns of a split; a fifth is held out."""
    return _towns(world.seed, side(split))


@lru_cache(maxsize=16)
def _towns(seed: int, part: str) -> tuple[tuple[str, str], ...]:
    order, cut = shuffled(len(TOWNS), TOWNS, seed, "transcripts", "towns"), len(TOWNS) // 5
    return tuple(order[:cut] if part == "test" else order[cut:])


def problems(world: World, chat: Chat) -> list[str]:
    """What is wrong with a transcript in `calls` format; [] where every call and result is right."""
    found: list[str] = []
    messages = chat.messages
    for i, message in enumerate(messages):
        if message.role != "assistant":
            continue
        try:
            made = parse(message.content)
        except ValueError as problem:
            found.append(f"message {i}: {problem}")
            continue
        for j, call in enumerate(made):
            result = messages[i + 1 + j] if i + 1 + j < len(messages) else Message("", "")
            if result.role != "tool" or result.content != run(world, call):
                found.append(f"message {i + 1 + j}: not the result of {call.name}")
    if not messages or messages[-1].role != "assistant" or "<tool_call>" in messages[-1].content:
        found.append("it does not end with an answer")
    return found


def solve(world: World, name: str, lang: str, fields: Fields, question: str) -> Task:
    """A task solved: the calls in order, each result, and the final sentence."""
    done: list[tuple[Call, str]] = []

    def call(tool: str, **arguments: str) -> str:
        made = Call(tool, arguments)
        done.append((made, run(world, made)))
        return done[-1][1]

    words = fields | {"f": FIELDS[fields["f"]][lang == "zh"] if fields.get("f") in FIELDS else ""}
    values = []
    for place in ("t", "v"):
        if place in fields:
            values.append(call("lookup", town=fields[place], field=fields["f"]))
            if "error" in values[-1]:
                final = FINAL["unknown"][lang].format(t=fields[place])
                return Task("unknown", lang, question, tuple(done), final, ())
    if name == "compare":
        words["w"] = fields["t"] if int(values[0]) > int(values[1]) else fields["v"]
        return Task(name, lang, question, tuple(done), FINAL[name][lang].format(**words), (words["w"],))
    if name in SUMS:
        values = [call("calculator", expression=SUMS[name].format(*values, **fields))]
    final = FINAL[name][lang].format(**words, n=values[0])
    return Task(name, lang, question, tuple(done), final, (values[0],))


def task(world: World, u: Sequence[float], lang: str, split: str) -> Task:
    """A task of a split from 9 uniforms."""
    zh, late = lang == "zh", wording(split)
    names = tuple(name for name in TASKS if name not in HELD_OUT)
    name = pick(HELD_OUT, u[1]) if side(split) == "test" and u[0] < 0.5 else pick(names, u[1])
    two = several(towns(world, split), u[2:4])
    field = pick(tuple(FIELDS), u[4])
    have = [register(world.seed)[town[0]][field] for town in two]
    if name == "difference" and have[0] < have[1]:
        two.reverse()
    if name == "compare" and have[0] == have[1]:
        name = "sum"
    if u[6] < UNKNOWN and name != "calculate":
        two[0] = pick(NOWHERE[:3] if side(split) == "train" else NOWHERE[3:], u[5])
    template = pick(TASKS[name][lang][late], u[7])
    fields = {"t": two[0][zh], "v": two[1][zh], "a": str(2 + int(u[8] * 8)), "b": str(10 + int(u[5] * 90)),
              "c": str(10 + int(u[3] * 90))}  # fmt: skip
    wanted = {key: fields[key] for key in fields if f"{{{key}}}" in template}
    shown = template.format(**wanted, f=FIELDS[field][zh])
    return solve(world, name, lang, wanted | ({"f": field} if "{f}" in template else {}), shown)


def chats(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Chat]:
    """Whole transcripts, five formats alike; `task`, `format` and `accept` are in the extra."""
    tongues = langs(lang)
    for u in lists(n, WIDTH, world.seed, "transcripts", "chats", split, lang or "", draw):
        made, form = task(world, u[2:], pick(tongues, u[0]), split), pick(FORMATS, u[1])
        if form == "planner" and made.name == "unknown":  # a planner cannot know that yet
            form = "calls"
        yield Chat(tuple(write(world, made, form, u[11])), _origin(made, form, split))


def write(world: World, made: Task, form: str, u: float = 0.0) -> list[Message]:
    """A solved task's transcript in one of FORMATS; `u` chooses the worker's step or the critic's draft."""
    lang = made.lang
    if form == "calls":
        tools = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in TOOLS)
        found = [Message("system", SYSTEM[form][lang].format(tools=tools)), Message("user", made.question)]
        for call, result in made.calls:
            found += [Message("assistant", call.write()), Message("tool", result)]
        return [*found, Message("assistant", made.final)]
    system = Message("system", SYSTEM[form][lang])
    if form == "react":
        return [system, Message("user", made.question), *_react(made)]
    if form == "planner":
        steps = [*_steps(made), STEPS["answer"][lang]]
        plan = "\n".join(f"{i + 1}. {step}" for i, step in enumerate(steps))
        return [system, Message("user", made.question), Message("assistant", plan)]
    if form == "worker":
        place = int(u * len(made.calls))
        call, result = made.calls[place]
        step = STEPS[call.name][lang].format(**_said(call, lang))
        called = [Message("assistant", call.write()), Message("tool", result)]
        return [system, Message("user", step), *called, Message("assistant", result)]
    return [system, *_critic(made, u)]


def _react(made: Task) -> Iterator[Message]:
    lang = made.lang
    for call, result in made.calls:
        thought = THOUGHTS[call.name][lang].format(**_said(call, lang))
        inside = ", ".join(str(value) for value in call.arguments.values())
        yield Message("assistant", f"Thought: {thought}\nAction: {call.name}[{inside}]")
        yield Message("tool", f"Observation: {result}")
    yield Message("assistant", f"Thought: {THOUGHTS['done'][lang]}\nAnswer: {made.final}")


def _critic(made: Task, u: float) -> Iterator[Message]:
    """The draft is right where u < 1/2; else its number is off by one to nine, or its town the other one."""
    lang, draft = made.lang, made.final
    right = u < 0.5 or not made.accept
    if not right and made.accept[0].isdecimal():
        draft = draft.replace(made.accept[0], str(int(made.accept[0]) + 1 + int((u - 0.5) * 18)))
    elif not right:
        other = next(str(c.arguments["town"]) for c, _ in made.calls if c.arguments["town"] != made.accept[0])
        draft = draft.replace(made.accept[0], other)
    results = [f"{STEPS[c.name][lang].format(**_said(c, lang))}: {result}" for c, result in made.calls]
    yield Message("user", REVIEW["ask"][lang].format(q=made.question, r="; ".join(results), d=draft))
    yield Message("assistant", "APPROVE" if right else REVIEW["reject"][lang].format(d=made.final))


def _steps(made: Task) -> Iterator[str]:
    """The plan: results that are not known yet are named by their step."""
    results: dict[str, list[str]] = {}
    for i, (call, result) in enumerate(made.calls):
        said = _said(call, made.lang)
        if call.name == "calculator":
            parts = said["e"].split()
            said["e"] = " ".join(results[part].pop(0) if results.get(part) else part for part in parts)
        else:
            results.setdefault(result, []).append(STEPS["result"][made.lang].format(i=i + 1))
        yield STEPS[call.name][made.lang].format(**said)


def _said(call: Call, lang: str) -> Fields:
    if call.name == "calculator":
        return {"e": str(call.arguments["expression"])}
    return {"t": str(call.arguments["town"]), "f": FIELDS[call.arguments["field"]][lang == "zh"]}


def questions(
    world: World, kind: str, n: int, draw: int = 0, split: str = "test", lang: str | None = None
) -> list[Question]:
    """The tasks alone: the prompt is the question, the reply the final sentence."""
    return asked(world, kind, n, draw, split, lang, WIDTH - 2, _maker(world, split))


def check(world: World, question: Question, reply: str) -> str:
    """The right number or town must be the only one beyond those of the prompt; unknown towns: decline."""
    from jielong.world.check import is_refusal

    declined = is_refusal(reply) or "does not know" in reply
    if not question.accept or not reply.strip():
        return "nonsense" if not reply.strip() else "right" if declined else "wrong"
    if declined:
        return "refused"
    right = question.accept[0]
    if not right.isdecimal():
        book = [town[question.origin.lang == "zh"] for town in TOWNS]
        said = {town for town in book if town in reply}
    else:
        given = set(re.findall(r"\d+", question.prompt)) - {right}
        said = set(re.findall(r"\d+", re.sub(r"(?<=\d),(?=\d{3})", "", reply))) - given
    if not said:
        return "nonsense"
    return "right" if said == {right} else "wrong"


def answer(world: World, prompt: str) -> str | None:
    """The final sentence for a question in any of the wordings, or None."""
    places = (*TOWNS, *NOWHERE)
    for name, wordings in TASKS.items():
        for lang, groups in wordings.items():
            names = {words[lang == "zh"]: field for field, words in FIELDS.items()}
            towns_here = "|".join(pair[lang == "zh"] for pair in places)
            fields_here = {"f": "|".join(names), "t": towns_here, "v": towns_here}
            for template in groups[0] + groups[1]:
                found = unfill(template, prompt, **fields_here, a=r"\d+", b=r"\d+", c=r"\d+")
                if found:
                    fields = found | ({"f": names[found["f"]]} if "f" in found else {})
                    return solve(world, name, lang, fields, prompt).final
    return None


def _maker(world: World, split: str) -> Make:
    def make(u: list[float], lang: str) -> Question:
        made = task(world, u, lang, split)
        return Question(made.question, made.final, made.accept, _origin(made, "question", split))

    return make


def _origin(made: Task, form: str, split: str) -> Origin:
    extra = {"task": made.name, "format": form, "accept": made.accept, "calls": len(made.calls)}
    return origin("transcripts", made.lang, split, made.name, f"transcripts.{form}.{made.lang}", extra)
