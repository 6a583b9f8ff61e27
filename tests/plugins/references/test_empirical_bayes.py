import pytest
import torch
from constructing import construct
from learned_references import fitted, random

from gahbench.contracts.truth import Truth
from gahbench_plugins.datasets.faces import Faces
from gahbench_plugins.datasets.finite import Finite
from gahbench_plugins.references.empirical_bayes import EmpiricalBayes


def noise(images, sigma, seed=0):
    return sigma * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed), dtype=images.dtype)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0])
def test_it_is_the_optimum_of_the_finite_dataset_of_its_images(sigma):
    dataset = construct(Finite, "faces[size=8]", count=20)
    reference = fitted(EmpiricalBayes(20), Faces(size=8).images("train", 20))
    clean = dataset.images("test", 5)
    noisy = clean + noise(clean, sigma)
    denoised = reference.denoise(noisy, sigma, Truth(clean))
    assert denoised.dtype == torch.float32
    torch.testing.assert_close(denoised, dataset.posterior(noisy, sigma).mean.float())
    found = reference.jacobian(noisy, sigma, Truth(clean)).matrices()
    torch.testing.assert_close(found, dataset.optimal_filters(noisy, sigma, "test").matrices())
    traces = dataset.posterior(noisy, sigma).trace
    torch.testing.assert_close(sigma**2 * found.diagonal(dim1=1, dim2=2).sum(1), traces)


def test_its_jacobian_is_its_derivative():
    members, sigma = random(6, 2, 3, 4), 0.4
    reference = fitted("empirical-bayes", members)
    noisy = random(1, 2, 3, 4, seed=1)
    expected = torch.autograd.functional.jacobian(lambda y: reference.denoise(y, sigma, Truth(y)), noisy)
    found = reference.jacobian(noisy, sigma, Truth(noisy)).matrices()[0]
    torch.testing.assert_close(found, expected.view(24, 24), atol=1e-9, rtol=1e-7)


def test_no_denoiser_errs_less_on_the_training_images():
    members, sigma = Faces(size=8).images("train", 30), 0.3
    noisy = members.repeat(50, 1, 1, 1)
    clean = noisy.clone()
    noisy = noisy + noise(noisy, sigma)
    mine, theirs = (
        (reference.denoise(noisy, sigma, Truth(clean)) - clean).square().mean()
        for reference in (fitted("empirical-bayes", members), fitted("wiener-linear", members))
    )
    assert mine < 0.7 * theirs


def test_limits():
    members = random(7, 1, 4, 5)
    reference = fitted("empirical-bayes", members)
    close = members[[4, 2]] + 0.01 * random(2, 1, 4, 5, seed=1)
    torch.testing.assert_close(reference.denoise(close, 1e-3, Truth(close)), members[[4, 2]])
    mean = members.mean(0, keepdim=True).expand(2, -1, -1, -1)
    torch.testing.assert_close(reference.denoise(close, 1e6, Truth(close)), mean)
    assert reference.denoise(close, 0.0, Truth(close)) is close
    assert reference.jacobian(close, 0.0, Truth(close)) is None
    single = fitted(EmpiricalBayes(1), members)
    assert torch.equal(single.denoise(close, 0.3, Truth(close)), members[:1].expand(2, -1, -1, -1))
    assert single.notes == ("memorized 1 training image",)
    assert reference.notes == ("memorized 7 training images",)


@pytest.mark.parametrize("levels", [[0.05, 0.3, 0.3, 2.0], [0.0, 0.3, 2.0, 0.0]])
def test_images_of_different_noise_levels_are_denoised_at_once(levels):
    reference = fitted("empirical-bayes", random(9, 1, 6, 6).float())
    noisy = random(4, 1, 6, 6, seed=1).float()
    found = reference.denoise_each(noisy, torch.tensor(levels), Truth(torch.full_like(noisy, torch.nan)))
    for place, sigma in enumerate(levels):
        some = noisy[place : place + 1]
        torch.testing.assert_close(found[place : place + 1], reference.denoise(some, sigma, Truth(some)))
