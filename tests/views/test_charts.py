"""Pictures: well formed, in the right place, nothing lost, nothing let through."""

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from jielong.base.result import Interval, Row
from jielong.views.bars import BarSet, bars, bars_table, estimate, is_share, keys
from jielong.views.charts import Axes, Level, Panel, Series, line, line_table, multiples, panels_table
from jielong.views.drawing import spread, standalone
from jielong.views.heat import heat, heat_table
from jielong.views.markup import Words

NS = "{http://www.w3.org/2000/svg}"
HOSTILE = '</text><script>alert("1")</script>\x00\u202e'


def paths(picture: str) -> list[list[tuple[float, float]]]:
    """The points of every path of straight strokes."""
    found = []
    for path in ET.fromstring(picture).iter(NS + "path"):
        pairs = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path.get("d") or "")
        found.append([(float(a), float(b)) for a, b in pairs])
    return found


def ticks(picture: str) -> dict[str, tuple[float, float]]:
    return {
        t.text or "": (float(t.get("x", 0)), float(t.get("y", 0)))
        for t in ET.fromstring(picture).iter(NS + "text")
    }


def test_points_lie_where_the_axes_say() -> None:
    picture = line([Series("a", [0, 5, 10], [0, 1, 0.5])], title="t", axes=Axes(y_range=(0, 1)))
    (a, b, c), said = paths(picture)[0], ticks(picture)
    assert b[1] < c[1] < a[1]
    assert c[1] == pytest.approx((a[1] + b[1]) / 2, abs=0.02)  # half the height is half way
    assert b[0] == pytest.approx((a[0] + c[0]) / 2, abs=0.02)
    assert said["0"][1] - 4 == pytest.approx(a[1], abs=0.02) or said["1"][1] - 4 == pytest.approx(
        b[1], abs=0.02
    )
    assert said["1"][1] - 4 == pytest.approx(b[1], abs=0.02)


def test_logarithmic_axes_space_by_ratio() -> None:
    picture = line(
        [Series("a", [1, 10, 100], [1, 100, 10_000])], title="t", axes=Axes(log_x=True, log_y=True)
    )
    a, b, c = paths(picture)[0]
    assert b[0] - a[0] == pytest.approx(c[0] - b[0], abs=0.02) and b[1] - a[1] == pytest.approx(
        c[1] - b[1], abs=0.02
    )


def test_gaps_break_the_line_and_are_not_bridged() -> None:
    picture = line([Series("a", [0, 1, 2, 3], [1, math.nan, 2, 3])], title="t")
    commands = next(p.get("d") or "" for p in ET.fromstring(picture).iter(NS + "path"))
    assert commands.count("M") == 2 and commands.count("L") == 1


def test_a_band_goes_up_along_high_and_back_along_low() -> None:
    series = Series("a", [0, 1], [2, 3], [1, 2], [3, 4])
    band, middle = paths(line([series], title="t"))[:2]
    (ax, a_high), (bx, b_high), (bx2, b_low), (ax2, a_low) = band
    assert (ax, bx) == (ax2, bx2) == (middle[0][0], middle[1][0])
    assert a_high < middle[0][1] < a_low and b_high < middle[1][1] < b_low
    assert a_low - middle[0][1] == pytest.approx(middle[0][1] - a_high, abs=0.02)


def test_many_points_keep_every_spike() -> None:
    y = [0.0] * 5000
    y[2345], y[4001] = 9.0, -9.0
    picture = line([Series("a", range(5000), y)], title="t", axes=Axes(y_range=(-9, 9)))
    points = paths(picture)[0]
    heights = [p[1] for p in points]
    assert len(points) < 700 and max(heights) - min(heights) == pytest.approx(320 - 26 - 14, abs=0.1)
    assert [p[0] for p in points] == sorted(p[0] for p in points)


def test_one_point_is_a_dot_with_its_number() -> None:
    root = ET.fromstring(line([Series("a", [3], [0.25])], title="t"))
    assert [title.text for c in root.iter(NS + "circle") for title in c] == ["a: 3, 0.250"]
    assert len(list(ET.fromstring(line([], title="nothing")).iter(NS + "circle"))) == 0


def test_a_level_is_drawn_at_its_height() -> None:
    picture = line(
        [Series("a", [0, 1], [0, 1])], title="t", axes=Axes(y_range=(0, 1)), levels=[Level("bound", 0.5)]
    )
    a, b = paths(picture)[0]
    level = [e for e in ET.fromstring(picture).iter(NS + "line") if "dasharray" in (e.get("style") or "")]
    assert float(level[0].get("y1", 0)) == pytest.approx((a[1] + b[1]) / 2, abs=0.02)
    assert "bound" in ticks(picture)


def test_labels_do_not_cover_one_another() -> None:
    series = [Series(f"s{i}", [0, 1], [1, 1 + i / 1000]) for i in range(6)]
    places = sorted(y for name, (_, y) in ticks(line(series, title="t")).items() if name.startswith("s"))
    assert len(places) == 6 and all(b - a >= 14.9 for a, b in pairwise(places))


def test_spread_moves_only_what_it_must() -> None:
    assert spread([10, 50, 90], 15, 0, 100) == [10, 50, 90]
    assert spread([10, 12, 90], 15, 0, 100) == [10, 25, 90]
    assert spread([95, 96, 99], 15, 0, 100) == [70, 85, 100]
    assert spread([], 15, 0, 100) == []


def test_every_picture_is_named_described_and_escaped() -> None:
    row = Row(HOSTILE, 0.5, Interval(0.4, 0.6), 10, 0.1, HOSTILE, 0.2, 0.9, group=HOSTILE, note=HOSTILE)
    pictures = [
        line(
            [Series(HOSTILE, [0, 1], [0, 1])],
            title=HOSTILE,
            axes=Axes(HOSTILE, HOSTILE),
            levels=[Level(HOSTILE, 1)],
        ),
        multiples([Panel(HOSTILE, [Series(HOSTILE, [1], [1])])], title=HOSTILE, axes=Axes(HOSTILE, HOSTILE)),
        bars([BarSet(HOSTILE, [row]), BarSet("b", [row])], title=HOSTILE),
        heat([[0.5]], [HOSTILE], [HOSTILE], title=HOSTILE, across=HOSTILE, down=HOSTILE),
    ]
    for picture in pictures:
        root = ET.fromstring(picture)
        assert root.get("role") == "img" and [child.tag for child in root][:2] == [NS + "title", NS + "desc"]
        assert all(child.text for child in list(root)[:2])
        assert "script" not in {e.tag.split("}")[1] for e in root.iter()}
        assert not any(name.startswith("on") for e in root.iter() for name in e.attrib)


def test_series_of_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 x values and 1"):
        Series("a", [0, 1], [0])
    with pytest.raises(ValueError, match="both low and high"):
        Series("a", [0], [0], low=[0])


def test_tables_say_the_same_as_lines() -> None:
    headers, rows = line_table(
        [Series("a", [1, 2], [3, 4]), Series("b", [2], [9])], Axes(Words("step", "步"))
    )
    assert headers == [Words("step", "步"), "a", "b"] and rows == [[1, 3, None], [2, 4, 9]]
    _, many = line_table([Series("a", range(1000), range(1000))])
    assert len(many) == 24 and many[0] == [0, 0] and many[-1] == [999, 999]
    assert line_table([])[1] == []


def test_tables_of_panels_have_a_column_for_each_name() -> None:
    panels = [Panel("p", [Series("a", [1], [2])]), Panel("q", [Series("b", [1], [3]), Series("a", [1], [4])])]
    headers, rows = panels_table(panels)
    assert headers == ["x", "a", "b"] and rows == [["p"], [1, 2, None], ["q"], [1, 4, 3]]


def test_small_multiples_share_their_axes() -> None:
    panels = [Panel("p", [Series("a", [0, 1], [0, 1])]), Panel("q", [Series("a", [0, 1], [0, 10])])]
    first, second = paths(multiples(panels, title="t"))[:2]
    rise, other = first[0][1] - first[1][1], second[0][1] - second[1][1]
    assert other == pytest.approx(10 * rise, rel=0.01)


def rects(picture: str) -> list[dict[str, float]]:
    found = []
    for rect in ET.fromstring(picture).iter(NS + "rect"):
        found.append({key: float(rect.get(key, 0)) for key in ("x", "y", "width", "height")})
    return found


def test_bars_are_as_long_as_their_shares() -> None:
    rows = [Row("a", 0.25, Interval(0.2, 0.3), 9, unit="share"), Row("b", 1.0, None, 9, unit="share")]
    quarter, whole = rects(bars([BarSet("", rows)], title="t"))
    assert whole["width"] == pytest.approx(4 * quarter["width"], abs=0.05) and quarter["x"] == whole["x"]


def test_whisker_control_and_bar_stand_at_their_values() -> None:
    row = Row("a", 0.5, Interval(0.25, 0.75), 9, 0.0, "none", truth=1.0, bar=0.75, unit="share")
    picture = bars([BarSet("", [row])], title="t")
    box = rects(picture)[0]
    root = ET.fromstring(picture)
    group = next(iter(root.iter(NS + "g")))
    whisker, control, truth = (re.findall(r"-?[\d.]+", p.get("d") or "") for p in group.iter(NS + "path"))
    full = box["width"] * 2
    assert float(whisker[0]) == pytest.approx(box["x"] + full / 4, abs=0.05)
    assert float(control[2]) == pytest.approx(box["x"], abs=0.05)
    assert float(truth[0]) + 4 == pytest.approx(box["x"] + full, abs=0.05)
    target = [e for e in root.iter(NS + "line") if "2.5" in (e.get("style") or "")][-1]
    assert float(target.get("x1", 0)) == pytest.approx(box["x"] + full * 0.75, abs=0.05)


def test_negative_bars_begin_at_nought_and_nan_has_none() -> None:
    rows = [
        Row("a", -2, None, 1, unit="nats"),
        Row("b", 2, None, 1, unit="nats"),
        Row("c", math.nan, None, 1, unit="nats"),
    ]
    found = rects(bars([BarSet("", rows)], title="t"))
    assert len(found) == 2 and found[0]["x"] + found[0]["width"] == pytest.approx(found[1]["x"], abs=0.02)


def test_sets_meet_by_group_and_name() -> None:
    a = BarSet("a", [Row("x", 1, None, 1, group="g"), Row("y", 2, None, 1, group="h")])
    b = BarSet("b", [Row("z", 3, None, 1, group="g"), Row("y", 4, None, 1, group="h")])
    assert keys([a, b]) == [("g", "x"), ("g", "z"), ("h", "y")]
    headers, rows = bars_table([a, b])
    assert [cells[1:3] for cells in rows] == [["1", "–"], ["–", "3"], ["2", "4"]] and len(headers) == len(
        rows[0]
    )


def test_shares_and_estimates() -> None:
    assert is_share([Row("a", 0.5, None, 1)]) and not is_share([Row("a", 1.5, None, 1)])
    assert is_share([Row("a", 1.5, None, 1, unit="share")]) and not is_share(
        [Row("a", 0.5, None, 1, unit="nats")]
    )
    assert estimate(Row("a", 0.953, Interval(0.91, 0.978), 1), "share") == "95.3% [91.0, 97.8]"
    assert estimate(Row("a", 2.5, Interval(2, 3), 1), "nats") == "2.50 nats [2, 3]"


def test_heat_is_as_strong_as_its_values() -> None:
    root = ET.fromstring(heat([[1.0, 0.5], [math.nan, 0.0]], ["a", "b"], ["c", "d"], title="t"))
    cells = [r for r in root.iter(NS + "rect") if r.find(NS + "title") is not None]
    strength = [re.search(r"opacity:([\d.]+)", c.get("style") or "") for c in cells]
    assert [m and float(m[1]) for m in strength] == [1.0, 0.52, None, 0.04]
    assert [c[0].text for c in cells] == ["a → c: 1", "a → d: 0.500", "b → c: –", "b → d: 0"]


def test_heat_by_sign_and_wrong_sizes() -> None:
    picture = heat([[-1.0, 1.0]], ["a"], ["b", "c"], title="t", signed=True)
    hues = [r.get("style", "").split(",")[0] for r in ET.fromstring(picture).iter(NS + "rect") if len(r)]
    assert hues == ["fill:var(--c1", "fill:var(--c0"]
    with pytest.raises(ValueError, match="signed"):
        heat([[-1.0]], ["a"], ["b"], title="t")
    with pytest.raises(ValueError, match="2 rows and 1 columns"):
        heat([[1.0]], ["a", "b"], ["c"], title="t")
    assert heat_table([[0.5]], ["a"], ["b"], "share") == (["", "b"], [["a", "50.0%"]])


def test_alone_a_picture_is_a_file_in_one_language() -> None:
    picture = line([Series(Words("one", "一"), [0, 1], [0, 1])], title=Words("t", "圖"))
    for lang, hidden in (("en", ".zh{"), ("zh", ".en{")):
        root = ET.fromstring(standalone(picture, lang))
        style = root.find(NS + "style")
        assert style is not None and hidden in (style.text or "") and root[3].get("fill") == "#fff"
