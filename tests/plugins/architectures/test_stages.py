"""The networks of several chains: recurrent and dense ones of Mohan et al. 2020, and the dilated ones of IRCNN."""

import pytest
import torch
from given_networks import build, count, images

from gahbench_plugins.architectures.ircnn import IRCNN
from gahbench_plugins.architectures.mohan_densenet import MohanDenseNet
from gahbench_plugins.architectures.mohan_rcnn import MohanRCNN


@pytest.mark.parametrize("bias", [False, True])
def test_they_have_the_published_numbers_of_parameters(bias):
    def chain(inputs, outputs, last_bias):
        return 9 * (64 * inputs + 5 * 64 * 64 + 64 * outputs) + bias * (6 * 64 + last_bias * outputs)

    assert count(MohanRCNN, 1, bias=bias) == chain(2, 1, False)
    stages = [(1, 5, True), (6, 5, True), (6, 5, True), (6, 1, False)]
    assert count(MohanDenseNet, 1, bias=bias) == sum(chain(*stage) for stage in stages)
    assert count(IRCNN, 3, bias=bias) == chain(3, 3, True)
    assert count(IRCNN, 1, levels=25, bias=bias) == 25 * chain(1, 1, True)


@pytest.mark.parametrize(
    ("network", "parameters", "pixels"),
    [(MohanRCNN, {"stages": 1}, 15), (MohanRCNN, {}, 57), (MohanDenseNet, {}, 57), (IRCNN, {}, 33)],
)
def test_their_receptive_fields(network, parameters, pixels):
    found = build(network, (1, 80, 80), width=4, **parameters)
    for parameter in found.parameters():
        parameter.data.abs_()
    noisy = torch.rand(1, 1, 80, 80, requires_grad=True)
    found(noisy, torch.ones(1))[0, 0, 40, 40].backward()
    for axis in (0, 1):
        reached = noisy.grad[0, 0].abs().amax(axis).nonzero()
        assert int(reached.max() - reached.min() + 1) == pixels


@pytest.mark.parametrize("network", [MohanRCNN, MohanDenseNet, IRCNN])
def test_they_are_homogeneous_without_bias_alone(network):
    noisy, sigma = images(1, (1, 12, 13)).double(), torch.ones(1)
    for bias in (False, True):
        found = build(network, (1, 12, 13), width=6, bias=bias).double()
        with torch.no_grad():
            same = torch.allclose(found(3 * noisy, sigma), 3 * found(noisy, sigma), rtol=1e-9)
        assert same == (not bias)


def test_networks_of_other_noise_levels_learn_nothing_from_an_image():
    found = build(IRCNN, (1, 8, 8), width=4, levels=4).train()
    found(images(3, (1, 8, 8)), torch.tensor([1.0, 6.0, 5.5]) / 255).square().sum().backward()
    learned = [any(part.grad is not None for part in network.parameters()) for network in found.networks]
    assert learned == [True, False, True, False]
