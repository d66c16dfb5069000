"""The bench of strategies: what is told, and that the prompt of forty runs is computed once."""

from __future__ import annotations

import io

import torch

from jielong.base.talk import Talk
from jielong.bench import prompting
from jielong.nets.config import shape


def test_every_row_is_told_and_the_prompt_is_computed_once() -> None:
    before = torch.get_num_threads()
    try:
        quiet = Talk(stream=io.StringIO(), out=io.StringIO())
        result = prompting.run(quiet, rounds=2, tokens=4, config=shape(32, 320, 256, 1))
    finally:
        torch.set_num_threads(before)
    rows = {row.name: row for row in result.rows}
    assert set(rows) == {prompting.FREE, prompting.VOTED, prompting.KEPT, prompting.SHARE, prompting.SHARE_KEPT,
                         prompting.COMPUTED}  # fmt: skip
    assert rows[prompting.COMPUTED].estimate < 3 * prompting.SIZE_OF_A_PAGE  # not forty times a prompt of a hundred
    assert rows[prompting.SHARE].estimate > 0 and rows[prompting.SHARE].bar == 0.6
    assert len(list(prompting.summary(result))) == len(rows)
