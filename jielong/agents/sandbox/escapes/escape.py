"""One way out, and how it is seen that it worked.

A program has escaped when it prints BREACH after doing what should not be possible, when the secret comes to light in
what it printed or left, when something beyond its folder was touched, or when it outlived or outgrew its limits. What
is written as @NAME@ in a program stands for a place of the ground (`ground.Ground.places`).
"""

from __future__ import annotations

from dataclasses import dataclass

BREACH = "BREACH"


@dataclass(frozen=True, slots=True)
class Escape:
    """`kind`: walk, file, process, network, memory, disk, output, time. `late`: its effect may come after its end."""

    name: str
    kind: str
    code: str
    late: bool = False


def of(kind: str, **codes: str) -> tuple[Escape, ...]:
    """Escapes of one kind by their names."""
    return tuple(Escape(name.replace("_", "-"), kind, code.strip() + "\n", name.endswith("late"))
                 for name, code in codes.items())  # fmt: skip
