import math

import numpy as np
import pytest
import torch
from random_images import normal as images

from gahbench_plugins.bases import curvelet
from gahbench_plugins.bases.curvelet import Curvelet


@pytest.fixture
def package():
    return pytest.importorskip("curvelets.numpy")


@pytest.mark.parametrize(
    ("size", "scales", "wedges"), [((64, 64), 4, 3), ((32, 48), 3, 3), ((16, 16), 2, 3), ((48, 32), 3, 6)]
)
def test_coefficients_are_those_of_the_package(package, size, scales, wedges):
    batch = images(2, 2, *size)
    ours = Curvelet(scales, wedges).analysis(batch)
    transform = package.UDCT(shape=size, num_scales=scales, wedges_per_direction=wedges, window_threshold=0)
    for image, one in zip(batch.flatten(0, 1), ours.flatten(0, 1), strict=True):
        theirs = []
        for scale, fans in enumerate(transform.forward(image.numpy())):
            for fan in fans:
                stacked = np.stack(fan).ravel()
                theirs += [stacked.real, stacked.imag] if scale else [stacked.real]
        np.testing.assert_allclose(one.flatten().numpy(), np.concatenate(theirs), atol=1e-5)


def test_bands_are_scales_and_directions(package):
    basis = Curvelet(4, 3)
    shape = (1, 64, 64)
    labels = basis.bands(shape)
    assert labels.unique().tolist() == list(range(1 + 6 + 12 + 24))
    constant = basis.analysis(torch.ones(1, *shape, dtype=torch.float64))[0, 0].square()
    assert constant[labels == 0].sum() == pytest.approx(64 * 64)
    # Plane waves lie in few bands: of a scale that their frequency sets, at a direction that turns with theirs.
    places = torch.arange(64, dtype=torch.float64) * 2 * math.pi / 64
    strongest = []
    for row, column in [(5, 0), (10, 0), (20, 0), (0, 20), (20, 10), (20, -10)]:
        wave = torch.cos(row * places[:, None] + column * places)[None, None]
        powers = torch.zeros(43, dtype=torch.float64)
        powers.index_add_(0, labels.flatten(), basis.analysis(wave)[0, 0].square().flatten())
        assert powers.topk(4).values.sum() > 0.95 * powers.sum()
        strongest.append(int(powers.argmax()))
    assert 1 <= strongest[0] < 7 <= strongest[1] < 19 <= min(strongest[2:])
    assert len(set(strongest)) == 6


def test_sizes_that_would_not_reconstruct_are_continued(package):
    for scales, wedges, size, to in [
        (4, 3, 50, 56),
        (4, 3, 79, 80),
        (4, 3, 60, 64),
        (2, 3, 50, 52),
        (3, 6, 36, 40),
        (5, 3, 40, 48),
    ]:
        assert Curvelet(scales, wedges).fitting(size, 64) == (to, 64)
        assert Curvelet(scales, wedges).fitting(64, size) == (64, to)
    # The smallest that is not continued works.
    for scales, wedges, multiple in [(4, 3, 8), (2, 3, 4), (3, 6, 8), (2, 9, 12), (4, 12, 32)]:
        batch = images(1, 1, multiple, multiple)
        basis = Curvelet(scales, wedges)
        assert basis.fitting(multiple, multiple) == (multiple, multiple)
        torch.testing.assert_close(basis.synthesis(basis.analysis(batch)), batch, atol=1e-12, rtol=0)


def test_without_the_package_it_names_the_extra(monkeypatch):
    monkeypatch.setattr(curvelet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "gahbench\[curvelets\]"'):
        Curvelet()
