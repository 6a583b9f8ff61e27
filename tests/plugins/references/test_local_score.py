import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learned_references import assert_jacobian_is_derivative, fitted, with_noise
from random_images import uniform as random

from gahbench.contracts.truth import Truth
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.datasets.faces import Faces
from gahbench_plugins.references import local_score
from gahbench_plugins.references.local_score import LocalScore, merge_similar


def denoise(training, noisy, sigma, *arguments, **parameters):
    return fitted(LocalScore(*arguments, **parameters), training).denoise(noisy, sigma, Truth(noisy))


def patch_at(image, row, column, half, periodic):
    """Return values around a pixel by displacement, without values beyond the border."""
    result = {}
    _, height, width = image.shape
    for down, across in itertools.product(range(-half, half + 1), repeat=2):
        other_row, other_column = row + down, column + across
        if periodic:
            other_row, other_column = other_row % height, other_column % width
        if 0 <= other_row < height and 0 <= other_column < width:
            result[down, across] = image[:, other_row, other_column]
    return result


def brute_force(training, noisy, sigma, patch, equivariant, periodic):
    """Compute the result pixel by pixel; only patches with the same missing values are compared."""
    result, half = np.zeros(noisy.shape), patch // 2
    indices = list(itertools.product(range(noisy.shape[2]), range(noisy.shape[3])))
    for number, (row, column) in itertools.product(range(len(noisy)), indices):
        own = patch_at(noisy[number], row, column, half, periodic)
        distances, centres = [], []
        for image, index in itertools.product(training, indices if equivariant else [(row, column)]):
            other = patch_at(image, *index, half, periodic)
            if set(own) == set(other):
                distances.append(sum(((own[key] - other[key]) ** 2).sum() for key in own))
                centres.append(image[:, index[0], index[1]])
        weights = np.exp(-(np.array(distances) - min(distances)) / (2 * sigma**2))
        result[number, :, row, column] = weights @ np.array(centres) / weights.sum()
    return result


@settings(deadline=None, max_examples=40)
@given(
    images=st.integers(1, 4),
    channels=st.integers(1, 2),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    half=st.integers(0, 4),
    log_sigma=st.floats(-2, 1),
    equivariant=st.booleans(),
    pieces=st.sampled_from([(1 << 21, 1 << 18, 1024), (60, 70, 3), (7, 1, 1)]),
    seed=st.integers(0, 10**6),
)
def test_denoised_images_agree_with_the_definition_for_every_chunk_size(
    images, channels, height, width, half, log_sigma, equivariant, pieces, seed
):
    training, noisy = (
        random(images, channels, height, width, seed=seed),
        random(2, channels, height, width, seed=seed + 1),
    )
    patch, sigma = 2 * half + 1, 10**log_sigma
    for boundary in ("zeros", "periodic"):
        if boundary == "periodic" and patch > min(height, width):
            continue
        with pytest.MonkeyPatch.context() as context:
            for name, value in zip(("PATCH_VALUES", "PAIRS", "ROWS"), pieces, strict=True):
                context.setattr(local_score, name, value)
            result = denoise(training, noisy, sigma, patch, equivariant, boundary)
        expected = brute_force(
            training.numpy(), noisy.numpy(), sigma, patch, equivariant, periodic=boundary == "periodic"
        )
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-9)


def test_local_score_combines_patches_of_different_training_images():
    """Test images combine left and right halves of different training images."""
    training = Faces(size=16).images("train", 12).double()
    mosaic = torch.cat([training[:6, ..., :8], training[6:, ..., 8:]], 3)
    noisy = with_noise(mosaic, 0.05)
    errors = [
        (result - mosaic).square().mean()
        for result in (
            denoise(training, noisy, 0.05, 7, False),
            fitted("empirical-bayes", training).denoise(noisy, 0.05, Truth(noisy)),
        )
    ]
    assert errors[0] < 0.1 * errors[1]


def test_the_jacobian_of_local_score_is_accurate_at_low_noise_and_in_chunks(monkeypatch):
    training = random(4, 1, 6, 6)
    machine = fitted(LocalScore(3), torch.cat([training, training + 0.03 * random(4, 1, 6, 6, seed=2)]))
    monkeypatch.setattr(local_score, "PATCH_VALUES", 50)
    monkeypatch.setattr(local_score, "PAIRS", 40)
    assert_jacobian_is_derivative(machine, training[:2] + 0.02 * random(2, 1, 6, 6, seed=1), 0.02)


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 300), size=st.integers(1, 20), radius=st.floats(0, 2), seed=st.integers(0, 10**6))
def test_merging_counts_each_patch_once(count, size, radius, seed):
    patches = random(count, size, seed=seed)
    means, numbers = merge_similar(patches, radius)
    assert len(means) == len(numbers) <= count
    assert numbers.sum() == count
    torch.testing.assert_close(numbers @ means, patches.sum(0))
    # Merging loses distances within groups, whose root mean square is at most the radius.
    lost = patches.square().sum() - (numbers * means.square().sum(1)).sum()
    assert -1e-9 <= lost <= count * radius**2 + 1e-9


def test_equal_patches_are_merged_and_distant_patches_are_not():
    few = 10 * random(4, 9)
    means, numbers = merge_similar(few.repeat_interleave(64, 0), 1e-6)
    assert numbers.tolist() == [64] * 4
    torch.testing.assert_close(means[means[:, 0].argsort()], few[few[:, 0].argsort()])
    patches = random(50, 9)
    means, numbers = merge_similar(patches, 1e-3)
    torch.testing.assert_close(means[means[:, 0].argsort()], patches[patches[:, 0].argsort()])
    assert numbers.tolist() == [1] * 50


@pytest.mark.parametrize(("patch", "sigma"), [(3, 0.05), (5, 0.2)])
def test_the_local_score_of_merged_patches_is_near_the_exact_score(monkeypatch, patch, sigma):
    training, clean = CAlpha(size=16).images("train", 60), CAlpha(size=16).images("test", 2)
    noisy = with_noise(clean, sigma)
    compared = []
    add = local_score.Average.add

    def count_patches(self, patches, values, numbers=None):
        compared.append(patches.shape[1])
        add(self, patches, values, numbers)

    monkeypatch.setattr(local_score.Average, "add", count_patches)

    def denoise(merge_tolerance):
        machine = fitted(LocalScore(patch, merge_tolerance=merge_tolerance), training)
        compared.clear()
        return machine.denoise(noisy, sigma, Truth(noisy)), sum(compared)

    exact, whole = denoise(0.0)
    errors, numbers = [], []
    for merge_tolerance in (0.2, 0.6):
        result, number = denoise(merge_tolerance)
        errors.append(float((result - exact).square().mean().sqrt()) / sigma)
        numbers.append(number)
    assert numbers[1] < numbers[0] < whole
    assert errors[0] < errors[1] < 0.02
