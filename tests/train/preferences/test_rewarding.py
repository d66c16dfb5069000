"""Rewards: a person's own function as TRL calls it, a reward model's head, sums; and what is not judged."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jielong.base.errors import UserError
from jielong.nets import reward as format
from jielong.nets.config import TransformerConfig
from jielong.nets.reward import RewardModel
from jielong.nets.transformer import Transformer
from jielong.train.preferences.rewarding import from_model, from_path, judged, summed, weighted

ASKED = ["2+2?", [{"role": "user", "content": "3+3?"}]]
SAID = ["4", "7"]


def file(folder: Path, text: str, name: str = "own.py") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_a_function_is_called_as_trl_calls_it(tmp_path: Path) -> None:
    """Texts beside texts, messages beside messages, the columns by name, and only what is asked for."""
    path = file(tmp_path, """
seen = []
def right(completions, answer, **others):
    seen.append((completions, sorted(others)))
    said = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    return [float(s == a) for s, a in zip(said, answer)]
def brief(prompts, completions):
    return [1, None]
async def slow(completions, **_):
    return [0.5] * len(completions)
""")
    right = from_path(f"{path}:right")
    assert judged(right, ASKED, SAID, {"answer": ["4", "6"]}).tolist() == [1.0, 0.0]
    seen = right.function.__globals__["seen"]
    assert seen == [(["4", [{"role": "assistant", "content": "7"}]], ["prompts"])]
    brief = judged(from_path(f"{path}:brief"), ASKED, SAID, {"answer": ["4", "6"]})
    assert brief[0] == 1 and math.isnan(brief[1])
    assert judged(from_path(f"{path}:slow"), ASKED, SAID, {}).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def f(completions): return [1.0]", "gave 1 rewards for 2 answers"),
        ("def f(completions): return 1.0", "a float where a list of 2 numbers"),
        ("def f(completions): pass", "gave nothing"),
        ("def f(completions): return ['good', 'bad']", "gave 'good'"),
        ("def f(completions): return [float('inf'), 0]", "finite"),
        ("def f(completions):\n    return [1 / 0]", "broke in line 2: ZeroDivisionError"),
        ("def f(completions, truth): return [0, 0]", "asks for truth, and the data has answer, completions, prompts"),
        ("def g(completions): return [0, 0]", "has no function 'f'"),
        ("def f(:", "line 1: not Python"),
        ("import nothing_of_that_name", "broke in line 1: ModuleNotFoundError"),
    ],
)  # fmt: skip
def test_a_wrong_function_is_one_line(body: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        judged(from_path(file(tmp_path, body) + ":f"), ASKED, SAID, {"answer": ["4", "6"]})
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("spec", ["own.py", "nowhere.py:f", ":f"])
def test_a_wrong_name_is_one_line(spec: str) -> None:
    with pytest.raises(UserError, match="--reward"):
        from_path(spec)


def test_neighbours_can_be_imported(tmp_path: Path) -> None:
    file(tmp_path, "WORTH = 3", "neighbour_of_own.py")
    path = file(tmp_path, "from neighbour_of_own import WORTH\ndef f(completions): return [WORTH] * len(completions)")
    assert judged(from_path(f"{path}:f"), ASKED, SAID, {}).tolist() == [3.0, 3.0]


def test_sums_leave_out_what_does_not_apply_and_fail_with_a_part() -> None:
    def one(prompts: Any, completions: Any, **_: Any) -> Any:
        return [1.0, 1.0, None, None]

    def two(prompts: Any, completions: Any, **_: Any) -> Any:
        return [np.float32(2.0), math.nan, 2, None]

    both = judged(summed([(one, 1.0), (two, 0.5)]), ["?"] * 4, ["!"] * 4, {})
    assert both[[0, 2]].tolist() == [2.0, 1.0] and np.isnan(both[[1, 3]]).all()
    assert summed([(one, 1.0)]) is one
    with pytest.raises(UserError, match="no reward"):
        summed([])
    assert weighted("a.py:f=0.5") == ("a.py:f", 0.5) and weighted("a.py:f") == ("a.py:f", 1.0)
    for wrong in ("a.py:f=much", "a.py:f=0", "a.py:f=nan"):
        with pytest.raises(UserError, match="weight"):
            weighted(wrong)


def test_a_reward_models_head_judges_what_it_can_read(codec: Any, tmp_path: Path) -> None:
    import torch

    config = TransformerConfig(vocab=codec.size, dim=32, layers=1, heads=2, kv_heads=1, head_dim=16, hidden=64,
                               context=48)  # fmt: skip
    model = RewardModel(Transformer(config, seed=0), ("helpful", "safe"))
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # a fresh body's blocks add nothing
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.1, generator=generator)
    format.save(tmp_path / "judge", model, codec)
    safe = from_model(tmp_path / "judge", "safe")
    asked, said = ["2+2?"] * 3, ["4", "five", "and " * 60]
    found = judged(safe, asked, said, {})
    assert np.isfinite(found[:2]).all() and found[0] != found[1] and math.isnan(found[2])
    as_turns = judged(safe, [[{"role": "user", "content": "2+2?"}]] * 3, said, {})
    np.testing.assert_array_equal(found, as_turns)
    alone = [judged(safe, [a], [s], {})[0] for a, s in zip(asked[:2], said)]
    np.testing.assert_allclose(found[:2], alone, atol=1e-5)
    assert judged(from_model(tmp_path / "judge"), asked, said, {})[0] != found[0]
    with pytest.raises(UserError, match="no head 'kind'; there are: helpful, safe"):
        from_model(tmp_path / "judge", "kind")
