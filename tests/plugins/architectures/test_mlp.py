import pytest
import torch
from given_networks import build, images, untrained

from gahbench_plugins.architectures.mlp import MLP


def test_every_pixel_depends_on_every_other():
    network = build(MLP, (3, 4, 5), width=64)
    noisy, level = images(1, (3, 4, 5)), torch.ones(1)
    jacobian = torch.autograd.functional.jacobian(lambda image: network(image, level), noisy).reshape(60, 60)
    assert (jacobian != 0).all()


def test_the_result_is_a_share_of_the_noisy_image_and_an_image():
    network = build(MLP, (1, 6, 6), width=32)
    with torch.no_grad():
        network.image.weight.zero_()
        network.image.bias.zero_()
        noisy = images(16, (1, 6, 6))
        shares = network(noisy, torch.ones(16)) / noisy
        assert torch.allclose(shares, shares.mean((1, 2, 3), keepdim=True).expand_as(shares), atol=1e-5)
        assert (shares > 0).all()
        assert (shares < 1).all()
        assert float(shares.std()) > 0


def test_training_starts_with_nearly_all_of_the_noisy_image():
    noisy = images(64, (1, 8, 8))
    with torch.no_grad():
        denoised = untrained(MLP, (1, 8, 8))(noisy, torch.ones(64))
    assert float((denoised - noisy).norm() / noisy.norm()) < 0.05


def test_a_black_image_stays_black_and_has_a_gradient_without_bias():
    network = build(MLP, (1, 4, 4), width=16, bias=False)
    black = torch.zeros(1, 1, 4, 4, requires_grad=True)
    denoised = network(black, torch.ones(1))
    assert torch.equal(denoised, torch.zeros_like(denoised))
    denoised.sum().backward()
    assert black.grad.isfinite().all()


def test_the_narrowest_network_still_denoises_what_it_can_carry():
    """A constant image of unknown brightness under heavy noise needs one number."""
    torch.manual_seed(0)
    network = MLP((1, 8, 8), width=16).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(400):
        clean = torch.rand(64, 1, 1, 1).expand(64, 1, 8, 8)
        loss = (network(clean + torch.randn(64, 1, 8, 8), torch.ones(64)) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # The mean alone has error 1/64, the prior alone 1/12.
    assert loss.item() == pytest.approx(1 / 64, abs=1 / 64)
