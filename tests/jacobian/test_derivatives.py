import numpy as np
import pytest
import torch
from constructing import construct
from given_images import GivenImages

import gahbench
from gahbench.contracts.truth import TrainingData, Truth
from gahbench.jacobian.derivatives import autograd_jacobians
from gahbench_plugins.bases.wavelet import Wavelet
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.threshold import Threshold
from gahbench_plugins.references.wiener_linear import WienerLinear

SIGMA = 0.1


def noisy_images(size=16, count=3, dtype=torch.float32):
    clean = CAlpha(2.0, size).images("test", count)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return (clean + SIGMA * noise).to(dtype)


def compute_jacobians(reference, noisy):
    return autograd_jacobians(lambda images, first: reference.denoise(images, SIGMA, Truth(images)), noisy, SIGMA)


@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_the_jacobian_of_the_wiener_filter_follows_from_the_covariance(dtype, accuracy):
    images = CAlpha(2.0, 8).images("train", 200)
    reference = WienerLinear()
    reference.fit(TrainingData(GivenImages(images)))
    covariance = torch.as_tensor(np.cov(images.flatten(1).double().numpy(), rowvar=False, bias=True))
    expected = torch.linalg.solve(covariance + SIGMA**2 * torch.eye(64, dtype=torch.float64), covariance)
    matrices = compute_jacobians(reference, noisy_images(8, dtype=dtype)).matrices()
    assert matrices.dtype == dtype
    torch.testing.assert_close(matrices.double(), expected.expand(3, -1, -1), atol=accuracy, rtol=0)


@pytest.mark.parametrize("basis", ["haar", "sym4"])
def test_the_jacobian_of_hard_thresholding_is_an_orthogonal_projection(basis):
    reference, noisy = construct(Threshold, basis, "hard", 2.0), noisy_images(dtype=torch.float64)
    matrices = compute_jacobians(reference, noisy).matrices()
    torch.testing.assert_close(matrices @ matrices, matrices)
    torch.testing.assert_close(matrices, matrices.mT)
    coefficients, labels = Wavelet(basis).analysis(noisy), Wavelet(basis).bands((1, 16, 16))
    kept = ((coefficients.abs() > 2 * SIGMA) | (labels == 0)).flatten(1).sum(1)
    assert len(set(kept.tolist())) > 1
    traces = matrices.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(traces, kept.double())
    # Hard thresholding is homogeneous: J y = f(y).
    denoised = reference.denoise(noisy, SIGMA, Truth(noisy))
    torch.testing.assert_close((matrices @ noisy.flatten(1)[..., None]).view_as(noisy), denoised)


def test_the_denoiser_receives_the_truth_of_each_image():
    clean = CAlpha(2.0, 8).images("test", 4).double()
    truth = Truth(clean, None, "test", 10)
    starts = []

    class Multiply(gahbench.Reference):
        kind = "oracle"

        def denoise(self, noisy, sigma, truth):
            starts.append((truth.start, len(truth)))
            return noisy * truth.clean * sigma

    maps = Multiply().jacobian(torch.zeros_like(clean), SIGMA, truth)
    torch.testing.assert_close(maps.matrices(), torch.diag_embed(SIGMA * clean.flatten(1)))
    torch.testing.assert_close(maps.select(2).matrices(), torch.diag_embed(SIGMA * clean[2:3].flatten(1)))
    assert {(10, 1), (11, 1), (12, 1), (13, 1)} == set(starts)


def soft(images, source):
    return images.sign() * (images.abs() - source.abs().amax((1, 2, 3), keepdim=True) / 2).clamp(min=0)


NOT_DIFFERENTIABLE = {
    "arrays": lambda images: torch.as_tensor(np.tanh(images.numpy())),
    "detached arrays": lambda images: torch.as_tensor(np.tanh(images.detach().numpy())),
    "a detached factor": lambda images: images * images.detach(),
    "a part in arrays": lambda images: images + torch.as_tensor(np.sin(9 * images.detach().numpy())),
    "rounding": lambda images: images * 0 + (1000 * images).round() / 1000,
}


@pytest.mark.parametrize("case", NOT_DIFFERENTIABLE)
def test_code_that_computes_partly_outside_torch_has_no_derivative(case):
    noisy = noisy_images(8, dtype=torch.float64)
    assert autograd_jacobians(lambda images, first: NOT_DIFFERENTIABLE[case](images), noisy, SIGMA) is None


def test_a_threshold_that_is_detached_from_the_image_is_detected_in_most_cases():
    """The missing part has rank one and half of the norm, so random directions nearly always detect it."""
    rejected = {"detached": 0, "attached": 0}
    for seed in range(10):
        images = 0.3 * torch.randn(1, 1, 12, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        detached, attached = (lambda y, first: soft(y, y.detach())), (lambda y, first: soft(y, y))
        rejected["detached"] += autograd_jacobians(detached, images, SIGMA) is None
        rejected["attached"] += autograd_jacobians(attached, images, SIGMA) is None
    assert rejected["detached"] >= 8
    assert rejected["attached"] == 0


@pytest.mark.parametrize("name", ["tv", "nl-means", "bilateral", "guided-filter", "anisotropic"])
def test_derivatives_of_references_agree_with_finite_differences_or_are_absent(name):
    """Denoisers of other libraries are checked at an image that the check in ``autograd_jacobians`` does not use."""
    reference, noisy = gahbench.create("reference", name), noisy_images(8)
    reference.fit(TrainingData(CAlpha(2.0, 8)))
    maps = compute_jacobians(reference, noisy)
    assert (maps is None) == (name == "tv")
    if maps is not None:
        direction = torch.randn(64, generator=torch.Generator().manual_seed(1))
        step = 1e-3 * direction.reshape(1, 1, 8, 8)
        forward, backward = (reference.denoise(noisy[1:2] + h * step, SIGMA, Truth(noisy[1:2])) for h in (1, -1))
        differences = (forward - backward).flatten() / 2e-3
        product = maps.select(1).matvec(direction[None, None])[0, 0]
        assert (product - differences).norm() < 0.05 * differences.norm()


def test_errors_of_the_denoiser_itself_are_raised():
    with pytest.raises(RuntimeError, match="shape"):
        autograd_jacobians(lambda noisy, first: noisy.reshape(7), torch.zeros(1, 1, 4, 4), 0.1)
