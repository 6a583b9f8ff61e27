"""What bias, normalisation and the noise level change, in every architecture that has them as parameters."""

import pytest
import torch
from given_networks import build, images, untrained

from gahbench.networks.network_facts import torch_func_obstacle
from gahbench_plugins.architectures.bf_cnn import BFCNN
from gahbench_plugins.architectures.dncnn import DnCNN
from gahbench_plugins.architectures.ffdnet import FFDNet
from gahbench_plugins.architectures.linear import Linear
from gahbench_plugins.architectures.mlp import MLP
from gahbench_plugins.architectures.nafnet import NAFNet
from gahbench_plugins.architectures.unet import UNet
from gahbench_plugins.architectures.unet_conditional import UNetConditional

SMALL = {
    UNet: {"width": 6, "levels": 2},
    BFCNN: {"width": 8, "layers": 4},
    DnCNN: {"width": 8, "layers": 4},
    FFDNet: {"width": 12, "layers": 4},
    UNetConditional: {"width": 4, "levels": 1},
    MLP: {"width": 40},
    Linear: {},
    NAFNet: {"width": 4, "encoder": (1,), "decoder": (1,)},
}
WITH_BLIND = [factory for factory in SMALL if factory is not Linear]
WITH_BIAS = [factory for factory in SMALL if factory not in (NAFNet, UNetConditional)]
WITH_NORM = [UNet, BFCNN, DnCNN, FFDNet, UNetConditional]
#: Those with a bias that get the noise level as a further input, in proportion to it.
WITH_BOTH = [factory for factory in WITH_BIAS if factory is not Linear]

each = pytest.mark.parametrize


def name(factory):
    return getattr(factory, "__name__", str(factory))


def distance(found, expected):
    return float(((found - expected).norm() / expected.norm()).detach())


def run(network, noisy, *levels):
    with torch.no_grad():
        return network(noisy, torch.tensor(levels))


@each("factory", WITH_BIAS, ids=name)
@each("channels", [1, 3])
def test_a_network_is_homogeneous_if_and_only_if_it_has_no_bias(factory, channels):
    shape = (channels, 16, 16)
    noisy = images(2, shape)
    for bias in (False, True):
        network = build(factory, shape, **SMALL[factory], bias=bias)
        found = distance(run(network, 3 * noisy, 0.6, 1.2), 3 * run(network, noisy, 0.2, 0.4))
        assert found < 1e-5 if not bias else found > 1e-3


@each("factory", WITH_BOTH, ids=name)
def test_a_bias_free_network_that_uses_sigma_is_homogeneous_in_image_and_sigma_together(factory):
    noisy = images(2, (1, 16, 16))
    network = build(factory, (1, 16, 16), **SMALL[factory], bias=False, blind=False)
    expected = 3 * run(network, noisy, 0.2, 0.4)
    assert distance(run(network, 3 * noisy, 0.6, 1.2), expected) < 1e-5
    assert distance(run(network, 3 * noisy, 0.2, 0.4), expected) > 1e-4


@each("factory", WITH_NORM, ids=name)
def test_without_normalisation_nothing_depends_on_the_batch_in_training(factory):
    noisy = images(4, (1, 16, 16))
    levels = torch.full((4,), 0.2)
    for norm in (True, False):
        network = build(factory, (1, 16, 16), **SMALL[factory], norm=norm).train()
        alone = torch.cat([network(noisy[place : place + 1], levels[:1]) for place in range(4)])
        # Group normalisation is of one image.
        same = not norm or factory is UNetConditional
        assert (distance(network(noisy, levels), alone) < 1e-5) == same
        averages = [key for key in network.state_dict() if "running" in key]
        assert bool(averages) == (not same)


@each("factory", [UNet, DnCNN, FFDNet, BFCNN], ids=name)
def test_without_normalisation_a_bias_free_network_is_homogeneous_too(factory):
    noisy = images(2, (1, 16, 16))
    for bias in (False, True):
        network = build(factory, (1, 16, 16), **SMALL[factory], norm=False, bias=bias)
        found = distance(run(network, 3 * noisy, 0.6, 1.2), 3 * run(network, noisy, 0.2, 0.4))
        assert found < 1e-5 if not bias else found > 1e-3


@each("factory", WITH_BLIND, ids=name)
def test_the_noise_level_matters_if_and_only_if_the_network_is_not_blind(factory):
    noisy = images(2, (1, 16, 16))
    for blind in (True, False):
        network = build(factory, (1, 16, 16), **SMALL[factory], blind=blind)
        low, high, mixed = (run(network, noisy, *levels) for levels in ((0.1, 0.1), (0.4, 0.4), (0.1, 0.4)))
        assert torch.equal(low, high) == blind
        # Each image has its own level.
        assert torch.allclose(mixed, torch.stack([low[0], high[1]]), atol=1e-5)


@each("factory", SMALL, ids=name)
@each("channels", [1, 3])
def test_training_starts_near_the_identity(factory, channels):
    """Errors over sigma^2 are then about 1 at every noise level."""
    shape = (channels, 16, 16)
    network = untrained(factory, shape, **SMALL[factory])
    noisy = images(8, shape)
    assert distance(run(network, noisy, *[0.1] * 8), noisy) < 0.1


@each("factory", SMALL, ids=name)
@each("channels", [1, 3])
def test_networks_are_open_to_torch_func(factory, channels):
    """Jacobians are vjp under vmap of functional_call."""
    shape = (channels, 8, 8)
    variants = [{"blind": value} for value in (True, False)] if factory in WITH_BLIND else [{}]
    for variant in variants:
        network = build(factory, shape, **SMALL[factory], **variant)
        assert torch_func_obstacle(network, images(2, shape), torch.tensor([0.1, 0.3])) is None


@each("factory", [BFCNN, DnCNN, FFDNet, NAFNet], ids=name)
@each(("height", "width"), [(15, 16), (16, 13), (7, 5), (1, 1)])
def test_any_image_size_is_taken(factory, height, width):
    network = build(factory, (3, 16, 16), **SMALL[factory])
    denoised = run(network, images(2, (3, height, width)), 0.1, 0.2)
    assert denoised.shape == (2, 3, height, width)
    assert denoised.isfinite().all()


@each("factory", [UNet, UNetConditional], ids=name)
def test_sizes_that_the_levels_do_not_divide_are_refused(factory):
    network = untrained(factory, (1, 24, 24), width=2, levels=3)
    assert run(network, images(1, (1, 24, 16)), 0.1).shape == (1, 1, 24, 16)
    for device in ("cpu", "meta"):
        with pytest.raises(ValueError, match="multiples of 8, not 20x24"):
            network.to(device)(torch.zeros(1, 1, 20, 24, device=device), torch.ones(1, device=device))


@each("factory", [MLP, Linear], ids=name)
def test_images_of_another_shape_than_built_for_are_refused(factory):
    network = untrained(factory, (3, 8, 6))
    for shape in ((3, 6, 8), (1, 8, 6), (3, 12, 12)):
        with pytest.raises(ValueError, match=r"built for images of 3x8x6 .* not " + "x".join(map(str, shape))):
            network(torch.zeros(1, *shape), torch.ones(1))


@each("factory", SMALL, ids=name)
def test_sizes_can_be_had_on_the_meta_device(factory):
    with torch.device("meta"):
        network = untrained(factory, (3, 16, 16))
        denoised = network(torch.zeros(2, 3, 16, 16), torch.ones(2))
    assert denoised.shape == (2, 3, 16, 16)
    assert denoised.is_meta
