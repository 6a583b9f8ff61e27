import torch
from given_networks import build, images, untrained

from gahbench_plugins.architectures.dit import DiT

SMALL = {"width": 16, "depth": 2, "heads": 2}
NOISY = images(2, (1, 16, 16))


def test_without_noise_the_image_stays_as_it_is():
    network = build(DiT, (1, 16, 16), **SMALL)
    assert torch.equal(network(NOISY, torch.zeros(len(NOISY))), NOISY)


def test_blocks_start_as_the_identity():
    """With every gate closed no token sees another, so that a pixel depends on its own patch alone."""
    network = untrained(DiT, (1, 16, 16), **SMALL)
    noisy = NOISY[:1].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(noisy, torch.full((1,), 0.5))[0, 0, 9, 9], noisy)
    reached = gradient[0, 0] != 0
    assert reached[8:12, 8:12].any()
    reached[8:12, 8:12] = False
    assert not reached.any()


def test_each_image_is_denoised_at_its_own_noise_level():
    network = build(DiT, (1, 16, 16), **SMALL)
    levels = torch.linspace(0.05, 1.0, len(NOISY))
    together = network(NOISY, levels)
    for place, level in enumerate(levels):
        alone = network(NOISY[place : place + 1], level.view(1))
        assert torch.allclose(together[place : place + 1], alone, atol=1e-5)
    residuals = (NOISY - together) / levels.view(-1, 1, 1, 1)
    others = (NOISY - network(NOISY, levels / 2)) / (levels / 2).view(-1, 1, 1, 1)
    assert not torch.allclose(residuals, others, atol=1e-3)
