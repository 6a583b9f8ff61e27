"""Published weights of KAIR and MatConvNet on published images, if the folder GAHBENCH_DATA contains the files."""

import pytest
import torch
from isolation import real_data

import gahbench
from gahbench.contracts.truth import Truth

DATA = real_data()
#: PSNR in dB on Cameraman, the first image of Set12, as published (Zhang et al. 2017, table II; Zhang et al. 2018).
GREY = [
    ("dncnn[layers=17,norm=false]", "dncnn_15.pth", 15, 32.61),
    ("dncnn[layers=17,norm=false]", "kair_dncnn_25.pth", 25, 30.18),
    ("dncnn[layers=17,norm=false]", "dncnn_50.pth", 50, 27.03),
    ("dncnn[layers=20,norm=false]", "dncnn_gray_blind.pth", 25, 29.94),
    ("ffdnet[norm=false]", "ffdnet_gray.pth", 25, 30.10),
]
#: Minimum PSNR in dB on a corner of the first image of CBSD68, with input PSNR of 24.6, 20.2 and 14.1 dB.
COLOUR = [
    ("dncnn[layers=20,norm=false]", "cdncnn_15.pth", 15, 30.9),
    ("dncnn[layers=20,norm=false]", "cdncnn_25.pth", 25, 28.1),
    ("dncnn[layers=20,norm=false]", "cdncnn_50.pth", 50, 25.0),
    ("dncnn[layers=20,norm=false]", "dncnn_color_blind.pth", 25, 28.0),
    ("ffdnet[width=96,layers=12,norm=false]", "ffdnet_color.pth", 25, 27.9),
]


def photograph(name, colour):
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} does not exist")
    whole = gahbench.create("dataset", "whole", path=str(DATA / name), colour=colour)
    return whole.of_shape(whole.shape).images("test", 1)


def psnr(architecture, weights, clean, level):
    file = DATA / "weights" / weights
    if not file.exists():
        pytest.skip(f"{file} does not exist")
    reference = gahbench.create("reference", "pretrained", architecture=architecture, checkpoint=str(file))
    sigma = level / 255
    noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    error = (reference.denoise(noisy, sigma, Truth(torch.full_like(clean, torch.nan))) - clean).square().mean()
    return float(-10 * error.log10())


@pytest.mark.parametrize(("architecture", "weights", "level", "published"), GREY, ids=[row[1] for row in GREY])
def test_grey_weights_have_their_published_psnr(architecture, weights, level, published):
    assert psnr(architecture, weights, photograph("set12.npz", "mean"), level) == pytest.approx(published, abs=0.15)


@pytest.mark.parametrize(("architecture", "weights", "level", "min_psnr"), COLOUR, ids=[row[1] for row in COLOUR])
def test_colour_weights_denoise(architecture, weights, level, min_psnr):
    assert psnr(architecture, weights, photograph("cbsd68.npz", "rgb")[..., :160, :160], level) > min_psnr


def test_a_bias_free_network_generalizes_to_higher_noise_and_a_network_with_bias_fails():
    """Compare networks trained on sigma from 0 to 30/255, at 20/255 and at 100/255."""
    clean = photograph("bsd68.npz", "mean")[..., 100:164, 150:214]
    free, biased = (
        [psnr(f"dncnn[bias={bias}]", weights, clean, level) for level in (20, 100)]
        for bias, weights in (("false", "bf_dncnn_0-30.pt"), ("true", "dncnn_0-30.pt"))
    )
    assert abs(free[0] - biased[0]) < 0.5
    assert free[1] > biased[1] + 7
