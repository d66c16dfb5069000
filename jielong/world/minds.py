"""Who saw what: things are moved while someone is out, and people look where they believe things to be.

After Wimmer and Perner (1983) and Baron-Cohen, Leslie and Frith ("Sally and Anne", 1985); second-order
beliefs after Perner and Wimmer (1985). Six plots, equally frequent:

- `false`: A puts a thing somewhere and goes out; B moves it; A comes back. A's belief is false.
- `peek`: the same, but A watches unseen: A's belief is true, B's belief about A's is false.
- `told`: the same, but B tells A outside: both are true.
- `true`: A stays (control). `still`: A goes out and nothing moves. `other`: B moves another thing.

A third person is in half of the stories, and leaves or stays. Containers are closed: whoever comes in sees
nothing. Questions: reality, memory, first-order, second-order; `false_belief` says whether the right answer
differs from reality. Tests have people, things and containers of their own. `answer` reads the story's text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from jielong.world.draws import langs
from jielong.world.kit import (
    Make,
    as_chat,
    asked,
    drawn,
    judge_choice,
    lists,
    origin,
    pick,
    readings,
    several,
    side,
    unfill,
    wording,
)
from jielong.world.text import Chat, Question, Text
from jielong.world.words.minds import ANSWERED, ASKED, EVENTS, HOLDERS, PEOPLE, ROOMS, THINGS

if TYPE_CHECKING:
    from jielong.world.world import World

PLOTS = ("false", "peek", "told", "true", "still", "other")
ASKS = ("reality", "memory", "first", "second")
WIDTH = 36
Event = tuple[str, dict[str, str]]


@dataclass
class Room:
    """Who is in the room, who watches unseen, where things are, and who believes what.

    `first[a][o]` is where a believes o to be; `second[b, a][o]` where b believes that a believes it to be.
    An event changes the beliefs of those who witness it. Those inside know of each other that they do;
    whoever watches unseen knows of those inside, and those inside do not know of the watcher.
    """

    inside: list[str] = field(default_factory=list)
    watching: list[str] = field(default_factory=list)
    at: dict[str, str] = field(default_factory=dict)
    start: dict[str, str] = field(default_factory=dict)
    first: dict[str, dict[str, str]] = field(default_factory=dict)
    second: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def happen(self, event: str, a: str = "", b: str = "", o: str = "", c: str = "", r: str = "") -> None:
        """One event of words.minds.EVENTS."""
        if event == "enter":
            self.inside.append(a)
        elif event == "leave":
            self.inside.remove(a)
        elif event == "peek":
            self.watching.append(a)
        elif event == "away":
            self.watching.remove(a)
        elif event == "tell":
            self._learn((a, b), (), o, self.first[a][o])
        else:
            self.at[o] = c
            self.start.setdefault(o, c)
            self._learn(self.inside, self.watching, o, c)

    def _learn(self, open_: Sequence[str], unseen: Sequence[str], o: str, c: str) -> None:
        for a in (*open_, *unseen):
            self.first.setdefault(a, {})[o] = c
            for b in open_:
                if a != b:
                    self.second.setdefault((a, b), {})[o] = c

    def where(self, ask: str, o: str, a: str = "", b: str = "") -> str:
        """The answer to a question; b's view of a falls back on what b believes (they never saw a learn)."""
        if ask == "reality":
            return self.at[o]
        if ask == "memory":
            return self.start[o]
        return self.first[a][o] if ask == "first" else self.second[b, a][o]


@dataclass(frozen=True)
class Story:
    """A plot told: the events in order, and what may be asked about."""

    plot: str
    events: tuple[Event, ...]
    a: str
    b: str
    o: str


def story(u: Sequence[float], plot: str, part: str) -> Story:
    """A story of a plot from 20 uniforms; people, things and places by their English names."""
    a, b, third = (p[0] for p in several(PEOPLE[part], u[:3]))
    o, other = (t[0] for t in several(THINGS[part], u[3:5]))
    c, d, e = (h[0] for h in several(HOLDERS[part], u[5:8]))
    room = pick(ROOMS, u[8])[0]
    crowd = u[9] < 0.5  # a third person is there
    events: list[Event] = [("enter", {"a": a}), ("enter", {"a": b})]
    if crowd:
        events.insert(int(u[10] * 3), ("enter", {"a": third}))
    puts: list[Event] = [("put", {"a": a, "o": o, "c": c})]
    if plot == "other" or u[11] < 0.5:
        puts.insert(int(u[12] * 2), ("put", {"a": b, "o": other, "c": e}))
    events += puts
    if crowd and u[13] < 0.5:
        events.append(("leave", {"a": third}))
    move: Event = ("move", {"a": b, "o": o, "c": d})
    moved = {"other": [("move", {"a": b, "o": other, "c": d})], "still": []}.get(plot, [move])
    if plot == "true":
        events += moved
    elif plot == "peek":
        events += [("leave", {"a": a}), ("peek", {"a": a}), *moved, ("away", {"a": a}), ("enter", {"a": a})]
    elif plot == "told":
        told: Event = ("tell", {"a": b, "b": a, "o": o})
        events += [("leave", {"a": a}), *moved, ("leave", {"a": b}), told]
        events += [("enter", {"a": a}), ("enter", {"a": b})]
    else:
        events += [("leave", {"a": a}), *moved, ("enter", {"a": a})]
    return Story(plot, tuple((kind, {**who, "r": room}) for kind, who in events), a, b, o)


def play(events: Sequence[Event]) -> Room:
    """The room and everyone's beliefs after the events."""
    room = Room()
    for kind, who in events:
        room.happen(kind, **who)
    return room


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """A story, a question about it and the answer."""
    tongues = langs(lang)
    for u in lists(n, WIDTH, world.seed, "minds", split, lang or "", draw):
        question = _question(u[1:], pick(tongues, u[0]), split)
        yield Text(f"{question.prompt} {question.answer}", question.origin)


def questions(
    world: World, kind: str, n: int, draw: int = 0, split: str = "test", lang: str | None = None
) -> list[Question]:
    """Stories with one question each; plots and kinds of question are equally frequent."""
    return asked(world, kind, n, draw, split, lang, WIDTH - 1, _maker(split))


def chats(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Chat]:
    """The questions of a split with their right replies."""
    return map(as_chat, drawn(world, kind, n, draw, split, lang, WIDTH - 1, _maker(split)))


def _maker(split: str) -> Make:
    return lambda u, lang: _question(u, lang, split)


def check(world: World, question: Question, reply: str) -> str:
    """The reply must name the right container and no other."""
    zh = question.origin.lang == "zh"
    return judge_choice(question, reply, [h[zh] for part in HOLDERS.values() for h in part])


def answer(world: World, prompt: str) -> str | None:
    """Reads the story sentence by sentence, plays it, answers its question; None where it cannot read."""
    lines = prompt.split("\n")
    for lang in EVENTS:
        events = [_read(line, lang) for line in lines[:-1]]
        if events and None not in events:
            room = play([event for event in events if event])
            for (ask, tongue), found in readings(ASKED, lines[-1], **_groups(lang)):
                if tongue == lang:
                    return ANSWERED[ask, lang].format(**found, c=room.where(ask, **found))
    return None


def _groups(lang: str) -> dict[str, str]:
    """What a name or a thing can be, so that patterns without spaces read in one way."""
    zh = lang == "zh"
    people = "|".join(p[zh] for part in PEOPLE.values() for p in part)
    things = "|".join(t[zh] for part in THINGS.values() for t in part)
    holders = "|".join(h[zh] for part in HOLDERS.values() for h in part)
    return {"a": people, "b": people, "o": things, "c": holders, "r": "|".join(r[zh] for r in ROOMS)}


def _read(line: str, lang: str) -> Event | None:
    for kind, templates in EVENTS[lang].items():
        for template in templates:
            if found := unfill(template, line, **_groups(lang)):
                return kind, found
    return None


@lru_cache(maxsize=2)
def _words(lang: str) -> dict[str, str]:
    """What each English word is in `lang`."""
    pairs = [pair for table in (PEOPLE, THINGS, HOLDERS) for part in table.values() for pair in part]
    return {pair[0]: pair[lang == "zh"] for pair in (*pairs, *ROOMS)}


def _say(template: str, fields: dict[str, str], lang: str) -> str:
    words = _words(lang)
    return template.format(**{name: words[word] for name, word in fields.items()})


def _question(u: Sequence[float], lang: str, split: str) -> Question:
    plot, ask = pick(PLOTS, u[0]), pick(ASKS, u[1])
    told = story(u[2:], plot, side(split))
    room = play(told.events)
    lines = [_say(pick(EVENTS[lang][event], v), who, lang) for v, (event, who) in zip(u[16:], told.events)]
    who = {"o": told.o, "a": told.a, "b": told.b}
    # Of the second order one may also ask what the one who went out thinks of the other.
    if ask == "second" and u[2 + 14] < 0.3:
        who |= {"a": told.b, "b": told.a}
    where = room.where(ask, **who)
    belief = ask in ("first", "second")
    extra = {"plot": plot, "ask": ask, "real": room.at[told.o], "start": room.start[told.o], "answer": where,
             "false_belief": belief and where != room.at[told.o]}  # fmt: skip
    template = pick(ASKED[ask, lang][wording(split)], u[34])
    made = origin("minds", lang, split, f"minds.{plot}", f"minds.{plot}.{ask}.{lang}", extra)
    reply = _say(ANSWERED[ask, lang], who | {"c": where}, lang)
    prompt = "\n".join([*lines, _say(template, who, lang)])
    return Question(prompt, reply, (_words(lang)[where],), made)
