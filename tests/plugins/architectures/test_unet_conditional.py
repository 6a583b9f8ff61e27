import pytest
import torch
from given_networks import build, images

from gahbench_plugins.architectures.unet_conditional import Block, UNetConditional


def test_the_layers_estimate_the_noise_over_sigma():
    """So without noise the image is returned as it is; with a blind embedding what is removed is in proportion."""
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
    """Of white images of standard deviation s about 1/2, whose best denoiser is what they add to: they estimate 0."""
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
        # What is left to estimate has unit variance.
        assert ((clean - linear) / unit).std() == pytest.approx(1, abs=0.03)
        assert ((clean - linear) / unit).mean() == pytest.approx(0, abs=0.03)


def test_a_blind_network_is_not_preconditioned():
    with pytest.raises(ValueError, match=r"blind=true with sigma_data=0.2"):
        UNetConditional(1, blind=True, sigma_data=0.2)


def test_a_block_starts_as_the_identity_and_is_modulated():
    torch.manual_seed(0)
    block = Block(8, 8, 4, norm=True)
    features, level = torch.randn(1, 8, 6, 6), torch.randn(1, 4)
    assert torch.equal(block(features, level), features)
    torch.nn.init.normal_(block.second.weight)
    assert not torch.allclose(block(features, level), block(features, 2 * level), atol=1e-2)
