"""What holds for many metrics: titles, and when there are no values."""

import inspect
import re

import pytest
from known_filters import create, evaluation, table

from gahbench.registry.registry import Registry

METRICS = [plugin for plugin in Registry().plugins("metric") if plugin.factory.titles or plugin.factory.nulls]


@pytest.mark.parametrize("plugin", METRICS, ids=lambda plugin: plugin.name)
def test_titles_name_parameters_and_nulls_belong_to_titles(plugin):
    titles, nulls = plugin.factory.titles, plugin.factory.nulls
    named = {name for title in titles.values() for name in re.findall(r"{(.*?)}", title)}
    assert named <= {parameter.name for parameter in plugin.parameters}
    assert set(nulls) <= set(titles)
    assert len(set(titles.values())) == len(titles)
    # Every part is described where its values are.
    documented = inspect.getdoc(plugin.factory)
    assert all(f"``{part}``" in documented for part in {*titles, *nulls.values()} - {""})


def test_a_metric_without_titles_has_none():
    assert Registry().get("metric", "ssim").factory.titles == {}


@pytest.mark.parametrize("metric", [
    "adaptation", "alignment", "capture", "contour-anisotropy", "direction", "harmonic-order", "leakage",
    "learned-decay", "local-dimension", "self-consistency", "sparsity", "spectrum", "truth-alignment",
])  # fmt: skip
def test_entrants_without_a_jacobian_have_no_values(metric):
    assert table(metric, evaluation("tv", "discs[size=16]", count=3)) == {}


@pytest.mark.parametrize(("metric", "least"), [("slope", 2), ("local-slope", 2), ("rate", 3), ("optimality-slope", 3)])
def test_slopes_need_different_noise_levels(metric, least):
    with pytest.raises(ValueError, match=f"{metric} needs at least {least} different noise levels"):
        create("metric", metric).check((1, 64, 64), [0.1, 0.2][: least - 1] * 2)
