"""References fitted to training images: empirical Bayes, local composites, and the best affine filter."""

import itertools

import numpy as np
import pytest
import torch
from constructing import construct
from hypothesis import given, settings
from hypothesis import strategies as st
from learned_references import assert_jacobian_is_derivative, fitted, with_noise
from random_images import uniform as random

from gahbench.contracts.truth import TrainingData, Truth
from gahbench_plugins.datasets.faces import Faces
from gahbench_plugins.datasets.finite import Finite
from gahbench_plugins.datasets.gaussian_field import GaussianField
from gahbench_plugins.references import _window_sums as window_sums_module
from gahbench_plugins.references._window_sums import window_sums
from gahbench_plugins.references.empirical_bayes import EmpiricalBayes
from gahbench_plugins.references.local_score import LocalScore
from gahbench_plugins.references.pca_locality import PCALocality
from gahbench_plugins.references.pspc import PatchSetPosteriorComposites
from gahbench_plugins.references.wiener_linear import WienerLinear


@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0])
def test_empirical_bayes_is_optimal_on_the_finite_dataset_of_its_images(sigma):
    dataset = construct(Finite, "faces[size=8]", count=20)
    reference = fitted(EmpiricalBayes(20), Faces(size=8).images("train", 20))
    clean = dataset.images("test", 5)
    noisy = with_noise(clean, sigma)
    denoised = reference.denoise(noisy, sigma, Truth(clean))
    assert denoised.dtype == torch.float32
    torch.testing.assert_close(denoised, dataset.posterior(noisy, sigma).mean.float())
    result = reference.jacobian(noisy, sigma, Truth(clean)).matrices()
    torch.testing.assert_close(result, dataset.optimal_filters(noisy, sigma, "test").matrices())
    traces = dataset.posterior(noisy, sigma).trace
    torch.testing.assert_close(sigma**2 * result.diagonal(dim1=1, dim2=2).sum(1), traces)


def test_images_of_different_noise_levels_are_denoised_at_once():
    levels = [0.05, 0.3, 0.3, 2.0]
    reference = fitted("empirical-bayes", random(9, 1, 6, 6).float())
    noisy = random(4, 1, 6, 6, seed=1).float()
    result = reference.as_network((1, 6, 6))(noisy, torch.tensor(levels))
    for index, sigma in enumerate(levels):
        some = noisy[index : index + 1]
        torch.testing.assert_close(result[index : index + 1], reference.denoise(some, sigma, Truth(some)))


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


@pytest.mark.parametrize("sigma", [0.03, 0.3])
def test_wiener_linear_tends_to_the_optimum_of_gaussian_images(sigma):
    dataset = GaussianField(2.0, 8)
    clean = dataset.images("test", 400)
    minimum = float(dataset.posterior(clean[:1], sigma).trace[0]) / 64
    excess = []
    for images in (300, 4096):
        risk = fitted(WienerLinear(images), dataset).risk(Truth(clean, dataset), sigma)
        error = float(risk.std()) / 400**0.5
        excess.append(float(risk.mean()) / minimum - 1)
        assert float(risk.mean()) > minimum - 4 * error
    assert excess[1] < 0.05
    assert excess[1] < excess[0]


def composed(training, noisy, sigma, patch):
    return fitted(PatchSetPosteriorComposites(patch), training).denoise(noisy, sigma, Truth(noisy))


def composed_by_hand(training, noisy, sigma, patch):
    """Compute the composite patch by patch from its definition."""
    total, count = np.zeros(noisy.shape), np.zeros(noisy.shape)
    _, _, height, width = noisy.shape
    tops = itertools.product(range(height - patch + 1), range(width - patch + 1))
    for (top, left), number in itertools.product(tops, range(len(noisy))):
        rows, columns = slice(top, top + patch), slice(left, left + patch)
        own = noisy[number, :, rows, columns]
        distances = np.array([((own - image[:, rows, columns]) ** 2).sum() for image in training])
        weights = np.exp(-(distances - distances.min()) / (2 * sigma**2))
        weights /= weights.sum()
        for weight, image in zip(weights, training, strict=True):
            total[number, :, rows, columns] += weight * image[:, rows, columns]
        count[number, :, rows, columns] += 1
    return total / count


@settings(deadline=None, max_examples=30)
@given(
    images=st.integers(1, 4),
    channels=st.integers(1, 2),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    patch=st.integers(1, 6),
    log_sigma=st.floats(-2, 1),
    values=st.sampled_from([1 << 18, 30, 1]),
    seed=st.integers(0, 10**6),
)
def test_denoised_images_agree_with_the_definition_for_every_chunk_size(
    images, channels, height, width, patch, log_sigma, values, seed
):
    training = random(images, channels, height, width, seed=seed)
    noisy, patch, sigma = random(2, channels, height, width, seed=seed + 1), min(patch, height, width), 10**log_sigma
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(window_sums_module, "CHUNK_VALUES", values)
        result = composed(training, noisy, sigma, patch)
    np.testing.assert_allclose(
        result.numpy(), composed_by_hand(training.numpy(), noisy.numpy(), sigma, patch), atol=1e-10
    )


@pytest.mark.parametrize("side", range(1, 10))
def test_window_sums(side):
    values = random(2, 9, 12)
    windows = values.unfold(1, side, 1).unfold(2, side, 1).sum((-1, -2))
    torch.testing.assert_close(window_sums(values, side), windows)


def brute_force(training, noisy, sigma, threshold, batch):
    """Compute the result for each value, with images as rows."""
    covariance = np.cov(training.T).reshape(training.shape[1], -1)
    wiener = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(len(covariance)))
    rows = np.abs([row / (row[index] if abs(row[index]) >= 1e-6 else 1) for index, row in enumerate(wiener)])
    result = np.zeros(noisy.shape)
    for number, image in enumerate(noisy):
        for value in range(len(image)):
            seen = [other for other in range(len(image)) if rows[other][value] >= threshold * rows.max()]
            means = []
            for start in range(0, len(training), batch):
                some = training[start : start + batch]
                distances = ((some[:, seen] - image[seen]) ** 2).sum(1)
                weights = np.exp(-(distances - distances.min()) / (2 * sigma**2))
                means.append(weights @ some[:, value] / weights.sum())
            result[number, value] = np.mean(means)
    return result


@settings(deadline=None, max_examples=30)
@given(
    images=st.integers(2, 6),
    channels=st.integers(1, 2),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    log_sigma=st.floats(-1.5, 1),
    threshold=st.sampled_from([0.013, 0.21, 0.57]),
    batch=st.sampled_from([None, 1, 2, 4]),
    seed=st.integers(0, 10**6),
)
def test_pca_locality_agrees_with_its_definition(images, channels, height, width, log_sigma, threshold, batch, seed):
    training, sigma = random(images, channels, height, width, seed=seed), 10**log_sigma
    noisy = random(2, channels, height, width, seed=seed + 1)
    result = fitted(PCALocality(threshold, batch), training).denoise(noisy, sigma, Truth(noisy))
    rows = [some.flatten(1).numpy() for some in (training, noisy)]
    expected = brute_force(*rows, sigma, threshold, batch or images)
    np.testing.assert_allclose(result.flatten(1).numpy(), expected, atol=1e-9)


def correlated(count, size, channels=1, seed=0):
    """Images with similar neighbouring pixels and independent distant pixels."""
    values = random(count, channels, size + 2, size + 2, seed=seed)
    return torch.nn.functional.avg_pool2d(values, 3, stride=1)


def test_the_region_of_pca_locality_grows_with_the_noise():
    machine = fitted(PCALocality(0.1), correlated(400, 6))
    looked_at = [float(machine.mask(sigma).mean()) for sigma in (1e-3, 0.1, 10.0)]
    assert looked_at == sorted(looked_at)
    # At very low noise each pixel depends only on itself.
    assert torch.equal(machine.mask(1e-3), torch.eye(36))


@pytest.mark.parametrize("sigma", [0.3, 1.0])
@pytest.mark.parametrize("name", [
    # The equivariant machine agrees as well, since only the same position has the same borders.
    *(f"local-score[{patch},equivariant={equivariant}]" for patch in (9, 31) for equivariant in ("true", "false")),
    "pspc[5]",
    "pca-locality[threshold=1.0e-9]",
])  # fmt: skip
def test_references_that_see_the_whole_image_equal_empirical_bayes(name, sigma):
    training, noisy = random(6, 2, 5, 5), random(3, 2, 5, 5, seed=1)
    reference, remembered = fitted(name, training), fitted("empirical-bayes", training)
    torch.testing.assert_close(
        reference.denoise(noisy, sigma, Truth(noisy)), remembered.denoise(noisy, sigma, Truth(noisy))
    )
    result, expected = (machine.jacobian(noisy, sigma, Truth(noisy)).matrices() for machine in (reference, remembered))
    torch.testing.assert_close(result, expected, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("sigma", [0.003, 0.03, 0.3])
@pytest.mark.parametrize("name", ["local-score[5]", "pspc[5]"])
def test_float32_is_accurate_at_any_noise(name, sigma):
    """On images outside the training set, many patches have similar weights."""
    training, clean = Faces(size=16).images("train", 24), Faces(size=16).images("test", 4)
    noisy = with_noise(clean, sigma)
    result = fitted(name, training).denoise(noisy, sigma, Truth(noisy))
    assert result.dtype == torch.float32
    exact = fitted(name, training.double()).denoise(noisy.double(), sigma, Truth(noisy))
    torch.testing.assert_close(result.double(), exact, atol=1e-3 * sigma, rtol=0)


@pytest.mark.parametrize(("name", "channels"), [
    ("empirical-bayes", 2),
    *((f"local-score[{patch},equivariant={equivariant},boundary={boundary}]", channels)
      for boundary in ("zeros", "periodic") for equivariant in ("true", "false")
      for channels, patch in ((1, 3), (2, 3), (1, 5), (1, 1))),
    ("pca-locality[threshold=0.2]", 1), ("pca-locality[threshold=0.2,batch=3]", 1),
])  # fmt: skip
def test_jacobians_agree_with_derivatives(name, channels):
    assert_jacobian_is_derivative(fitted(name, correlated(7, 5, channels)), correlated(2, 5, channels, seed=1), 0.2)


@pytest.mark.parametrize(("patch", "channels"), [(1, 1), (3, 1), (2, 2), (4, 2)])
def test_the_jacobian_of_composites_agrees_with_differences(patch, channels):
    """Weights are overwritten in place, which autograd does not support; finite differences are of fourth order."""
    noisy, sigma, step = correlated(2, 5, channels, seed=1), 0.2, 1e-3
    reference = fitted(PatchSetPosteriorComposites(patch), correlated(7, 5, channels))
    steps = step * torch.eye(noisy[0].numel(), dtype=torch.float64).view(-1, *noisy.shape[1:])
    for image, matrix in zip(noisy, reference.jacobian(noisy, sigma, Truth(noisy)).matrices(), strict=True):
        ends = [reference.denoise(image + k * steps, sigma, Truth(steps)).flatten(1) for k in (-2, -1, 1, 2)]
        expected = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]).mT / (12 * step)
        torch.testing.assert_close(matrix, expected, atol=1e-8, rtol=1e-8)
    assert reference.jacobian(noisy, 0.0, Truth(noisy)) is None


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
        errors = {}
        for side in sides[max(0, index - 1) : index + 2]:
            denoised = fitted(plugin(side, images=16), dataset).denoise(noisy, sigma, Truth(noisy))
            errors[side] = float((denoised - clean).square().mean())
        assert min(errors, key=errors.get) == chosen[-1]
    assert chosen == sorted(set(chosen))
    assert machine.notes == (
        "learned from 16 training images",
        f"patch chosen on 4 validation images: {chosen[0]} near σ 0.031, {chosen[1]} near σ 0.18, {chosen[2]} near σ 2",
    )
    machine.fit(examples)
    assert machine.notes == ("learned from 16 training images",)


def test_candidate_sides_end_where_patches_cover_the_whole_image():
    assert PatchSetPosteriorComposites().sides((1, 10, 6)) == [1, 3, 5, 6]
    assert LocalScore().sides((1, 40, 40)) == [1, 3, 5, 7, 9, 13, 17, 25, 33, 49, 65, 79]
    assert LocalScore().sides((3, 9, 4)) == [1, 3, 5, 7, 9, 13, 17]
    assert LocalScore(boundary="periodic").sides((1, 10, 6)) == [1, 3, 5]
    assert LocalScore().sides((1, 1, 1)) == [1]
