"""All of them."""

from __future__ import annotations

from jielong.agents.sandbox.escapes.bombs import DISK, MEMORY, OUTPUT, TIME
from jielong.agents.sandbox.escapes.escape import Escape
from jielong.agents.sandbox.escapes.reach import FILES, NETWORK, PROCESSES
from jielong.agents.sandbox.escapes.walks import WALKS

ESCAPES: tuple[Escape, ...] = (*WALKS, *FILES, *PROCESSES, *NETWORK, *MEMORY, *DISK, *OUTPUT, *TIME)
