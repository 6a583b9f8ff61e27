"""Effects of bias, normalisation and the noise level in all architectures with such parameters."""

import pytest
import torch
from given_networks import build, images, untrained
from torch.nn import functional

import gahbench

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
}
SWIN = {**SMALL["timm-unet"], "backbone": "swin_tiny_patch4_window7_224"}
#: Networks that are always blind.
BLIND = ["linear", "mohan-unet", "mohan-rcnn"]
WITH_BLIND = [name for name in SMALL if name not in BLIND]
WITH_BIAS = [name for name in SMALL if name not in ("nafnet", "unet-conditional", "vit", "timm-unet")]
WITH_NORM = ["unet", "bf-cnn", "dncnn", "ffdnet", "unet-conditional"]
#: Networks with a bias parameter and the noise level as an additional, proportional input.
WITH_BOTH = [name for name in WITH_BIAS if name not in BLIND]

parametrize = pytest.mark.parametrize


def distance(result, expected):
    return float(((result - expected).norm() / expected.norm()).detach())


def run(network, noisy, *levels):
    with torch.no_grad():
        return network(noisy, torch.tensor(levels))


@parametrize(("name", "channels", "parameters"), [
    *((name, channels, {}) for name in WITH_BIAS for channels in (1, 3)),
    *((name, 1, {"norm": False}) for name in ("unet", "dncnn", "ffdnet", "bf-cnn")),
])  # fmt: skip
def test_a_network_is_homogeneous_if_and_only_if_it_has_no_bias(name, channels, parameters):
    shape = (channels, 16, 16)
    noisy = images(2, shape)
    for bias in (False, True):
        network = build(name, shape, **SMALL[name], **parameters, bias=bias)
        result = distance(run(network, 3 * noisy, 0.6, 1.2), 3 * run(network, noisy, 0.2, 0.4))
        assert result < 1e-5 if not bias else result > 1e-3


@parametrize("name", WITH_BOTH)
def test_a_bias_free_network_that_uses_sigma_is_homogeneous_in_image_and_sigma_together(name):
    noisy = images(2, (1, 16, 16))
    network = build(name, (1, 16, 16), **SMALL[name], bias=False, blind=False)
    expected = 3 * run(network, noisy, 0.2, 0.4)
    assert distance(run(network, 3 * noisy, 0.6, 1.2), expected) < 1e-5
    assert distance(run(network, 3 * noisy, 0.2, 0.4), expected) > 1e-4


@parametrize("name", WITH_NORM)
def test_without_normalisation_nothing_depends_on_the_batch_in_training(name):
    noisy = images(4, (1, 16, 16))
    levels = torch.full((4,), 0.2)
    for norm in (True, False):
        network = build(name, (1, 16, 16), **SMALL[name], norm=norm).train()
        alone = torch.cat([network(noisy[index : index + 1], levels[:1]) for index in range(4)])
        # Group normalisation does not use other images of the batch.
        same = not norm or name == "unet-conditional"
        assert (distance(network(noisy, levels), alone) < 1e-5) == same
        averages = [key for key in network.state_dict() if "running" in key]
        assert bool(averages) == (not same)


@parametrize("name", WITH_BLIND)
def test_the_noise_level_matters_if_and_only_if_the_network_is_not_blind(name):
    noisy = images(2, (1, 16, 16))
    for blind in (True, False):
        network = build(name, (1, 16, 16), **SMALL[name], blind=blind)
        assert torch.equal(run(network, noisy, 0.1, 0.1), run(network, noisy, 0.4, 0.4)) == blind


@parametrize("name", [*WITH_BLIND, "linear"])
@parametrize("channels", [1, 3])
def test_training_starts_near_the_identity(name, channels):
    """Errors over sigma^2 are then about 1 at every noise level."""
    shape = (channels, 16, 16)
    network = untrained(name, shape, **SMALL[name])
    noisy = images(8, shape)
    assert distance(run(network, noisy, *[0.1] * 8), noisy) < 0.1


#: Network, parameters, shape of the dataset, shape of the images, and error message.
SHAPES = [
    *((name, {"width": 2, "levels": 3}, (1, 24, 24), (1, 20, 24), "multiples of 8, not 20x24")
      for name in ("unet", "unet-conditional")),
    *((name, {}, (3, 8, 6), shape, r"built for images of 3x8x6 .* not " + "x".join(map(str, shape)))
      for name in ("mlp", "linear") for shape in ((3, 6, 8), (1, 8, 6), (3, 12, 12))),
    ("vit", SMALL["vit"], (1, 18, 16), (1, 18, 16), "multiples of 4, not 18x16"),
    ("vit", SMALL["vit"], (1, 16, 16), (1, 16, 32), "built for images of 1x16x16"),
    ("vit", {**SMALL["vit"], "window": 3}, (1, 16, 16), (1, 16, 16), "multiples of 3; images of this size have 4x4 p"),
    ("timm-unet", SWIN, (1, 32, 32), (1, 64, 64), "was built for images of 1x32x32"),
]  # fmt: skip


@parametrize(("name", "parameters", "shape", "given", "message"), SHAPES)
@parametrize("device", ["cpu", "meta"])
def test_errors_for_unsupported_shapes_state_what_is_accepted(name, parameters, shape, given, message, device):
    noisy, level = torch.zeros(1, *given, device=device), torch.ones(1, device=device)
    with pytest.raises((ValueError, gahbench.GahbenchError), match=message):
        untrained(name, shape, **parameters).to(device)(noisy, level)


#: Network, parameters, image size, padded size, and padding mode.
SIZES = [
    *(("ffdnet", SMALL["ffdnet"], size, (16, 16), "replicate") for size in ((15, 16), (16, 15), (15, 15))),
    *(("mohan-unet", {}, (height, width), (height + height % 2, width + width % 2), "constant")
      for height, width in ((13, 12), (12, 15), (17, 11))),
    ("nafnet", {"width": 4}, (13, 10), (16, 16), "constant"),
    ("timm-unet", SMALL["timm-unet"], (21, 34), (32, 36), "replicate"),
]  # fmt: skip


@parametrize(("name", "parameters", "size", "whole", "mode"), SIZES)
def test_other_sizes_are_padded_with_zeros_or_border_pixels(name, parameters, size, whole, mode):
    network, noisy = build(name, (3, 32, 32), **parameters), images(2, (3, *size))
    continued = functional.pad(noisy, (0, whole[1] - size[1], 0, whole[0] - size[0]), mode=mode)
    assert distance(run(network, noisy, 0.2, 0.3), run(network, continued, 0.2, 0.3)[..., : size[0], : size[1]]) < 1e-5
