"""Noisy images without clean references: what is known of their noise, which metrics are accepted, and boards."""

import numpy as np
import pytest
import torch
import yaml
from scipy import ndimage
from tiny_runs import plan_suite

import gahbench
from gahbench._util.errors import DataError, GahbenchError
from gahbench_plugins.datasets.captures import Captures
from gahbench_plugins.datasets.estimated_noise import examine

pytestmark = pytest.mark.filterwarnings("ignore:.*no clean images. the noise is estimated")
COUNT, SIDE, SIGMA = 8, 128, 0.1
ALONE = ["sure", "masked-error"]


@pytest.fixture(scope="module")
def clean():
    return gahbench.create("dataset", f"photos[size={SIDE}]").images("test", COUNT)[:, 0].numpy().astype(float)


def draw(seed=0):
    return np.random.default_rng(seed)


def noisy_images(clean, kind):
    if kind == "white":
        return clean + SIGMA * draw().normal(size=clean.shape)
    if kind == "photons":
        return draw().poisson(clean / 0.02) * 0.02 + 0.02 * draw(1).normal(size=clean.shape)
    kernel = np.array([[[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]]) / 6
    return clean + SIGMA * ndimage.convolve(draw().normal(size=clean.shape), kernel, mode="wrap")


@pytest.fixture(scope="module")
def path(clean, tmp_path_factory):
    """Return a function that writes noisy images of a kind, and returns the path of their file."""
    folder = tmp_path_factory.mktemp("alone")

    def write(kind):
        if not (file := folder / f"{kind}.npz").exists():
            np.savez(file, noisy=noisy_images(clean, kind))
        return str(file)

    return write


def noise_of(noise):
    """Return what images of noise of standard deviation 1, shape (N, H, W), show of it at a tenth of its strength."""
    return examine(list(torch.from_numpy(0.5 + SIGMA * noise)[:, None]))


def test_the_statistics_of_white_noise_are_those_of_theory():
    noise = noise_of(draw(2).normal(size=(24, 64, 64)))
    # The median of the absolute values of n coefficients has a relative error of 1.17 / sqrt(n).
    assert noise.level == pytest.approx(SIGMA, rel=4 * 1.17 / np.sqrt(24 * 64 * 64 / 4))
    assert max(map(abs, noise.correlations)) < 4 * noise.error
    assert abs(noise.kurtosis) < 0.5
    assert noise.clipped == pytest.approx(2 / 64**2)
    assert noise.kind == "white"


@pytest.mark.parametrize(("row", "column"), [(0.1, 0.0), (0.0, 0.1), (-0.1, 0.0), (0.05, 0.05)])
def test_correlations_are_those_of_the_kernel(row, column):
    kernel = np.array([[0, column, 0], [row, 1, row], [0, column, 0]])
    power = np.square(kernel).sum()
    drawn = draw(3).normal(size=(24, 128, 128))
    noise = noise_of(ndimage.convolve(drawn, kernel[None], mode="wrap") / np.sqrt(power))
    # Correlations over two pixels, which are not fitted, are of second order.
    tolerance = 4 * noise.error + 2 * (row**2 + column**2)
    assert noise.correlations == pytest.approx((2 * row / power, 2 * column / power), abs=tolerance)
    assert noise.kind == "unknown"


def test_clipped_noise_and_texture_are_not_white(clean):
    ramp = np.linspace(0, 0.5, 128)[:, None] + SIGMA * draw(8).normal(size=(4, 128, 128))
    clipped = examine(list(torch.from_numpy(ramp.clip(0, 1))[:, None]))
    assert clipped.clipped > 0.05
    assert clipped.kind == "independent"
    assert examine(list(torch.from_numpy(clean)[:, None])).kind != "white"


def plan(tmp_path, path, entrants=("identity", "bayes-shrink[haar]"), **scoring):
    content = {"name": "alone", "datasets": [f"captures[path={path}]"], "entrants": list(entrants)}
    content["scoring"] = {"sigmas": "measured", "images": 4, **scoring}
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(content))
    return plan_suite(tmp_path / "alone.yaml")


@pytest.mark.parametrize(
    ("kind", "expected", "words"),
    [
        ("white", "white", "white and Gaussian within the limits, so sure and masked-error are defined"),
        ("photons", "independent", "only masked-error is defined"),
        ("correlated", "unknown", "not shown to be uncorrelated, so no error can be estimated without clean images"),
    ],
)
def test_the_kind_of_the_noise_is_known_and_noted(path, kind, expected, words):
    captures = Captures(path(kind))
    assert captures.noise_kind == expected
    (note,) = captures.notes
    assert words in note
    assert "correlation of neighbours" in note
    assert "limit 0.1" in note


def test_the_images_are_the_noisy_images_with_their_estimated_or_given_levels(path, clean):
    captures = Captures(path("white"))
    captured = captures.captured(COUNT)
    assert captured.noisy[:, 0].numpy() == pytest.approx(noisy_images(clean, "white"), abs=1e-6)
    assert captured.noisy.equal(captures.images("test", COUNT))
    assert captured.sigma.numpy() == pytest.approx(SIGMA, rel=0.1)
    assert float(captured.sigma.mean()) == pytest.approx(SIGMA, rel=0.05)
    assert Captures(path("white"), sigma=0.3).captured(2).sigma.tolist() == [0.3, 0.3]
    with pytest.raises(DataError, match="colour=rgb without clean references; accepted: mean and luma"):
        Captures(path("white"), colour="rgb").images("test", 1)
    squares = Captures(path("white"), size=32)
    assert squares.available("test") == 16 * COUNT
    assert set(squares.captured(16 * COUNT).sigma.tolist()) == set(captured.sigma.tolist())
    assert squares.noise_kind == "white"


@pytest.mark.parametrize(
    ("kind", "scoring", "problem"),
    [
        ("white", {"metrics": ["psnr"]}, "'psnr': .*needs clean images, .*'white'; accepted: sure under white noise"),
        ("white", {"metrics": ["sure", "ssim"]}, "'ssim': .*needs clean images"),
        ("white", {"metrics": ["sure", "transfer-gap"]}, "'transfer-gap': .*needs clean images"),
        ("white", {"metrics": ["sure", "alignment[haar]"]}, "'alignment.*needs clean images"),
        ("white", {"metrics": ALONE, "entrants": ["identity", "oracle-shrink[haar]"]}, "'oracle-.*needs clean images"),
        ("white", {"metrics": ALONE, "sigmas": [0.1]}, "the images are noisy, .*accepted: sigmas=measured"),
        ("photons", {"metrics": ALONE}, "'sure': .*'independent'; accepted: .*masked-error under white or independent"),
        ("correlated", {"metrics": ["masked-error"]}, "'unknown'; accepted: .* bursts"),
        ("white", {"metrics": ALONE, "splits": ["test", "train"], "images": 1}, "train split, which holds 0"),
    ],
)
def test_what_needs_clean_images_is_refused_before_a_run(tmp_path, path, kind, scoring, problem):
    with pytest.raises(GahbenchError, match=problem) as caught:
        plan(tmp_path, path(kind), **scoring)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("figures_not_rendered")
def test_a_run_has_a_board_without_psnr(tmp_path, path):
    plan(tmp_path, path("white"), metrics=ALONE)
    gahbench.run(tmp_path / "alone.yaml", out=tmp_path / "out", engine="inline")
    results = gahbench.load_results(tmp_path / "out")
    assert results.failures.empty
    assert results.datasets["noise"].tolist() == ["measured"]
    board = results.leaderboard(full=True).set_index("entrant")
    assert board.loc["identity", "sure"] == pytest.approx(1, abs=1e-3)
    assert board.loc["bayes-shrink[haar]", "sure"] < 0.5
    assert board["note"].tolist() == ["", ""]
    text = (tmp_path / "out" / "leaderboard.md").read_text(encoding="utf-8")
    assert "No PSNR." in text
    assert "It is white and Gaussian within the limits" in text
