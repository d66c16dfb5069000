"""Whole pages: one file, well formed, nothing fetched, hostile text harmless, empty parts left out."""

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from jielong.base.result import Interval, Result, Row
from jielong.views import pictures
from jielong.views.bars import BarSet
from jielong.views.charts import Axes, Level, Panel, Series
from jielong.views.html import Section, facts, page, table
from jielong.views.markup import Html, Words
from jielong.views.report import (
    Curve,
    DemoData,
    Guess,
    Hint,
    LabCard,
    SampleChat,
    Sentence,
    demo_report,
    labs_report,
    result_report,
)
from jielong.views.scorecard import by_unit, reached
from jielong.views.verdicts import CONTROL_FAILED, HELD, MISSED, REACHED, mark, prose, target

HOSTILE = '"></p><script src="http://x/">alert(1)</script><!-- \x00 ]]> & <b>'


def parse(html: str) -> ET.Element:
    assert html.startswith("<!DOCTYPE html>\n")
    return ET.fromstring(html.removeprefix("<!DOCTYPE html>\n"))


def said(root: ET.Element) -> str:
    return "".join(root.itertext())


def rows() -> list[Row]:
    return [
        Row("facts", 0.96, Interval(0.94, 0.98), 400, 0.125, "chance", bar=0.95, unit="share", group="asked"),
        Row("refused", 0.03, Interval(0.01, 0.06), 200, 0.5, "coin", bar=0.05, unit="share", group="asked"),
        Row("bits", 0.93, None, 50, truth=0.86, unit="bits", group="text"),
    ]


def demo() -> DemoData:
    base = Result("base", "Base", [replace(r, estimate=0.01) for r in rows()], meta={"at_most": ["refused"]})
    assistant = Result("assistant", "Assistant", rows(), meta={"at_most": ["refused"]})
    curve = Curve(
        "pre",
        [1, 2, 3],
        [3.0, 2.0, 1.5],
        [None, 2.1, math.nan],
        [None, 1.2, 1.0],
        entropy=0.9,
        kinds=[(Words("grammar", "文法"), [None, 1.1, 0.9], 0.8)],
    )
    return DemoData(
        title=Words("Demo", "示範"),
        machine={"cpu": "x", "cores": 2, "features": ["amx", "avx"]},
        config={"seed": 0, "model": {"dim": 256}, "tied": True, "note": None},
        predicted_minutes=6.0,
        real_minutes=5.83,
        curves=[curve],
        base=base,
        assistant=assistant,
        sentences=[Sentence("zh", [("貓".encode()[:2], 1), ("貓".encode()[2:], 2)])],
        guesses=[Guess("2 + 2 = ", [("4", 0.9)], "base")],
        chats=[SampleChat("en", [{"role": "user", "content": HOSTILE}])],
        hints=[Hint("Talk.", "jielong chat")],
        stages=[("pretraining", 3.9)],
        key_figures=[("6 M", "parameters", "")],
    )


def test_the_demo_says_what_it_was_given() -> None:
    root = parse(demo_report(demo()))
    shown = said(root)
    for part in (
        "5.8",
        "predicted 6.0",
        "2 / 2",
        "96.0%",
        "[94.0, 98.0]",
        "12.5%",
        "chance",
        "≥ 95%",
        "≤ 5%",
        "E8 B2",
    ):
        assert part in shown
    for part in (
        "exact entropy",
        "Above the exact entropy",
        "grammar",
        "jielong chat",
        "model.dim",
        "256",
        "amx, avx",
        "yes",
    ):
        assert part in shown
    assert [s.get("id") for s in root.iter("section")] == [
        "score",
        "chats",
        "curves",
        "tokens",
        "next",
        "try",
        "made",
    ]
    assert {a.get("href") for a in root.iter("a")} == {f"#{s.get('id')}" for s in root.iter("section")}


def test_a_page_is_one_file_without_scripts() -> None:
    html = demo_report(demo())
    root = parse(html)
    assert not {"script", "link", "iframe", "img", "object"} & {e.tag.split("}")[-1] for e in root.iter()}
    for name in ("src", "onload", "onerror", "onclick"):
        assert all(name not in e.attrib for e in root.iter())
    assert all((a.get("href") or "").startswith("#") for a in root.iter("a"))
    assert "url(" not in html and "@import" not in html
    assert set(re.findall(r"https?://[^\"'\s<&]+", html)) <= {"http://www.w3.org/2000/svg", "http://x/"}
    policy = [m.get("content") for m in root.iter("meta") if m.get("http-equiv")]
    assert policy and "default-src 'none'" in (policy[0] or "")


def test_empty_parts_are_left_out() -> None:
    root = parse(demo_report(DemoData("t", {}, {}, None, 1.0)))
    assert not list(root.iter("section")) and "predicted" not in said(root)
    base_only = replace(demo(), assistant=None)
    assert "assistant" not in {t.text for t in parse(demo_report(base_only)).iter("th")}


@pytest.mark.parametrize("lang, first", [("en", "lang-en"), ("zh", "lang-zh"), ("zh-TW", "lang-zh")])
def test_the_language_shown_first(lang: str, first: str) -> None:
    root = parse(demo_report(demo(), lang))
    assert [i.get("id") for i in root.iter("input") if i.get("checked")] == [first]
    body = root.find("body")
    assert body is not None and [child.tag for child in body][:3] == [
        "input",
        "input",
        "header",
    ]  # the CSS needs it
    style = "".join(s.text or "" for s in root.iter("style"))
    assert "#lang-en:checked~* .zh,#lang-zh:checked~* .en" in style and "<" not in style and "&" not in style


def test_ids_are_unique_and_labels_point_at_them() -> None:
    root = parse(demo_report(demo()))
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids)) and {e.get("for") for e in root.iter("label")} <= set(ids)


def test_every_picture_has_its_table_beside_it() -> None:
    root = parse(demo_report(demo()))
    curves = next(s for s in root.iter("section") if s.get("id") == "curves")
    assert all(len(list(f.iter("table"))) == 1 for f in curves.iter("figure"))
    assert len(list(curves.iter("figure"))) == 3


def lab_result() -> Result:
    series = {
        "lines": pictures.lines(
            "L",
            [Series(Words("a", "甲"), [1, 10], [0, 1], [0, 0.5], [0.5, 1])],
            axes=Axes("x", "y", log_x=True, y_range=(0, 1)),
            levels=[Level("chance", 0.1)],
            note="n",
        ),
        "heat": pictures.heat_map("H", [[0.5, math.nan]], ["r"], ["c", "d"], unit="share"),
        "panels": pictures.panels("P", [Panel("p", [Series("a", [1, 2], [1, 2])])], axes=Axes()),
        "plain_curve": {"x": [1, 2], "y": [3, 4]},
        "other": {"hello": 1},
        "text": "not a picture",
    }
    return Result(
        "lab",
        "A lab",
        rows(),
        series=series,
        meta={"command": "jielong lab run lab", "minutes": 2, "sources": {"a": "b"}},
    )


def test_a_result_draws_the_pictures_it_carries_after_json() -> None:
    result = Result.from_json(lab_result().to_json())
    root = parse(result_report(result, claim=HOSTILE, source="S", expect="E", verdict=HELD, stale=["jielong/x.py"]))
    wanted = next(s for s in root.iter("section") if s.get("id") == "pictures")
    assert ["".join(f.itertext()) for f in wanted.iter("figcaption")] == ["L n", "H", "P", "plain curve"]
    shown = said(root)
    assert "jielong lab run lab" in shown and "jielong/x.py" in shown and "held" in shown and "sources.a" not in shown
    assert not any(e.tag.endswith("script") for e in root.iter())


def test_a_failed_control_is_said_first() -> None:
    shown = said(parse(result_report(lab_result(), verdict=CONTROL_FAILED)))
    assert "nothing is claimed" in shown and shown.index("nothing is claimed") < shown.index("96.0%")


def test_the_list_of_labs_counts_verdicts_and_quotes_no_failed_figure() -> None:
    cards = [
        LabCard(
            "a",
            Words("claim a", "主張"),
            "S",
            HELD,
            "99% beside 1%",
            "jielong lab run a",
            2.0,
            ["x"],
            "a.html",
        ),
        LabCard("b", "claim b", "S", CONTROL_FAILED, "77%", "jielong lab run b"),
        LabCard("c", HOSTILE, "S"),
    ]
    root = parse(labs_report(cards))
    shown = said(root)
    assert "99% beside 1%" in shown and "77%" not in shown and "stale" in shown and "2.0 minutes" in shown
    assert "✓ held" in shown and "○ not run" in shown and [a.get("href") for a in root.iter("a")] == ["a.html"]


def test_bars_are_reached_from_their_own_side() -> None:
    up, down = Row("a", 0.96, None, 1, bar=0.95), Row("b", 0.03, None, 1, bar=0.05)
    assert target(up, "share") and target(up, "share").shown == "≥ 95%"  # type: ignore[union-attr]
    missed = target(down, "share")
    assert missed is not None and not missed.reached
    aim = target(down, "share", ["b"])
    assert aim is not None and aim.reached and aim.shown == "≤ 5%"
    assert target(Row("c", 1, None, 1), "") is None
    assert reached([up, down], ["b"]) == (2, 2) and reached([up, down]) == (1, 2)


@pytest.mark.parametrize(
    "estimate, verdict, shown",
    [(3, REACHED, "≤ 5"), (7, MISSED, "≤ 5"), (7, REACHED, "≥ 5"), (3, MISSED, "≥ 5")],
)
def test_a_rows_own_verdict_decides(estimate: float, verdict: str, shown: str) -> None:
    aim = target(Row("a", estimate, None, 1, bar=5, verdict=verdict), "")
    assert aim is not None and aim.shown == shown and aim.reached == (verdict == REACHED)


def test_a_bar_met_exactly_is_reached_from_both_sides() -> None:
    row = Row("a", 5, None, 1, bar=5)
    assert all(aim is not None and aim.reached for aim in (target(row, ""), target(row, "", ["a"])))


def test_verdicts_have_a_sign_beside_their_colour() -> None:
    assert "✓" in mark(HELD) and "成立" in mark(HELD) and mark("<odd>") == "&lt;odd&gt;"
    assert prose(HELD) == Words("held", "成立") and prose("odd") == "odd"


def test_units_are_drawn_apart() -> None:
    parts = by_unit([BarSet("a", rows())])
    assert [[r.name for r in part[0].rows] for part in parts] == [["facts", "refused"], ["bits"]]


def test_tables_align_numbers_and_head_groups() -> None:
    root = ET.fromstring(table(["a", "b", "c"], [["group"], ["x", 1.5, "–"], ["y", None, "3%"]], caption="cap"))
    cells = [[c.get("class") for c in row] for row in root.iter("tr")]
    assert cells == [[None, "num", "num"], ["group"], [None, "num", "num"], [None, "num", "num"]]
    assert next(iter(root.iter("caption"))).text == "cap"
    assert [c.get("class") for c in ET.fromstring(table(["a"], [[Html("1")]])).iter("td")] == [None]


def test_facts_are_flat() -> None:
    shown = said(ET.fromstring(facts({"a": {"b": 1.5, "c": [1, 2]}, "d": False}, {"d": Words("D", "丁")})))
    assert "a.b1.50" in shown and "a.c1, 2" in shown and "D丁no" in shown


def test_a_page_without_anything() -> None:
    root = parse(page(HOSTILE, [Section("s", HOSTILE, Html(""))], foot=HOSTILE))
    assert len(list(root.iter("footer"))) == 1 and not list(root.iter("a"))
