"""Colour images in the commands ``run``, ``inspect``, ``sample`` and ``draw``."""

import numpy as np
import pytest
from matplotlib import pyplot

SUITE = """
name: colour
datasets: [{images: {path: images.npz, colour: rgb}}]
entrants: [{dncnn: {width: 4, layers: 3}}, {bf-cnn: {width: 4, layers: 3}}, {oracle-threshold: {basis: haar}}]
baseline: oracle-threshold[haar]
training: {steps: 2, batch_size: 4, validation_images: 4}
scoring: {sigmas: [0.1], images: 4, metrics: [psnr]}
"""


@pytest.fixture
def folder(command, tmp_path):
    """A folder with a suite of synthetic images: red ramps along rows, green along columns, blue is noise."""
    folder = tmp_path / "here"
    folder.mkdir(exist_ok=True)
    ramp = np.linspace(0, 255, 8)
    images = np.random.default_rng(0).uniform(0, 255, (40, 8, 8, 3))
    images[..., 0], images[..., 1] = ramp[:, None], 255 - ramp
    np.savez(folder / "images.npz", images=images.astype(np.uint8))
    (folder / "colour.yaml").write_text(SUITE)
    return folder


def is_coloured(file):
    """Return whether the channels of some pixel differ by more than 0.5."""
    pixels = pyplot.imread(file)[..., :3]
    return float((pixels.max(-1) - pixels.min(-1)).max()) > 0.5


def test_colour_networks_are_trained_scored_inspected_sampled_and_drawn(figures_not_rendered, command, folder):
    status, output, errors = command("run")("colour.yaml", "--out", "out", "--engine", "inline")
    assert status == 0, errors
    assert all(entrant in output for entrant in ("DnCNN", "BF-CNN"))
    (weights,) = command("weights")("out", "-e", "dncnn[width=4,layers=3]")[1].split("\n")[:1]
    entrant = f"dncnn[width=4,layers=3,checkpoint={weights.split(chr(9))[2]}]"
    data = ("--dataset", "images[images.npz,colour=rgb]")
    status, _, errors = command("inspect")(entrant, *data, "--others", "0", "--sigma", "0.1", "--out", "looks")
    assert status == 0, errors
    assert is_coloured(folder / "looks" / "gallery-0.1.png")
    status, _, errors = command("sample")(entrant, *data, "--set", "count=2", "--set", "max_steps=2", "--out", "drawn")
    assert status in (0, 1), errors
    assert np.load(folder / "drawn" / "samples.npz")["images"].shape == (2, 3, 8, 8)
    status, _, errors = command("draw")("denoised", "out", "--out", "sheet.png")
    assert status == 0, errors
    assert is_coloured(folder / "sheet.png")
