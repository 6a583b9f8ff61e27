"""Agreement of denoisers with bases: names of metrics, means on the board, and galleries of eigenvectors."""

import numpy as np
import pytest
import torch
from fake_results import dataset, results, rows
from published_pages import margin

from gahbench._util.errors import ParameterError
from gahbench.board.metric_names import parse_agreement
from gahbench.report.bases import gallery_figure, geometric_ranks, level_names

SIGMAS = (0.1, 0.3)


def test_ranks_double_until_an_eigenvalue_is_small():
    assert geometric_ranks(torch.ones(40)) == [1, 2, 3, 5, 9, 17, 33]
    assert geometric_ranks(torch.tensor([1.0, 0.9, 0.5, 0.4, 0.01, 0.0])) == [1, 2, 3, 5]
    assert geometric_ranks(torch.zeros(9)) == [1]


@pytest.mark.parametrize("channels", [1, 3])
def test_eigenvectors_are_shown_with_zero_in_the_middle_of_the_colours(channels):
    size = channels * 20
    clean = torch.full((channels, 4, 5), 0.5)
    images = {"clean": clean, "noisy": clean + 0.1, "denoised": clean + 0.01}
    figure = gallery_figure(images, torch.linspace(1.2, -0.2, size), torch.eye(size) / 2, [1, size])
    vector = np.asarray(figure.axes[0].images[3].get_array())
    # The largest value is 1; zero is white, or grey in colour images.
    assert vector[0, 0].tolist() == ([103, 0, 31] if channels == 1 else [255, 128, 128])
    assert (vector[1, 1] >= 246).all() if channels == 1 else (vector[1, 1] == 128).all()
    with pytest.raises(ParameterError, match=f"0, 99; .* 1 to {size}"):
        gallery_figure(images, torch.ones(size), torch.eye(size), [0, 1, 99])


def make_results():
    scores = []
    for entrant, strength in (("net", 0.4), ("oracle", 0.8)):
        for basis, share in (("graph-laplacian", 1.0), ("wavelet[db2,levels=3]", 0.5)):
            values = strength * share * np.array([[1.0] * 9, [0.5] * 9]) + 0.01 * np.arange(-4, 5)
            for name, own in ((f"direction[{basis}]", values), (f"direction[{basis}].ceiling", np.full((2, 9), 0.25))):
                scores += rows("d", entrant, "oracle", own, sigmas=SIGMAS, metric=name)
    # At the other noise level there is no value.
    scores += rows("d", "net", "oracle", np.full((1, 9), 0.2), sigmas=(0.1,), metric="truth-direction")
    scores += rows("d", "net", "oracle", np.zeros((2, 9)), sigmas=SIGMAS, metric="truth-direction.left-out")
    return results(scores, datasets=[dataset("d")])


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("alignment[dct]", ("alignment", "dct", "")),
        ("direction[wavelet[db2,levels=3]].ceiling", ("direction", "wavelet[db2,levels=3]", "ceiling")),
        ("direction[dct,controlling_for=wavelet-ti[haar]].partial", ("direction", "dct", "partial")),
        ("truth-direction", ("direction", "best denoiser", "")),
        ("truth-direction.truth-share", ("direction", "best denoiser", "basis-share")),
        ("spectrum.trace", None),
    ],
)
def test_names_of_alignment_metrics_are_parsed(metric, expected):
    assert parse_agreement(metric) == expected


def test_agreements_are_means_over_levels_unless_a_level_is_missing():
    fakes = make_results()
    board = fakes.board.select(["d"])
    direction = board.estimate("oracle", "direction[graph-laplacian]")
    assert direction.value == pytest.approx(0.6)
    assert direction.low < 0.6 < direction.high
    assert board.estimate("oracle", "direction[graph-laplacian]", "ceiling").value == 0.5
    assert not board.estimate("net", "truth-direction").is_known
    assert board.estimate("net", "truth-direction", sigma=0.1).value == pytest.approx(0.2)
    assert margin(fakes, "d", "net", "graph-laplacian", "best denoiser") is None
    assert margin(fakes, "d", "net", "graph-laplacian", "best denoiser", SIGMAS[1]) is None
    assert margin(fakes, "d", "net", "graph-laplacian", "best denoiser", 0.1)[0] == pytest.approx(0.2)


def test_means_are_unknown_where_a_seed_has_no_value():
    """A seed has no value at the higher noise level, so this level and the mean over levels are unknown."""
    scores = []
    for entrant, seed, levels in (("net", 0, SIGMAS), ("net", 1, SIGMAS[:1]), ("oracle", None, SIGMAS)):
        for metric, sigmas in (("direction[dct]", levels), ("direction[dct].left-out", SIGMAS)):
            values = np.full((len(sigmas), 9), 0.4 if metric.endswith("]") else 0.0)
            scores += rows("d", entrant, "trained", values, sigmas=sigmas, metric=metric, seed=seed)
    board = results(scores, datasets=[dataset("d")]).board.select(["d"])
    values = [board.estimate("net", "direction[dct]", sigma=sigma).value for sigma in (None, *SIGMAS)]
    np.testing.assert_allclose(values, [np.nan, 0.4, np.nan])
    assert board.estimate("oracle", "direction[dct]").value == pytest.approx(0.4)


def test_levels_have_four_digits_unless_they_would_coincide():
    assert level_names([25 / 255, 0.1]) == {25 / 255: "0.09804", 0.1: "0.1"}
    assert level_names([0.1, 0.100001]) == {0.1: "0.1", 0.100001: "0.100001"}
