"""The graph whose links follow the local variance, and the variance itself."""

import numpy as np
import pytest
import torch

import gahbench
from gahbench.evaluation import directional
from gahbench_plugins.bases.iso_local import IsoLocal, local_variance


def images(channels=1, count=3):
    return torch.rand(count, channels, 7, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("window", [3, 5])
def test_variances_are_those_of_windows(channels, window):
    clean = images(channels)
    found = local_variance(clean, window)
    padded = np.pad(clean.double().numpy(), ((0, 0), (0, 0), *[(window // 2,) * 2] * 2), mode="edge")
    for row, column in ((0, 0), (3, 4), (6, 8)):
        cut = padded[:, :, row : row + window, column : column + window]
        np.testing.assert_allclose(found[:, row, column], cut.var(axis=(2, 3)).mean(1), rtol=1e-9)
    assert local_variance(clean + 1e3, 3).min() >= 0


def test_links_are_those_of_the_variance():
    clean, basis = images(), IsoLocal(window=3, floor=0.05)
    found = basis.laplacian(clean)
    scale = (local_variance(clean, 3) + 0.05**2).sqrt().flatten(1)
    for one, other, distance in ((0, 1, 1), (10, 20, 2), (0, 18, 4)):
        expected = -np.exp(-distance / 2) / (scale[:, one] * scale[:, other])
        torch.testing.assert_close(found[:, one, other], expected)
    assert found[:, 0, 30].tolist() == [0.0] * 3


def test_its_filters_have_hardly_any_direction():
    clean = gahbench.create("dataset", "c-alpha[size=16]").images("test", 4)
    found = {}
    for name in ("iso-local", "graph-laplacian"):
        filters = gahbench.create("basis", name).filters(gahbench.Truth(clean), 0.1)
        matrices = filters.at(torch.full((4,), 40.0).double()).matrices()
        rest = matrices - matrices.mean(0)
        found[name] = float((directional(rest, (1, 16, 16)).norm() / rest.norm()) ** 2)
    assert found["iso-local"] < 0.1 * found["graph-laplacian"]
