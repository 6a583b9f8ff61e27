import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from gahbench.contracts.truth import Truth
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.low_pass import LowPass


def images(count=3, size=12):
    return CAlpha(2.0, size).images("test", count).double()


def noise(like, seed=0):
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("share", [0.03, 0.1, 0.5])
@pytest.mark.parametrize("shape", [(12, 12), (6, 15)])
def test_the_cosines_of_lowest_frequency_are_kept(share, shape):
    noisy = noise(torch.empty(2, 3, *shape))
    found = LowPass(share).denoise(noisy, 0.1, Truth(noisy)).numpy()
    before, after = (dctn(some, norm="ortho", axes=(2, 3)) for some in (noisy.numpy(), found))
    kept = np.abs(after).max((0, 1)) > 1e-12
    assert kept.sum() == round(share * shape[0] * shape[1])
    np.testing.assert_allclose(after[:, :, kept], before[:, :, kept], atol=1e-12)
    frequencies = np.hypot(np.arange(shape[0])[:, None] / shape[0], np.arange(shape[1]) / shape[1])
    assert frequencies[kept].max() <= frequencies[~kept].min() + 1e-12
    np.testing.assert_allclose(idctn(after * kept, norm="ortho", axes=(2, 3)), found, atol=1e-12)


def test_it_is_a_projection_that_is_the_same_for_all_images():
    noisy = images()
    found = LowPass(0.2).jacobian(noisy, 0.1, Truth(noisy)).matrices()
    torch.testing.assert_close(found, found[:1].expand(3, -1, -1))
    torch.testing.assert_close(found @ found, found)
    torch.testing.assert_close(found, found.mT)
    assert found[0].trace().item() == pytest.approx(round(0.2 * 144))


def test_all_frequencies_are_the_image_and_the_lowest_is_its_mean():
    noisy = images()
    torch.testing.assert_close(LowPass(1.0).denoise(noisy, 0.1, Truth(noisy)), noisy)
    assert LowPass(1.0).risk(Truth(noisy), 0.1).tolist() == pytest.approx([0.01] * 3)
    mean = noisy.mean((2, 3), keepdim=True).expand_as(noisy)
    torch.testing.assert_close(LowPass(1e-6).denoise(noisy, 0.1, Truth(noisy)), mean)
