"""Facts about networks and receptive fields, checked on networks with known facts, and networks as denoisers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import gahbench
from gahbench.networks import Trained
from gahbench.networks.network_facts import (
    HOMOGENEOUS,
    homogeneity_residual,
    is_blind,
    random_images,
    torch_func_obstacle,
    with_random_weights,
)
from gahbench.networks.receptive_field import ReceptiveField, receptive_field
from gahbench.sampling.denoisers import wrap_denoiser


class Chain(nn.Module):
    """Convolutions and ReLUs, with a last layer that starts at zero, as in many published networks."""

    def __init__(self, bias=False, norm="none", level="none", layers=3):
        super().__init__()
        norms = {
            "none": nn.Identity,
            "batch": lambda: nn.BatchNorm2d(4),
            "mean": lambda: nn.BatchNorm2d(4, affine=False),
        }
        self.first = nn.Conv2d(1 + (level == "map"), 4, 3, padding=1, bias=bias)
        parts = [
            nn.Sequential(norms[norm](), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, bias=bias)) for _ in range(layers)
        ]
        self.middle = nn.Sequential(*parts, nn.ReLU())
        self.last = nn.Conv2d(4, 1, 3, padding=1, bias=bias)
        nn.init.zeros_(self.last.weight)
        self.level = level

    def forward(self, noisy, sigma):
        inputs = noisy
        if self.level == "map":
            inputs = torch.cat([noisy, sigma.view(-1, 1, 1, 1).expand_as(noisy)], 1)
        residual = self.last(self.middle(self.first(inputs)))
        return noisy - (residual * sigma.view(-1, 1, 1, 1) if self.level == "factor" else residual)


SHAPE = (1, 16, 16)
NOISY, SIGMA = random_images(2, SHAPE), torch.tensor([0.1, 0.2])


def residual(**options):
    return homogeneity_residual(with_random_weights(Chain(**options), SHAPE), NOISY, SIGMA)


@settings(max_examples=15, deadline=None)
@given(st.booleans(), st.sampled_from(["none", "batch", "mean"]), st.sampled_from(["none", "map"]), st.integers(1, 3))
def test_a_network_is_homogeneous_if_and_only_if_it_adds_no_constants(bias, norm, level, layers):
    """Running means are constants, although they start at zero; a map of sigma scales like the image."""
    value = residual(bias=bias, norm=norm, level=level, layers=layers)
    assert (value < HOMOGENEOUS) == (not bias and norm == "none")
    # As f(2) = 3 and 2 f(1) = 4, the residual is 1/4.
    adds = Applies(lambda image: image + 1)
    assert homogeneity_residual(adds, torch.ones(1, 1, 4, 4), torch.ones(1)) == pytest.approx(0.25)


@pytest.mark.parametrize(("level", "blind"), [("none", True), ("map", False), ("factor", False)])
def test_random_weights_reveal_blindness_if_the_last_layer_starts_at_zero(level, blind):
    assert is_blind(Chain(level=level), NOISY)
    assert is_blind(with_random_weights(Chain(level=level), SHAPE), NOISY) == blind


def test_random_weights_are_reproducible_and_do_not_change_frozen_parameters():
    networks = [Chain(bias=True, norm="batch") for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    for network in networks:
        network.first.weight.requires_grad_(False)
    frozen, before = networks[0].first.weight.clone(), torch.get_rng_state()
    first, second = (with_random_weights(network, SHAPE).state_dict() for network in networks)
    assert before.equal(torch.get_rng_state())
    assert networks[0].first.weight.equal(frozen)
    assert all(first[name].equal(second[name]) for name in first)


class OldStyle(torch.autograd.Function):
    """An autograd function in the old style, without ``setup_context``, which torch.func does not support."""

    @staticmethod
    def forward(context, image):
        return image.clone()

    @staticmethod
    def backward(context, gradient):
        return 2 * gradient


class Applies(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, noisy, sigma):
        return self.function(noisy)


def test_obstacles_to_torch_func_are_reported():
    ordinary = with_random_weights(Chain(bias=True, norm="batch", level="map"), SHAPE)
    # Many networks have in-place ReLUs.
    for network in (ordinary, Applies(lambda image: torch.relu_(2 * image))):
        assert torch_func_obstacle(network, NOISY, SIGMA) is None
    assert "setup_context" in torch_func_obstacle(Applies(OldStyle.apply), NOISY, SIGMA)
    assert torch_func_obstacle(Applies(lambda image: image.detach()), NOISY, SIGMA)
    assert torch_func_obstacle(Applies(lambda image: image + float(image.detach().numpy().sum())), NOISY, SIGMA)

    def exits(image):
        raise SystemExit("enough")

    assert torch_func_obstacle(Applies(exits), NOISY, SIGMA) == "SystemExit: enough"


def test_sampling_does_not_change_denoised_images():
    """The memory layout of weights affects the rounding of sums."""
    torch.manual_seed(0)
    denoiser = Trained(gahbench.create("architecture", "unet[width=16,levels=2]", channels=1))
    noisy = torch.rand(2, 1, 16, 16)
    before = denoiser.denoise(noisy, 0.1, gahbench.Truth(noisy))
    wrap_denoiser(denoiser, (1, 16, 16))(noisy, torch.full((2,), 0.1))
    assert torch.equal(denoiser.denoise(noisy, 0.1, gahbench.Truth(noisy)), before)


class Network(nn.Module):
    """A network that applies a function to the noisy image, with some layers."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, noisy, sigma):
        return self.function(self, noisy)


def measure(function, *layers, sides=(64, 128), channels=1, seconds=60.0):
    return receptive_field(lambda shape: Network(function, *layers), channels, sides, seconds)


def chain(network, image):
    for layer in network.layers:
        image = layer(image)
    return image


kernels = st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 7]), st.integers(1, 3))


@settings(max_examples=15, deadline=None)
@given(st.lists(kernels, min_size=1, max_size=4), st.integers(1, 3))
def test_the_field_of_a_chain_of_convolutions_is_the_sum_of_its_kernels(layers, channels):
    chained = [
        nn.Conv2d(channels, channels, (tall, wide), padding=(d * (tall // 2), d * (wide // 2)), dilation=d)
        for tall, wide, d in layers
    ]
    size = tuple(1 + sum(d * (kernel[side] - 1) for *kernel, d in layers) for side in (0, 1))
    field = measure(chain, *chained, channels=channels)
    assert (field.on_grid, field.largest, field.reaches_border) == (size, size, False)


def test_the_field_may_be_larger_at_pixels_off_the_pooling_grid():
    """A mean of three pixels depends on two blocks of four pixels near the edge of a block, and on one block inside."""

    def blocks_of_a_mean(network, image):
        pooled = functional.avg_pool2d(image, 4)
        return functional.avg_pool2d(functional.interpolate(pooled, scale_factor=4), 3, 1, 1)

    # The middle lies at the first pixel of its block, and so also depends on the previous block.
    assert measure(blocks_of_a_mean).on_grid == (8, 8)

    def shifted(network, image):
        return blocks_of_a_mean(network, image.roll((1, 1), (2, 3))).roll((-2, -2), (2, 3))

    # Shifted by two pixels, the middle depends on one block, and other pixels on two.
    assert (measure(shifted).on_grid, measure(shifted).largest) == ((4, 4), (8, 8))


def test_a_field_that_reaches_the_borders_is_global():
    field = measure(lambda network, image: image - image.mean((2, 3), keepdim=True))
    assert field == ReceptiveField((128, 128), (128, 128), 128, True)
    assert str(field).startswith("global: it reaches the borders of 128x128 images")


def test_larger_images_are_tried_until_the_field_fits():
    mean = nn.AvgPool2d(71, 1, 35)
    assert measure(chain, mean) == ReceptiveField((71, 71), (71, 71), 128, False)
    assert measure(chain, mean, sides=(64,)).reaches_border
    hurried = measure(chain, mean, seconds=0.0)
    assert hurried.ended_early
    assert str(hurried).startswith("at least 64 pixels")


def test_image_sizes_that_the_network_rejects_are_skipped():
    def build(shape):
        if shape[1] < 100:
            raise ValueError("sides of 100 and more")
        return Network(chain, nn.Conv2d(1, 1, 5, padding=2))

    assert receptive_field(build).side == 128
    with pytest.raises(ValueError, match="64x64 pixels: sides of 100"):
        receptive_field(build, sides=(64,))


def test_an_output_that_depends_on_no_pixel_is_an_error():
    with pytest.raises(ValueError, match="no pixel"):
        measure(lambda network, image: 0 * image)
