"""Published weights through networks of ours."""

import pytest
import torch

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


def across(vector):
    return vector.view(1, -1, 1, 1)


def refused(architecture, state, keys="auto", **parameters):
    network = gahbench.create("architecture", architecture, **parameters)
    with pytest.raises(ParameterError) as error:
        fitted(state, network, keys)
    return str(error.value)
