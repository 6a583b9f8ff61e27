import math

import numpy as np
import pytest
import torch

from gahbench_plugins.datasets.discs import Discs, render


def parameters(count=200, size=32):
    return Discs(size).draw_parameters(torch.Generator().manual_seed(0), count)


def test_discs_stay_inside_and_their_parameters_in_range():
    row, column, radius, foreground, background = parameters(2000).unbind(1)
    assert radius.min() >= 3.2
    assert radius.max() <= 12.8
    for centre in (row, column):
        assert (centre - radius >= 0.5 - 1e-4).all()
        assert (centre + radius <= 31.5 + 1e-4).all()
    for grey in (foreground, background):
        assert 0 <= grey.min() < 0.01
        assert 0.99 < grey.max() <= 1


@pytest.mark.parametrize("size", [8, 12, 64])
def test_images_lie_in_the_unit_interval(size):
    images = Discs(size).images("train", 100)
    assert images.min() >= 0
    assert images.max() <= 1


def test_mass_is_that_of_a_blurred_disc():
    # A radial profile Phi((r - d) / s) integrates to pi (r^2 + s^2); a smooth image sums to its integral.
    theta = torch.tensor([[15.3, 16.8, 9.4, 1.0, 0.0]], dtype=torch.float64)
    assert render(theta, 32).sum().item() == pytest.approx(math.pi * (9.4**2 + 0.25), rel=1e-4)


def test_edge_is_a_pixel_wide_around_the_exact_area():
    theta = parameters(50).double()
    theta[:, 3], theta[:, 4] = 1, 0
    images = render(theta, 32)[:, 0].numpy()
    places = (np.arange(32) + 0.5)[None]
    row, column, radius = theta[:, :3].numpy().T
    distance = np.hypot(places[..., None] - row[:, None, None], places[:, None] - column[:, None, None])
    away = np.abs(distance - radius[:, None, None])
    exact = distance < radius[:, None, None]
    assert np.abs(images - exact)[away > 1.5].max() < 2e-3
    assert np.abs(images - 0.5)[away < 0.01].max() < 0.01


def test_differentiable_in_every_parameter():
    theta = torch.tensor([[7.5, 7.3, 4.2, 0.8, 0.3], [7.5, 7.5, 4.0, 0.2, 0.9]], dtype=torch.float64)
    theta.requires_grad_()
    assert torch.autograd.gradcheck(lambda values: render(values, 16), theta[:1])
    # At the very centre of a pixel, too, the tangent is finite; and the manifold has 5 dimensions.
    tangent = torch.autograd.functional.jacobian(lambda values: render(values, 16).flatten(), theta[1:])
    assert torch.linalg.matrix_rank(tangent.reshape(256, 5)) == 5
    assert tangent.isfinite().all()


def test_optimum():
    assert Discs().optimum.slope == 1
