"""Direction and alignment with bases and with the truth: known values, and invariance."""

import math

import pytest
import torch
from constructing import construct
from known_filters import Filters, create, evaluation, table

from gahbench.contracts.truth import Truth
from gahbench_plugins.references.local_blur import LocalBlur

COUNT, SIDE = 28, 8
DATASET, LARGER = f"c-alpha[size={SIDE}]", "c-alpha[size=12]"
BASES = ["sym4", "haar", "wavelet-ti[haar]", "dct", "block-dct[4]", "pixel", "graph-laplacian", "iso-local"]


@pytest.fixture(scope="module")
def clean():
    return create("dataset", DATASET).images("test", COUNT)


@pytest.fixture(scope="module")
def strengths():
    """Return traces that differ severalfold between images, like those of a network."""
    return torch.linspace(3.5, 27, COUNT, dtype=torch.float64)[
        torch.randperm(COUNT, generator=torch.Generator().manual_seed(3))
    ]


def filters(basis, clean, traces):
    return create("basis", basis).filters(Truth(clean), 0.1).at(traces).matrices()


def scores(matrices, basis="graph-laplacian", metric="direction", dataset=DATASET):
    """Return the mean parts of a metric for filters of the test images."""
    result = table(f"{metric}[{basis}]", evaluation(Filters(matrices), dataset, count=COUNT))
    return {part: float(value.mean()) for (part, _), value in result.items()}


def value(*arguments):
    """Return the mean value of a metric for filters of the test images; NaN if it has no value."""
    return scores(*arguments).get("", math.nan)


@pytest.mark.parametrize("metric", ["direction", "alignment"])
@pytest.mark.parametrize("own", ["graph-laplacian", "sym4", "wavelet-ti[haar]", "dct"])
def test_filters_that_shrink_in_a_basis_score_1_in_it_and_less_in_all_others(own, metric, clean, strengths):
    matrices = filters(own, clean, strengths)
    result = {basis: value(matrices, basis, metric) for basis in BASES}
    assert result.pop(own) == pytest.approx(1, abs=1e-3)
    # A diagonal filter has no direction, and a graph that joins equally in all directions hardly any.
    without_direction = [result.pop("pixel"), result.pop("iso-local")]
    assert all(math.isnan(score) == (metric == "direction") for score in without_direction)
    assert max(result.values()) < 0.9, result
    assert not any(map(math.isnan, result.values())), result


@pytest.mark.parametrize("window", [3, 5, 9])
@pytest.mark.parametrize("basis", ["graph-laplacian", "wavelet-ti[haar]", "haar"])
def test_isotropic_adaptive_blurs_have_no_direction(window, basis, clean, strengths):
    blur = construct(LocalBlur, window=window).matrices(clean, strengths).float()
    result = scores(blur, basis)
    assert result["directional-share"] < 0.002
    assert result[""] == 0
    # The alignment without removing the isotropic part is high.
    assert scores(blur, "graph-laplacian", "alignment")[""] > 0.2


@pytest.mark.parametrize("metric", ["direction", "alignment"])
def test_the_geometry_of_another_image_scores_0(metric, clean, strengths):
    result = [
        scores(filters("graph-laplacian", clean.roll(shift, 0), strengths), metric=metric) for shift in (1, 3, 5, 7, 11)
    ]
    # A single pairing of images differs by about 0.03 to 0.06.
    assert sum(parts[""] for parts in result) / len(result) == pytest.approx(0, abs=0.04)
    if metric == "alignment":
        assert result[0]["exchange"] > 0.01
        assert result[0]["retrieval"] < 0.3


def test_the_own_geometry_is_retrieved_and_significant(clean, strengths):
    result = scores(filters("graph-laplacian", clean, strengths), metric="alignment")
    # Regression on strength changes filters a little, so some images with little geometry are confused.
    assert result["retrieval"] > 0.8
    assert result["exchange"] == pytest.approx(1e-4)
    # With added noise, filters agree with their geometries only in part.
    noisy = filters("graph-laplacian", clean, strengths) + 0.02 * torch.randn(
        COUNT, SIDE**2, SIDE**2, generator=torch.Generator().manual_seed(0)
    )
    assert scores(noisy, metric="alignment")["exchange"] < 0.01


@pytest.mark.parametrize("metric", ["direction", "alignment"])
def test_given_is_the_part_that_the_other_basis_does_not_explain(metric, clean, strengths):
    graph, wavelets = (filters(basis, clean, strengths) for basis in ("graph-laplacian", "wavelet-ti[haar]"))
    given = "graph-laplacian,controlling_for=wavelet-ti[haar]"
    reverse = "wavelet-ti[haar],controlling_for=graph-laplacian"
    # Each basis explains its own filters, also when controlling for the other basis, which explains nothing more.
    assert scores(graph, given, metric)["partial"] > 0.99
    assert scores(wavelets, given, metric)["partial"] == pytest.approx(0, abs=1e-6)
    assert scores(wavelets, reverse, metric)["partial"] > 0.99
    assert scores(graph, reverse, metric)["partial"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("count", "levels"), [("null", {0.1, 0.4, 0.2}), (2, {0.1, 0.2}), (0, set())])
@pytest.mark.parametrize(("metric", "option", "parts"), [
    ("direction[haar,", "ceiling_levels", ["ceiling"]),
    ("alignment[haar,", "ceiling_levels", ["ceiling"]),
    ("alignment[haar,ceiling_levels=0,", "exchange_levels", ["retrieval", "exchange"]),
])  # fmt: skip
def test_options_limit_the_noise_levels_of_some_parts(metric, option, parts, count, levels):
    evaluated = evaluation("lower-bound", "c-alpha[size=8]", sigmas=(0.2, 0.4, 0.1), count=COUNT)
    result = table(f"{metric}{option}={count}]", evaluated)
    for name in parts:
        assert {sigma for part, sigma in result if part == name} == levels
    assert {sigma for part, sigma in result if part == ""} == {0.1, 0.2, 0.4}


def test_images_whose_strength_the_basis_cannot_match_are_left_out(clean, strengths):
    matrices = filters("graph-laplacian", clean, strengths)
    matrices[0] *= -1
    result = table("alignment", evaluation(Filters(matrices), DATASET, count=COUNT))
    assert result["left-out", 0.1].tolist() == [1] + [0] * (COUNT - 1)
    assert len(result["", 0.1]) == COUNT - 1
    assert result["", 0.1].tolist() == pytest.approx([1] * (COUNT - 1), abs=1e-3)
    # With fewer than 24 remaining images there is no value, and the number left out is the reason.
    matrices[1:5] *= -1
    result = table("alignment", evaluation(Filters(matrices), DATASET, count=COUNT))
    assert set(result) == {("left-out", 0.1)}
    assert result["left-out", 0.1].sum() == 5


@pytest.mark.parametrize(("reference", "dataset", "sigmas"), [
    ("lower-bound", "c-alpha[size=12]", (0.03, 0.1, 0.3)), ("lower-bound", "shuffled[c-alpha[size=8]]", (0.1, 0.3)),
    ("optimal", "discs[size=8]", (0.2,)), ("optimal", "sinusoids[size=8]", (0.1,)),
])  # fmt: skip
def test_the_best_denoiser_scores_1(request, reference, dataset, sigmas):
    if "discs" in dataset:
        request.getfixturevalue("few_draws")
    evaluated = evaluation(reference, dataset, sigmas, COUNT)
    for metric, share in (("truth-alignment", "share"), ("truth-direction", "directional-share")):
        parts = table(metric, evaluated)
        assert set(parts) == {(part, sigma) for part in ("", share, "truth-share", "left-out") for sigma in sigmas}
        for sigma in sigmas:
            own = parts["", sigma]
            assert own.tolist() == pytest.approx([1] * len(own), abs=1e-4)
            assert len(own) >= 24
            assert parts["truth-share", sigma].mean() > 0.02


@pytest.mark.parametrize(("metric", "reference", "slack"), [
    # The strength of graph filters is also an estimate.
    ("alignment[graph-laplacian]", "lower-bound", 0.05),
    ("alignment[sym4]", "oracle-shrink[haar]", 0.02),
    ("truth-alignment", "heat-kernel[trace_fraction=0.2]", 0.02),
])  # fmt: skip
def test_alignment_of_large_images_is_an_estimate_with_a_standard_error(monkeypatch, metric, reference, slack):
    exact = table(metric, evaluation(reference, LARGER, count=COUNT))
    for module in ("jacobian", "jacobian.maps", "jacobian.shrinkage"):
        monkeypatch.setattr(f"gahbench.{module}.LARGEST_EXACT", 100)
    monkeypatch.setattr("gahbench_plugins.bases.graph.LARGEST_EXACT", 100)
    result = table(metric, evaluation(reference, LARGER, count=COUNT))
    assert ("error", 0.1) not in exact
    assert not {("exchange", 0.1), ("retrieval", 0.1)} & set(result)
    error = result["error", 0.1]
    assert (error > 0).all()
    assert (error < 0.3).all()
    assert abs(result["", 0.1].mean() - exact["", 0.1].mean()) < slack
    if "graph" not in metric:
        assert ((result["", 0.1] - exact["", 0.1]).abs() < 4 * error + slack).all()
