"""Facts about networks, checked on networks with known facts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gahbench.networks.network_facts import (
    HOMOGENEOUS,
    homogeneity_residual,
    is_blind,
    random_images,
    torch_func_obstacle,
    with_random_weights,
)


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


def test_the_homogeneity_residual_of_a_known_network():
    class Adds(nn.Module):
        def forward(self, noisy, sigma):
            return noisy + 1

    noisy = torch.ones(1, 1, 4, 4)
    # As f(2) = 3 and 2 f(1) = 4, the residual is 1/4.
    assert homogeneity_residual(Adds(), noisy, torch.ones(1)) == pytest.approx(0.25)


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


def test_torch_func_differentiates_ordinary_networks():
    assert (
        torch_func_obstacle(with_random_weights(Chain(bias=True, norm="batch", level="map"), SHAPE), NOISY, SIGMA)
        is None
    )
    # Many networks have in-place ReLUs.
    assert torch_func_obstacle(Applies(lambda image: torch.relu_(2 * image)), NOISY, SIGMA) is None


def test_obstacles_to_torch_func_are_reported():
    assert "setup_context" in torch_func_obstacle(Applies(OldStyle.apply), NOISY, SIGMA)
    assert torch_func_obstacle(Applies(lambda image: image.detach()), NOISY, SIGMA)
    assert torch_func_obstacle(Applies(lambda image: image + float(image.detach().numpy().sum())), NOISY, SIGMA)

    def exits(image):
        raise SystemExit("enough")

    assert torch_func_obstacle(Applies(exits), NOISY, SIGMA) == "SystemExit: enough"
