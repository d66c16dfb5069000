"""Settings are checked once, when they are made."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jielong.base.errors import UserError
from jielong.infer.sampling import Sampling


@pytest.mark.parametrize("wrong", [
    {"temperature": -0.1}, {"temperature": math.nan}, {"temperature": math.inf}, {"temperature": "hot"},
    {"temperature": True}, {"top_p": 0.0}, {"top_p": 1.01}, {"top_p": math.nan}, {"min_p": -0.1},
    {"min_p": 1.1}, {"top_k": -1}, {"top_k": 2.5}, {"max_tokens": -1}, {"max_tokens": None}, {"logprobs": -1},
    {"repetition_penalty": 0}, {"typical": 0.0},
    {"presence_penalty": math.nan}, {"seed": 1.5}, {"stop": [""]}, {"bad_words": [()]}, {"bad_words": [""]},
    {"logit_bias": {-1: 2.0}}, {"logit_bias": {1: math.nan}}, {"logit_bias": {1: math.inf}},
    {"logit_bias": [(1, 1.0), (1, 2.0)]},
])  # fmt: skip
def test_a_wrong_value_is_named(wrong: dict) -> None:
    (name,) = wrong
    with pytest.raises(UserError, match=name.replace("_words", " word").replace("stop", "stop string")):
        Sampling(**wrong)


def test_zero_is_a_value_and_not_an_absence() -> None:
    s = Sampling(temperature=0, seed=0, min_p=0, logprobs=0)
    assert (s.temperature, s.seed, s.min_p, s.logprobs) == (0.0, 0, 0.0, 0)
    assert isinstance(s.temperature, float)


def test_alike_settings_are_equal_however_they_are_written() -> None:
    one = Sampling(temperature=1, logit_bias={5: 1, 2: -1}, stop="x", bad_words="no", top_k=np.int64(3))
    two = Sampling(temperature=1.0, logit_bias=[(2, -1.0), (5, 1.0)], stop=["x"], bad_words=("no",), top_k=3)
    assert one == two
    assert hash(one) == hash(two)
    assert repr(one) == repr(two)


def test_the_law_leaves_out_what_does_not_shape_it() -> None:
    longer = Sampling(max_tokens=9, stop="x", stop_ids=(1,), logprobs=3)
    assert longer.law() == Sampling().law()
    changes = ({"temperature": 0.5}, {"top_k": 1}, {"seed": 1}, {"bad_words": "x"}, {"logit_bias": {1: 1}})
    for change in changes:
        assert Sampling(**change).law() != Sampling().law()


def test_an_unknown_setting_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="'temprature'"):
        Sampling().with_(temprature=1)


def test_changes_are_what_differs_from_the_defaults() -> None:
    assert Sampling().changes() == {}
    assert Sampling(temperature=0.5, top_p=1.0).changes() == {"temperature": 0.5}
    assert Sampling(**Sampling(stop="a", seed=2).changes()) == Sampling(stop="a", seed=2)
