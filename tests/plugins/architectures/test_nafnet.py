import pytest
import torch
from given_networks import build, images, untrained
from torch.nn import functional

from gahbench.networks.receptive_field import receptive_field
from gahbench_plugins.architectures.nafnet import Block, ChannelNorm, NAFNet, gate


def test_the_receptive_field_is_global_through_the_attention_alone():
    def local(shape):
        network = build(NAFNet, shape, width=4, encoder=(1,), decoder=(1,), middle=0)
        for module in network.modules():
            if isinstance(module, Block):
                torch.nn.init.zeros_(module.attention.weight)
        return network

    found = receptive_field(lambda shape: build(NAFNet, shape, width=4, encoder=(1,), decoder=(1,)), sides=(64,))
    assert found.reaches_border
    assert not receptive_field(local, sides=(64,)).reaches_border


def test_a_block_starts_as_the_identity_and_its_nonlinearity_is_a_product():
    torch.manual_seed(0)
    block = Block(6)
    features = torch.randn(2, 6, 5, 5)
    assert torch.equal(block(features), features)
    assert torch.equal(gate(features), features[:, :3] * features[:, 3:])


def test_the_norm_is_of_each_pixel_over_its_channels():
    torch.manual_seed(0)
    norm = ChannelNorm(8)
    features = 3 * torch.randn(2, 8, 4, 5) + 2
    found = norm(features)
    assert torch.allclose(found.mean(1), torch.zeros(2, 4, 5), atol=1e-5)
    assert torch.allclose(found.var(1, correction=0), torch.ones(2, 4, 5), atol=1e-4)
    with torch.no_grad():
        norm.weight.fill_(2.0)
        norm.bias.fill_(3.0)
    assert torch.allclose(norm(features), 2 * found + 3, atol=1e-5)


def test_borders_are_filled_with_zeros_to_a_multiple():
    network = build(NAFNet, (1, 16, 16), width=4)
    noisy, level = images(1, (1, 13, 10)), torch.ones(1)
    with torch.no_grad():
        filled = network(functional.pad(noisy, (0, 6, 0, 3)), level)
        assert torch.equal(network(noisy, level), filled[..., :13, :10])


def test_the_way_up_must_have_as_many_levels_as_the_way_down():
    with pytest.raises(ValueError, match="have 2 and 1"):
        NAFNet(1, encoder=(1, 1), decoder=(1,))


def test_without_levels_it_works_at_full_resolution():
    network = untrained(NAFNet, (1, 5, 5), width=4, encoder=(), decoder=(), middle=2)
    assert network(images(1, (1, 5, 5)), torch.ones(1)).shape == (1, 1, 5, 5)
