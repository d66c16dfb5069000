"""What a step reads: the due tokens of its rows, side by side, and the tables of their pages.

A row that goes on by one token changes little from step to step: its table is written again only where it changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from jielong.infer.runner import Runner, pages_for
from jielong.infer.schedule import Row, Work
from jielong.nets.decoder import TILE, Feed, Group
from jielong.nets.pages import SIZE


@dataclass(frozen=True)
class Due:
    """A feed, and whose logits come of it. `ready`: rows whose next token can be chosen, and where among the wanted
    their logits begin (one place, and one more for each guess); `echoed`: (row, where, how many) of prompts that are
    reported; `order`: the rows, and where among the tokens each one's begin."""

    feed: Feed
    ready: list[tuple[Row, int]]
    echoed: list[tuple[Row, int, int]]
    order: list[tuple[Row, int]]


class Feeding:
    """Makes the feeds of one runner."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.rows: list[Row] = []  # those that went on by one token in the step before, and how their tables stood
        self.known: list[tuple[int, int]] = []
        self.table = np.zeros((0, 0), dtype=np.int64)

    def feed(self, work: Sequence[Work]) -> Due:
        """The step's tokens, rows of one width side by side."""
        widths: dict[int, list[Row]] = {}
        for row, width in work:
            widths.setdefault(width, []).append(row)
        parts, groups = [], []
        wanted: list[int] = []
        ready: list[tuple[Row, int]] = []
        echoed: list[tuple[Row, int, int]] = []
        order: list[tuple[Row, int]] = []
        known, adapters, start = self.runner.adapters, list[int](), 0
        for width, rows in sorted(widths.items()):
            dummy = self.runner.tiled and len(work) == 1 and width == 1  # one row alone is multiplied otherwise
            ids = [id for row in rows for id in row.text[row.read : row.read + width]]
            held = np.array([row.read - row.dropped for row in rows])
            table = self._going_on(rows) if width == 1 and not dummy else self._table(rows, dummy)
            positions = (held[:, None] + np.arange(width)).reshape(-1)
            owners = np.repeat(np.arange(len(rows)), width)
            slots = table[owners, positions // SIZE] * SIZE + positions % SIZE
            if dummy:
                ids, positions, slots = [*ids, 0], np.append(positions, 0), np.append(slots, 0)
            parts.append(np.stack([ids, positions, slots]))
            flat = torch.from_numpy(table).view(-1).to(self.runner.device)
            groups.append(Group(start, len(rows) + dummy, width, flat, tuple(row.number for row in rows)))
            if known:
                adapters += [n for row in rows for n in [known.get(row.request.adapter, 0)] * width] + [0] * dummy
            order += [(row, start + i * width) for i, row in enumerate(rows)]
            for i, row in enumerate(rows):
                last, whole = start + (i + 1) * width - 1, len(row.text) - row.read == width
                if row.report is not None and row.read < len(row.request.prompt):
                    echoed.append((row, len(wanted), width))
                    wanted += range(last - width + 1, last + 1)
                    ready += [(row, len(wanted) - 1)] if whole else []
                elif whole:
                    ready.append((row, len(wanted)))
                    wanted += range(last - row.guesses, last + 1)
            start += len(ids)
        device = self.runner.device
        ids_N, positions_N, slots_N = torch.from_numpy(parts[0] if len(parts) == 1 else np.hstack(parts)).to(device)
        wanted_R = torch.tensor(wanted, dtype=torch.long, device=device)
        texts = () if self.runner.keeps else tuple(row.text for width in sorted(widths) for row in widths[width])
        adapters_N = torch.tensor(adapters) if any(adapters) else None
        feed = Feed(ids_N, positions_N, slots_N, tuple(groups), wanted_R, texts, adapters=adapters_N)
        return Due(feed, ready, echoed, order)

    def _table(self, rows: list[Row], dummy: bool = False) -> np.ndarray:
        """The rows' tables below each other, filled up with page 0."""
        need = max(len(row.table) for row in rows)
        if self.runner.tiled:
            need = pages_for(-(-need * SIZE // TILE) * TILE)
        table = np.zeros((len(rows) + dummy, need), dtype=np.int64)
        for i, row in enumerate(rows):
            table[i, : len(row.table)] = row.table
        return table

    def _going_on(self, rows: list[Row]) -> np.ndarray:
        """The same, kept from step to step."""
        known = [(row.epoch, len(row.table)) for row in rows]
        if rows != self.rows or max(known, key=lambda k: k[1])[1] > self.table.shape[1]:
            self.table = self._table(rows)
        elif known != self.known:
            for i, (row, old, new) in enumerate(zip(rows, self.known, known)):
                if old != new:
                    self.table[i, : new[1]] = row.table
                    self.table[i, new[1] :] = 0
        self.rows, self.known = rows, known
        return self.table
