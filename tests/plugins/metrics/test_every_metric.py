"""Properties of many metrics: titles, refused inputs, missing values, and shared bases."""

import inspect
import math
import re

import pytest
import torch
from known_filters import create, evaluation
from small_plugins import mark_extras, small

import gahbench
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench.networks.trained import Trained
from gahbench.registry.registry import Registry
from gahbench_plugins.bases.pca import PCA
from gahbench_plugins.bases.wavelet import Wavelet
from gahbench_plugins.metrics._shared_bases import basis_on, filters_on
from gahbench_plugins.references.identity import Identity

METRICS = [plugin for plugin in Registry().plugins("metric") if plugin.factory.titles or plugin.factory.nulls]


@pytest.mark.parametrize("plugin", METRICS, ids=lambda plugin: plugin.name)
def test_titles_name_parameters_and_nulls_belong_to_titles(plugin):
    titles, nulls = plugin.factory.titles, plugin.factory.nulls
    named = {name for title in titles.values() for name in re.findall(r"{(.*?)}", title)}
    assert named <= {parameter.name for parameter in plugin.parameters}
    assert set(nulls) <= set(titles)
    assert len(set(titles.values())) == len(titles)
    # The docstring describes every part.
    documented = inspect.getdoc(plugin.factory)
    assert all(f"``{part}``" in documented for part in {*titles, *nulls.values()} - {""})


@pytest.mark.parametrize(
    ("metric", "min_levels"), [("slope", 2), ("local-slope", 2), ("rate", 3), ("optimality-slope", 3)]
)
def test_slopes_need_different_noise_levels(metric, min_levels):
    with pytest.raises(ValueError, match=f"{metric} needs at least {min_levels} different noise levels"):
        create("metric", metric).check((1, 64, 64), [0.1, 0.2][: min_levels - 1] * 2)


def test_regressions_on_the_strength_need_24_images_and_filters_of_others_2():
    advised = {name for name in Registry().names("metric") if Registry().get("metric", name).factory.advised_images > 1}
    needed = {name: Registry().get("metric", name).factory.min_images for name in Registry().names("metric")}
    regressed = {name for name, count in needed.items() if count == 24}
    assert regressed == advised == {"direction", "alignment", "truth-direction", "truth-alignment"}
    assert needed["adaptation"] == needed["capture"] == 2


#: Metric, accepted shape, refused shape, and error message.
SHAPES = [
    *((metric, (1, 48, 48), shape, f"{metric} needs all eigenvectors .* up to 2304 values, .* not {size} of")
      for metric in ("capture", "harmonic-order", "contour-anisotropy", "leakage", "sparsity", "learned-decay")
      for shape, size in (((1, 56, 48), 2688), ((3, 32, 32), 3072))),
    ("learned-decay", None, (1, 4, 4), "ranks 8 to 8"),
    ("decay", (1, 64, 64), (1, 32, 32), "ranks 32 to 32 on images"),
    ("decay[min_terms=8]", (1, 32, 32), None, ""),
    ("capture[sym4]", (1, 16, 16), None, ""),
    ("sparsity[sym4]", (1, 16, 16), None, ""),
    ("capture[wavelet-ti]", None, (1, 16, 16), "capture: basis 'wavelet-ti.*' is not orthonormal"),
    ("sparsity[wavelet-ti]", None, (1, 16, 16), "sparsity: basis 'wavelet-ti.*' is not orthonormal"),
    ("alignment", (1, 100, 100), (3, 101, 100), "images of 101x100; accepted for filters on graphs: up to 10000"),
    ("alignment[sym4]", (1, 128, 128), (1, 7, 9), "7x9"),
    ("alignment[dct,controlling_for=sym4]", None, (1, 7, 9), "7x9"),
    ("direction", (1, 48, 48), (1, 49, 48), "up to 2304 values .* not 1x49x48"),
    ("gaussian-share", (1, 64, 64), (1, 65, 64), "wiener-linear needs the covariance"),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "taken", "refused", "message"), SHAPES)
def test_shapes_that_a_metric_cannot_take_are_refused(metric, taken, refused, message):
    built = create("metric", metric)
    if taken:
        built.check(taken, [0.1])
    if refused:
        with pytest.raises(ValueError, match=message):
            built.check(refused, [0.1])


@pytest.mark.parametrize(("metric", "message"), [
    ("harmonic-order[sym4]", "accepted: bases of graphs"),
    *((f"rate[basis={basis}]", "fixed orthonormal") for basis in ("bandlet", "pca", "wavelet[bior2.2]")),
    ("distance[oracle-shrink]", r"to='oracle-shrink\[sym4\]' is of kind 'oracle'.*'classical', 'trained' or 'optimal'"),
    ("sample-prediction[oracle-shrink]", "uses the clean image"),
])  # fmt: skip
def test_bases_and_references_that_do_not_fit_are_refused(metric, message):
    with pytest.raises(gahbench.ParameterError, match=message):
        create("metric", metric)


#: Metrics, references and families for which there are no values.
WITHOUT_VALUES = [
    # There is no Jacobian.
    *((metric, "tv[0.1]", "discs[size=16]") for metric in (
        "adaptation", "alignment", "calibration", "capture", "contour-anisotropy", "direction", "eigenvalue",
        "harmonic-order", "leakage", "learned-decay", "local-dimension", "self-consistency", "sparsity",
        "spectrum", "truth-alignment", "truth-direction")),
    # There is no partner.
    *((metric, "identity", "c-alpha[size=8]") for metric in (
        "model-variance", "score-agreement", "pair-cosine", "biased-generalization", "own-half")),
    # There is no tangent space, no optimum, no true basis, or the same true basis for all images.
    *(("leakage", "identity", family) for family in ("c-alpha[size=8]", "faces[size=16]", "gaussian-field[size=8]")),
    ("optimum-distance", "identity", "faces[size=12]"),
    ("optimality-slope", "identity", "faces[size=12]"),
    ("direction[true-basis]", "heat-kernel", "discs[size=8]"),
    ("capture[true-basis]", "oracle-shrink[sym4]", "discs[size=16]"),
    # The basis has the same filter for all images, also for a filter that would score 0 with any basis.
    ("alignment[true-basis]", "gaussian-blur", "discs[size=8]"),
    ("truth-alignment", "heat-kernel", "c-alpha[construction=paper,size=12]"),
    ("truth-alignment", "heat-kernel", "faces[size=12,test=30]"),
    *((metric, reference, "gaussian-field[size=8]") for metric in ("truth-alignment", "truth-direction")
      for reference in ("heat-kernel", "optimal")),
    # The denoiser uses more than the noisy image, or is blind.
    *((metric, reference, "c-alpha[size=16]") for metric in ("optimum-distance", "optimum-cross")
      for reference in ("oracle-threshold[haar]", "lower-bound")),
    *(("local-dimension", reference, "c-alpha[size=8]")
      for reference in ("identity", "untrained[bf-cnn[width=4,layers=3]]", "oracle-shrink[haar]", "lower-bound")),
    # The denoiser does not shrink in an orthonormal basis.
    *(("decay", reference, "c-alpha[size=64]") for reference in ("identity", "oracle-threshold[wavelet-ti]")),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "reference", "family"), WITHOUT_VALUES)
def test_metrics_have_no_values_if_nothing_can_be_measured(metric, reference, family):
    count = max(3, create("metric", metric).min_images)
    assert list(create("metric", metric).score(evaluation(reference, family, (0.1, 0.2, 0.4), count)).value) == []


#: Metrics with values on any family of 3 images for every network.
OF_BASES = (
    "adaptation", "spectrum", "self-consistency", "calibration", "eigenvalue[k=3]", "capture", "contour-anisotropy",
    "sparsity[haar]",
)  # fmt: skip
IMAGES, SIGMA = 3, 0.1
#: All architectures except scunet, which pads images to 64x64 and takes minutes.
NAMES = [name for name in Registry().names("architecture") if name != "scunet"]


@pytest.mark.parametrize("name", mark_extras(NAMES))
def test_metrics_of_the_basis_have_values_on_every_architecture(tmp_path, name):
    dataset = gahbench.create("dataset", "c-alpha", alpha=2.0, size=8)
    fast = {"backbone": "resnet10t", "levels": 2} if name == "timm-unet" else {}
    configured = Registry().configure("architecture", name, **small(name, tmp_path) | fast)
    network = configured.build(dataset.shape)
    evaluated = Evaluation(Trained(network), dataset.images("test", IMAGES), [SIGMA], dataset=dataset)
    result = {}
    for metric in OF_BASES:
        scores = gahbench.create("metric", metric).score(evaluated)
        assert all(map(math.isfinite, scores.value)), metric
        assert scores.value, metric
        result[metric] = scores
    parts = zip(result["spectrum"].part, result["spectrum"].value, strict=True)
    traces = [value for part, value in parts if part == "trace"]
    assert traces == pytest.approx([trace(network, noisy) for noisy in evaluated.noisy(SIGMA)], rel=1e-3, abs=1e-3)


def trace(network, noisy):
    """Return the trace of the network's Jacobian at an image (C, H, W), as a sum of derivatives."""
    size = noisy.numel()
    copies = noisy.expand(size, *noisy.shape).clone().requires_grad_()
    denoised = network(copies, torch.full((size,), SIGMA))
    # Value k of copy k depends only on that copy.
    (gradient,) = torch.autograd.grad(denoised.flatten(1).diagonal().sum(), copies)
    return float(gradient.flatten(1).diagonal().sum())


def test_metrics_share_a_basis_that_is_fitted_once_for_each_dataset():
    dataset, other = (create("dataset", name) for name in ("faces[size=8]", "gaussian-field[size=8]"))
    basis, images = create("basis", "pca"), other.images("test", 2)
    fitted = basis_on(basis, dataset)
    assert basis_on(create("basis", "pca"), dataset) is fitted
    # The basis of the metric itself is not fitted.
    with pytest.raises(gahbench.BasisError):
        basis.analysis(images)
    assert basis_on(basis, None) is basis
    expected = PCA()
    expected.fit(TrainingData(other))
    torch.testing.assert_close(basis_on(basis, other).analysis(images), expected.analysis(images))
    # Bases that were constructed directly have no spec, and are not cached.
    for name in ("haar", "db2"):
        assert torch.equal(basis_on(Wavelet(name), dataset).analysis(images), Wavelet(name).analysis(images))


def test_the_cache_of_filters_is_keyed_by_their_inputs():
    dataset = create("dataset", "faces[size=8]")
    evaluated = Evaluation(Identity(), dataset.images("test", 3), [0.1, 0.2], dataset=dataset)
    first, again, stronger, other = (
        filters_on(create("basis", basis), evaluated, sigma)
        for basis, sigma in (("haar", 0.1), ("haar", 0.1), ("haar", 0.2), ("dct", 0.1))
    )
    assert again is first
    assert stronger is not first
    traces = torch.full((3,), 8.0, dtype=torch.float64)
    assert not torch.equal(first.at(traces).matrices(), other.at(traces).matrices())
