"""What figures call metrics."""

import inspect
import re

import pytest

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
