"""Figures of the basis that a denoiser learned, and of alignment in a folder of results."""

import math

import numpy as np
import pytest
import torch
from fake_results import dataset, results, rows
from published_pages import margin

from gahbench._util.errors import ParameterError, ResultsError
from gahbench.board.metric_names import Agreement, parse_agreement
from gahbench.board.statistics import Interval
from gahbench.report.bases import (
    bases_figure,
    decay_figure,
    gallery_figure,
    geometric_ranks,
    level_names,
    spectra_figure,
)

SIGMAS = (0.1, 0.3)


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
    (axes,) = figure.axes
    texts = {text.get_text() for text in axes.texts}
    assert {"clean", "noisy\n20.0 dB", "denoised\n40.0 dB", "k = 1\nλ = 1.200", f"k = {size}\nλ = -0.200"} <= texts
    vector = np.asarray(axes.images[3].get_array())
    # The largest value is 1, and zero is in the middle of the colours, which is white, or grey in colour images.
    assert vector[0, 0].tolist() == ([103, 0, 31] if channels == 1 else [255, 128, 128])
    assert (vector[1, 1] >= 246).all() if channels == 1 else (vector[1, 1] == 128).all()
    with pytest.raises(ParameterError, match=f"ranks 0, 99; accepted: 1 to {size}"):
        gallery_figure(images, torch.ones(size), torch.eye(size), [0, 1, 99])


def curves(ax):
    return [line.get_xydata().tolist() for line in ax.get_lines()]


def test_a_spectrum_is_drawn_against_rank():
    steps = torch.tensor([1.0, 1.0, 0.0, 0.0])
    (ax,) = spectra_figure({0.3: steps, 0.1: steps / 2}, "low-pass").axes
    assert [[1, 1], [2, 1], [3, 0], [4, 0]] in curves(ax)
    assert [[1, 0.5], [2, 0.5], [3, 0], [4, 0]] in curves(ax)


def test_coefficients_are_sorted_by_energy():
    coefficients = {"learned": torch.tensor([1.0, -3.0, 2.0]), "dct": torch.tensor([3.0, 1e-9, 1.0])}
    figure = decay_figure(dict.fromkeys(SIGMAS, coefficients))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["σ = 0.1", "σ = 0.3"]
    for ax, sigma in zip(figure.axes, SIGMAS, strict=True):
        # Coefficients that are zero up to rounding are not drawn.
        assert [[1, 9], [2, 4], [3, 1]] in curves(ax)
        assert [[1, 9], [2, 1]] in curves(ax)
        assert any(curve[0][1] == pytest.approx(sigma**2) for curve in curves(ax))


def test_bases_have_a_dot_for_each_mean_and_for_this_image():
    less, more = Interval(0.2, 0.1, 0.3), Interval(0.4, 0.3, 0.5)
    ranked = {"a": {"dct": Agreement(less, Interval(0.6)), "sym4": Agreement(more, single=0.9)}}
    (ax,) = bases_figure(ranked).axes
    dots = {round(float(x), 6) for item in ax.collections for x, _ in getattr(item, "get_offsets", list)()}
    assert {0.2, 0.4, 0.6, 0.9} <= dots
    assert [label.get_text() for label in ax.get_yticklabels()] == ["dct", "sym4"]


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
    board = make_results().board.for_dataset("d")
    direction, alignment = (board.estimate("oracle", f"{name}[graph-laplacian]") for name in ("direction", "alignment"))
    assert direction.value == pytest.approx(0.6)
    assert direction.low < 0.6 < direction.high
    assert alignment.value == pytest.approx(0.7)
    assert board.estimate("oracle", "direction[graph-laplacian]", "ceiling").value == 0.5
    assert not board.estimate("net", "truth-direction").is_known
    assert board.estimate("net", "truth-direction", sigma=0.1).value == pytest.approx(0.2)
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
    board = table.board.for_dataset("d")
    values = [board.estimate("net", "direction[dct]", sigma=sigma).value for sigma in (None, *SIGMAS)]
    np.testing.assert_allclose(values, [math.nan, 0.4, math.nan])
    assert board.estimate("oracle", "direction[dct]").value == pytest.approx(0.5)


def test_a_folder_without_agreements_says_how_they_are_measured():
    with pytest.raises(ResultsError, match=r"metrics direction\[BASIS\]"):
        make_results().figure("bases", dataset="e")


def test_levels_have_four_digits_unless_they_would_coincide():
    assert level_names([25 / 255, 0.1]) == {25 / 255: "0.09804", 0.1: "0.1"}
    assert level_names([0.1, 0.100001]) == {0.1: "0.1", 0.100001: "0.100001"}
