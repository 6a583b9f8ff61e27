import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learned_references import assert_jacobian_is_derivative, fitted, memory, random

from gahbench._util.errors import DataError
from gahbench.contracts.truth import Truth
from gahbench_plugins.references.pca_locality import PCALocality


def machine_of(training, **parameters):
    return fitted(PCALocality(**parameters), training)


def denoised(training, noisy, sigma, **parameters):
    return machine_of(training, **parameters).denoise(noisy, sigma, Truth(noisy))


def brute_force(training, noisy, sigma, threshold, batch):
    """Value by value, of images in rows."""
    covariance = np.cov(training.T).reshape(training.shape[1], -1)
    wiener = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(len(covariance)))
    rows = np.abs([row / (row[place] if abs(row[place]) >= 1e-6 else 1) for place, row in enumerate(wiener)])
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
def test_against_the_definition(images, channels, height, width, log_sigma, threshold, batch, seed):
    training, sigma = random(images, channels, height, width, seed=seed), 10**log_sigma
    noisy = random(2, channels, height, width, seed=seed + 1)
    found = denoised(training, noisy, sigma, threshold=threshold, batch=batch)
    rows = [some.flatten(1).numpy() for some in (training, noisy)]
    expected = brute_force(*rows, sigma, threshold, batch or images)
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, atol=1e-9)


def correlated(count, size, seed=0):
    """Images of which neighbours are alike, and far pixels are not."""
    values = random(count, 1, size + 2, size + 2, seed=seed)
    return torch.nn.functional.avg_pool2d(values, 3, stride=1)


def test_the_region_grows_with_the_noise_and_is_whole_in_the_end():
    training = correlated(400, 6)
    machine = machine_of(training, threshold=0.1)
    looked_at = [float(machine.mask(sigma).mean()) for sigma in (1e-3, 0.1, 10.0)]
    assert looked_at == sorted(looked_at)
    # Each pixel looks at itself alone where there is hardly any noise.
    assert torch.equal(machine.mask(1e-3), torch.eye(36))


def test_with_a_low_threshold_and_much_noise_it_is_perfect_memorization():
    training, noisy = random(6, 1, 4, 4), random(2, 1, 4, 4, seed=1)
    for sigma in (0.3, 3.0):
        found = denoised(training, noisy, sigma, threshold=1e-9)
        torch.testing.assert_close(found, memory(training, noisy, sigma))


def test_batches_of_the_published_code_change_the_result_and_all_in_one_do_not():
    training, noisy = correlated(32, 5), correlated(2, 5, seed=1)
    exact = denoised(training, noisy, 0.1)
    torch.testing.assert_close(denoised(training, noisy, 0.1, batch=32), exact)
    apart = denoised(training, noisy, 0.1, batch=4)
    assert (apart - exact).abs().max() > 0.01
    # The order of training images plays no part, unless they are in batches.
    turned = training.flip(0)
    torch.testing.assert_close(denoised(turned, noisy, 0.1), exact)
    # A batch of one is an image itself: their mean is left.
    torch.testing.assert_close(denoised(training, noisy, 0.1, batch=1), training.mean(0).expand(2, 1, 5, 5))
    assert machine_of(training).denoise(noisy, 0.0, Truth(noisy)) is noisy


@pytest.mark.parametrize("batch", [None, 3])
def test_its_jacobian_is_its_derivative(batch):
    machine = machine_of(correlated(7, 4), threshold=0.2, batch=batch)
    assert 0.1 < machine.mask(0.1).mean() < 0.9
    assert_jacobian_is_derivative(machine, correlated(2, 4, seed=1), 0.1)


def test_errors_say_what_is_accepted():
    with pytest.raises(DataError, match=r"call fit\(examples\) first"):
        PCALocality().mask(0.1)
    with pytest.raises(DataError, match="at least 2 of them"):
        machine_of(torch.zeros(1, 1, 4, 6))
