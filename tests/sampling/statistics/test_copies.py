import pytest
import torch

from gahbench.sampling.statistics.copies import (
    affine_ratios,
    fresh_distances,
    memorization_ratios,
    memorized_share,
    near_duplicate_share,
)
from gahbench.sampling.statistics.neighbours import Neighbours, nearest


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_ratios_by_hand():
    images = torch.zeros(3, 1, 1, 2)
    images[1, ..., 0], images[2, ..., 1] = 4, 100
    samples = torch.tensor([[1.0, 0], [2, 0], [0, 0], [3.5, 0]]).view(4, 1, 1, 2)
    ratios = memorization_ratios(samples, images)
    assert ratios.tolist() == pytest.approx([1 / 3, 1, 0, 1 / 7])
    # The threshold itself is outside.
    assert memorized_share(torch.tensor([1 / 3, 1, 0, 1 / 7])) == 0.5
    assert memorized_share(ratios, 0.1) == 0.25
    known = nearest(samples, images, 3)
    assert torch.equal(memorization_ratios(samples, images, known), ratios)


def test_copies_are_memorized_and_fresh_images_are_not():
    images, fresh = random(300, 1, 8, 8), random(100, 1, 8, 8, seed=1)
    copies = images[:100] + 0.05 * torch.randn(100, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    assert memorized_share(memorization_ratios(copies, images)) == 1
    assert memorized_share(memorization_ratios(fresh, images)) == 0


def test_affine_ratios_are_those_of_the_best_grey_level_and_contrast():
    images, samples = random(6, 2, 3, 3), random(20, 2, 3, 3, seed=1)

    def distance(sample, image):
        # The least squares fit of contrast and grey level, where the contrast must not be negative.
        features = torch.stack([image.flatten(), torch.ones(18)], 1).double()
        target = sample.flatten().double()
        fit = torch.linalg.lstsq(features, target[:, None]).solution[:, 0]
        return (target - (features @ fit if fit[0] > 0 else target.mean())).norm()

    expected = []
    for sample in samples:
        first, second = torch.stack([distance(sample, image) for image in images]).sort().values[:2]
        expected.append(float(first / second))
    assert affine_ratios(samples, images).tolist() == pytest.approx(expected, rel=1e-5)
    assert memorized_share(affine_ratios(0.2 * images[:3] - 4, images)) == 1
    # A negative is no copy.
    assert memorized_share(affine_ratios(1 - images[:3], images)) == 0
    assert affine_ratios(torch.cat([3 * images[:1], 1 - images[:1]]), images[:1]).tolist() == pytest.approx(
        [0, 1], abs=1e-6
    )


def test_a_single_image_is_compared_with_a_flat_one():
    image = random(1, 2, 6, 6)
    flat = image.mean((2, 3), keepdim=True).expand_as(image)
    other = random(1, 2, 6, 6, seed=1)
    samples = torch.cat([image, flat + 0.9 * (image - flat), flat + 0.5 * (image - flat), flat, other])
    ratios = memorization_ratios(samples, image)
    assert ratios[:3].tolist() == pytest.approx([0, 0.1 / 0.9, 1], rel=1e-5)
    assert ratios[3] > 1e5
    assert ratios[4] > 1
    assert memorized_share(ratios) == 0.4


def test_repeated_images_hide_copies_unless_exact():
    images = random(1, 1, 4, 4).repeat(2, 1, 1, 1)
    assert memorization_ratios(torch.cat([images[:1], images[:1] + 0.01]), images).tolist() == [0, 1]


def test_near_duplicates_among_fresh_images_are_as_many_as_the_quantile_says():
    images, fresh = random(1500, 1, 3, 3), random(3000, 1, 3, 3, seed=1)
    distances = nearest(fresh, images).values[:, 0]
    own = fresh_distances(images)
    for quantile in (0.02, 0.2):
        share = near_duplicate_share(distances, own, quantile)
        # Of the threshold and of the share itself; distances to shared neighbours depend on each other a little.
        error = (quantile * (1 - quantile) * (1 / 1500 + 1 / 3000)) ** 0.5
        assert abs(share - quantile) < 5 * error
    assert near_duplicate_share(nearest(images + 1e-4, images).values[:, 0], own) == 1
    assert near_duplicate_share(nearest(images + 10, images).values[:, 0], own) == 0


def test_fresh_distances_leave_the_image_itself_out():
    images = torch.tensor([0.0, 1, 3, 3]).view(4, 1, 1, 1)
    assert fresh_distances(images).tolist() == [1, 1, 0, 0]


def test_errors_say_what_is_accepted():
    images = random(3, 1, 2, 2)
    with pytest.raises(ValueError, match="2 or more"):
        fresh_distances(images[:1])
    with pytest.raises(ValueError, match="quantile=1: accepted"):
        near_duplicate_share(torch.ones(2), torch.ones(2), 1)
    with pytest.raises(ValueError, match="at least 1"):
        near_duplicate_share(torch.ones(2), torch.ones(0))
    with pytest.raises(ValueError, match="2 nearest images of 3 samples"):
        memorization_ratios(images, images, Neighbours(torch.zeros(3, 1).long(), torch.zeros(3, 1)))
    with pytest.raises(ValueError, match="no images"):
        memorization_ratios(images, images[:0])
