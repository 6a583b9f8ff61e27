"""The figures of a board."""

import numpy as np
import pytest
from fake_results import SIGMAS, dataset, results, rows
from typer.testing import CliRunner

from gahbench._util.errors import ResultsError
from gahbench.cli.app import app
from gahbench.report.publish import publish


@pytest.fixture
def two_datasets():
    falling = np.linspace(40, 20, len(SIGMAS))[:, None] + np.zeros(4)
    scores = [
        row
        for name in ("discs[size=16]", "faces")
        for entrant, kind in (("identity", "classical"), ("base", "oracle"))
        for row in rows(name, entrant, kind, falling + (kind == "oracle"))
    ]
    scores += rows("faces", "identity", "classical", falling / 50, metric="ssim")
    return results(scores, datasets=[dataset("discs[size=16]"), dataset("faces")], baseline="base")


def test_the_board_of_a_notebook_has_no_more_digits_than_a_reader_needs(two_datasets):
    page = two_datasets._repr_html_()
    assert "30.00" in page
    assert "30.000" not in page
    assert "NA" not in page


EPSILONS = np.array([1.0, 2.0, 4.0, 8.0]) / 256
SIZES = {size: f"c-alpha[alpha=4,size={size},render_size=64]" for size in (16, 32)}
DEFICITS = {"lower-bound": np.zeros(4), "net": np.array([4.0, 3.0, 2.0, 1.0])}


def make_distances(metric="optimality-slope"):
    """Make results whose bound, and at 32 pixels the net, has collapsed at all levels except the weakest noise."""
    scores, facts = [], []
    for size, name in SIZES.items():
        bound = np.outer(EPSILONS, [1.0, 2.0] * 3) * np.array([1 + 0.1 * (size == 32), 1, 1, 1])[:, None]
        sigmas = tuple(EPSILONS * size)
        for label, distance in DEFICITS.items():
            kind = "bound" if label == "lower-bound" else "classical"
            off = distance + (label == "net" and size == 32) * np.array([0, 0.5, 0, 0])
            error = bound * 10 ** (off[:, None] / 10)
            scores += rows(name, label, kind, error, None, sigmas, f"{metric}.error")
            scores += rows(name, label, kind, bound, None, sigmas, f"{metric}.bound")
            scores += rows(name, label, kind, -10 * np.log10(error), None, sigmas)
        facts.append(dataset(name, 0.8, "bracket") | {"height": size, "width": size})
    return results(scores, datasets=facts)


def test_distances_are_drawn_against_noise_over_side():
    figure = make_distances().figure("optimality", entrants="net")
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(SIZES.values())
    curve = figure.axes[0].get_lines()[0].get_xydata()
    np.testing.assert_allclose(curve, np.stack([EPSILONS, DEFICITS["net"]], 1))
    # Levels where the bound has collapsed are shaded.
    assert [sum(type(patch).__name__ == "Rectangle" for patch in ax.patches) for ax in figure.axes] == [3, 3]
    with pytest.raises(ResultsError, match="accepted: results of a suite with the metric optimality-slope"):
        make_distances("another").figure("optimality")


@pytest.mark.usefixtures("figures_not_rendered")
def test_the_command_writes_the_figure(tmp_path):
    publish(make_distances(), tmp_path / "results", "digest")
    out = tmp_path / "optimality.png"
    arguments = ["draw", "optimality", str(tmp_path / "results"), "-e", "net", "--out", str(out)]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).stdout == f"wrote {out}\n"
    assert out.read_bytes().startswith(b"\x89PNG")
