"""Chains and U-Nets of convolutions, their normalisation and their map of the noise level."""

import pytest
import torch
from given_networks import build, images

from gahbench.networks.receptive_field import receptive_field
from gahbench_plugins.architectures._bias_free import BiasFreeNorm
from gahbench_plugins.architectures._chain import Chain
from gahbench_plugins.architectures._inputs import NoiseEmbedding, append_noise_level
from gahbench_plugins.architectures.nafnet import Block as NAFBlock
from gahbench_plugins.architectures.nafnet import ChannelNorm, NAFNet, gate
from gahbench_plugins.architectures.unet_conditional import UNetConditional


@pytest.mark.parametrize("bias", [False, True])
def test_features_keep_their_size_through_many_layers_without_normalisation(bias):
    torch.manual_seed(0)
    noise = torch.randn(2, 1, 24, 24)
    with torch.no_grad():
        features = Chain(1, 64, 20, bias=bias, norm=False, blind=True).layers[:-1](noise)
    # He et al. 2015 preserve the expected mean square; zero padding and chance reduce it.
    assert 0.1 < float(features.square().mean()) < 10


def test_bias_free_norm_divides_by_the_deviation_and_keeps_the_mean():
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
    torch.manual_seed(0)
    norm = BiasFreeNorm(5).double().train()
    norm.gain.data.uniform_(0.5, 2)
    # The mean is not small relative to the deviation.
    features = (torch.randn(3, 5, 6, 7).double() + 0.7).contiguous(memory_format=layout).requires_grad_()

    def formula(features, gain):
        deviation = (features.var(dim=(0, 2, 3), correction=0) + norm.epsilon).sqrt()
        return features * (gain / deviation).view(1, -1, 1, 1)

    upstream = torch.randn(features.shape).double()
    assert torch.allclose(norm(features), formula(features, norm.gain), rtol=1e-12)
    result = torch.autograd.grad(norm(features), (features, norm.gain), upstream)
    expected = torch.autograd.grad(formula(features, norm.gain), (features, norm.gain), upstream)
    for gradient, expected_gradient in zip(result, expected, strict=True):
        assert torch.allclose(gradient, expected_gradient, rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(norm, (features,))
    small = features.detach()[:, :, :2, :2].clone().requires_grad_()
    assert torch.autograd.gradgradcheck(norm, (small,))


def test_bias_free_norm_supports_all_precisions_and_devices_in_training():
    torch.manual_seed(0)
    norm, features = BiasFreeNorm(3).train(), torch.randn(4, 3, 5, 5)
    assert torch.allclose(norm(features.double()), norm(features).double(), atol=1e-5)
    assert norm.to("meta")(features.to("meta")).shape == features.shape


def test_bias_free_norm_computes_deviations_in_float32():
    torch.manual_seed(0)
    features = torch.randn(8, 4, 20, 20).bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_()
    norm = BiasFreeNorm(4, momentum=1.0).train()
    out = norm(features)
    out.float().square().sum().backward()
    assert (out.dtype, features.grad.dtype, norm.gain.grad.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    assert torch.allclose(norm.running_deviation, features.float().std(dim=(0, 2, 3), correction=0), rtol=1e-5)


def test_the_map_of_the_noise_level_is_an_additional_channel():
    noisy = torch.rand(3, 2, 4, 5)
    result = append_noise_level(noisy, torch.tensor([0.1, 0.2, 0.3]))
    assert result.shape == (3, 3, 4, 5)
    assert torch.equal(result[:, :2], noisy)
    assert torch.equal(result[:, 2].amin((1, 2)), torch.tensor([0.1, 0.2, 0.3]))
    assert torch.equal(result[:, 2].amax((1, 2)), torch.tensor([0.1, 0.2, 0.3]))
    for dtype in (torch.float64, torch.bfloat16):
        assert append_noise_level(noisy.to(dtype), torch.tensor([0.1, 0.2, 0.3])).dtype == dtype


def test_the_embedding_distinguishes_levels_by_their_ratio():
    torch.manual_seed(0)
    embedding = NoiseEmbedding(16)
    # The Fourier features have equal norms, and products that depend only on the ratio of the levels.
    seen = []
    embedding.layers.register_forward_hook(lambda module, inputs, result: seen.append(inputs[0]))
    levels = torch.tensor([0.01, 0.011, 0.1, 0.11, 1.0, 1.1])
    embedding(levels)
    products = seen[0] @ seen[0].T
    assert products.diagonal() == pytest.approx([16.0] * 6, rel=1e-5)
    for first, second in ((2, 3), (4, 5)):
        assert products[first, second] == pytest.approx(float(products[0, 1]), abs=1e-3)
    assert products[0, 1] < 15.9
    assert products[0, 4] < 12


def test_the_embedding_is_finite_without_noise():
    levels = torch.tensor([0.0, 1e-9, 1e3], requires_grad=True)
    vector = NoiseEmbedding(8)(levels)
    vector.sum().backward()
    assert vector.isfinite().all()
    assert levels.grad.isfinite().all()


def test_the_receptive_field_is_global_through_the_attention_alone():
    def local(shape):
        network = build(NAFNet, shape, width=4, encoder=(1,), decoder=(1,), middle=0)
        for module in network.modules():
            if isinstance(module, NAFBlock):
                torch.nn.init.zeros_(module.attention.weight)
        return network

    result = receptive_field(lambda shape: build(NAFNet, shape, width=4, encoder=(1,), decoder=(1,)), sides=(64,))
    assert result.reaches_border
    assert not receptive_field(local, sides=(64,)).reaches_border


def test_a_block_starts_as_the_identity_and_its_nonlinearity_is_a_product():
    torch.manual_seed(0)
    block = NAFBlock(6)
    features = torch.randn(2, 6, 5, 5)
    assert torch.equal(block(features), features)
    assert torch.equal(gate(features), features[:, :3] * features[:, 3:])


def test_the_norm_is_of_each_pixel_over_its_channels():
    torch.manual_seed(0)
    norm = ChannelNorm(8)
    features = 3 * torch.randn(2, 8, 4, 5) + 2
    result = norm(features)
    assert torch.allclose(result.mean(1), torch.zeros(2, 4, 5), atol=1e-5)
    assert torch.allclose(result.var(1, correction=0), torch.ones(2, 4, 5), atol=1e-4)
    with torch.no_grad():
        norm.weight.fill_(2.0)
        norm.bias.fill_(3.0)
    assert torch.allclose(norm(features), 2 * result + 3, atol=1e-5)


def test_the_layers_estimate_the_noise_over_sigma():
    """Without noise the image is unchanged; with a constant embedding the removed noise is proportional to sigma."""
    network = build(UNetConditional, (3, 16, 16), width=4)
    noisy = images(2, (3, 16, 16))
    with torch.no_grad():
        assert torch.equal(network(noisy, torch.zeros(2)), noisy)
        for parameter in network.embedding.parameters():
            parameter.zero_()
        once, twice = (noisy - network(noisy, torch.full((2,), level)) for level in (0.1, 0.2))
    assert float(once.norm()) > 0
    assert torch.allclose(twice, 2 * once, atol=1e-5)


def test_preconditioned_layers_are_given_unit_variance_and_estimate_it(monkeypatch):
    """On white images of standard deviation s around 1/2 the linear estimate is optimal, so the layers estimate 0."""
    spread, generator = 0.2, torch.Generator().manual_seed(0)
    clean = 0.5 + spread * torch.randn(4, 1, 64, 64, generator=generator)
    network = build(UNetConditional, (1, 64, 64), width=4, sigma_data=spread)
    for level in (0.01, 0.2, 5.0):
        sigma = torch.full((4,), level)
        noisy = clean + level * torch.randn(clean.shape, generator=generator)
        monkeypatch.setattr(network, "_layers", lambda images, _: torch.zeros_like(images))
        linear = network(noisy, sigma)
        monkeypatch.setattr(network, "_layers", lambda images, _: images)
        scale = level * spread / (spread**2 + level**2) ** 0.5
        assert ((network(noisy, sigma) - linear) / scale).std() == pytest.approx(1, abs=0.03)
        best = 0.5 + spread**2 / (spread**2 + level**2) * (noisy - 0.5)
        torch.testing.assert_close(linear, best)
        monkeypatch.setattr(network, "_layers", lambda images, _: torch.ones_like(images))
        unit = network(noisy, sigma) - linear
        # The target of the layers has unit variance.
        assert ((clean - linear) / unit).std() == pytest.approx(1, abs=0.03)
        assert ((clean - linear) / unit).mean() == pytest.approx(0, abs=0.03)
