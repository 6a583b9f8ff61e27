import pytest
import torch
from constructing import construct
from known_filters import Filters, create, evaluation, on_images, table

from gahbench._util.errors import ParameterError
from gahbench.contracts.truth import Truth
from gahbench.evaluation.alignment import align
from gahbench.jacobian import Sketch
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench_plugins.metrics.alignment import Alignment

BASES = ["sym4", "haar", "dct", "block-dct[4]", "pixel", "true-basis", "graph-laplacian"]


def scores_by_basis(evaluated):
    return {basis: table(f"alignment[{basis}]", evaluated)["", 0.1] for basis in BASES}


@pytest.mark.parametrize("own", ["sym4", "dct", "block-dct[4]", "true-basis"])
def test_an_oracle_that_shrinks_in_a_basis_scores_1_in_it_and_less_in_all_others(own):
    evaluated = evaluation(f"oracle-shrink[{own}]")
    found = scores_by_basis(evaluated)
    assert found[own].tolist() == pytest.approx([1] * 8, abs=1e-5)
    others = {basis: float(scores.mean()) for basis, scores in found.items() if basis != own}
    # Haar wavelets and cosines of blocks share the means of blocks.
    assert max(others.values()) < 0.8, others
    parts = table(f"alignment[{own}]", evaluated)
    assert set(parts) == {("", 0.1), ("null", 0.1), ("retrieval", 0.1), ("ceiling", 0.1)}
    assert parts["retrieval", 0.1].tolist() == [1] * 8
    # The filter does not depend on the noise.
    assert parts["ceiling", 0.1].tolist() == pytest.approx([1] * 8, abs=1e-5)
    assert parts["null", 0.1].mean() < 0


def test_smoothing_along_the_graph_has_a_gah_alignment_of_1():
    for sigma in (0.05, 0.2):
        parts = table("alignment", evaluation("heat-kernel[kernel=tikhonov,kept=0.2]", sigmas=(sigma,)))
        assert parts["", sigma].tolist() == pytest.approx([1] * 8, abs=1e-4)
        assert parts["retrieval", sigma].tolist() == [1] * 8


def test_heat_on_the_graph_has_a_high_gah_alignment_and_less_with_all_other_bases():
    found = {
        basis: float(scores.mean()) for basis, scores in scores_by_basis(evaluation("heat-kernel[kept=0.1]")).items()
    }
    own = found.pop("graph-laplacian")
    assert own > 0.7
    assert max(found.values()) < own - 0.2, found


def test_colours_are_smoothed_along_one_graph():
    clean = torch.rand(8, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    parts = table("alignment", on_images("heat-kernel[kernel=tikhonov,kept=0.2]", clean))
    assert parts["", 0.1].tolist() == pytest.approx([1] * 8, abs=1e-4)


@pytest.mark.parametrize("name", ["low-pass", "gaussian-blur", "wiener-linear", "identity"])
def test_filters_that_ignore_the_image_score_0(name):
    evaluated = evaluation(name)
    for basis in ("graph-laplacian", "sym4", "true-basis"):
        parts = table(f"alignment[{basis}]", evaluated)
        assert len(parts) == 4
        assert all(values.tolist() == [0] * 8 for values in parts.values())


@pytest.mark.parametrize("initialisation", ["own", "kaiming"])
def test_an_untrained_network_scores_about_0(initialisation):
    evaluated = evaluation(f"untrained[bf-cnn[width=8,layers=6],initialisation={initialisation}]")
    for basis in ("graph-laplacian", "sym4"):
        own = table(f"alignment[{basis}]", evaluated)["", 0.1]
        assert len(own) == 8
        assert own.mean().abs() < 0.1


def test_a_filter_that_follows_the_noise_has_a_lower_ceiling():
    matrices = torch.randn(8, 64, 64, generator=torch.Generator().manual_seed(0))

    class Noisy(Filters):
        def jacobian(self, noisy, sigma, truth):
            self.matrices = matrices + noisy.flatten(1)[:, None] * 40
            return super().jacobian(noisy, sigma, truth)

    found = table("alignment[pixel]", evaluation(Noisy(matrices), "c-alpha[size=8]"))["ceiling", 0.1]
    steady = table("alignment[pixel]", evaluation(Filters(matrices), "c-alpha[size=8]"))["ceiling", 0.1]
    assert steady.tolist() == pytest.approx([1] * 8)
    assert ((found > 0) & (found < 0.95)).all()


def test_entrants_without_a_jacobian_and_bases_that_are_unknown_have_no_value():
    assert table("alignment", evaluation("tv")) == {}
    assert table("alignment[true-basis]", evaluation("heat-kernel", "discs[size=8]")) == {}
    # Nor for a filter that would score 0 with any basis.
    assert table("alignment[true-basis]", evaluation("gaussian-blur", "discs[size=8]")) == {}


def test_there_is_no_value_where_the_basis_is_one_filter_for_all_images():
    clean = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).expand(8, -1, -1, -1)
    matrices = torch.randn(8, 64, 64, generator=torch.Generator().manual_seed(1))
    assert table("alignment[sym4]", on_images(Filters(matrices), clean)) == {}


@pytest.mark.parametrize(("reference", "basis"), [("oracle-shrink[haar]", "sym4"), ("lower-bound", "graph-laplacian")])
def test_on_large_images_it_is_an_estimate_with_its_error(monkeypatch, reference, basis):
    exact = table(f"alignment[{basis}]", evaluation(reference, "c-alpha[size=12]"))
    for module in ("gahbench.jacobian.maps", "gahbench_plugins.bases._tikhonov", "gahbench_plugins.datasets.c_alpha"):
        monkeypatch.setattr(f"{module}.LARGEST_EXACT", 100)
    found = table(f"alignment[{basis}]", evaluation(reference, "c-alpha[size=12]"))
    assert ("error", 0.1) not in exact
    error = found["error", 0.1]
    assert (error > 0).all()
    assert (error < 0.15).all()
    # Graphs have a strength that is an estimate too.
    slack = 0.03 if basis == "graph-laplacian" else 1e-6
    assert ((found["", 0.1] - exact["", 0.1]).abs() < 4 * error + slack).all()


def test_images_whose_graph_is_too_large_are_refused():
    construct(Alignment).check((1, 100, 100), [0.1])
    construct(Alignment, "sym4").check((1, 128, 128), [0.1])
    with pytest.raises(ValueError, match="up to 10000 pixels, as in 100x100, not for 101x100"):
        construct(Alignment).check((3, 101, 100), [0.1])
    with pytest.raises(ValueError, match="7x9"):
        create("metric", "alignment[sym4]").check((1, 7, 9), [0.1])


@pytest.mark.parametrize(("metric", "fewest"), [("alignment", 8), ("truth-alignment", 8), ("adaptation", 2)])
def test_suites_with_too_few_images_are_refused(write_suite, builtin, metric, fewest):
    changes = ("metrics: [psnr, slope]", f"metrics: [psnr, {metric}]")
    network = ("  - unet: {width: 2, levels: 1}\n", "")
    file = write_suite(changes, network, ("images: 3", f"images: {fewest - 1}"))
    with pytest.raises(ParameterError, match=f"images={fewest - 1}, accepted are {fewest} or more"):
        make_plan(load_suite(file, builtin), builtin)
    file = write_suite(changes, network, ("images: 3", f"images: {fewest}"))
    assert len(make_plan(load_suite(file, builtin), builtin).units) == 4


def test_a_denoiser_that_only_varies_its_strength_does_not_align_with_graphs():
    """Matched in trace to each image's own, graphs of any images would seem to be its basis."""
    dataset = create("dataset", "c-alpha[size=16]")
    clean = dataset.images("test", 12)
    basis = create("basis", "graph-laplacian")
    traces = torch.linspace(20, 200, 12).double()
    # Of every image the graph of the next.
    matrices = basis.filters(Truth(clean.roll(1, 0)), 0.1, traces).matrices()
    found = table("alignment", evaluation(Filters(matrices), count=12))["", 0.1]
    matched = align(Sketch(matrices, exact=True), basis.filters(Truth(clean), 0.1, traces).sketch())
    assert matched.own.mean() > 0.5
    assert found.mean().abs() < 0.1
