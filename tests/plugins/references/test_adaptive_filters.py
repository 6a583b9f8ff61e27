"""Filters of the image itself: diffusion on its graph, and blurs whose width follows it."""

import numpy as np
import pytest
import torch
from constructing import construct
from learned_references import random, with_noise

from gahbench.contracts.truth import Truth
from gahbench.evaluation import directional
from gahbench_plugins.bases.graph_laplacian import graph_laplacian
from gahbench_plugins.bases.iso_local import local_variance
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.heat_kernel import HeatKernel
from gahbench_plugins.references.local_blur import LocalBlur


def kernels(clean, kernel, time):
    """By the exponential, or the inverse, of matrices."""
    laplacian = graph_laplacian(clean)
    if kernel == "heat":
        return torch.matrix_exp(-time * laplacian)
    return torch.linalg.inv(torch.eye(laplacian.shape[1], dtype=torch.float64) + time * laplacian)


@pytest.mark.parametrize("kernel", ["heat", "tikhonov"])
@pytest.mark.parametrize("time", [0.1, 2.0, 30.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_and_derivatives_are_those_of_the_kernel(kernel, time, channels):
    """The channels share a graph, and are filtered alone."""
    clean, reference = random(2, channels, 5, 6), construct(HeatKernel, kernel=kernel, time=time)
    noisy, truth, matrices = with_noise(clean, 0.1), Truth(clean), kernels(clean, kernel, time)
    expected = (noisy.flatten(2) @ matrices).view_as(noisy)
    torch.testing.assert_close(reference.denoise(noisy, 0.1, truth), expected)
    whole = torch.stack([torch.block_diag(*[matrix] * channels) for matrix in matrices])
    torch.testing.assert_close(reference.jacobian(noisy, 0.1, truth).matrices(), whole)


@pytest.mark.parametrize("kernel", ["heat", "tikhonov"])
@pytest.mark.parametrize("sigma", [0.03, 0.3])
def test_the_time_that_is_found_errs_no_more_than_any_other(kernel, sigma):
    truth = Truth(CAlpha(2.0, 10).images("test", 4).double())
    best = construct(HeatKernel, kernel=kernel).risk(truth, sigma)
    tried = [construct(HeatKernel, kernel=kernel, time=float(time)) for time in torch.logspace(-3, 4, 30)]
    others = torch.stack([reference.risk(truth, sigma) for reference in tried])
    # Times are tried on a grid, next to a smooth minimum.
    assert (best <= 1.01 * others.amin(0)).all()
    assert (best < 0.9 * sigma**2).all()


@pytest.mark.parametrize("kernel", ["heat", "tikhonov"])
def test_what_is_kept_is_the_trace_of_every_image(kernel):
    clean = random(3, 1, 6, 7).float()
    found = construct(HeatKernel, kernel=kernel, kept=0.3).jacobian(clean, 0.1, Truth(clean)).matrices()
    traces = found.diagonal(dim1=1, dim2=2).sum(1)
    assert traces.tolist() == pytest.approx([0.3 * 42] * 3, rel=1e-4)


SIZE = 12


def images(count=3):
    return CAlpha(2.0, SIZE).images("test", count)


def by_hand(image, blur, trace):
    """Kernels pixel by pixel, the width by a root of the trace."""
    from scipy.optimize import brentq

    places = [(row, column) for row in range(image.shape[1]) for column in range(image.shape[2])]
    squared = np.array([[(a - c) ** 2 + (b - d) ** 2 for c, d in places] for a, b in places], float)
    falls = (local_variance(image[None], blur.window)[0].numpy().flatten() + blur.floor**2) ** blur.power

    def kernels(logarithm):
        widths = np.clip(np.exp(logarithm) / falls, 1e-4, 400)
        found = np.exp(-squared / (2 * widths[:, None]))
        return found / found.sum(1, keepdims=True)

    found = kernels(brentq(lambda logarithm: np.trace(kernels(logarithm)) - trace, -25, 25))
    return (found + found.T) / 2


@pytest.mark.parametrize(("arguments", "height"), [
    ({}, SIZE), ({}, 9), ({"window": 9, "kept": 0.3}, SIZE), ({"power": 1.0, "floor": 0.1}, SIZE)
])  # fmt: skip
def test_kernels_are_gaussians_as_wide_as_the_image_allows(arguments, height):
    clean, blur = images()[..., :height, :], construct(LocalBlur, **arguments)
    trace = arguments.get("kept", 0.1) * height * SIZE
    found = blur.matrices(clean)
    for matrix, image in zip(found, clean, strict=True):
        np.testing.assert_allclose(matrix, by_hand(image, blur, trace), atol=1e-6)
    torch.testing.assert_close(found.diagonal(dim1=1, dim2=2).sum(1), torch.full((3,), trace).double())


def test_traces_may_be_given_and_each_pixel_is_isotropic():
    traces = torch.tensor([5.0, 20.0, 80.0])
    found = construct(LocalBlur).matrices(images(), traces)
    torch.testing.assert_close(found.diagonal(dim1=1, dim2=2).sum(1), traces.double(), atol=1e-6, rtol=0)
    for one in (found, construct(LocalBlur).matrices(images())):
        assert directional(one, (1, SIZE, SIZE)).norm() < 1e-3 * one.norm()


def test_it_denoises_by_its_jacobian_and_each_channel_alone():
    clean = random(2, 3, 6, 5).float()
    blur, noisy = construct(LocalBlur, kept=0.3), clean + 0.1
    found = blur.denoise(noisy, 0.1, Truth(clean))
    product = blur.jacobian(noisy, 0.1, Truth(clean)).matvec(noisy.flatten(1)[:, None])
    torch.testing.assert_close(product.view_as(found), found)
    matrices = blur.matrices(clean).float()
    for channel in range(3):
        one = (matrices @ noisy[:, channel].flatten(1)[..., None]).view(2, 6, 5)
        torch.testing.assert_close(found[:, channel], one)
