import pytest
import torch

from gahbench.sampling.statistics.copies import MEMORIZED, affine_ratios, memorization_ratios
from gahbench.sampling.statistics.neighbours import Neighbours, nearest


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_ratios_equal_hand_computed_values():
    images = torch.zeros(3, 1, 1, 2)
    images[1, ..., 0], images[2, ..., 1] = 4, 100
    samples = torch.tensor([[1.0, 0], [2, 0], [0, 0], [3.5, 0]]).view(4, 1, 1, 2)
    ratios = memorization_ratios(samples, images)
    assert ratios.tolist() == pytest.approx([1 / 3, 1, 0, 1 / 7])
    known = nearest(samples, images, 3)
    assert torch.equal(memorization_ratios(samples, images, known), ratios)


def test_copies_are_memorized_and_fresh_images_are_not():
    images, fresh = random(300, 1, 8, 8), random(100, 1, 8, 8, seed=1)
    copies = images[:100] + 0.05 * torch.randn(100, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    assert (memorization_ratios(copies, images) < MEMORIZED).all()
    assert (memorization_ratios(fresh, images) >= MEMORIZED).all()


def test_affine_ratios_use_the_best_grey_level_and_contrast():
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
    assert (affine_ratios(0.2 * images[:3] - 4, images) < MEMORIZED).all()
    # A negative image is not a copy.
    assert (affine_ratios(1 - images[:3], images) >= MEMORIZED).all()
    assert affine_ratios(torch.cat([3 * images[:1], 1 - images[:1]]), images[:1]).tolist() == pytest.approx(
        [0, 1], abs=1e-6
    )


def test_a_single_image_is_compared_with_a_flat_image():
    image = random(1, 2, 6, 6)
    flat = image.mean((2, 3), keepdim=True).expand_as(image)
    other = random(1, 2, 6, 6, seed=1)
    samples = torch.cat([image, flat + 0.9 * (image - flat), flat + 0.5 * (image - flat), flat, other])
    ratios = memorization_ratios(samples, image)
    assert ratios[:3].tolist() == pytest.approx([0, 0.1 / 0.9, 1], rel=1e-5)
    assert ratios[3] > 1e5
    assert ratios[4] > 1


def test_repeated_images_hide_copies_that_are_not_exact():
    images = random(1, 1, 4, 4).repeat(2, 1, 1, 1)
    assert memorization_ratios(torch.cat([images[:1], images[:1] + 0.01]), images).tolist() == [0, 1]


def test_invalid_arguments_are_rejected():
    images = random(3, 1, 2, 2)
    with pytest.raises(ValueError, match="2 nearest images of 3 samples"):
        memorization_ratios(images, images, Neighbours(torch.zeros(3, 1).long(), torch.zeros(3, 1)))
    with pytest.raises(ValueError, match="no images"):
        memorization_ratios(images, images[:0])
