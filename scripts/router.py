"""Measure a router and a cascade on recorded outcomes, and keep it in docs/results/router.json.

    .venv/bin/python scripts/router.py                      # JIELONG_DATA, else ../shared/data; under a minute, no key
    .venv/bin/python scripts/router.py --strong 24.7 --weak 0.24

Recorded answers of two models to GSM8K's test questions (RouteLLM's file, without the questions that its routers had
seen). Router: five folds, each judged by a router that was trained on the other four; beside it an order at random and
an oracle. Cascade: the scorer learns on three folds, thresholds are chosen on a fourth, figures come from the fifth.
Prices are a parameter: by default those that RouteLLM's paper assumes, dollars for a million tokens.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from jielong.base import noise
from jielong.base.result import Result, Row
from jielong.base.stats import paired_bootstrap, wilson
from jielong.labs import store
from jielong.labs.sources import combined, sources
from jielong.prompting import cascade, router
from jielong.prompting.outcomes import Outcome, folds, routellm
from jielong.views import pictures
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words

ROOT = Path(__file__).resolve().parent.parent
FILE = "routellm_judgements/gsm8k_responses.csv"
FOLDS, LOWER = 5, 0.01  # parts; how far below the strong model a cascade may be
POINTS = 101


def routed(outcomes: list[Outcome], seed: int) -> tuple[list[Row], list[Series], np.ndarray, list[Outcome]]:
    """The area under the curve, beside chance and the oracle; the curves."""
    listed, ranks_N = router.out_of_fold(outcomes, FOLDS, seed)
    gains_N = np.array([int(o.right[-1]) - int(o.right[0]) for o in listed])
    area, inside = router.recovered(ranks_N, gains_N), router.interval(ranks_N, listed, seed)
    chance_N = noise.uniform(noise.seed_of("random router", seed), n=len(listed))
    best = router.best(listed)
    note = f"{FOLDS} folds; an oracle has {best:.3f}, one order at random {router.recovered(chance_N, gains_N):.3f}"
    rows = [Row("router: gap recovered (APGR)", area, inside, len(listed), control=0.5,
                control_name="random, in the mean", bar=0.5, unit="of 1", note=note,
                verdict="reached" if inside.low > 0.5 else "not reached")]  # fmt: skip
    for share in (0.25, 0.5):
        count = round(share * len(listed))
        order = np.argsort(-ranks_N, kind="stable")
        right = [listed[i].right[-1] if at < count else listed[i].right[0] for at, i in enumerate(order)]
        weak, strong = (sum(o.right[m] for o in listed) / len(listed) for m in (0, 1))
        rows.append(Row(f"router: right at {share:.0%} strong calls", sum(right) / len(right),
                        wilson(sum(right), len(right)), len(right), control=weak + share * (strong - weak),
                        control_name="as many at random", unit="share"))  # fmt: skip
    names = (Words("router", "路由"), Words("oracle", "先知"), Words("random", "隨機"))
    drawn = zip(names, (ranks_N, gains_N, chance_N))
    return rows, [_series(name, scores_N, listed) for name, scores_N in drawn], ranks_N, listed


def _series(name: Words, scores_N: np.ndarray, listed: list[Outcome]) -> Series:
    shares, right = router.curve(scores_N, listed)
    chosen = np.unique(np.linspace(0, len(shares) - 1, POINTS).astype(int))
    return Series(name, shares[chosen].tolist(), right[chosen].tolist())


def cascaded(outcomes: list[Outcome], prices: tuple[float, float], seed: int) -> tuple[list[Row], dict[str, Any]]:
    """Right, and what it costs, of a cascade whose scorer, thresholds and figures come from different folds."""
    split, calls = folds(outcomes, FOLDS, seed), 0
    right, strong, cost, full = list[bool](), list[bool](), list[float](), list[float]()
    for number, test in enumerate(split):
        held = split[(number + 1) % FOLDS]
        learnt = cascade.learn([o for fold in split if fold is not test and fold is not held for o in fold])
        thresholds = cascade.choose(held, [learnt], prices, keep=LOWER)
        played = cascade.play(test, cascade.belief(test, [learnt]), thresholds, prices)
        right += played.right
        cost += played.cost
        calls += sum(played.taken)
        strong += [o.right[-1] for o in test]
        full += [o.costs(prices)[-1] for o in test]
    lower = paired_bootstrap(np.array(right, float), np.array(strong, float), seed)
    share = calls / len(right)
    gap = np.mean(right) - np.mean(strong)
    rows = [
        Row("cascade: right", float(np.mean(right)), wilson(sum(right), len(right)), len(right),
            control=float(np.mean(strong)), control_name="always the strong one", unit="share"),
        Row("cascade: right, less the strong one's", float(gap), lower, len(right), bar=-LOWER,
            verdict="reached" if gap >= -LOWER and share <= 0.6 else "not reached", unit="difference",
            note=f"wanted: {LOWER:.0%} below at most, at 60% strong calls at most"),
        Row("cascade: strong calls", share, wilson(calls, len(right)), len(right), bar=0.6, unit="share"),
        Row("cascade: price, of the strong one's", float(np.sum(cost) / np.sum(full)), None, len(right), unit="share"),
    ]  # fmt: skip
    return rows, {"right": float(np.mean(right)), "price": float(np.sum(cost) / np.sum(full))}


def against_price(
    listed: list[Outcome], ranks_N: np.ndarray, point: dict[str, Any], prices: tuple[float, float]
) -> tuple[list[Row], dict[str, Any]]:
    """Right against the mean price of a question, as a share of the strong model's: some rows, and the picture."""
    costs = np.array([o.costs(prices) for o in listed])
    gains_N = np.array([int(o.right[-1]) - int(o.right[0]) for o in listed])
    weak, series = np.mean([o.right[0] for o in listed]), []
    for name, scores_N in ((Words("router", "路由"), ranks_N), (Words("oracle", "先知"), gains_N)):
        order = np.argsort(-scores_N, kind="stable")
        paid = (np.append(0, np.cumsum((costs[:, 1] - costs[:, 0])[order])) + costs[:, 0].sum()) / costs[:, 1].sum()
        right = weak + np.append(0, np.cumsum(gains_N[order])) / len(listed)
        at = np.unique(np.linspace(0, len(listed), POINTS).astype(int))
        series.append(Series(name, paid[at].tolist(), right[at].tolist()))
    ends = [costs[:, 0].sum() / costs[:, 1].sum(), 1.0]
    strong = float(np.mean([o.right[-1] for o in listed]))
    series.append(Series(Words("random", "隨機"), ends, [float(weak), strong], dashed=True))
    series.append(Series(Words("cascade", "串接"), [point["price"]], [point["right"]], dots=True))
    axes = Axes(Words("price, of the strong model's", "價錢（強模型為 1）"), Words("right", "答對率"))
    rows = []
    for price in (0.25, 0.5, 0.75):
        share, known, mixed = (float(np.interp(price, each.x, each.y)) for each in series[:3])
        inside = wilson(round(share * len(listed)), len(listed))
        rows.append(Row(f"router: right at {price:.0%} of the strong one's price", share, inside, len(listed),
                        control=mixed, control_name="models at random", unit="share",
                        note=f"oracle {known:.1%}"))  # fmt: skip
    return rows, pictures.lines(Words("Right against price", "答對率與價錢"), series, axes=axes)


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("JIELONG_DATA") or ROOT.parent / "shared/data")
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--weak", type=float, default=0.24, help="dollars for a million tokens of the weak model")
    parser.add_argument("--strong", type=float, default=24.7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results")
    asked, began = parser.parse_args(), time.process_time()  # of one core: the machine may be shared
    outcomes, prices = routellm(asked.data / FILE), (asked.weak, asked.strong)
    rows, curves, ranks_N, listed = routed(outcomes, asked.seed)
    seconds = time.process_time() - began
    name = "router: seconds of one core to train and judge, all folds"
    rows.append(Row(name, seconds, None, FOLDS, bar=60.0, unit="s"))
    more, point = cascaded(outcomes, prices, asked.seed)
    priced, picture = against_price(listed, ranks_N, point, prices)
    series = {
        "router": pictures.lines(Words("Right against strong calls", "答對率與強模型的使用率"), curves,
                                 axes=Axes(Words("share of questions to the strong model", "交給強模型的比例"),
                                           Words("right", "答對率"))),
        "price": picture,
    }  # fmt: skip
    command = " ".join(["python", "scripts/router.py", *sys.argv[1:]])
    meta = store.origin("jielong.prompting.cascade", command=command, minutes=(time.process_time() - began) / 60,
                        seeds=[asked.seed])  # fmt: skip
    files = {**meta["sources"], **sources("jielong.prompting.router")}
    meta |= {"sources": files, "sources_hash": combined(files)}
    at_most = [name, "cascade: strong calls"]
    made = Result("router", "Router and cascade on recorded answers to GSM8K", (*rows, *more, *priced), series,
                  {**meta, "at_most": at_most, "prices": prices})  # fmt: skip
    print(store.save(made, asked.out))
    for row in made.rows:
        inside = f" [{row.interval.low:.4f}, {row.interval.high:.4f}]" if row.interval else ""
        print(f"{row.name}: {row.estimate:.4f}{inside} {row.unit} (bar {row.bar}, control {row.control}) n {row.n}")


if __name__ == "__main__":
    main()
