import math

import pytest
import torch

from gahbench.sampling.statistics.diversity import relative_spread, vendi_score


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mean_square(images):
    count = len(images)
    return torch.cdist(images.flatten(1).double(), images.flatten(1).double()).square().sum() / (count * (count - 1))


def test_spread_is_the_ratio_of_mean_squared_distances_of_pairs():
    samples, images = 0.5 * random(7, 2, 3, 3) + 100, random(12, 2, 3, 3, seed=1)
    expected = (mean_square(samples) / mean_square(images)).sqrt().item()
    assert relative_spread(samples, images) == pytest.approx(expected, rel=1e-6)


def test_spread_is_1_for_halves_0_for_copies_and_the_scale_for_scaled_images():
    images = random(2000, 1, 4, 4)
    # Squared norms have a relative deviation of (2 / 16)^(1/2), and norms half of it; each half has 1000 images.
    assert relative_spread(images[:1000], images[1000:]) == pytest.approx(1, abs=4 * 0.5 * (2 * 2 / 16 / 1000) ** 0.5)
    assert relative_spread(images[:1].repeat(5, 1, 1, 1), images) == 0
    assert relative_spread(0.3 * images + 0.5, images) == pytest.approx(0.3, rel=1e-5)


def test_vendi_score_counts_different_images():
    different = torch.eye(16).view(16, 1, 4, 4)
    for count in (1, 3, 16):
        assert vendi_score(different[:count], centred=False) == pytest.approx(count)
    assert vendi_score(different[:1].repeat(9, 1, 1, 1)) == pytest.approx(1)
    # Repeated images count as the exponential of the entropy of their shares.
    repeated = different[[0, 0, 0, 1]]
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert vendi_score(repeated, centred=False) == pytest.approx(math.exp(entropy))
    # Two vectors with cosine c have eigenvalues (1 + c) / 2 and (1 - c) / 2.
    pair, cosine = torch.tensor([[1.0, 0], [0.6, 0.8]]).view(2, 1, 1, 2), 0.6
    values = [(1 + cosine) / 2, (1 - cosine) / 2]
    assert vendi_score(pair, False) == pytest.approx(math.exp(-sum(value * math.log(value) for value in values)))


def test_vendi_score_of_many_images_equals_the_score_of_the_dual_matrix():
    images = random(40, 1, 3, 4)
    vectors = images.flatten(1).double()
    vectors = vectors - vectors.mean(1, keepdim=True)
    vectors /= vectors.norm(dim=1, keepdim=True)
    values = torch.linalg.eigvalsh(vectors @ vectors.mT / 40).clamp(min=1e-300)
    assert vendi_score(images) == pytest.approx(math.exp(-(values * values.log()).sum()))


def test_subtracting_the_mean_image_raises_the_vendi_score_of_a_family():
    family = 5 * random(1, 1, 6, 6) + random(30, 1, 6, 6, seed=1)
    assert vendi_score(family) < 3
    assert vendi_score(family, origin=family.mean(0)) > 15


def test_invalid_images_are_rejected():
    images = random(3, 1, 2, 2)
    with pytest.raises(ValueError, match=r"1 samples.*2 or more"):
        relative_spread(images[:1], images)
    with pytest.raises(ValueError, match="all images are equal"):
        relative_spread(images, torch.ones(4, 1, 2, 2))
    with pytest.raises(ValueError, match="constant"):
        vendi_score(torch.cat([images, torch.ones(1, 1, 2, 2)]))
    with pytest.raises(ValueError, match="at least 1"):
        vendi_score(images[:0])
