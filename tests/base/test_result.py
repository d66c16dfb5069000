"""Results and plain JSON: what is read is what was written, bit for bit."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.base.errors import UserError
from jielong.base.plain import dumps, loads, plain
from jielong.base.result import Interval, Result, Row

NUMBERS = st.floats(allow_nan=False)
WORDS = st.text(max_size=8) | st.sampled_from(["$float", "$$float", "接龍", "$"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
ROWS = st.builds(
    Row,
    name=WORDS,
    estimate=NUMBERS,
    interval=st.none() | st.builds(Interval, low=NUMBERS, high=NUMBERS),
    n=st.integers(0, 10**12),
    control=st.none() | NUMBERS,
    truth=st.none() | NUMBERS,
    verdict=WORDS,
)


@given(st.lists(ROWS, max_size=3), st.dictionaries(WORDS, VALUES, max_size=3))
def test_a_result_survives_json_exactly(rows: list[Row], values: dict) -> None:
    result = Result("name", "title", tuple(rows), series=values, meta={"v": values})
    text = result.to_json()
    assert Result.from_json(text) == result
    assert Result.from_json(text).to_json() == text


@given(VALUES)
def test_plain_json_round_trip(value: object) -> None:
    text = dumps(value)
    assert loads(text) == value
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_series_of_arrays_and_tuples_compare_equal_after_reading() -> None:
    result = Result("r", "", [Row("x", np.float32(0.1), None, np.int64(3))], {"a": np.arange(3), "b": (1, 2)})  # type: ignore[arg-type]
    assert Result.from_json(result.to_json()) == result
    assert result.series == {"a": [0, 1, 2], "b": [1, 2]} and type(result.rows[0].estimate) is float


def test_numbers_json_cannot_hold() -> None:
    again = loads(dumps({"a": math.nan, "b": [math.inf, -math.inf], "c": {"$float": "nan"}}))
    assert math.isnan(again["a"]) and again["b"] == [math.inf, -math.inf]
    assert again["c"] == {"$float": "nan"}  # a dict that only looks like a packed nan stays a dict


def test_plain_unfolds_arrays_paths_and_dataclasses() -> None:
    @dataclass
    class Pair:
        left: tuple[int, ...]
        right: np.float32

    value = {3: Pair((1, 2), np.float32(0.5)), "a": np.arange(4).reshape(2, 2), "p": Path("x")}
    value["t"] = np.bool_(True)
    assert plain(value) == {
        "3": {"left": [1, 2], "right": 0.5},
        "a": [[0, 1], [2, 3]],
        "p": "x",
        "t": True,
    }
    for bad in ({1}, object(), {"k": b"bytes"}, {(1, 2): 3}, {True: 1}, Pair):
        with pytest.raises(TypeError):
            plain(bad)


def test_a_row_is_found_by_name_and_group() -> None:
    rows = (Row("x", 1, None, 5, group="en"), Row("x", 2, None, 5, group="zh"))
    result = Result("r", "", rows)
    assert result.row("x").estimate == 1.0 and result.row("x", "zh").estimate == 2.0
    with pytest.raises(KeyError, match="no row 'y'"):
        result.row("y")
    assert 0.5 in Interval(0.5, 1) and 1.1 not in Interval(0.5, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"name": "old"}',
        '{"jielong_result": 2, "name": "n", "title": "t", "rows": []}',
        '{"jielong_result": 1, "name": "n", "title": "t"}',
        '{"jielong_result": 1, "name": "n", "title": "t", "rows": [3]}',
        '{"jielong_result": 1, "name": "n", "title": "t", "rows": [], "new": 1}',
        '{"jielong_result": 1, "name": "n", "title": "t", "rows": [{"interval": null, "name": "x"}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_result_is_said_in_one_line(text: str) -> None:
    with pytest.raises(UserError) as caught:
        Result.from_json(text)
    assert "\n" not in str(caught.value)
