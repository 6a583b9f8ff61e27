"""Figures of the basis that a denoiser learned, and of alignment in a folder of results."""

import math

import numpy as np
import pytest
import torch
from fake_results import dataset, results, rows
from typer.testing import CliRunner

from gahbench._util.errors import ParameterError, ResultsError
from gahbench.board.alignments import Agreement, agreement_curves, margin, mean_agreements, parse_agreement
from gahbench.board.leaderboard import make_board
from gahbench.board.statistics import Interval
from gahbench.cli.app import app
from gahbench.evaluation.rates import input_psnr
from gahbench.report.bases import (
    agreement_figure,
    bases_figure,
    decay_figure,
    gallery_figure,
    geometric_ranks,
    level_names,
    spectra_figure,
)
from gahbench.report.drawing import encode
from gahbench.report.publish import publish

SIGMAS = (0.1, 0.3)


def lines(ax):
    return {line.get_label(): np.asarray(line.get_xydata(), dtype=float) for line in ax.get_lines()}


def test_ranks_double_until_an_eigenvalue_is_small():
    assert geometric_ranks(torch.ones(40)) == [1, 2, 3, 5, 9, 17, 33]
    assert geometric_ranks(torch.tensor([1.0, 0.9, 0.5, 0.4, 0.01, 0.0])) == [1, 2, 3, 5]
    assert geometric_ranks(torch.zeros(9)) == [1]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gallery_shows_the_images_and_the_eigenvectors(channels):
    size = channels * 20
    clean = torch.full((channels, 4, 5), 0.5)
    images = {"clean": clean, "noisy": clean + 0.1, "denoised": clean + 0.01}
    figure = gallery_figure(images, torch.linspace(1.2, -0.2, size), torch.eye(size) / 2, [1, size])
    image_axes = [ax for ax in figure.axes if ax.get_visible() and ax.get_images()]
    assert [ax.get_title() for ax in image_axes[:3]] == ["clean", "noisy\n20.0 dB", "denoised\n40.0 dB"]
    eigenvalues = ["$k=1$\n$\\lambda_k=1.200$", f"$k={size}$\n$\\lambda_k=-0.200$"]
    assert [ax.get_title() for ax in image_axes[3:]] == eigenvalues
    vector = np.asarray(image_axes[3].get_images()[0].get_array())
    assert vector[0, 0].max() == 1
    # Zero is in the middle of the colours.
    assert np.asarray(image_axes[3].get_images()[0].norm(0.0) if channels == 1 else vector[1, 1]).ravel()[0] == 0.5
    with pytest.raises(ParameterError, match=f"ranks 0, 99; accepted: 1 to {size}"):
        gallery_figure(images, torch.ones(size), torch.eye(size), [0, 1, 99])


def test_a_spectrum_is_drawn_against_rank_with_lines_at_one_and_a_half():
    steps = torch.tensor([1.0, 1.0, 0.0, 0.0])
    (ax,) = spectra_figure({0.3: steps, 0.1: steps / 2}, "low-pass").axes
    assert ax.get_xscale() == "log"
    assert ax.get_title(loc="left") == "low-pass"
    np.testing.assert_array_equal(lines(ax)["σ = 0.3"], [[1, 1], [2, 1], [3, 0], [4, 0]])
    assert {0.5, 1.0} <= {line.get_ydata()[0] for line in ax.get_lines() if len(line.get_ydata()) == 2}
    assert ax.get_ylabel() == "eigenvalue $\\lambda_k$ (per unit of input)"
    assert ax.get_xlabel() == "rank $k$"


def test_coefficients_are_sorted_by_energy():
    coefficients = {"learned": torch.tensor([1.0, -3.0, 2.0]), "dct": torch.tensor([3.0, 1e-9, 1.0])}
    figure = decay_figure(dict.fromkeys(SIGMAS, coefficients))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["σ = 0.1", "σ = 0.3"]
    for ax, sigma in zip(figure.axes, SIGMAS, strict=True):
        drawn = lines(ax)
        np.testing.assert_array_equal(drawn["learned"], [[1, 9], [2, 4], [3, 1]])
        # Coefficients that are zero up to rounding are not drawn.
        np.testing.assert_array_equal(drawn["dct"], [[1, 9], [2, 1], [3, np.nan]])
        assert any(curve[0, 1] == pytest.approx(sigma**2) for curve in drawn.values())
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert "grey scale$^2$" in figure.axes[0].get_ylabel()


@pytest.mark.parametrize("label", ["net $x_$", "$\\sigma_", "a $b$ \\frac"])
def test_labels_that_are_invalid_formulas_are_drawn_as_text(label):
    figure = bases_figure({f"{label}, d": {label: Agreement(Interval(0.2, 0.1, 0.3)), "dct": Agreement(Interval(0.1))}})
    assert encode(figure, ".svg", as_text=True).startswith(b"<?xml")


def test_bases_have_a_bar_in_each_panel():
    less, more = Interval(0.2, 0.1, 0.3), Interval(0.4, 0.3, 0.5)
    sym4 = Agreement(more, Interval(0.5), ceiling=0.7, retrieval=0.5)
    ranked = {
        "a": {"dct": Agreement(less, Interval(0.6)), "sym4": sym4},
        "b": {"dct": Agreement(less, single=0.9), "sym4": Agreement(more, single=0.1)},
        "large": {"dct": Agreement(alignment=Interval(0.6, 0.5, 0.7))},
        "partly": {"dct": Agreement(less), "sym4": Agreement(alignment=more, share=0.0123)},
    }
    figure = bases_figure(ranked)
    first, second, large, partly = figure.axes
    for panel in (first, second, partly):
        assert [label.get_text() for label in panel.get_yticklabels()] == ["dct", "sym4"]
    quantities = [ax.get_xlabel().removesuffix(" (cosine)") for ax in figure.axes]
    assert quantities == ["direction", "direction", "alignment", "direction"]
    bars = [(bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in first.patches]
    np.testing.assert_allclose(bars, [(0.2, 0), (0.4, 1)])
    assert single_points(first) >= {(0.6, 0.0), (0.5, 1.0)}
    assert any(list(line.get_xdata()) == [0.7, 0.7] for line in first.get_lines())
    assert [text.get_text() for text in first.texts] == ["50 %", "retrieved"]
    assert single_points(second) >= {(0.9, 0.0), (0.1, 1.0)}
    # Without a direction, the bars show the alignment.
    assert [bar.get_width() for bar in large.patches] == [0.6]
    assert single_points(large) == set()
    # A basis without direction has no bar, although its alignment is known.
    known, unknown = (bar.get_width() for bar in partly.patches)
    assert known == 0.2
    assert math.isnan(unknown)
    assert [text.get_text().strip() for text in partly.texts] == ["– (share 0.012)"]


def single_points(ax):
    return {tuple(map(float, line.get_xydata()[0])) for line in ax.get_lines() if len(line.get_xdata()) == 1}


def make_results():
    scores = []
    for entrant, strength in (("net", 0.4), ("oracle", 0.8)):
        for basis, share in (("graph-laplacian", 1.0), ("wavelet[db2,levels=3]", 0.5)):
            values = strength * share * np.array([[1.0] * 9, [0.5] * 9]) + 0.01 * np.arange(-4, 5)
            for metric, part, metric_values in (
                ("direction", "", values),
                ("direction", ".ceiling", np.full((2, 9), 0.25)),
                ("alignment", "", values + 0.1),
                ("alignment", ".retrieval", np.ones((2, 9))),
            ):
                scores += rows("d", entrant, "oracle", metric_values, sigmas=SIGMAS, metric=f"{metric}[{basis}]{part}")
    for metric, value in (("truth-alignment", 0.3), ("truth-direction", 0.2)):
        scores += rows("d", "net", "oracle", np.full((1, 9), value), sigmas=(0.1,), metric=metric)
        # At the other noise level there is no value.
        scores += rows("d", "net", "oracle", np.zeros((2, 9)), sigmas=SIGMAS, metric=f"{metric}.left-out")
        scores += rows(
            "d", "net", "oracle", np.array([[0.3] * 9, [0.1] * 9]), sigmas=SIGMAS, metric=f"{metric}.truth-share"
        )
    scores += rows("e", "net", "oracle", np.full((2, 9), 20.0), sigmas=SIGMAS)
    return results(scores, datasets=[dataset("d"), dataset("e")])


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("alignment[dct]", ("alignment", "dct", "")),
        ("direction[wavelet[db2,levels=3]].ceiling", ("direction", "wavelet[db2,levels=3]", "ceiling")),
        ("direction[dct,controlling_for=wavelet-ti[haar]].partial", ("direction", "dct", "partial")),
        ("truth-alignment.share", ("alignment", "best denoiser", "share")),
        ("truth-direction", ("direction", "best denoiser", "")),
        ("truth-direction.truth-share", ("direction", "best denoiser", "basis-share")),
        ("psnr", None),
        ("spectrum.trace", None),
    ],
)
def test_names_of_alignment_metrics_are_parsed(metric, expected):
    assert parse_agreement(metric) == expected


def test_agreements_are_means_over_levels_unless_a_level_is_missing():
    ranked = mean_agreements(make_results())
    assert set(ranked) == {("d", "net"), ("d", "oracle")}
    oracle = ranked["d", "oracle"]["graph-laplacian"]
    assert oracle.direction.value == pytest.approx(0.6)
    assert oracle.direction.low < 0.6 < oracle.direction.high
    assert oracle.alignment.value == pytest.approx(0.7)
    assert (oracle.retrieval, oracle.ceiling) == (1, 0.5)
    net = ranked["d", "net"]
    assert next(iter(net)) == "best denoiser"
    assert net["graph-laplacian"].direction.value == pytest.approx(0.3)
    assert not net["best denoiser"].direction.is_known
    assert not net["best denoiser"].alignment.is_known
    assert net["best denoiser"].share == pytest.approx(0.1)
    curve = agreement_curves(make_results(), "best denoiser")["d"]["net"]
    assert (curve.sigmas, curve.value) == ((0.1,), pytest.approx([0.2]))
    assert margin(make_results(), "d", "net", "graph-laplacian", "best denoiser") is None
    assert margin(make_results(), "d", "net", "graph-laplacian", "best denoiser", SIGMAS[1]) is None
    assert margin(make_results(), "d", "net", "graph-laplacian", "best denoiser", 0.1)[0] == pytest.approx(0.2)


def test_means_are_unknown_where_a_seed_has_no_value():
    """A seed has no value at the higher noise level, so this level and the mean over levels are unknown."""
    scores = []
    for seed, levels in ((0, SIGMAS), (1, SIGMAS[:1])):
        for metric, sigmas in (("direction[dct]", levels), ("direction[dct].left-out", SIGMAS)):
            values = np.full((len(sigmas), 9), 0.4 if metric.endswith("]") else 0.0)
            scores += rows("d", "net", "trained", values, sigmas=sigmas, metric=metric, seed=seed)
    scores += rows("d", "oracle", "oracle", np.full((2, 9), 0.5), sigmas=SIGMAS, metric="direction[dct]")
    scores += rows("d", "oracle", "oracle", np.zeros((2, 9)), sigmas=SIGMAS, metric="direction[dct].left-out")
    table = results(scores, datasets=[dataset("d")])
    assert set(mean_agreements(table)) == {("d", "oracle")}
    assert agreement_curves(table, "dct")["d"]["net"].sigmas == SIGMAS[:1]
    board = make_board(table, {}, {}, {}).for_dataset("d")
    values = [board.estimate("net", "direction[dct]", sigma=sigma).value for sigma in (None, *SIGMAS)]
    np.testing.assert_allclose(values, [math.nan, 0.4, math.nan])
    assert board.estimate("oracle", "direction[dct]").value == pytest.approx(0.5)


@pytest.mark.parametrize("first", ["alignment", "direction"])
def test_the_ceiling_belongs_to_the_headline(first):
    """The ceiling of direction is known at one of two levels; the ceiling of alignment must not replace it."""
    is_first_half = np.arange(24) < 12
    values_by_metric = {
        "direction": [("", SIGMAS, np.full((2, 24), 0.3)), (".ceiling", SIGMAS[:1], np.full((1, 24), 0.25))],
        "alignment": [
            ("", SIGMAS, np.full((2, 24), 0.5)),
            (".ceiling", SIGMAS, np.full((2, 24), 0.81)),
            # Each level leaves out one half of the images.
            (".retrieval", SIGMAS, np.where([is_first_half, ~is_first_half], 1.0, np.nan)),
            (".left-out", SIGMAS, np.where([is_first_half, ~is_first_half], 0.0, 1.0)),
        ],
    }
    scores = [
        score
        for metric in (first, *(set(values_by_metric) - {first}))
        for part, sigmas, values in values_by_metric[metric]
        for score in rows("d", "net", "oracle", values, sigmas=sigmas, metric=f"{metric}[dct]{part}")
        if not math.isnan(score["value"])
    ]
    row = mean_agreements(results(scores, datasets=[dataset("d")]))["d", "net"]["dct"]
    assert row.direction.value == pytest.approx(0.3)
    assert math.isnan(row.ceiling)
    assert row.retrieval == 1


@pytest.mark.parametrize(("metric", "more"), [("direction", 0.0), ("alignment", 0.1)])
def test_agreement_curves_are_means_at_each_level(metric, more):
    curve = agreement_curves(make_results(), "wavelet[db2,levels=3]", metric=metric)["d"]["net"]
    assert curve.sigmas == SIGMAS
    np.testing.assert_allclose(curve.value, np.array([0.2, 0.1]) + more)
    np.testing.assert_allclose(curve.ceiling, [0.5, 0.5] if metric == "direction" else [np.nan] * 2)
    assert (curve.low < curve.value).all()


def test_unknown_names_are_errors():
    with pytest.raises(ParameterError, match=r"basis 'dct'.*accepted: best denoiser, graph-laplacian"):
        agreement_curves(make_results(), "dct")
    with pytest.raises(ParameterError, match="datasets f are not in the results; accepted: d, e"):
        mean_agreements(make_results(), ["f"])
    with pytest.raises(ParameterError, match="entrants nobody are not in the results; accepted: net, oracle"):
        agreement_curves(make_results(), entrants=["nobody"])
    for draw in (mean_agreements, lambda result, sets: agreement_curves(result, datasets=sets)):
        with pytest.raises(ResultsError, match=r"metrics direction\[BASIS\]"):
            draw(make_results(), ["e"])


@pytest.mark.usefixtures("figures_not_rendered")
def test_the_commands_draw_alignment(tmp_path):
    publish(make_results(), tmp_path / "results", "digest")
    for arguments in (
        ["alignment", "-b", "wavelet[db2,levels=3]", "-e", "net", "--metric", "alignment"],
        ["bases", "-d", "d"],
    ):
        out = tmp_path / f"{arguments[0]}.svg"
        call = ["draw", arguments[0], str(tmp_path / "results"), *arguments[1:], "--out", str(out)]
        assert CliRunner().invoke(app, call, catch_exceptions=False).stdout == f"wrote {out}\n"
        assert b"<svg" in out.read_bytes()


def test_alignment_is_drawn_against_input_psnr():
    curves = agreement_curves(make_results())
    (ax,) = agreement_figure(curves, ["net", "oracle"], {"net": "trained", "oracle": "oracle"}, "graph-laplacian").axes
    np.testing.assert_allclose(lines(ax)["net"], np.stack([input_psnr(SIGMAS), [0.4, 0.2]], 1))
    assert ax.get_xlabel() == "input PSNR (dB)"
    assert ax.get_ylabel() == "direction with\ngraph-laplacian (cosine)"


def test_levels_have_four_digits_unless_they_would_coincide():
    assert level_names([25 / 255, 0.1]) == {25 / 255: "0.09804", 0.1: "0.1"}
    assert level_names([0.1, 0.100001]) == {0.1: "0.1", 0.100001: "0.100001"}
