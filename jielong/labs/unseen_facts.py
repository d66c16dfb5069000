"""Facts that no training has seen, from pages that are looked up.

A small model was taught to answer from pages about people of forty worlds. Asked about people of another one, it cannot
know; with an index of pages about them, two are looked up for each question, and it answers from these and names the
page. A control looks into the pages of yet another world, where nobody has these names, or other things are true of
them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jielong.base.result import Result
from jielong.labs import thinking
from jielong.labs.lab import Budget, part
from jielong.labs.thinking_chats import FOLDER, OTHER, Page
from jielong.labs.verdict import check, context, over_seeds
from jielong.lm.local import Local
from jielong.prompting.direct import direct
from jielong.prompting.retrieval import precision, retrieve
from jielong.prompting.strategy import Answer, Problem

CLAIM = {
    "en": "Facts that were never trained can be looked up: an index turns none right into nearly all.",
    "zh": "沒學過的事實可以查：有了索引，從全錯變成幾乎全對。",
}
SOURCE = {
    "en": "Lecture 4 (2024); Lewis et al. 2020 (arXiv 2005.11401)",
    "zh": "第 4 講（2024）；Lewis et al. 2020（arXiv 2005.11401）",
}
EXPECT = {
    "en": "Near 0 % by heart, 90 % and more with the index; nothing from pages about others.",
    "zh": "只憑記憶接近 0 %，有索引 90 % 以上；查別人的資料則答不出來。",
}
MINUTES, SEEDS = 12.0, 5
ASKED, FOUND = 200, 2  # questions, and pages that are looked up for each


def run(budget: Budget) -> Result:
    """Shares of right answers, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = ASKED * len(found)
    by = {name: [one[name] for one in found] for name in found[0]}
    rows = [
        over_seeds("right with the index", by["index"], "above", 0.9, "the bar", n, unit="share"),
        check(context("right by heart", by["by heart"], n, "share"), high=0.1),
        check(context("right from another world's pages", by["another's"], n, "share"), high=0.05),
        context("wrong answers with the index", by["wrong"], n, "share"),
        context("citations that hold the answer", by["precision"], n, "share"),
        context("answers left out, another world's pages", by["abstained"], n, "share"),
    ]
    return Result("unseen_facts", "Facts from pages", tuple(rows), meta={"mode": "greedy, float32"})


def measure(budget: Budget, seed: int) -> dict[str, float]:
    """With the index of their world, by heart, and with that of another world."""
    lm = thinking.load(thinking.reads(budget, seed))
    problems, pages = thinking.about(seed, ASKED)
    own = looked_up(lm, problems, pages)
    other = looked_up(lm, problems, thinking.about(seed + OTHER // 2, ASKED)[1])
    right, cited = thinking.right(problems, own), precision(own)
    return {
        "index": right,
        "by heart": thinking.right(problems, thinking.answers(lm, direct, problems, temperature=0.0)),
        "another's": thinking.right(problems, other),
        "wrong": sum(each.value is not None for each in own) / len(own) - right,
        "precision": cited[0] / max(1, cited[1]),
        "abstained": sum(each.value is None for each in other) / len(other),
    }


def looked_up(lm: Local, problems: Sequence[Problem], pages: Sequence[Page]) -> list[Answer]:
    """The answers from an index of these pages."""
    from jielong.store.index import load
    from jielong.store.update import update

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / FOLDER
        folder.mkdir()
        for page in pages:
            (folder / f"{page.name}.txt").write_text(page.text, encoding="utf-8")
        update(Path(place) / "pages.db", folder)
        with load(Path(place) / "pages.db") as index:
            return thinking.answers(lm, retrieve(direct, index, k=FOUND), problems, temperature=0.0)
