import pytest
import torch

import gahbench


@pytest.mark.parametrize(("spacing", "field"), [(1, 43), (2, 23), (4, 13), (8, 9), (20, 5)])
def test_receptive_fields_are_those_that_the_published_code_offers(spacing, field):
    torch.manual_seed(0)
    network = gahbench.create("architecture", "bf-cnn-rf", width=3, spacing=spacing).eval()
    for parameter in network.parameters():
        # Nothing cancels, and no ReLU is closed.
        parameter.data = parameter.data.abs() + 0.1
    noisy = torch.rand(1, 1, 65, 65, requires_grad=True)
    (noisy - network(noisy, torch.ones(1)))[0, 0, 32, 32].backward()
    for axis in (0, 1):
        reached = noisy.grad[0, 0].abs().amax(axis).nonzero()
        assert int(reached.max() - reached.min() + 1) == field


def test_the_first_layer_is_linear_and_the_whole_is_homogeneous():
    torch.manual_seed(0)
    network = gahbench.create("architecture", "bf-cnn-rf", channels=3, width=4, layers=5).double().eval()
    noisy = torch.rand(2, 3, 12, 13, dtype=torch.double)
    with torch.no_grad():
        assert torch.allclose(network(3 * noisy, torch.ones(2)), 3 * network(noisy, torch.ones(2)))
        assert torch.allclose(network.layers[:2](-noisy), -network.layers[:2](noisy))
        assert not torch.allclose(network(-noisy, torch.ones(2)), -network(noisy, torch.ones(2)), atol=1e-6)
