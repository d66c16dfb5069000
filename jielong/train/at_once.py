"""All slots at once: every slot of the target is masked, and each is predicted from the source alone.

    loss = -sum_i ln p(x_i | source)

The best that can be learnt is the product of the marginals: non-autoregressive generation without help (Gu et al. 2018,
arXiv 1711.02281, eq. 3). Where several answers are right, it is not their law (their "multimodality problem").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def hide(counts: npt.NDArray[np.int64], generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Weight 1 for every slot; (B, S). Nothing is drawn."""
    slots = np.arange(int(counts.max()))
    return (slots[None, :] < counts[:, None]).astype(np.float64)
