"""Published weights through networks of ours."""

import pytest
import torch
from torch.nn import functional

import gahbench
from gahbench._util.errors import ParameterError
from gahbench_plugins.references._checkpoints.fitting import fitted

WIDTH = 6


def ours(architecture, state, noisy, sigma=0.1, keys="auto", expect=None, **parameters):
    network = gahbench.create("architecture", architecture, channels=noisy.shape[1], **parameters)
    fit = fitted(state, network, keys)
    assert expect in (None, fit.keys)
    network.load_state_dict(fit.state)
    with torch.no_grad():
        found = network.eval()(noisy, torch.full((len(noisy),), sigma))
    return noisy - found if fit.output == "residual" else found


def images(channels, height=17, width=20):
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(1))


def assert_agree(found, expected, noisy):
    residual = (expected - noisy).norm()
    assert residual > 0.05 * noisy.norm()
    assert (found - expected).norm() < 1e-5 * residual


def bias_free_chain(draw, noisy, layers, *, first_relu=True, side=lambda number: 3):
    """Return the kernels of a chain, the gains and deviations of its normalisations, and the image that it returns."""
    positive, weights, _ = draw
    kernels, norms = [weights(WIDTH, noisy.shape[1], 3)], []
    features = functional.conv2d(noisy, kernels[0], padding=1)
    features = features.relu() if first_relu else features
    for number in range(1, layers - 1):
        kernels.append(weights(WIDTH, WIDTH, side(number)))
        gain, deviation = positive(1, WIDTH, 1, 1), positive(1, WIDTH, 1, 1)
        norms.append((gain, deviation))
        features = functional.conv2d(features, kernels[-1], padding=side(number) // 2) / deviation * gain
        features = features.relu()
    kernels.append(weights(noisy.shape[1], WIDTH, 3))
    return kernels, norms, noisy - functional.conv2d(features, kernels[-1], padding=1)


def refused(architecture, state, keys="auto", **parameters):
    network = gahbench.create("architecture", architecture, **parameters)
    with pytest.raises(ParameterError) as error:
        fitted(state, network, keys)
    return str(error.value)
