"""Pictures as rows of patches, and exactly back (Dosovitskiy et al. 2020, section 3.1).

A patch of p x p pixels becomes one vector: channel, then row, then column within it; patches in raster order. A linear
layer over such vectors is the convolution of stride p with the same weights.
"""

from __future__ import annotations

from torch import Tensor

from jielong.base.errors import UserError


def grid(height: int, width: int, patch: int) -> tuple[int, int]:
    """Patches down and across. Raises UserError where they do not fill the picture."""
    if patch < 1 or height % patch or width % patch:
        raise UserError(f"patches of {patch} do not fill a picture of {height} x {width}: give a divisor of both")
    return height // patch, width // patch


def patchify(x_BCHW: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) to (B, H/p * W/p, C * p * p)."""
    b, c, height, width = x_BCHW.shape
    down, across = grid(height, width, patch)
    parts = x_BCHW.reshape(b, c, down, patch, across, patch).permute(0, 2, 4, 1, 3, 5)
    return parts.reshape(b, down * across, c * patch * patch)


def unpatchify(x_BTD: Tensor, patch: int, height: int, width: int) -> Tensor:
    """The way back: (B, T, C * p * p) to (B, C, H, W)."""
    down, across = grid(height, width, patch)
    b, _, depth = x_BTD.shape
    parts = x_BTD.reshape(b, down, across, depth // patch**2, patch, patch).permute(0, 3, 1, 4, 2, 5)
    return parts.reshape(b, depth // patch**2, height, width)
