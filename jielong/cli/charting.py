"""What `jielong ask --table` leaves: a page with the answer, the chart and the program that made both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.prompting.charts import Chart
    from jielong.prompting.strategy import Answer, Problem
    from jielong.views.markup import Html


def check(out: Path | None, table: Path | None) -> None:
    """UserError for a folder that is there already, or one that nothing would be put into."""
    from jielong.base.errors import UserError

    if out is not None and table is None:
        raise UserError("--out is for the chart of a --table: leave it out")
    if out is not None and out.exists():
        raise UserError(f"{out} is there already: name a new folder for the chart and the program")


def told(talk: Talk, answer: Answer, problem: Problem, table: Path, out: Path | None) -> dict[str, Any]:
    """Say and save how the answer came about; the same for the document."""
    from jielong.prompting.charts import Charted

    if not isinstance(answer, Charted):  # a budget ended the run before there was one
        return {"chart": None, "code": ""}
    if answer.chart is not None and out is not None:
        save(answer, problem, table, out)
        talk.say(f"report {out / 'report.html'}, chart {out / 'chart.svg'}, program {out / 'program.py'}")
    elif answer.code:
        talk.say(answer.code)
    return {"chart": answer.chart, "code": answer.code, "out": out if answer.chart else None}


def save(answer: Any, problem: Problem, table: Path, out: Path) -> None:
    """The page, the chart and the program, into a new folder; nothing of it runs when it is looked at."""
    from jielong.base.files import atomic_dir
    from jielong.views.drawing import standalone
    from jielong.views.html import Section, command, figure, page, paragraph
    from jielong.views.markup import Words, join

    picture, numbers = drawn(answer.chart)
    body = join([paragraph(answer.value or ""), figure(picture, answer.chart.title, numbers)])
    sections = [
        Section("answer", Words("Answer", "答案"), body),
        Section("code", Words("The program that the model wrote", "模型寫的程式"), command(answer.code)),
        Section("table", Words("From the table", "依據的表格"), paragraph(str(table))),
    ]
    with atomic_dir(out) as folder:
        (folder / "report.html").write_text(page(problem.text, sections), encoding="utf-8")
        (folder / "chart.svg").write_text(standalone(str(picture)), encoding="utf-8")
        (folder / "program.py").write_text(answer.code + "\n", encoding="utf-8")


def drawn(chart: Chart) -> tuple[Html, Any]:
    """The picture and the table that says the same: a line over numbers, else bars."""
    from jielong.base.result import Row
    from jielong.views import bars, charts
    from jielong.views.markup import number

    nan = float("nan")
    numbers = [each for each in chart.x if not isinstance(each, str)]
    if chart.kind == "line" and len(numbers) == len(chart.x):
        series = [charts.Series(name, numbers, [nan if y is None else y for y in ys], dots=True)
                  for name, ys in chart.series.items()]  # fmt: skip
        return charts.line(series, title=chart.title), charts.line_table(series, charts.PLAIN)
    sets = [bars.BarSet(name, [Row(_name(chart, i), y, None, 1, unit=" ") for i, y in enumerate(ys) if y is not None])
            for name, ys in chart.series.items()]  # fmt: skip
    header = ["", *chart.series]
    rows = [[x, *(number(ys[i]) for ys in chart.series.values())] for i, x in enumerate(chart.x)]
    return bars.bars(sets, title=chart.title), (header, rows)


def _name(chart: Chart, place: int) -> str:
    """A bar's name; the same name twice is told apart by its place."""
    name = str(chart.x[place])
    return name if sum(str(each) == name for each in chart.x) == 1 else f"{name} ({place + 1})"
