"""The pictures of the lab on drafters and theory."""

from __future__ import annotations

from typing import Any

from jielong.labs.ahead import median
from jielong.labs.verdict import mean
from jielong.labs.who_guesses import SHOWN
from jielong.views.charts import Axes, Level, Panel, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines, panels

WAYS = {"same": Words("same text", "同樣的文字"), "token": Words("rejection", "拒絕取樣")}


def pictures(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Acceptance by place; measured against promised; time against operations."""
    return {"acceptance": _acceptance(found), "promised": _promised(found), "operations": _operations(found)}


def mean_of(found: list[dict[str, Any]], name: str, way: str, figure: str) -> float:
    """A figure of one drafter, verified in one way, over seeds."""
    return mean([one[name][way][figure] for one in found])


def _measured(found: list[dict[str, Any]], name: str, way: str) -> float:
    return median([ratio for one in found for ratio in one[name][way]["faster"]])


def _acceptance(found: list[dict[str, Any]]) -> Any:
    def curve(name: str, way: str) -> Series:
        places = range(len(found[0][name][way]["stayed"]))
        sums = [[sum(one[name][way]["stayed"][i][j] for one in found) for j in (0, 1)] for i in places]
        shares = [kept / seen if seen else float("nan") for kept, seen in sums]
        return Series(WAYS[way], [i + 1 for i in places], shares, dots=True)

    axes = Axes(x=Words("place of the guess", "第幾個猜測"), y=Words("stay", "留下的比例"), y_range=(0.0, 1.0))
    parts = [Panel(shown, [curve(name, way) for way in WAYS]) for name, shown in SHOWN.items()]
    return panels(Words("Guesses that stay", "留下的猜測"), parts, axes=axes, columns=4)


def _promised(found: list[dict[str, Any]]) -> Any:
    series, ends = [], [1.0]
    theory = {"promised": Words("theorem", "定理"), "read promised": Words("reading timed", "計入讀取")}
    for figure, title in theory.items():
        pairs = sorted((mean_of(found, name, way, figure), _measured(found, name, way))
                       for name in SHOWN for way in WAYS)  # fmt: skip
        series.append(Series(title, [a for a, _ in pairs], [b for _, b in pairs], dots=True))
        ends += [a for a, _ in pairs]
    ends = [min(ends), max(ends)]
    right = Series(Words("as promised", "與理論相同"), ends, ends, dashed=True)
    axes = Axes(x=Words("promised times as fast", "理論倍數"), y=Words("measured", "實測倍數"))
    level = Level(Words("no guesses", "不猜"), 1.0)
    return lines(Words("Promised and measured", "理論與實測"), [*series, right], axes=axes, levels=[level])


def _operations(found: list[dict[str, Any]]) -> Any:
    series = []
    for way, title in WAYS.items():
        pairs = sorted((mean_of(found, name, way, "operations"), 1 / _measured(found, name, way)) for name in SHOWN)
        series.append(Series(title, [a for a, _ in pairs], [b for _, b in pairs], dots=True))
    x, y = Words("operations a token, times", "每標記運算倍數"), Words("time a token, times", "每標記時間倍數")
    axes = Axes(x=x, y=y)
    level = Level(Words("no guesses", "不猜"), 1.0)
    return lines(Words("Operations for time", "用運算換時間"), series, axes=axes, levels=[level])
