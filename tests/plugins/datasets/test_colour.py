"""Images of three channels go through everything: training, scoring, references, the board and the figures."""

import numpy as np
import pytest
from PIL import Image
from tiny_runs import plan_suite

from gahbench import create, run, score
from gahbench.registry.registry import Registry
from gahbench.report.legend import dataset_lines
from gahbench.report.page.report import html_report

SUITE = """
name: colours
datasets:
  - faces: {path: FACES, colour: rgb}
entrants:
  - unet: {width: 2, levels: 1}
  - identity
  - bayes-shrink
  - oracle-threshold: {basis: [haar, dct]}
baseline: oracle-threshold[haar]
training: {steps: 12, batch_size: 4, compile: never, validations: 2, validation_images: 2}
scoring: {sigmas: [0.1, 0.3], images: 3, metrics: [psnr, ssim, slope]}
"""


def test_a_suite_in_colour_runs_to_the_end(tmp_path):
    np.savez(tmp_path / "faces.npz", images=np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8))
    file = tmp_path / "colours.yaml"
    file.write_text(SUITE.replace("FACES", str(tmp_path / "faces.npz")))
    outcome = run(file, tmp_path / "out", engine="inline")
    assert outcome.failed == 0
    board = outcome.leaderboard(full=True)
    assert board["dataset"].value_counts().to_dict() == {"faces[faces.npz,colour=rgb]": 5}
    assert board["psnr"].notna().all()
    # The noise alone: -20 log10 of its standard deviation, averaged over both.
    identity = board.set_index("entrant")["psnr"]["identity"]
    assert identity == pytest.approx(-10 * np.log10(0.1 * 0.3), abs=0.3)
    assert len(list((tmp_path / "out" / "figures").glob("*.svg"))) == 1


@pytest.fixture(params=["folder", "array"])
def pictures(request, tmp_path):
    """Return a function that writes pictures (N, H, W, C), and returns where they are."""

    def write(values):
        if request.param == "array":
            np.savez(tmp_path / "pictures.npz", images=values)
            return tmp_path / "pictures.npz"
        (tmp_path / "pictures").mkdir()
        for number, value in enumerate(values):
            Image.fromarray(value.squeeze()).save(tmp_path / "pictures" / f"{number}.png")
        return tmp_path / "pictures"

    return write


SAID = ("its images are in colour, and are turned to grey (colour=mean); colour=rgb keeps their colours",)


@pytest.mark.parametrize("name", ["images", "faces", "photos", "whole"])
def test_colours_that_are_dropped_are_said_with_the_parameter_that_keeps_them(pictures, name):
    path = str(pictures(np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)))
    for _ in range(2):  # The second time images come from the cache.
        assert create("dataset", name, path=path).notes == SAID
    assert create("dataset", "shuffled", dataset=f"{name}[{path}]").notes == SAID
    for colour in ("rgb", "luma"):
        assert create("dataset", name, path=path, colour=colour).notes == ()


@pytest.mark.parametrize("name", ["images", "photos", "whole"])
@pytest.mark.parametrize("channels", [1, 3])
def test_of_grey_pictures_nothing_is_said(pictures, name, channels):
    grey = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 1), dtype=np.uint8)
    assert create("dataset", name, path=str(pictures(grey.repeat(channels, 3)))).notes == ()


def test_a_plan_says_it(tmp_path):
    np.savez(tmp_path / "mine.npz", images=np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8))
    file = tmp_path / "grey.yaml"
    file.write_text(
        "name: grey\ndatasets: [{whole: {path: mine.npz}}]\nentrants: [identity]\n"
        "scoring: {sigmas: [0.1], images: 2, metrics: [psnr]}\n"
    )
    with pytest.warns(UserWarning, match=r"grey.yaml: whole\[mine.npz\]: its images are in colour.*colour=rgb keeps"):
        plan_suite(file)
    with pytest.warns(UserWarning, match="its images are in colour"):
        run(file, tmp_path / "out", engine="inline")
    line = f"I{SAID[0][1:]}."
    assert line in (tmp_path / "out" / "leaderboard.md").read_text().splitlines()
    # Of a model in memory too, and on the page.
    found = score(lambda noisy, sigma: noisy, f"whole[{tmp_path}/mine.npz]", sigmas=[0.1], images=2, metrics=["psnr"])
    assert dataset_lines(found.board.datasets[0].dataset, found) == [
        line,
        "No intervals and no ranks: 2 images, and 5 are needed.",
    ]
    assert line in html_report(tmp_path / "out", Registry())
