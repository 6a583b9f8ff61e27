"""Properties of many metrics: titles, noise levels that slopes need, and missing values."""

import itertools
import re

import pytest
from known_filters import create, evaluation

from gahbench.registry.registry import Registry

METRICS = Registry().plugins("metric")


@pytest.mark.parametrize("plugin", METRICS, ids=lambda plugin: plugin.name)
def test_titles_name_parameters_and_nulls_belong_to_titles(plugin):
    titles, nulls = plugin.factory.titles, plugin.factory.nulls
    named = {name for title in titles.values() for name in re.findall(r"{(.*?)}", title)}
    assert named <= {parameter.name for parameter in plugin.parameters}
    assert set(nulls) <= set(titles)
    assert len(set(titles.values())) == len(titles)
    # The docstring describes every part. Scales of intervals are read without an import.
    scales = {name: plugin.attribute(name) or () for name in ("share_parts", "positive_parts")}
    assert scales == {name: getattr(plugin.factory, name, ()) for name in scales}
    documented = " ".join(str(base.__doc__) for base in plugin.factory.__mro__)
    parts = {*titles, *nulls.values(), *itertools.chain(*scales.values())} - {"", *plugin.factory.ratios}
    assert all(f"``{part}``" in documented for part in parts)


@pytest.mark.parametrize(
    ("metric", "min_levels"), [("slope", 2), ("local-slope", 2), ("rate", 3), ("optimality-slope", 3)]
)
def test_slopes_need_different_noise_levels(metric, min_levels):
    with pytest.raises(ValueError, match=rf"needs? at least {min_levels} different noise levels"):
        create("metric", metric).check((1, 64, 64), [0.1, 0.2][: min_levels - 1] * 2)


#: Metrics, references and families for which there are no values.
WITHOUT_VALUES = [
    # There is no Jacobian.
    *((metric, "tv[0.1]", "discs[size=16]") for metric in (
        "adaptation", "alignment", "direction", "eigenvalue", "leakage", "local-dimension", "self-consistency",
        "spectrum", "truth-alignment", "truth-direction")),
    # There is no partner.
    *((metric, "identity", "c-alpha[size=8]") for metric in (
        "model-variance", "score-agreement", "pair-cosine", "biased-generalization", "own-half")),
    # There is no tangent space, no optimum, no true basis, or the same true basis for all images.
    *(("leakage", "identity", family) for family in ("c-alpha[size=8]", "faces[size=16]", "gaussian-field[size=8]")),
    ("optimum-distance", "identity", "faces[size=12]"),
    ("optimality-slope", "identity", "faces[size=12]"),
    ("direction[true-basis]", "heat-kernel", "discs[size=8]"),
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
