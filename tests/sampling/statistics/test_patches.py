import pytest
import torch

from gahbench.sampling.statistics import patches
from gahbench.sampling.statistics.patches import patch_distance
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.gaussian_blur import GaussianBlur


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_white_noises_are_as_far_apart_as_their_deviations():
    """Wasserstein distance of two centred Gaussians."""
    first, second = 0.5 * noise(10, 1, 32, 32), 0.2 * noise(10, 1, 32, 32, seed=1)
    assert patch_distance(first, second, 5) == pytest.approx(0.3, rel=0.03)


def test_of_one_dimension_it_is_the_distance_of_sorted_numbers():
    """Patches of 1x2, or here of two channels whose values sum to zero, have one direction."""
    first, second = noise(50, 1, 2, 2), noise(50, 1, 2, 2, seed=1)
    for images in (first, second):
        images[:, 0, 1] = images[:, 0, 0]
        images[:, 0, :, 1] = -images[:, 0, :, 0]
    # Each patch is (a, -a, a, -a): its product with a unit vector v without a mean is a (v_1 - v_2 + v_3 - v_4).
    sorted_values = [images[:, 0, 0, 0].sort().values for images in (first, second)]
    along = (sorted_values[0] - sorted_values[1]).square().mean().sqrt().item()
    # In 3 dimensions a third of the squared length, which is 4, is along a direction on average.
    assert patch_distance(first, second, 2, directions=4000) == pytest.approx(along * (4 / 3) ** 0.5, rel=0.05)


def test_halves_of_real_images_are_close_and_others_are_not(monkeypatch):
    monkeypatch.setattr(patches, "PATCHES", 1 << 13)
    images = CAlpha(2.0, 24).images("train", 200)
    null = patch_distance(images[::2], images[1::2])
    assert null > 0
    # It falls as images become more; other patches of the same images are close too.
    more = CAlpha(2.0, 24).images("train", 1600)
    assert patch_distance(more[::2], more[1::2]) < 0.7 * null
    assert patch_distance(images[::2], images[::2]) < null
    blurred = GaussianBlur(2.0).denoise(images[::2], 0.1, None)
    assert patch_distance(blurred, images[1::2]) > 2 * null
    # Local structure is lost when pixels are shuffled, brightness does not matter.
    shuffled = images[::2].flatten(2)[..., torch.randperm(576, generator=torch.Generator().manual_seed(0))]
    assert patch_distance(shuffled.view(100, 1, 24, 24), images[1::2]) > 5 * null
    assert patch_distance(images[::2] + 3, images[1::2]) == pytest.approx(null, rel=1e-3)


def test_it_is_the_same_every_time_and_in_proportion(monkeypatch):
    first, second = noise(6, 3, 12, 14), 2 * noise(9, 3, 12, 14, seed=1)
    monkeypatch.setattr(patches, "PATCHES", 200)
    found = patch_distance(first, second)
    assert patch_distance(first, second) == found
    assert patch_distance(first, second, seed=1) != found
    assert patch_distance(3 * first, 3 * second) == pytest.approx(3 * found)


def test_errors_say_what_is_accepted():
    images = noise(2, 1, 6, 8)
    for side in (1, 7):
        with pytest.raises(ValueError, match=f"side={side}: accepted are 2 to 6"):
            patch_distance(images, images, side)
    with pytest.raises(ValueError, match="directions=0"):
        patch_distance(images, images, 3, 0)
    with pytest.raises(ValueError, match="one shape"):
        patch_distance(images, images[:, :, :5])
    with pytest.raises(ValueError, match="one shape"):
        patch_distance(images[:0], images)
