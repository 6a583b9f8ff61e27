"""Published numbers of the networks (SCIENCE: section 7; Kadkhodaie et al. 2024; Mohan et al. 2020)."""

import pytest
import torch

import gahbench


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def receptive_field(network, size, channels=1):
    """Return the side of the square of pixels that the middle pixel depends on, measured by its gradient."""
    noisy = torch.rand(1, channels, size, size, requires_grad=True, generator=torch.Generator().manual_seed(0))
    network.eval()(noisy, torch.ones(1))[0, 0, size // 2, size // 2].backward()
    rows = (noisy.grad[0].abs().amax(dim=(0, 2)) > 0).nonzero()
    return int(rows.max() - rows.min() + 1)


@pytest.mark.parametrize(("levels", "millions"), [(1, 0.36), (2, 1.8), (3, 7.6), (4, 31)])
def test_unet_has_the_published_size(levels, millions):
    with torch.device("meta"):
        count = parameters(gahbench.create("architecture", "unet", levels=levels))
    # Two published digits, some of them cut rather than rounded.
    assert count / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize(("levels", "field"), [(1, 18), (2, 44), (3, 92), (4, 188)])
def test_unet_has_the_published_receptive_field(levels, field):
    """The published figures hold for pixels on the grid of the pooling; between them it is somewhat larger."""
    torch.manual_seed(0)
    assert receptive_field(gahbench.create("architecture", "unet", levels=levels, width=2), 256) == field


def test_bf_cnn_has_the_published_size_and_receptive_field():
    with torch.device("meta"):
        assert parameters(gahbench.create("architecture", "bf-cnn")) == pytest.approx(0.7e6, rel=0.02)
    torch.manual_seed(0)
    assert receptive_field(gahbench.create("architecture", "bf-cnn", width=4), 64) == 43


@pytest.mark.parametrize("name", ["unet[width=4,levels=2]", "bf-cnn[width=4,layers=5]"])
def test_networks_without_bias_are_homogeneous_and_those_with_are_not(name):
    torch.manual_seed(0)
    noisy = torch.rand(2, 1, 16, 16)
    for bias in (False, True):
        network = gahbench.create("architecture", name, bias=bias)
        network.train()(torch.rand(8, 1, 16, 16), torch.ones(8))
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.rand_like(parameter)
        network.eval()
        with torch.no_grad():
            expected = 3 * network(noisy, torch.ones(2))
            difference = network(3 * noisy, torch.ones(2)) - expected
        assert (difference.norm() < 1e-4 * expected.norm()) == (not bias)


def test_bias_free_norm_divides_by_the_deviation_and_keeps_the_mean():
    from gahbench_plugins.architectures.bias_free import BiasFreeNorm

    generator = torch.Generator().manual_seed(0)
    features = 3 * torch.randn(64, 2, 16, 16, generator=generator) + 5
    norm = BiasFreeNorm(2)
    out = norm.train()(features)
    assert torch.allclose(out.std(dim=(0, 2, 3), correction=0), torch.ones(2), atol=1e-4)
    deviation = features.std(dim=(0, 2, 3), correction=0)
    assert torch.allclose(out.mean(dim=(0, 2, 3)), features.mean(dim=(0, 2, 3)) / deviation, atol=1e-4)
    for _ in range(200):
        norm(features)
    assert torch.allclose(norm.running_deviation, deviation, atol=1e-4)
    assert torch.allclose(norm.eval()(features), out, atol=1e-3)


def test_a_size_that_the_levels_do_not_divide_is_refused():
    network = gahbench.create("architecture", "unet", width=2, levels=3)
    with pytest.raises(ValueError, match="multiples of 8, not 20x24"):
        network(torch.zeros(1, 1, 20, 24), torch.ones(1))
