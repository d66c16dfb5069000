"""Places on axes, against closed forms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.views.scales import Scale, fit, round_step

finite = st.floats(-1e9, 1e9, allow_nan=False)


def test_linear_places_are_proportional() -> None:
    scale = Scale(0, 10, 100, 300)
    assert [scale.at(v) for v in (0, 2.5, 10, 15)] == [100, 150, 300, 400]
    assert scale.clamp(15) == 300 and scale.clamp(-3) == 100


def test_upward_axis_runs_backwards() -> None:
    assert Scale(0, 1, 200, 0).at(0.25) == 150


def test_logarithmic_places_are_by_ratio() -> None:
    scale = Scale(1, 1000, 0, 300, log=True)
    assert [round(scale.at(v), 9) for v in (1, 10, 100, 1000)] == [0, 100, 200, 300]
    assert scale.at(math.sqrt(10)) == pytest.approx(50)


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
def test_what_has_no_place_is_nan(value: float) -> None:
    assert math.isnan(Scale(1, 10, 0, 1, log=True).at(value))


@given(st.floats(1e-9, 1e9), st.integers(1, 12))
def test_steps_are_round_and_few(span: float, count: int) -> None:
    step = round_step(span, count)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 2.5, 5, 10)) < 1e-6
    assert span / step <= count * (1 + 1e-9)


@given(finite, finite, st.integers(2, 8))
def test_ticks_rise_inside_the_axis(a: float, b: float, count: int) -> None:
    scale = fit([a, b], 0, 100)
    ticks = scale.ticks(count)
    assert ticks == sorted(set(ticks)) and len(ticks) <= count + 1
    slack = (scale.high - scale.low) * 1e-6
    assert all(scale.low - slack <= t <= scale.high + slack for t in ticks)


@given(st.floats(1e-6, 1e6), st.floats(1.5, 1e9))
def test_logarithmic_ticks_are_inside_and_few(low: float, ratio: float) -> None:
    scale = Scale(low, low * ratio, 0, 1, log=True)
    ticks = scale.ticks(5)
    assert len(ticks) <= 7 and all(low * 0.999 <= t <= low * ratio * 1.001 for t in ticks)


def test_ticks_known_by_hand() -> None:
    assert Scale(0, 1, 0, 1).ticks(5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert Scale(0.5, 2e6, 0, 1, log=True).ticks(7) == [1, 10, 100, 1e3, 1e4, 1e5, 1e6]


@given(st.lists(finite, min_size=1))
def test_a_fitted_axis_holds_every_value(values: list[float]) -> None:
    scale = fit(values, 0, 100)
    assert scale.low < scale.high
    assert all(-1e-6 <= scale.at(v) <= 100 + 1e-6 for v in values)


def test_fitting_nothing_one_value_and_nought() -> None:
    assert (fit([], 0, 1).low, fit([math.nan], 0, 1).high) == (0.0, 1.0)
    assert fit([-1, 0], 0, 1, log=True) == Scale(1, 10, 0, 1, True)
    assert fit([5, 5], 0, 100).at(5) == 50 and fit([7], 0, 100, log=True).at(7) == pytest.approx(50)
    assert fit([0.0], 0, 100).at(0) == 50
    assert fit([2, 10], 0, 1, zero=True).low == 0 and fit([-4, -2], 0, 1, zero=True).high == 0


def test_ticks_have_short_names() -> None:
    scale = Scale(0, 1, 0, 1)
    assert [scale.label(t) for t in (0, 1500, 2e6, 0.25, -3e9, 1e-7)] == [
        "0",
        "1.5k",
        "2M",
        "0.25",
        "−3G",
        "1e−07",
    ]
