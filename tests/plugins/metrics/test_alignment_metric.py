"""Direction and alignment with bases and with the truth: known values, and invariance."""

import math

import numpy as np
import pytest
import torch
from constructing import construct
from known_filters import Filters, create, evaluate_images, evaluation, table

from gahbench.contracts.truth import Truth
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.datasets.discs import Discs
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


def low_pass(traces, height=SIDE):
    """Return filters that ignore the image: harmonics of the grid, with weights that depend only on the trace."""
    everywhere = torch.full((len(traces), 1, height, height), 0.5)
    return create("basis", "graph-laplacian").filters(Truth(everywhere), 0.1).at(traces).matrices()


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


@pytest.mark.parametrize("metric", ["direction", "alignment"])
@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_alignment_does_not_depend_on_the_strength(metric, factor, clean, strengths):
    stronger = filters("graph-laplacian", clean, factor * strengths)
    # The metric compares these filters with filters of the graph at the same strength.
    assert scores(stronger, metric=metric)[""] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("metric", ["direction", "alignment"])
def test_half_of_a_filter_is_nearly_as_aligned(metric, strengths):
    dataset = "c-alpha[size=16]"
    clean = create("dataset", dataset).images("test", COUNT)
    matrices = filters("graph-laplacian", clean, strengths * 3.6)
    # From 16x16 to 24x24 pixels the value is 0.957 ± 0.001 for direction and 0.950 ± 0.001 for alignment.
    assert scores(matrices / 2, metric=metric, dataset=dataset)[""] == pytest.approx(1, abs=0.053)


@pytest.mark.parametrize("metric", ["direction", "alignment"])
@pytest.mark.parametrize("name", ["low-pass", "gaussian-blur", "wiener-linear", "identity"])
def test_filters_that_ignore_the_image_score_0(metric, name):
    evaluated = evaluation(name, DATASET, count=COUNT)
    for basis in ("graph-laplacian", "sym4"):
        assert table(f"{metric}[{basis}]", evaluated)["", 0.1].tolist() == [0] * COUNT


@pytest.mark.parametrize("basis", ["graph-laplacian", "wavelet-ti[haar]", "haar", "dct"])
def test_a_low_pass_that_varies_only_in_strength_scores_0(basis, strengths):
    matrices = low_pass(strengths)
    result = scores(matrices, basis, "alignment")
    assert result["share"] < 0.02
    assert result[""] == 0
    assert scores(matrices, basis)[""] == 0


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


def test_colours_are_smoothed_along_one_graph():
    clean = 0.2 * torch.rand(COUNT, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    for metric in ("direction", "alignment"):
        parts = table(metric, evaluate_images("heat-kernel[kernel=tikhonov,trace_fraction=0.2]", clean))
        assert parts["", 0.1].tolist() == pytest.approx([1] * COUNT, abs=1e-3)


def test_a_filter_that_follows_the_noise_has_a_lower_ceiling():
    matrices = 0.3 * torch.eye(64) + 0.1 * torch.randn(COUNT, 64, 64, generator=torch.Generator().manual_seed(0))

    class Noisy(Filters):
        def jacobian(self, noisy, sigma, truth):
            self.matrices = matrices * (1 + 3 * (noisy - self.clean).flatten(1)[:, None])
            return super().jacobian(noisy, sigma, truth)

    Noisy.clean = create("dataset", "c-alpha[size=8]").images("test", COUNT)
    for metric in ("direction[haar]", "alignment[haar]"):
        result = table(metric, evaluation(Noisy(matrices), "c-alpha[size=8]", count=COUNT))["ceiling", 0.1]
        steady = table(metric, evaluation(Filters(matrices), "c-alpha[size=8]", count=COUNT))["ceiling", 0.1]
        assert steady.tolist() == pytest.approx([1] * len(steady))
        assert 0 < result.mean() < 0.97


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


@pytest.mark.parametrize("basis", ["pixel", "iso-local"])
def test_a_basis_without_direction_has_no_value(basis, clean, strengths):
    result = scores(filters("graph-laplacian", clean, strengths), f"{basis},controlling_for=graph-laplacian")
    assert set(result) == {"left-out", "directional-share", "basis-share", "ceiling"}
    assert result["basis-share"] < 0.02 < result["directional-share"]
    # Other bases are not controlled for this basis.
    controlled = scores(filters("graph-laplacian", clean, strengths), f"graph-laplacian,controlling_for={basis}")
    assert controlled[""] == pytest.approx(1, abs=1e-3)
    assert "partial" not in controlled
    # A denoiser without direction has the value 0 only in a basis that has direction.
    for blind in (construct(LocalBlur, window=5).matrices(clean, strengths).float(), low_pass(strengths)):
        assert "" not in scores(blind, basis)
        assert scores(blind, "graph-laplacian")[""] == 0


def test_there_is_no_value_if_the_filter_of_the_basis_is_constant():
    clean = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).expand(COUNT, -1, -1, -1)
    matrices = torch.eye(64) + 0.1 * torch.randn(COUNT, 64, 64, generator=torch.Generator().manual_seed(1))
    scaled = matrices / matrices.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] * 30
    result = table("alignment[sym4]", evaluate_images(Filters(scaled), clean))
    assert {part for part, _ in result} == {"left-out", "share", "basis-share", "ceiling"}
    assert result["basis-share", 0.1].tolist() == [0] * COUNT


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


@pytest.mark.parametrize("metric", ["truth-alignment", "truth-direction"])
@pytest.mark.parametrize("reference", ["optimal", "heat-kernel[kernel=tikhonov,trace_fraction=0.2]", "gaussian-blur"])
def test_there_is_no_truth_where_the_strength_of_the_best_filter_alone_changes(metric, reference):
    """On rays the best filter is a projection on one image, times a factor that follows the noisy image."""
    result = table(metric, evaluation(reference, "rays[discs[size=8]]", (0.3,), COUNT))
    assert ("", 0.3) not in result
    assert (result["truth-share", 0.3] < 0.02).all()


def test_truth_direction_orders_denoisers_of_discs(monkeypatch, few_draws):
    """The filter on the graph of the clean image is 1 in direction on that graph, and far from the best filter."""
    # All denoisers get the same noisy images, so their best filters are sampled once.
    evaluated = evaluation("identity", "discs[size=8]", (0.05,), COUNT)
    best = evaluated.dataset.optimal_filters(evaluated.noisy(0.05), 0.05, "test")
    monkeypatch.setattr(Discs, "optimal_filters", lambda *_: best)
    values = {}
    for reference in ("optimal", "heat-kernel[kernel=tikhonov,trace_fraction=0.1]", "local-blur"):
        evaluated = evaluation(reference, "discs[size=8]", (0.05,), COUNT)
        values[reference] = [
            float(table(metric, evaluated)["", 0.05].mean()) for metric in ("truth-direction", "direction")
        ]
    optimum, graph, blur = values.values()
    assert optimum[0] == pytest.approx(1, abs=1e-4)
    assert 0.1 < graph[0] < 0.4
    assert graph[1] == pytest.approx(1, abs=1e-3)
    assert optimum[1] < 0.5
    assert blur == [0, 0]


def test_the_cosine_compares_residuals_of_the_regression_on_strength():
    """Compare with filters of the genie computed from the true basis, and with filters that share half of them."""
    dataset, sigma = CAlpha(2.0, 8), 0.1
    known = dataset.true_basis("test", COUNT)
    weights = known.energies / (known.energies + sigma**2)
    best = (known.vectors * weights[:, None]) @ known.vectors.mT
    noise = torch.randn(COUNT, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    given = best + 0.02 * noise
    result = table("truth-alignment", evaluation(Filters(given), "c-alpha[size=8]", count=COUNT))["", sigma]
    ones = (given + given.mT) / 2
    logarithms = given.diagonal(dim1=1, dim2=2).sum(1).log().numpy()

    def residuals(matrices):
        flat = matrices.flatten(1).numpy()
        return flat - np.stack([np.polyval(column, logarithms) for column in np.polyfit(logarithms, flat, 3).T], 1)

    first, other = residuals(ones), residuals(best)
    cosines = (first * other).sum(1) / (np.linalg.norm(first, axis=1) * np.linalg.norm(other, axis=1))
    np.testing.assert_allclose(result, cosines, atol=1e-4)
    assert 0.2 < cosines.mean() < 0.98


@pytest.mark.parametrize(("metric", "reference"), [
    *(("truth-alignment", name) for name in ("low-pass", "wiener-linear", "untrained[bf-cnn[width=8,layers=6]]")),
    *((metric, f"untrained[bf-cnn[width=8,layers=6],initialisation={initialisation}]")
      for metric in ("direction", "alignment") for initialisation in ("own", "kaiming")),
])  # fmt: skip
def test_filters_that_ignore_the_image_score_about_0(metric, reference):
    own = table(metric, evaluation(reference, LARGER, count=COUNT))["", 0.1]
    assert len(own) == COUNT
    assert own.mean().abs() < 0.05


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
    for module in ("bases._graph", "datasets.c_alpha"):
        monkeypatch.setattr(f"gahbench_plugins.{module}.LARGEST_EXACT", 100)
    result = table(metric, evaluation(reference, LARGER, count=COUNT))
    assert ("error", 0.1) not in exact
    assert not {("exchange", 0.1), ("retrieval", 0.1)} & set(result)
    error = result["error", 0.1]
    assert (error > 0).all()
    assert (error < 0.3).all()
    assert abs(result["", 0.1].mean() - exact["", 0.1].mean()) < slack
    if "graph" not in metric:
        assert ((result["", 0.1] - exact["", 0.1]).abs() < 4 * error + slack).all()
