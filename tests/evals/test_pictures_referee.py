"""torch-fidelity's figures of the same features and the same subsets, to 1e-6. (make referees)"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from jielong.evals import fid, kid, mind, neighbours, pictures

pytestmark = pytest.mark.referee

QUIET = {"verbose": False, "rng_seed": 2020, "cuda": False}


def theirs(name: str) -> ModuleType:
    """One of its modules. Its networks want torchvision, which none of these functions touches: a dummy will do."""
    pytest.importorskip("torch")
    if importlib.util.find_spec("torch_fidelity") is None:
        pytest.skip("torch-fidelity is not installed")
    parts = ("", ".datasets", ".transforms", ".transforms.functional")
    missing = [] if importlib.util.find_spec("torchvision") else ["torchvision" + part for part in parts]
    sys.modules.update({module: MagicMock(__spec__=None) for module in missing})
    try:
        return importlib.import_module(f"torch_fidelity.{name}")
    except ModuleNotFoundError as e:
        if e.name != f"torch_fidelity.{name}":
            raise
        return pytest.skip(f"this torch-fidelity has no {name}")
    finally:
        for module in missing:
            del sys.modules[module]


def features(seed: int, n: int = 700, width: int = 40) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixing, mean = generator.standard_normal((width, width)) / 3, generator.random(width)
    return generator.standard_normal((n, width)) @ mixing + mean


def tensors(*arrays: np.ndarray) -> list[Any]:
    import torch

    return [torch.from_numpy(array) for array in arrays]


def test_frechet():
    module, (real, made) = theirs("metric_fid"), (features(1), features(2, 500))
    for x, y in ((real, made), (real, real + 0.01), (np.maximum(real, 0), np.maximum(made, 0))):
        stats = [module.fid_features_to_statistics(each) for each in tensors(x, y)]
        found = module.fid_statistics_to_metric(*stats, verbose=False)[module.KEY_METRIC_FID]
        assert fid.fid(x, y) == pytest.approx(found, rel=1e-6, abs=1e-9)
        np.testing.assert_allclose(fid.fit(x).covariance, stats[0]["sigma"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [100, 400])
def test_kernel_distance(size):
    module, (real, made) = theirs("metric_kid"), (features(1), features(2, 500))
    found = module.kid_features_to_metric(
        *tensors(real, made), kid_subsets=20, kid_subset_size=size, kid_kernel="poly", kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1, **QUIET,
    )  # fmt: skip
    generator = np.random.RandomState(2020)
    chosen = [tuple(generator.choice(n, size, replace=False) for n in (700, 500)) for _ in range(20)]
    ours = kid.kid(real, made, chosen=chosen)
    assert ours.mean == pytest.approx(found[module.KEY_METRIC_KID_MEAN], rel=1e-6)
    assert ours.spread == pytest.approx(found[module.KEY_METRIC_KID_STD], rel=1e-6)
    assert ours.subsets == 20 and ours.size == size


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_and_recall(k):
    module, (real, made) = theirs("metric_prc"), (features(1, width=6), features(2, 500, 6) * 0.7)
    found = module.prc_features_to_metric(
        *tensors(made, real), prc_neighborhood=k, prc_batch_size=128, save_cpu_ram=False, **QUIET
    )
    ours = neighbours.precision_recall(real, made, k)
    assert ours.precision == pytest.approx(found[module.KEY_METRIC_PRECISION], rel=1e-6)
    assert ours.recall == pytest.approx(found[module.KEY_METRIC_RECALL], rel=1e-6)
    assert ours.f == pytest.approx(found[module.KEY_METRIC_F_SCORE], rel=1e-6)
    assert 0.1 < ours.recall < 0.99 or 0.1 < ours.precision < 0.99


@pytest.mark.parametrize("splits", [1, 10])
def test_inception_score(splits):
    module, logits = theirs("metric_isc"), 3 * features(3, width=10)
    found = module.isc_features_to_metric(*tensors(logits), splits=splits, shuffle=False)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    ours = pictures.inception_score(odds / odds.sum(1, keepdims=True), splits)
    assert ours == (pytest.approx(found[module.KEY_METRIC_ISC_MEAN], rel=1e-6),
                    pytest.approx(found[module.KEY_METRIC_ISC_STD], rel=1e-6, abs=1e-9))  # fmt: skip


def test_mind():
    """Their directions; they project in float32."""
    module, (real, made) = theirs("metric_mind"), (features(1), features(2))
    import torch

    drawn = torch.randn(200, 40, generator=torch.Generator().manual_seed(2020))
    along = (drawn / drawn.norm(dim=1, keepdim=True)).double().numpy()
    found = module.mind_features_to_metric(*tensors(real, made), mind_num_projections=200, **QUIET)
    assert mind.mind(real, made, along=along) == pytest.approx(found[module.KEY_METRIC_MIND], rel=1e-5)
