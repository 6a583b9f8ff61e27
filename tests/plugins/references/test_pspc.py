import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learned_references import assert_jacobian_is_derivative, fitted, memory, random

from gahbench.contracts.truth import TrainingData, Truth
from gahbench_plugins.datasets.faces import Faces
from gahbench_plugins.references import _window_sums as window_sums_module
from gahbench_plugins.references._window_sums import window_sums
from gahbench_plugins.references.pspc import PatchSetPosteriorComposites


def machine_of(training, *arguments, **parameters):
    return fitted(PatchSetPosteriorComposites(*arguments, **parameters), training)


def denoised(training, noisy, sigma, patch):
    return machine_of(training, patch).denoise(noisy, sigma, Truth(noisy))


def brute_force(training, noisy, sigma, patch):
    """Patch by patch, as the composite is defined."""
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
def test_against_the_definition_whatever_the_pieces(images, channels, height, width, patch, log_sigma, values, seed):
    training = random(images, channels, height, width, seed=seed)
    noisy, patch, sigma = random(2, channels, height, width, seed=seed + 1), min(patch, height, width), 10**log_sigma
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(window_sums_module, "VALUES", values)
        found = denoised(training, noisy, sigma, patch)
    np.testing.assert_allclose(found.numpy(), brute_force(training.numpy(), noisy.numpy(), sigma, patch), atol=1e-10)


@pytest.mark.parametrize("side", range(1, 10))
def test_window_sums(side):
    values = random(2, 9, 12)
    windows = values.unfold(1, side, 1).unfold(2, side, 1).sum((-1, -2))
    torch.testing.assert_close(window_sums(values, side), windows)


def test_a_patch_that_is_the_whole_image_is_perfect_memorization():
    training, noisy = random(5, 2, 6, 6), random(3, 2, 6, 6, seed=1)
    for sigma in (0.1, 1.0):
        expected = memory(training, noisy, sigma)
        torch.testing.assert_close(denoised(training, noisy, sigma, 6), expected)
        torch.testing.assert_close(
            machine_of(training, 6).jacobian(noisy, sigma, Truth(noisy)).matrices(),
            fitted("empirical-bayes", training).jacobian(noisy, sigma, Truth(noisy)).matrices(),
        )
    assert denoised(training, noisy, 0.0, 6) is noisy


def test_without_and_with_much_noise():
    training = random(4, 1, 6, 6)
    torch.testing.assert_close(denoised(training, training, 1e-4, 3), training)
    torch.testing.assert_close(denoised(training, training, 1e6, 3), training.mean(0).expand(4, 1, 6, 6))


@pytest.mark.parametrize("sigma", [0.003, 0.3])
def test_float32_is_accurate(sigma):
    training, clean = Faces(size=12).images("train", 24), Faces(size=12).images("test", 2)
    noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    found = denoised(training, noisy, sigma, 5)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found.double(), denoised(training.double(), noisy.double(), sigma, 5), atol=1e-3 * sigma, rtol=0
    )


def test_the_side_is_chosen_on_validation_images():
    dataset, chosen = Faces(size=12), []
    machine = PatchSetPosteriorComposites(images=16, validation=2)
    machine.fit(TrainingData(dataset))
    examples, clean = TrainingData(dataset), dataset.images("validation", 2)
    for sigma in (2**-5, 2.0):
        chosen.append(machine.side(sigma))
        noisy, sides = clean + examples.noise(2, sigma), machine.sides(dataset.shape)
        place = sides.index(chosen[-1])
        errors = [
            float((denoised(dataset.images("train", 16), noisy, sigma, side) - clean).square().mean())
            for side in sides[max(0, place - 1) : place + 2]
        ]
        assert min(errors) == errors[min(place, 1)]
    assert chosen == sorted(set(chosen))
    assert machine.notes[1].startswith("patch chosen on 2 validation images: ")
    assert PatchSetPosteriorComposites().sides((1, 10, 6)) == [1, 3, 5, 6]


@pytest.mark.parametrize(("channels", "patch"), [(1, 1), (1, 3), (2, 2), (2, 4)])
def test_its_jacobian_is_its_derivative(channels, patch):
    machine = machine_of(random(3, channels, 4, 5), patch)
    assert_jacobian_is_derivative(machine, random(2, channels, 4, 5, seed=1), 0.3)


def test_errors_say_what_is_accepted():
    with pytest.raises(ValueError, match="patch=5 does not fit into images of 4x6; accepted: up to 4"):
        machine_of(torch.zeros(1, 1, 4, 6), 5)
    large = torch.zeros(1, 1, 65, 65)
    with pytest.raises(ValueError, match="accepted are up to 4096"):
        machine_of(large, 3).jacobian(large, 0.1, Truth(large))
