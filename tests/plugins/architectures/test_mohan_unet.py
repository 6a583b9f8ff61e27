import pytest
import torch

import gahbench


def test_it_has_the_published_layers_and_a_receptive_field_of_45():
    torch.manual_seed(0)
    network = gahbench.create("architecture", "mohan-unet").eval()
    # Of the published files: 5x5, 3x3 and 4x4 kernels between 1, 32, 64 and 96 channels.
    kernels = 25 * 32 + 9 * 32 * 32 + 9 * 32 * 64 + 3 * 9 * 64 * 64 + 16 * 64 * 64 + 9 * 96 * 32 + 25 * 32
    assert sum(parameter.numel() for parameter in network.parameters()) == kernels
    biased = gahbench.create("architecture", "mohan-unet", bias=True)
    assert sum(parameter.numel() for parameter in biased.parameters()) == kernels + 3 * 32 + 5 * 64
    for parameter in network.parameters():
        parameter.data.abs_()
    for place in (64, 65):
        noisy = torch.rand(1, 1, 130, 130, requires_grad=True)
        network(noisy, torch.ones(1))[0, 0, place, place].backward()
        for axis in (0, 1):
            reached = noisy.grad[0, 0].abs().amax(axis).nonzero()
            assert int(reached.max() - reached.min() + 1) == 45


@pytest.mark.parametrize("size", [(12, 12), (13, 12), (12, 15), (17, 11)])
def test_odd_sides_are_padded_with_zeros_and_cropped(size):
    torch.manual_seed(0)
    network = gahbench.create("architecture", "mohan-unet", channels=3).eval()
    noisy = torch.rand(2, 3, *size)
    even = torch.zeros(2, 3, *(side + side % 2 for side in size))
    even[..., : size[0], : size[1]] = noisy
    with torch.no_grad():
        found = network(noisy, torch.ones(2))
        assert found.shape == noisy.shape
        assert torch.equal(found, network(even, torch.ones(2))[..., : size[0], : size[1]])


def test_it_is_homogeneous_without_bias_alone():
    for bias in (False, True):
        torch.manual_seed(0)
        network = gahbench.create("architecture", "mohan-unet", bias=bias).double().eval()
        noisy = torch.rand(1, 1, 16, 16, dtype=torch.double)
        with torch.no_grad():
            same = torch.allclose(network(3 * noisy, torch.ones(1)), 3 * network(noisy, torch.ones(1)), rtol=1e-9)
        assert same == (not bias)
