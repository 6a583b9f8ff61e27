"""Figures of ``gahbench draw``: rates, resolution, approximation and geometry."""

import numpy as np
import pytest
from fake_results import dataset, results, rows
from matplotlib.colors import same_color
from typer.testing import CliRunner

import gahbench
from gahbench._util.errors import GahbenchError, ParameterError, ResultsError
from gahbench.board.rate_curves import entrant_windows
from gahbench.cli.app import app
from gahbench.evaluation.rates import input_psnr
from gahbench.explore.drawing import draw_approximation, draw_geometry
from gahbench.report.drawing import GREY, save_figure
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
    with pytest.raises(ResultsError, match="differ in their 'size' alone"):
        make_results(names=NAMES[:1]).figure("resolution")


def test_resolution_shows_the_slope_within_the_window_at_each_size():
    (ax,) = make_results().figure("resolution", entrants="better", rate="rate[min_terms=5,max_terms=9]").axes
    np.testing.assert_allclose(curves(ax)[0], [[64, 0.7], [128, 0.7]])


def test_resolution_leaves_out_levels_that_have_not_collapsed():
    names = [f"c-alpha[alpha=2,size={size},render_size=256]" for size in (32, 64)]
    sides = dict(zip(names, (32, 64), strict=True))
    sigmas = {32: np.array([0.125, 0.25, 0.5, 1.0]), 64: 2 * np.array([0.125, 0.25, 0.5, 1.0])}
    # At the weakest noise, the error falls by 0.2 dB from the small to the large size.
    outputs = {size: curve(0.5, sigmas[32]) + np.array([0.2 * (size == 64), 0, 0, 0])[:, None] for size in (32, 64)}
    scores = [
        row
        for name, size in sides.items()
        for row in rows(name, "haar", "oracle", outputs[size], sigmas=tuple(sigmas[size]))
    ]
    facts = [dataset(name, 2 / 3) | {"height": size, "width": size} for name, size in sides.items()]
    results_of_sizes = results(scores, datasets=facts)
    windows = {name: sigmas[size].tolist() for name, size in sides.items()}
    levels = entrant_windows(results_of_sizes, windows)
    assert levels == {name: {"haar": sigmas[size][1:].tolist()} for name, size in sides.items()}
    # Images without a render size are kept at all levels.
    plain = make_results()
    assert entrant_windows(plain, {NAMES[0]: [0.25, 0.5]})[NAMES[0]] == {"wavelets": [0.25, 0.5], "better": [0.25, 0.5]}


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


def test_a_smooth_field_is_approximated_better_by_cosines_than_by_pixels(builtin, tmp_path):
    figure = draw_approximation(builtin, ["gaussian-field[size=16]"], ["dct", "pixel"], images=4)
    (ax,) = figure.axes
    dct, pixel = (np.interp(50, *np.array(curve).T) for curve in curves(ax))
    assert dct < 0.2 * pixel
    save_figure(figure, tmp_path / "sub" / "a.svg")
    first = (tmp_path / "sub" / "a.svg").read_bytes()
    save_figure(
        draw_approximation(builtin, ["gaussian-field[size=16]"], ["dct", "pixel"], images=4), tmp_path / "sub" / "a.svg"
    )
    assert (tmp_path / "sub" / "a.svg").read_bytes() == first


@pytest.mark.parametrize(
    ("names", "bases", "message"),
    [
        (["gaussian-field[size=15]"], ["sym4"], "basis 'sym4' on gaussian-field.*not orthonormal"),
        (["gaussian-field[size=16]"], ["wavelet-ti"], "not orthonormal"),
        (["discs[size=16]"], ["true-basis"], "true-basis. on discs.*: not defined on a dataset"),
        (["discs[size=16]"], ["sim4"], "did you mean 'sym4'"),
    ],
)
def test_approximation_in_an_invalid_basis_raises(builtin, names, bases, message):
    with pytest.raises(GahbenchError, match=message):
        draw_approximation(builtin, names, bases, images=2)


def test_geometry_is_drawn_for_bandlets_only(builtin):
    assert draw_geometry(builtin, "discs[size=32]", "bandlet[directions=4]", 0.05, noisy=True).axes
    with pytest.raises(ParameterError, match="basis 'dct': has no geometry to draw"):
        draw_geometry(builtin, "discs[size=32]", "dct")


def test_the_draw_commands_write_files(tmp_path):
    publish(make_results(), tmp_path / "results", "digest")
    for arguments in (
        ["rates", str(tmp_path / "results"), "-e", "better"],
        ["resolution[rate=rate[min_terms=5,max_terms=9]]", str(tmp_path / "results")],
        ["approximation[haar,images=2]", "discs[size=16]"],
        ["geometry[threshold=0.05]", "discs[size=16]"],
    ):
        out = tmp_path / f"{arguments[0]}.png"
        result = CliRunner().invoke(app, ["draw", *arguments, "--out", str(out)], catch_exceptions=False)
        assert result.exit_code == 0
        assert result.stdout == f"wrote {out}\n"
        assert out.read_bytes().startswith(b"\x89PNG")
