"""How fast the world writes: megabytes of text, with provenance, a second on one core, for every kind.

    .venv/bin/python scripts/world_speed.py          # all kinds, some seconds each; or name some

Each figure is the best of several short repeats: on a machine that others use too, the slower ones measure them.
`scripts/measure.py` keeps the slowest kinds in docs/results/house.json.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from jielong.base.result import Interval, Row
from jielong.world import World
from jielong.world.world import KINDS

BAR, ITEMS, REPEATS = 5.0, 4096, 5


def rate(world: World, kind: str, form: str) -> float:
    """Megabytes (1e6 bytes of UTF-8) a second of processor time; tables that are made once are made before."""
    write, best = getattr(world, form), 0.0
    list(write(kind, 10))
    for draw in range(REPEATS):
        began = time.process_time()
        size = sum(len(item.text.encode() if form == "texts" else _said(item)) for item in write(kind, ITEMS, draw))
        best = max(best, size / 1e6 / (time.process_time() - began))
    return best


def _said(chat: object) -> bytes:
    return "".join([message.content for message in chat.messages]).encode()  # type: ignore[attr-defined]


def rates(kinds: tuple[str, ...]) -> Iterator[tuple[str, str, float]]:
    """(form, kind, megabytes a second) of everything that some kinds write."""
    world = World()
    for form in ("texts", "chats"):
        for kind in kinds:
            if form in world.forms(kind):
                yield form, kind, rate(world, kind, form)


def rows() -> list[Row]:
    """The slowest kind of each form, with the range over all."""
    found, made = list(rates(tuple(KINDS))), []
    for form in ("texts", "chats"):
        speeds = {kind: speed for which, kind, speed in found if which == form}
        slowest = min(speeds, key=lambda kind: speeds[kind])
        interval = Interval(speeds[slowest], max(speeds.values()), 1.0, "range over kinds")
        name, note = f"the world's {form}, slowest kind", f"{slowest}, of {len(speeds)} kinds"
        made.append(Row(name, speeds[slowest], interval, REPEATS, bar=BAR, unit="MB/s", note=note))
    return made


if __name__ == "__main__":
    for form, kind, speed in rates(tuple(sys.argv[1:]) or tuple(KINDS)):
        print(f"{form} {kind:14} {speed:8.1f} MB/s{'' if speed >= BAR else '   below the bar'}", flush=True)
