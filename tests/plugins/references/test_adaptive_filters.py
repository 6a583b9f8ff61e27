"""Image-adaptive filters: diffusion on the graph of the image, and blurs of variable width."""

import numpy as np
import pytest
import torch
from constructing import construct
from learned_references import with_noise
from random_images import uniform as random

from gahbench.contracts.truth import Truth
from gahbench.evaluation import directional
from gahbench_plugins.bases.graph_laplacian import graph_laplacian
from gahbench_plugins.bases.iso_local import local_variance
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.heat_kernel import HeatKernel
from gahbench_plugins.references.local_blur import LocalBlur


def kernels(clean, kernel, time):
    """Return the filter computed by the matrix exponential or inverse."""
    laplacian = graph_laplacian(clean)
    if kernel == "heat":
        return torch.matrix_exp(-time * laplacian)
    return torch.linalg.inv(torch.eye(laplacian.shape[1], dtype=torch.float64) + time * laplacian)


@pytest.mark.parametrize("kernel", ["heat", "tikhonov"])
@pytest.mark.parametrize("time", [0.1, 2.0, 30.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_denoised_images_and_jacobians_follow_from_the_kernel(kernel, time, channels):
    """The channels share a graph, and are filtered separately."""
    clean, reference = random(2, channels, 5, 6), construct(HeatKernel, kernel=kernel, time=time)
    noisy, truth, matrices = with_noise(clean, 0.1), Truth(clean), kernels(clean, kernel, time)
    expected = (noisy.flatten(2) @ matrices).view_as(noisy)
    torch.testing.assert_close(reference.denoise(noisy, 0.1, truth), expected)
    whole = torch.stack([torch.block_diag(*[matrix] * channels) for matrix in matrices])
    torch.testing.assert_close(reference.jacobian(noisy, 0.1, truth).matrices(), whole)


@pytest.mark.parametrize("kernel", ["heat", "tikhonov"])
@pytest.mark.parametrize("sigma", [0.03, 0.3])
def test_the_chosen_time_minimises_the_expected_error(kernel, sigma):
    truth = Truth(CAlpha(2.0, 10).images("test", 4).double())
    best = construct(HeatKernel, kernel=kernel).risk(truth, sigma)
    tried = [construct(HeatKernel, kernel=kernel, time=float(time)) for time in torch.logspace(-3, 4, 30)]
    others = torch.stack([reference.risk(truth, sigma) for reference in tried])
    # Candidate times are on a grid near a smooth minimum.
    assert (best <= 1.01 * others.amin(0)).all()
    assert (best < 0.9 * sigma**2).all()


@pytest.mark.parametrize("kernel", ["heat", "tikhonov"])
def test_trace_fraction_is_the_normalised_trace_of_every_filter(kernel):
    clean = random(3, 1, 6, 7).float()
    result = construct(HeatKernel, kernel=kernel, trace_fraction=0.3).jacobian(clean, 0.1, Truth(clean)).matrices()
    traces = result.diagonal(dim1=1, dim2=2).sum(1)
    assert traces.tolist() == pytest.approx([0.3 * 42] * 3, rel=1e-4)


SIZE = 12


def images(count=3):
    return CAlpha(2.0, SIZE).images("test", count)


def filter_by_hand(image, blur, trace):
    """Return kernels computed for each pixel, with the width from a root finder for the trace."""
    from scipy.optimize import brentq

    indices = [(row, column) for row in range(image.shape[1]) for column in range(image.shape[2])]
    squared = np.array([[(a - c) ** 2 + (b - d) ** 2 for c, d in indices] for a, b in indices], float)
    falls = (local_variance(image[None], blur.window)[0].numpy().flatten() + blur.floor**2) ** blur.power

    def kernels(logarithm):
        widths = np.clip(np.exp(logarithm) / falls, 1e-4, 400)
        result = np.exp(-squared / (2 * widths[:, None]))
        return result / result.sum(1, keepdims=True)

    result = kernels(brentq(lambda logarithm: np.trace(kernels(logarithm)) - trace, -25, 25))
    return (result + result.T) / 2


@pytest.mark.parametrize(("arguments", "height"), [
    ({}, SIZE), ({}, 9), ({"window": 9, "trace_fraction": 0.3}, SIZE), ({"power": 1.0, "floor": 0.1}, SIZE)
])  # fmt: skip
def test_kernels_are_gaussians_whose_width_follows_the_local_variance(arguments, height):
    clean, blur = images()[..., :height, :], construct(LocalBlur, **arguments)
    trace = arguments.get("trace_fraction", 0.1) * height * SIZE
    result = blur.matrices(clean)
    for matrix, image in zip(result, clean, strict=True):
        np.testing.assert_allclose(matrix, filter_by_hand(image, blur, trace), atol=1e-6)
    torch.testing.assert_close(result.diagonal(dim1=1, dim2=2).sum(1), torch.full((3,), trace).double())


def test_filters_have_the_given_traces_and_are_isotropic():
    traces = torch.tensor([5.0, 20.0, 80.0])
    result = construct(LocalBlur).matrices(images(), traces)
    torch.testing.assert_close(result.diagonal(dim1=1, dim2=2).sum(1), traces.double(), atol=1e-6, rtol=0)
    for filters in (result, construct(LocalBlur).matrices(images())):
        assert directional(filters, (1, SIZE, SIZE)).norm() < 1e-3 * filters.norm()


def test_local_blur_applies_its_jacobian_to_each_channel():
    clean = random(2, 3, 6, 5).float()
    blur, noisy = construct(LocalBlur, trace_fraction=0.3), clean + 0.1
    result = blur.denoise(noisy, 0.1, Truth(clean))
    product = blur.jacobian(noisy, 0.1, Truth(clean)).matvec(noisy.flatten(1)[:, None])
    torch.testing.assert_close(product.view_as(result), result)
    matrices = blur.matrices(clean).float()
    for channel in range(3):
        expected = (matrices @ noisy[:, channel].flatten(1)[..., None]).view(2, 6, 5)
        torch.testing.assert_close(result[:, channel], expected)
