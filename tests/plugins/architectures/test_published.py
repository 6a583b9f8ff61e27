"""Published numbers of the networks (Kadkhodaie et al. 2024; Mohan et al. 2020)."""

import pytest
import torch

import gahbench
from gahbench.networks.receptive_field import receptive_field


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def field(name, **parameters):
    """Return the measured receptive field of a network with random weights."""

    def build(shape):
        torch.manual_seed(0)
        return gahbench.create("architecture", name, shape=shape, **parameters).eval()

    return receptive_field(build, seconds=60.0)


@pytest.mark.parametrize(("levels", "millions"), [(1, 0.36), (2, 1.8), (3, 7.6), (4, 31)])
def test_unet_has_the_published_size(levels, millions):
    with torch.device("meta"):
        count = parameters(gahbench.create("architecture", "unet", levels=levels))
    # Two published digits, some of them cut rather than rounded.
    assert count / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize(("levels", "pixels", "between"), [(1, 18, 18), (2, 44, 44), (3, 92, 100), (4, 188, 204)])
def test_unet_has_the_published_receptive_field(levels, pixels, between):
    """The published figures hold for pixels on the grid of the pooling; between them it is somewhat larger.

    Larger by what parity does to each level: an interval of 2a + 1 pixels covers a or a + 1 pairs.
    """
    found = field("unet", levels=levels, width=4)
    assert found.on_grid == (pixels, pixels)
    assert found.largest == (between, between)


def test_bf_cnn_has_the_published_size_and_receptive_field():
    with torch.device("meta"):
        assert parameters(gahbench.create("architecture", "bf-cnn")) == pytest.approx(0.7e6, rel=0.02)
    assert field("bf-cnn", width=4).largest == (43, 43)


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
    from gahbench_plugins.architectures._bias_free import BiasFreeNorm

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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_bias_free_norm_has_the_derivative_of_its_formula(layout):
    from gahbench_plugins.architectures._bias_free import BiasFreeNorm

    torch.manual_seed(0)
    norm = BiasFreeNorm(5).double().train()
    norm.gain.data.uniform_(0.5, 2)
    # A mean that is not small beside the deviation.
    features = (torch.randn(3, 5, 6, 7).double() + 0.7).contiguous(memory_format=layout).requires_grad_()

    def formula(features, gain):
        deviation = (features.var(dim=(0, 2, 3), correction=0) + norm.epsilon).sqrt()
        return features * (gain / deviation).view(1, -1, 1, 1)

    upstream = torch.randn(features.shape).double()
    assert torch.allclose(norm(features), formula(features, norm.gain), rtol=1e-12)
    found = torch.autograd.grad(norm(features), (features, norm.gain), upstream)
    expected = torch.autograd.grad(formula(features, norm.gain), (features, norm.gain), upstream)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(norm, (features,))
    small = features.detach()[:, :, :2, :2].clone().requires_grad_()
    assert torch.autograd.gradgradcheck(norm, (small,))


def test_bias_free_norm_in_training_takes_any_precision_and_device():
    from gahbench_plugins.architectures._bias_free import BiasFreeNorm

    torch.manual_seed(0)
    norm, features = BiasFreeNorm(3).train(), torch.randn(4, 3, 5, 5)
    assert torch.allclose(norm(features.double()), norm(features).double(), atol=1e-5)
    assert norm.to("meta")(features.to("meta")).shape == features.shape


def test_bias_free_norm_finds_the_deviation_of_bfloat16_features_in_float32():
    from gahbench_plugins.architectures._bias_free import BiasFreeNorm

    torch.manual_seed(0)
    features = torch.randn(8, 4, 20, 20).bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_()
    norm = BiasFreeNorm(4, momentum=1.0).train()
    out = norm(features)
    out.float().square().sum().backward()
    assert (out.dtype, features.grad.dtype, norm.gain.grad.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    assert torch.allclose(norm.running_deviation, features.float().std(dim=(0, 2, 3), correction=0), rtol=1e-5)


def test_a_size_that_the_levels_do_not_divide_is_refused():
    network = gahbench.create("architecture", "unet", width=2, levels=3)
    with pytest.raises(ValueError, match="multiples of 8, not 20x24"):
        network(torch.zeros(1, 1, 20, 24), torch.ones(1))
