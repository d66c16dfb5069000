"""Measure the false hits of a cache by similarity on pairs of the world: docs/results/similar_cache.json.

    .venv/bin/python scripts/similar_cache.py                            # feature hashing: some seconds
    .venv/bin/python scripts/similar_cache.py --model runs/demo          # and the vectors of a model

Pairs that mean the same in other words should be found, pairs in the same words about another thing should not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

from jielong.base.result import Result, Row
from jielong.labs import store
from jielong.lm.similar import Embed, hashing, of_model, rates, world_pairs
from jielong.views import pictures
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.world.world import World

RESULTS = Path(__file__).resolve().parent.parent / "docs/results"
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200, help="of each kind, language and sort")
    parser.add_argument("--model", default="", help="a folder of a model that embeds")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked, began = parser.parse_args(), time.process_time()
    embeds: dict[str, Embed] = {"hashing": hashing()}
    if asked.model:
        from jielong.lm.local import load

        embeds["model"] = of_model(load(asked.model))
    pairs, rows, series = world_pairs(World(), asked.pairs), list[Row](), dict[str, object]()
    for name, embed in embeds.items():
        found = asyncio.run(rates(embed, pairs, THRESHOLDS))
        for each in found:
            rows.append(Row(f"false hits at {each.threshold}", each.false, each.false_interval, each.n[1], control=0.0,
                            control_name="exact", unit="share", group=name,
                            note=f"right hits {each.right:.1%} of {each.n[0]} that mean the same"))  # fmt: skip
        same, other = Words("same meaning, other words", "同義異詞"), Words("same words, another thing", "同詞異義")
        both = ((same, [f.right for f in found]), (other, [f.false for f in found]))
        lines = [Series(words, THRESHOLDS, shares) for words, shares in both]
        axes = Axes(Words("threshold (cosine)", "門檻（餘弦）"), Words("taken for the same", "當成相同的比例"))
        series[name] = pictures.lines(Words("What a cache by similarity gives", "相似快取給出的答案"), lines, axes=axes)
    meta = store.origin("jielong.lm.similar", command=" ".join(["python", "scripts/similar_cache.py", *sys.argv[1:]]),
                        minutes=(time.process_time() - began) / 60)  # fmt: skip
    made = Result("similar_cache", "False hits of a cache by similarity", tuple(rows), series, meta)
    print(store.save(made, asked.out))
    for row in made.rows:
        print(f"{row.group} {row.name}: {row.estimate:.3f} of {row.n}; {row.note}")


if __name__ == "__main__":
    main()
