"""Sizes, receptive fields and homogeneity of the networks, as published or as their docstrings state them."""

import pytest
import torch
from given_networks import build, images

import gahbench
from gahbench.networks.receptive_field import receptive_field

NAFNET = "encoder=[2,2,4,8],middle=12,decoder=[2,2,2,2]"


def stage(inputs, outputs, bias, last_bias):
    """Return the number of weights of a chain of seven 3x3 convolutions of width 64."""
    return 9 * (64 * inputs + 5 * 64 * 64 + 64 * outputs) + bias * (6 * 64 + last_bias * outputs)


#: Parameters of the published mohan-unet: 5x5, 3x3 and 4x4 kernels between 1, 32, 64 and 96 channels.
MOHAN_UNET = 25 * 32 + 9 * 32 * 32 + 9 * 32 * 64 + 3 * 9 * 64 * 64 + 16 * 64 * 64 + 9 * 96 * 32 + 25 * 32
#: Network, image channels, number of parameters, and relative rounding error of the published number.
SIZES = [
    # Kadkhodaie et al. 2024 give two digits, some of them truncated.
    *((f"unet[levels={levels}]", 1, size, 0.02) for levels, size in ((1, 0.36e6), (2, 1.8e6), (3, 7.6e6), (4, 31e6))),
    ("bf-cnn", 1, 0.7e6, 0.02),
    # Zhang et al. 2017: 0.556 M for 17 layers, grey.
    ("dncnn[layers=17]", 1, 0.556e6, 1e-3),
    # The weights of Mohan et al. for 20 layers have 668,225 numbers, including biases before a normalisation.
    ("dncnn", 1, 668_225 - 18 * 64, 0),
    ("dncnn[bias=false]", 1, 64 * 9 + 18 * (64 * 64 * 9 + 64) + 64 * 9, 0),
    ("dncnn[norm=false]", 3, 3 * 64 * 9 + 64 + 18 * (64 * 64 * 9 + 64) + 64 * 3 * 9 + 3, 0),
    # KAIR counts 486,080 for grey (15 layers of 64) and 0.853 M for colour; our first and last layers also have biases.
    ("ffdnet", 1, 486_080 + 64 + 4, 0),
    ("ffdnet[width=96,layers=12]", 3, 0.853e6, 1e-3),
    # The authors state 29.16 M for denoising in colour with width 32, and 115.9 M with 64.
    (f"nafnet[width=32,{NAFNET}]", 3, 29.16e6, 1e-4),
    (f"nafnet[width=64,{NAFNET}]", 3, 115.9e6, 1e-3),
    ("nafnet", 1, 0.29e6, 0.01),
    ("unet-conditional", 1, 0.83e6, 0.01),
    ("linear", 1, 1024**2 + 1024, 0),
    ("mlp", 1, 1024 * 1024 * 3 + 3 * 1024 + 2 * 1024 + 2, 0),
    ("mohan-unet", 1, MOHAN_UNET, 0),
    ("mohan-unet[bias=true]", 1, MOHAN_UNET + 3 * 32 + 5 * 64, 0),
    *((f"mohan-rcnn[bias={str(bias).lower()}]", 1, stage(2, 1, bias, False), 0) for bias in (False, True)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "channels", "size", "share"), SIZES)
def test_sizes(name, channels, size, share):
    with torch.device("meta"):
        network = gahbench.create("architecture", name, shape=(channels, 32, 32))
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(size, rel=share or 1e-12)


#: Network, image channels, receptive field of pixels on the pooling grid, and largest receptive field.
FIELDS = [
    # Between grid pixels the field is larger, depending on parity at each level: an interval of 2a + 1 pixels covers a
    # or a + 1 pairs.
    ("unet[width=4,levels=1]", 1, 18, 18),
    ("unet[width=4,levels=2]", 1, 44, 44),
    ("unet[width=4,levels=3]", 1, 92, 100),
    ("unet[width=4,levels=4]", 1, 188, 204),
    ("bf-cnn[width=4]", 1, 43, 43),
    *((f"bf-cnn-rf[width=16,spacing={space}]", 1, field, field)
      for space, field in ((1, 43), (2, 23), (4, 13), (8, 9), (20, 5))),
    *((f"dncnn[width=12,layers={layers}]", 1, 2 * layers + 1, 2 * layers + 1) for layers in (2, 5, 17, 20)),
    # At half the resolution a chain sees 2 layers + 1 positions, of two pixels each.
    ("ffdnet[width=12,layers=15]", 1, 62, 62),
    ("ffdnet[width=12,layers=12]", 3, 50, 50),
    ("mohan-unet", 1, 45, 45),
    ("mohan-rcnn[width=4,stages=1]", 1, 15, 15),
    ("mohan-rcnn[width=4]", 1, 57, 57),
    ("unet-conditional[width=8,norm=false]", 1, 57, 57),
    ("vit[width=8,heads=1,depth=1,window=4,patch=2]", 1, 8, 8),
    ("vit[width=8,heads=1,depth=2,window=4,patch=2]", 1, 16, 16),
    ("vit[width=8,heads=1,depth=3,window=2,patch=4]", 1, 24, 24),
    ("dit[width=8,heads=1,depth=2,window=4,patch=2]", 1, 16, 16),
]  # fmt: skip


@pytest.mark.parametrize(("name", "channels", "on_grid", "largest"), FIELDS)
def test_receptive_fields(name, channels, on_grid, largest):
    result = receptive_field(lambda shape: build(name, shape), channels, seconds=60.0)
    assert not result.reaches_border
    assert result.largest == (largest, largest)
    assert result.on_grid == (on_grid, on_grid) or name.startswith(("vit", "dit"))


@pytest.mark.parametrize("name", [
    "vit[width=16,depth=2,heads=2]",
    "dit[width=16,depth=2,heads=2]",
    "unet-conditional[width=8]",
])  # fmt: skip
def test_attention_and_normalisation_reach_everywhere(name):
    network, noisy = build(name, (1, 32, 32)), images(1, (1, 32, 32)).requires_grad_()
    (gradient,) = torch.autograd.grad(network(noisy, torch.full((1,), 0.3))[0, 0, 0, 0], noisy)
    assert gradient[0, 0, -4:, -4:].abs().max() > 0
