import pytest
import torch

from gahbench.sampling.statistics import patches
from gahbench.sampling.statistics.patches import patch_distance
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.gaussian_blur import GaussianBlur


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_distance_of_white_noises_is_the_difference_of_their_deviations():
    """The Wasserstein distance of two centred Gaussians is the difference of their standard deviations."""
    first, second = 0.5 * noise(10, 1, 32, 32), 0.2 * noise(10, 1, 32, 32, seed=1)
    assert patch_distance(first, second, 5) == pytest.approx(0.3, rel=0.03)


def test_the_distance_of_patches_on_one_line_is_the_distance_of_sorted_numbers():
    """These patches are all multiples of one vector."""
    first, second = noise(50, 1, 2, 2), noise(50, 1, 2, 2, seed=1)
    for images in (first, second):
        images[:, 0, 1] = images[:, 0, 0]
        images[:, 0, :, 1] = -images[:, 0, :, 0]
    # Each patch is (a, -a, a, -a): its product with a unit vector v without a mean is a (v_1 - v_2 + v_3 - v_4).
    sorted_values = [images[:, 0, 0, 0].sort().values for images in (first, second)]
    distance = (sorted_values[0] - sorted_values[1]).square().mean().sqrt().item()
    # On average, a third of the squared length, 4, lies along a random direction of the 3-dimensional space.
    assert patch_distance(first, second, 2, directions=4000) == pytest.approx(distance * (4 / 3) ** 0.5, rel=0.05)


def test_halves_of_a_set_are_close_and_altered_images_are_not(monkeypatch):
    monkeypatch.setattr(patches, "MAX_PATCHES", 1 << 13)
    images = CAlpha(2.0, 24).images("train", 200)
    null = patch_distance(images[::2], images[1::2])
    assert null > 0
    # The distance falls with the number of images; other patches of the same images are close, too.
    more = CAlpha(2.0, 24).images("train", 1600)
    assert patch_distance(more[::2], more[1::2]) < 0.7 * null
    assert patch_distance(images[::2], images[::2]) < null
    blurred = GaussianBlur(2.0).denoise(images[::2], 0.1, None)
    assert patch_distance(blurred, images[1::2]) > 2 * null
    # Shuffled pixels have no local structure; brightness does not matter.
    shuffled = images[::2].flatten(2)[..., torch.randperm(576, generator=torch.Generator().manual_seed(0))]
    assert patch_distance(shuffled.view(100, 1, 24, 24), images[1::2]) > 5 * null
    assert patch_distance(images[::2] + 3, images[1::2]) == pytest.approx(null, rel=1e-3)


def test_the_distance_is_reproducible_and_homogeneous(monkeypatch):
    first, second = noise(6, 3, 12, 14), 2 * noise(9, 3, 12, 14, seed=1)
    monkeypatch.setattr(patches, "MAX_PATCHES", 200)
    distance = patch_distance(first, second)
    assert patch_distance(first, second) == distance
    assert patch_distance(first, second, seed=1) != distance
    assert patch_distance(3 * first, 3 * second) == pytest.approx(3 * distance)


def test_invalid_arguments_are_rejected():
    images = noise(2, 1, 6, 8)
    for side in (1, 7):
        with pytest.raises(ValueError, match=f"side={side}; accepted: 2 to 6"):
            patch_distance(images, images, side)
    with pytest.raises(ValueError, match="directions=0"):
        patch_distance(images, images, 3, 0)
    with pytest.raises(ValueError, match="one shape"):
        patch_distance(images, images[:, :, :5])
    with pytest.raises(ValueError, match="one shape"):
        patch_distance(images[:0], images)
