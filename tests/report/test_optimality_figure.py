import numpy as np
import pytest
from fake_results import dataset, results, rows
from typer.testing import CliRunner

from gahbench._util.errors import ParameterError, ResultsError
from gahbench.cli.app import app
from gahbench.evaluation.rates import input_psnr
from gahbench.report.publish import publish
from gahbench.report.rates import optimality_figure

EPSILONS = np.array([1.0, 2.0, 4.0, 8.0]) / 256
NAMES = {size: f"c-alpha[alpha=4,size={size},master=64]" for size in (16, 32)}
DISTANCES = {"lower-bound": np.zeros(4), "net": np.array([4.0, 3.0, 2.0, 1.0])}


def made(metric="optimality-slope"):
    """Distances from a bound that has collapsed at all levels but the weakest noise; at 32 pixels so has the net."""
    scores, facts = [], []
    for size, name in NAMES.items():
        bound = np.outer(EPSILONS, [1.0, 2.0] * 3) * np.array([1 + 0.1 * (size == 32), 1, 1, 1])[:, None]
        sigmas = tuple(EPSILONS * size)
        for label, distance in DISTANCES.items():
            kind = "bound" if label == "lower-bound" else "classical"
            off = distance + (label == "net" and size == 32) * np.array([0, 0.5, 0, 0])
            error = bound * 10 ** (off[:, None] / 10)
            scores += rows(name, label, kind, error, None, sigmas, f"{metric}.error")
            scores += rows(name, label, kind, bound, None, sigmas, f"{metric}.bound")
            scores += rows(name, label, kind, -10 * np.log10(error), None, sigmas)
        facts.append(dataset(name, 0.8, "bracket") | {"height": size, "width": size})
    return results(scores, datasets=facts)


def test_distances_are_drawn_against_noise_over_side():
    figure = optimality_figure(made())
    assert len(figure.axes) == 2
    for ax, title in zip(figure.axes, NAMES.values(), strict=True):
        assert ax.get_title(loc="left") == title
        lines = {line.get_label(): line for line in ax.get_lines()}
        np.testing.assert_allclose(lines["net"].get_xdata(), input_psnr(EPSILONS))
        # Shaded where the bound has collapsed; filled markers where the denoiser has, too.
        assert sum(patch.get_height() > 0 for patch in ax.patches) == 3
        colour = lines["net"].get_color()
        (full,) = [one for one in ax.get_lines() if (one.get_linestyle(), one.get_color()) == ("None", colour)]
        np.testing.assert_allclose(full.get_xdata(), input_psnr(EPSILONS[2:]))
        # Over 12 dB nothing is shown to be near-optimal; at 32 pixels the net varies by more than 2 dB.
        assert [text.get_text() for text in ax.texts] == ["?", "✗" if title == NAMES[32] else "?"]
    np.testing.assert_allclose(
        next(line for line in figure.axes[0].get_lines() if line.get_label() == "net").get_ydata(), DISTANCES["net"]
    )


def test_some_may_be_drawn_and_what_cannot_is_said():
    figure = optimality_figure(made(), [NAMES[32]], ["net"])
    assert [ax.get_title(loc="left") for ax in figure.axes] == [NAMES[32]]
    assert "lower-bound" not in {line.get_label() for line in figure.axes[0].get_lines()}
    with pytest.raises(ParameterError, match="nobody are not in the results"):
        optimality_figure(made(), None, ["nobody"])
    with pytest.raises(ResultsError, match="accepted: those of a suite with the metric optimality-slope"):
        optimality_figure(made("another"))


@pytest.mark.usefixtures("figures_not_rendered")
def test_the_command_writes_the_figure(tmp_path):
    publish(made(), tmp_path / "results", "digest")
    out = tmp_path / "optimality.png"
    arguments = ["draw", "optimality", str(tmp_path / "results"), "-e", "net", "--out", str(out)]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).stdout == f"wrote {out}\n"
    assert out.read_bytes().startswith(b"\x89PNG")
