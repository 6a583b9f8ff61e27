"""Figures of ``gahbench draw``: rates, approximation and geometry."""

from pathlib import Path

import numpy as np
import pytest
from fake_results import dataset, results, rows
from matplotlib.colors import same_color

import gahbench
from gahbench._util.errors import ParameterError, ResultsError
from gahbench.evaluation.rates import input_psnr
from gahbench.explore.drawing import draw_approximation
from gahbench.report.drawing import GREY
from gahbench.report.publish import publish
from gahbench.report.rates import rate_windows

SIGMAS = (0.125, 0.25, 0.5, 1.0)
#: The first dataset has the default size.
NAMES = ["c-alpha[alpha=2]", "c-alpha[alpha=2,size=128]"]


def curve(slope, sigmas=SIGMAS, images=5):
    return slope * input_psnr(sigmas)[:, None] + 10 + np.arange(images)


def make_results(slopes=(("wavelets", 0.5), ("better", 0.7)), names=NAMES):
    scores = [
        row
        for name in names
        for label, slope in slopes
        for row in rows(name, label, "oracle", curve(slope), sigmas=SIGMAS)
    ]
    sides = {name: 128 if "128" in name else 64 for name in names}
    shapes = [{"height": sides[name], "width": sides[name]} for name in names]
    return results(scores, datasets=[dataset(name, 2 / 3) | shape for name, shape in zip(names, shapes, strict=True)])


WINDOW = "rate[min_terms=20,max_terms=4]"


def curves(ax):
    return [line.get_xydata() for line in ax.get_lines() if not same_color(line.get_color(), GREY)]


def test_rates_are_local_slopes():
    figure = make_results().figure("rates", rate=WINDOW)
    assert [ax.get_title(loc="left") for ax in figure.axes] == NAMES
    for ax in figure.axes:
        np.testing.assert_allclose(sorted(curve[0, 1] for curve in curves(ax)), [0.5, 0.7])
        np.testing.assert_allclose(curves(ax)[0][:, 0], SIGMAS)
        assert any(line.get_ydata()[0] == pytest.approx(2 / 3) for line in ax.get_lines())
    with pytest.raises(ResultsError, match="at least two noise levels"):
        results(rows("d", "a", "oracle", [[20.0, 21.0]], sigmas=(0.1,)), datasets=[dataset("d")]).figure("rates")


def test_windows_are_computed_from_test_images(builtin):
    windows = rate_windows(make_results(names=[NAMES[0], "faces[path=gone.npz]"]), builtin)
    assert set(windows) <= {NAMES[0]}
    chosen = rate_windows(make_results(), builtin, "rate[min_terms=20,max_terms=4]")
    images = gahbench.create("dataset", NAMES[0]).images("test", 5)
    assert chosen[NAMES[0]] == gahbench.create("metric", "rate[min_terms=20,max_terms=4]").levels(images, SIGMAS)
    # The suite uses the name of a dataset as the label of images of a different size.
    labelled = make_results(names=[NAMES[0]])
    labelled.datasets["height"] = 32
    assert rate_windows(labelled, builtin) == {}
    # The results record the name and parameters of the dataset separately from the label.
    labelled = make_results(names=["small"])
    labelled.datasets["spec"] = NAMES[0]
    assert rate_windows(labelled, builtin, "rate[min_terms=20,max_terms=4]") == {"small": chosen[NAMES[0]]}
    with pytest.raises(ParameterError, match="has no window"):
        rate_windows(make_results(), builtin, "psnr")


def test_a_smooth_field_is_approximated_better_by_cosines_than_by_pixels(builtin):
    (figure,) = draw_approximation(builtin, ["gaussian-field[size=16]"], bases=["dct", "pixel"], images=4)
    dct, pixel = (np.interp(50, *np.array(curve).T) for curve in curves(figure.axes[0]))
    assert dct < 0.2 * pixel


def test_the_draw_command_writes_files(tmp_path, command):
    publish(make_results(), tmp_path / "results", "digest")
    for arguments in (
        ["rates", tmp_path / "results", "-e", "better"],
        ["approximation[haar,dct,images=2]", "discs[size=16]"],
        ["geometry[threshold=0.05]", "discs[size=16]", "discs[size=8]"],
    ):
        status, printed, stderr = command("draw")(*arguments, "--out", tmp_path / "a.svg")
        assert status == 0, stderr
        files = [Path(line.removeprefix("wrote ")) for line in printed.splitlines()]
        assert len(files) == (2 if "geometry" in arguments[0] else 1)
        assert all(b"<svg" in file.read_bytes() for file in files)
