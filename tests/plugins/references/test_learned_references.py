"""References fitted to training images: empirical Bayes, local composites, and the best affine filter."""

import itertools

import numpy as np
import pytest
import torch
from constructing import construct
from hypothesis import given, settings
from hypothesis import strategies as st
from learned_references import fitted, with_noise
from random_images import uniform as random

from gahbench import TrainingData, Truth
from gahbench_plugins.datasets.faces import Faces
from gahbench_plugins.datasets.finite import Finite
from gahbench_plugins.references import patches
from gahbench_plugins.references.covariance import PCALocality
from gahbench_plugins.references.patches import LocalScore, PatchSetPosteriorComposites
from gahbench_plugins.references.training_memory import EmpiricalBayes


def denoise(reference, training, noisy, sigma):
    return fitted(reference, training).denoise(noisy, sigma, Truth(noisy))


@pytest.mark.parametrize("sigma", [0.05, 2.0])
def test_empirical_bayes_is_optimal_on_the_finite_dataset_of_its_images(sigma):
    dataset = construct(Finite, "faces[size=8]", count=20)
    reference = fitted(EmpiricalBayes(20), Faces(size=8).images("train", 20))
    clean = dataset.images("test", 5)
    noisy = with_noise(clean, sigma)
    posterior = dataset.posterior(noisy, sigma)
    torch.testing.assert_close(reference.denoise(noisy, sigma, Truth(clean)), posterior.mean.float())
    result = reference.jacobian(noisy, sigma, Truth(clean)).matrices()
    torch.testing.assert_close(result, dataset.optimal_filters(noisy, sigma, "test").matrices())
    torch.testing.assert_close(sigma**2 * result.diagonal(dim1=1, dim2=2).sum(1), posterior.trace)


@pytest.mark.parametrize("images", [2, 6, 40])
def test_wiener_linear_follows_from_mean_and_covariance(images):
    """Compare with m + K (K + sigma^2)^-1 (y - m) and its expected error."""
    training, noisy, sigma = random(images, 2, 3, 4), random(3, 2, 3, 4, seed=1), 0.3
    rows = training.flatten(1)
    covariance = torch.cov(rows.T, correction=0)
    matrix = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(24))
    expected = rows.mean(0) + (noisy.flatten(1) - rows.mean(0)) @ matrix.T
    reference = fitted("wiener-linear", training)
    torch.testing.assert_close(reference.denoise(noisy, sigma, Truth(noisy)).flatten(1), expected)
    risk = (expected - noisy.flatten(1)).square().mean(1) + sigma**2 * matrix.square().sum() / 24
    torch.testing.assert_close(reference.risk(Truth(noisy), sigma), risk)


def posterior_mean(squared_distances, values, sigma):
    """Return the mean of values, the first axis, under the posterior of equally likely examples."""
    weights = np.exp(-(np.array(squared_distances) - min(squared_distances)) / (2 * sigma**2))
    return np.tensordot(weights / weights.sum(), np.array(values), 1)


def composites(training, noisy, sigma, patch):
    """Compute the mean of the posterior means of all patches."""
    total, count = np.zeros(noisy.shape), np.zeros(noisy.shape)
    _, _, height, width = noisy.shape
    tops = itertools.product(range(height - patch + 1), range(width - patch + 1))
    for (top, left), number in itertools.product(tops, range(len(noisy))):
        place = np.s_[:, top : top + patch, left : left + patch]
        distances = [((noisy[number][place] - image[place]) ** 2).sum() for image in training]
        total[number][place] += posterior_mean(distances, [image[place] for image in training], sigma)
        count[number][place] += 1
    return total / count


def patch_at(image, row, column, half):
    """Return values around a pixel by displacement, without values beyond the border."""
    result = {}
    _, height, width = image.shape
    for down, across in itertools.product(range(-half, half + 1), repeat=2):
        other_row, other_column = row + down, column + across
        if 0 <= other_row < height and 0 <= other_column < width:
            result[down, across] = image[:, other_row, other_column]
    return result


def local_means(training, noisy, sigma, patch, equivariant):
    """Compute the result pixel by pixel; only patches with the same missing values are compared."""
    result, half = np.zeros(noisy.shape), patch // 2
    indices = list(itertools.product(range(noisy.shape[2]), range(noisy.shape[3])))
    for number, (row, column) in itertools.product(range(len(noisy)), indices):
        own = patch_at(noisy[number], row, column, half)
        distances, centres = [], []
        for image, index in itertools.product(training, indices if equivariant else [(row, column)]):
            other = patch_at(image, *index, half)
            if set(own) == set(other):
                distances.append(sum(((own[key] - other[key]) ** 2).sum() for key in own))
                centres.append(image[:, index[0], index[1]])
        result[number, :, row, column] = posterior_mean(distances, centres, sigma)
    return result


def means_by_covariance(training, noisy, sigma, threshold, batch):
    """Compute the result for each value, which sees the values that its row of the Wiener filter weights most."""
    shape, (training, noisy) = noisy.shape, (images.reshape(len(images), -1) for images in (training, noisy))
    covariance = np.cov(training.T).reshape(training.shape[1], -1)
    wiener = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(len(covariance)))
    rows = np.abs([row / (row[index] if abs(row[index]) >= 1e-6 else 1) for index, row in enumerate(wiener)])
    result = np.zeros(noisy.shape)
    for (number, image), value in itertools.product(enumerate(noisy), range(noisy.shape[1])):
        seen = rows[:, value] >= threshold * rows.max()
        parts = (training[start : start + batch] for start in range(0, len(training), batch))
        means = [posterior_mean(((part - image)[:, seen] ** 2).sum(1), part[:, value], sigma) for part in parts]
        result[number, value] = np.mean(means)
    return result.reshape(shape)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(2, 5), st.integers(1, 2), st.integers(1, 5), st.integers(1, 5)),
    log_sigma=st.floats(-1.5, 1),
    seed=st.integers(0, 10**6),
    half=st.integers(0, 3),
    pairs=st.sampled_from([1 << 20, 70, 1]),
    threshold=st.sampled_from([0.013, 0.21, 0.57]),
)
def test_local_references_agree_with_their_definitions(shape, log_sigma, seed, half, pairs, threshold):
    training, noisy = random(*shape, seed=seed), random(2, *shape[1:], seed=seed + 1)
    sigma, arrays, side, patch = 10**log_sigma, (training.numpy(), noisy.numpy()), min(shape[2:]), 2 * half + 1
    cases = [
        (PatchSetPosteriorComposites(min(patch, side)), composites(*arrays, sigma, min(patch, side))),
        (PCALocality(threshold, None), means_by_covariance(*arrays, sigma, threshold, len(training))),
        (PCALocality(threshold, 2), means_by_covariance(*arrays, sigma, threshold, 2)),
        *((LocalScore(patch, equivariant), local_means(*arrays, sigma, patch, equivariant))
          for equivariant in (True, False)),
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as context:
        context.setattr(patches, "PAIRS", pairs)
        for reference, expected in cases:
            np.testing.assert_allclose(denoise(reference, training, noisy, sigma), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.3, 1.0])
@pytest.mark.parametrize("name", [
    # The equivariant machine agrees as well, since only the same position has the same borders.
    *(f"local-score[{patch},equivariant={equivariant}]" for patch in (9, 31) for equivariant in ("true", "false")),
    "pspc[5]",
    "pca-locality[threshold=1.0e-9]",
])  # fmt: skip
def test_references_that_see_the_whole_image_equal_empirical_bayes(name, sigma):
    training, noisy = random(6, 2, 5, 5), random(3, 2, 5, 5, seed=1)
    machines = [fitted(each, training) for each in (name, "empirical-bayes")]
    torch.testing.assert_close(*(machine.denoise(noisy, sigma, Truth(noisy)) for machine in machines))
    result, expected = (machine.jacobian(noisy, sigma, Truth(noisy)).matrices() for machine in machines)
    torch.testing.assert_close(result, expected, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("sigma", [0.003, 0.03, 0.3])
@pytest.mark.parametrize("name", ["local-score[5]", "pspc[5]"])
def test_float32_is_accurate_at_any_noise(name, sigma):
    """On images outside the training set, many patches have similar weights."""
    training, clean = Faces(size=16).images("train", 24), Faces(size=16).images("test", 4)
    noisy = with_noise(clean, sigma)
    result = denoise(name, training, noisy, sigma)
    assert result.dtype == torch.float32
    exact = denoise(name, training.double(), noisy.double(), sigma)
    torch.testing.assert_close(result.double(), exact, atol=1e-3 * sigma, rtol=0)


@pytest.mark.parametrize("plugin", [LocalScore, PatchSetPosteriorComposites])
def test_larger_patches_are_chosen_at_higher_noise_levels(plugin):
    dataset, examples, chosen = Faces(size=16), TrainingData(Faces(size=16)), []
    machine, clean = fitted(plugin(images=16, validation=4), dataset), dataset.images("validation", 4)
    sides = machine.sides(dataset.shape)
    for sigma in (2**-5, 2**-2.5, 2.0):
        # A side is chosen once for all levels within a quarter of an octave.
        chosen.append(machine.side(1.15 * sigma))
        assert machine.side(sigma) == machine.side(0.86 * sigma) == chosen[-1]
        noisy, index = clean + examples.noise(4, sigma), sides.index(chosen[-1])
        errors = {
            side: float((denoise(plugin(side, images=16), dataset, noisy, sigma) - clean).square().mean())
            for side in sides[max(0, index - 1) : index + 2]
        }
        assert min(errors, key=errors.get) == chosen[-1]
    assert chosen == sorted(set(chosen))
    assert f"{chosen[1]} near σ 0.18" in machine.notes[1]
    machine.fit(examples)
    assert len(machine.notes) == 1
