"""The blur whose width follows the image."""

import numpy as np
import pytest
import torch
from constructing import construct

import gahbench
from gahbench.contracts.truth import Truth
from gahbench.evaluation import directional
from gahbench_plugins.bases.iso_local import local_variance
from gahbench_plugins.references.local_blur import LocalBlur

SIZE = 12


def images(count=3):
    return gahbench.create("dataset", f"c-alpha[size={SIZE}]").images("test", count)


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


@pytest.mark.parametrize("arguments", [{}, {"window": 9, "kept": 0.3}, {"power": 1.0, "floor": 0.1}])
def test_kernels_are_gaussians_as_wide_as_the_image_allows(arguments):
    clean, blur = images(), construct(LocalBlur, **arguments)
    trace = arguments.get("kept", 0.1) * SIZE**2
    found = blur.matrices(clean)
    for matrix, image in zip(found, clean, strict=True):
        np.testing.assert_allclose(matrix, by_hand(image, blur, trace), atol=1e-6)
    torch.testing.assert_close(found.diagonal(dim1=1, dim2=2).sum(1), torch.full((3,), trace).double())


def test_images_need_not_be_square():
    clean, blur = images()[..., :9, :], construct(LocalBlur)
    for matrix, image in zip(blur.matrices(clean), clean, strict=True):
        np.testing.assert_allclose(matrix, by_hand(image, blur, 0.1 * 9 * SIZE), atol=1e-6)


def test_traces_may_be_given():
    traces = torch.tensor([5.0, 20.0, 80.0])
    found = construct(LocalBlur).matrices(images(), traces)
    torch.testing.assert_close(found.diagonal(dim1=1, dim2=2).sum(1), traces.double(), atol=1e-6, rtol=0)


def test_it_is_isotropic_at_each_pixel():
    found = construct(LocalBlur).matrices(images())
    assert directional(found, (1, SIZE, SIZE)).norm() < 1e-3 * found.norm()


def test_it_denoises_by_its_jacobian_and_each_channel_alone():
    clean = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    blur, noisy = construct(LocalBlur, kept=0.3), clean + 0.1
    found = blur.denoise(noisy, 0.1, Truth(clean))
    product = blur.jacobian(noisy, 0.1, Truth(clean)).matvec(noisy.flatten(1)[:, None])
    torch.testing.assert_close(product.view_as(found), found)
    matrices = blur.matrices(clean).float()
    for channel in range(3):
        one = (matrices @ noisy[:, channel].flatten(1)[..., None]).view(2, 6, 5)
        torch.testing.assert_close(found[:, channel], one)


def test_large_images_are_refused():
    construct(LocalBlur).check_shape((3, 64, 64))
    with pytest.raises(ValueError, match="local-blur is a matrix"):
        construct(LocalBlur).check_shape((1, 65, 64))
