"""What bias, normalisation and the noise level change, in every architecture that has them as parameters."""

import pytest
import torch
from given_networks import build, images, untrained
from small_plugins import SMALL as TINY
from small_plugins import extras
from torch.func import functional_call, vjp, vmap

SMALL = {
    "unet": {"width": 6, "levels": 2},
    "bf-cnn": {"width": 8, "layers": 4},
    "dncnn": {"width": 8, "layers": 4},
    "ffdnet": {"width": 12, "layers": 4},
    "unet-conditional": {"width": 4, "levels": 1},
    "mlp": {"width": 40},
    "linear": {},
    "nafnet": {"width": 4, "encoder": (1,), "decoder": (1,)},
    "vit": {"width": 16, "depth": 2, "heads": 2},
    "timm-unet": {"backbone": "resnet10t", "levels": 2, "width": 4},
    "mohan-unet": {},
    "mohan-rcnn": {"width": 6, "stages": 2},
    "mohan-densenet": {"width": 6, "stages": 2},
    "ircnn": {"width": 6},
}
#: Those that are always blind.
BLIND = ["linear", "mohan-unet", "mohan-rcnn", "mohan-densenet", "ircnn"]
WITH_BLIND = [name for name in SMALL if name not in BLIND]
WITH_BIAS = [name for name in SMALL if name not in ("nafnet", "unet-conditional", "vit", "timm-unet")]
WITH_NORM = ["unet", "bf-cnn", "dncnn", "ffdnet", "unet-conditional"]
#: Those with a bias that get the noise level as a further input, in proportion to it.
WITH_BOTH = [name for name in WITH_BIAS if name not in BLIND]

each = pytest.mark.parametrize


def distance(found, expected):
    return float(((found - expected).norm() / expected.norm()).detach())


def run(network, noisy, *levels):
    with torch.no_grad():
        return network(noisy, torch.tensor(levels))


@each("name", WITH_BIAS)
@each("channels", [1, 3])
def test_a_network_is_homogeneous_if_and_only_if_it_has_no_bias(name, channels):
    shape = (channels, 16, 16)
    noisy = images(2, shape)
    for bias in (False, True):
        network = build(name, shape, **SMALL[name], bias=bias)
        found = distance(run(network, 3 * noisy, 0.6, 1.2), 3 * run(network, noisy, 0.2, 0.4))
        assert found < 1e-5 if not bias else found > 1e-3


@each("name", WITH_BOTH)
def test_a_bias_free_network_that_uses_sigma_is_homogeneous_in_image_and_sigma_together(name):
    noisy = images(2, (1, 16, 16))
    network = build(name, (1, 16, 16), **SMALL[name], bias=False, blind=False)
    expected = 3 * run(network, noisy, 0.2, 0.4)
    assert distance(run(network, 3 * noisy, 0.6, 1.2), expected) < 1e-5
    assert distance(run(network, 3 * noisy, 0.2, 0.4), expected) > 1e-4


@each("name", WITH_NORM)
def test_without_normalisation_nothing_depends_on_the_batch_in_training(name):
    noisy = images(4, (1, 16, 16))
    levels = torch.full((4,), 0.2)
    for norm in (True, False):
        network = build(name, (1, 16, 16), **SMALL[name], norm=norm).train()
        alone = torch.cat([network(noisy[place : place + 1], levels[:1]) for place in range(4)])
        # Group normalisation is of one image.
        same = not norm or name == "unet-conditional"
        assert (distance(network(noisy, levels), alone) < 1e-5) == same
        averages = [key for key in network.state_dict() if "running" in key]
        assert bool(averages) == (not same)


@each("name", ["unet", "dncnn", "ffdnet", "bf-cnn"])
def test_without_normalisation_a_bias_free_network_is_homogeneous_too(name):
    noisy = images(2, (1, 16, 16))
    for bias in (False, True):
        network = build(name, (1, 16, 16), **SMALL[name], norm=False, bias=bias)
        found = distance(run(network, 3 * noisy, 0.6, 1.2), 3 * run(network, noisy, 0.2, 0.4))
        assert found < 1e-5 if not bias else found > 1e-3


@each("name", WITH_BLIND)
def test_the_noise_level_matters_if_and_only_if_the_network_is_not_blind(name):
    noisy = images(2, (1, 16, 16))
    for blind in (True, False):
        network = build(name, (1, 16, 16), **SMALL[name], blind=blind)
        low, high, mixed = (run(network, noisy, *levels) for levels in ((0.1, 0.1), (0.4, 0.4), (0.1, 0.4)))
        assert torch.equal(low, high) == blind
        # Each image has its own level.
        assert torch.allclose(mixed, torch.stack([low[0], high[1]]), atol=1e-5)


@each("name", [*WITH_BLIND, "linear", "ircnn"])
@each("channels", [1, 3])
def test_training_starts_near_the_identity(name, channels):
    """Errors over sigma^2 are then about 1 at every noise level."""
    shape = (channels, 16, 16)
    network = untrained(name, shape, **SMALL[name])
    noisy = images(8, shape)
    assert distance(run(network, noisy, *[0.1] * 8), noisy) < 0.1


JACOBIANS = [
    *((name, SMALL[name]) for name in BLIND),
    *((name, {**SMALL[name], "blind": False}) for name in WITH_BLIND),
    ("vit", {**SMALL["vit"], "window": 2}),
    ("timm-unet", {**SMALL["timm-unet"], "backbone": "swin_tiny_patch4_window7_224"}),
    *((name, TINY[name]) for name in ("drunet", "gs-drunet", "swinir", "restormer", "scunet", "ncsnpp")),
]


@each(("name", "parameters"), [pytest.param(*case, marks=extras(case[0])) for case in JACOBIANS])
@each("channels", [1, 3])
def test_jacobian_products_through_torch_func_are_those_of_autograd(name, parameters, channels):
    shape = (channels, 16, 16)
    network, noisy, sigma = build(name, shape, **parameters), images(1, shape), torch.tensor([0.1])
    vectors = torch.randn(2, *noisy.shape, generator=torch.Generator().manual_seed(0))
    state = dict(network.state_dict())
    _, pull = vjp(lambda y: functional_call(network, state, (y, sigma)), noisy)
    found = vmap(lambda vector: pull(vector)[0])(vectors)
    leaf = noisy.clone().requires_grad_()
    (expected,) = torch.autograd.grad(network(leaf, sigma), leaf, vectors[1])
    assert distance(found[1], expected) < 1e-4


@each("name", ["bf-cnn", "dncnn", "ffdnet", "nafnet"])
@each(("height", "width"), [(15, 16), (16, 13), (7, 5), (1, 1)])
def test_any_image_size_is_taken(name, height, width):
    network = build(name, (3, 16, 16), **SMALL[name])
    denoised = run(network, images(2, (3, height, width)), 0.1, 0.2)
    assert denoised.shape == (2, 3, height, width)
    assert denoised.isfinite().all()


@each("name", ["unet", "unet-conditional"])
def test_sizes_that_the_levels_do_not_divide_are_refused(name):
    network = untrained(name, (1, 24, 24), width=2, levels=3)
    assert run(network, images(1, (1, 24, 16)), 0.1).shape == (1, 1, 24, 16)
    for device in ("cpu", "meta"):
        with pytest.raises(ValueError, match="multiples of 8, not 20x24"):
            network.to(device)(torch.zeros(1, 1, 20, 24, device=device), torch.ones(1, device=device))


@each("name", ["mlp", "linear"])
def test_images_of_another_shape_than_built_for_are_refused(name):
    network = untrained(name, (3, 8, 6))
    for shape in ((3, 6, 8), (1, 8, 6), (3, 12, 12)):
        with pytest.raises(ValueError, match=r"built for images of 3x8x6 .* not " + "x".join(map(str, shape))):
            network(torch.zeros(1, *shape), torch.ones(1))
