"""Patches: exactly back, and the convolution of the same stride."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from jielong.base.errors import UserError
from jielong.units.patches import grid, patchify, unpatchify


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_back_to_the_very_picture(patch: int) -> None:
    x = torch.randn(3, 5, 8, 12)
    rows = patchify(x, patch)
    assert rows.shape == (3, 96 // patch**2, 5 * patch**2)
    assert torch.equal(unpatchify(rows, patch, 8, 12), x)


def test_a_linear_layer_over_patches_is_a_convolution() -> None:
    x, weight = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.randn(7, 3, 4, 4, dtype=torch.float64)
    convolved = F.conv2d(x, weight, stride=4).flatten(2).mT
    assert torch.allclose(patchify(x, 4) @ weight.flatten(1).T, convolved, atol=1e-12)


def test_patches_that_do_not_fill_the_picture() -> None:
    with pytest.raises(UserError, match="patches of 3 do not fill a picture of 8 x 9"):
        grid(8, 9, 3)
