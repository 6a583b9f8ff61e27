"""Names of entrants and datasets for people."""

import pytest
from published_pages import PUBLISHED, load_results

from gahbench.board.combined import combine
from gahbench.board.display_names import basis_names, display_names
from gahbench.registry.registry import Registry

KINDS = ("architecture", "reference", "dataset", "basis")
OWN = """
import gahbench
from torch import nn


@gahbench.hookimpl
def register_architectures(register):
    register("two-layer", TwoLayer)
    register("named", Named)
    register("odd", Odd)


class TwoLayer(nn.Module):
    def __init__(self, channels: int, width: int = 32): ...


class Named(TwoLayer):
    display_name = "net | of  {width} channels"


class Odd(TwoLayer):
    display_name = 3
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    file = tmp_path_factory.mktemp("own") / "own.py"
    file.write_text(OWN)
    registry = Registry((file,))
    assert not registry.problems
    return registry


def entrants(registry, *labels):
    names = display_names(registry, labels, {})
    return [names.entrant(label) for label in labels]


@pytest.mark.parametrize("kind", KINDS)
def test_every_built_in_plugin_has_a_name_without_brackets(builtin, kind):
    plugins = builtin.plugins(kind)
    names = display_names(builtin, builtin.names(kind), {name: name for name in builtin.names(kind)})
    shown = basis_names(builtin, builtin.names(kind)) | dict(
        names.entrants if kind in ("architecture", "reference") else names.datasets
    )
    for plugin in plugins:
        name = shown[plugin.name]
        assert name.strip() == name != ""
        assert not set(name) & set("[]{}|`")
        # Templates are read without an import, and belong to the class itself.
        assert plugin.display_name == plugin.factory.__dict__["display_name"]


@pytest.mark.parametrize("folder", PUBLISHED)
def test_names_are_distinct_on_every_published_board(folder):
    results = load_results(folder)
    assert len(set(map(results.names.entrant, results.entrants))) == len(results.entrants)
    datasets = list(results.datasets["dataset"])
    assert len(set(map(results.names.dataset, datasets))) == len(datasets)
    assert not any("[" in results.names.entrant(label) for label in results.entrants)
    assert not any("[" in results.names.dataset(label) for label in datasets)


def test_names_say_what_the_parameters_mean(builtin):
    assert entrants(
        builtin,
        "unet[width=16,blind=false]",
        "oracle-threshold[wavelet-ti[sym4]]",
        "cycle-spin[bayes-shrink[haar]]",
        "heat-kernel[graph-laplacian,kept=0.1]",
    ) == [
        "U-Net, given σ",
        "Oracle threshold, translation-invariant sym4 wavelets",
        "Cycle spinning of BayesShrink, haar wavelets",
        "Heat kernel",
    ]
    datasets = ("c-alpha[alpha=2]", "c-alpha[alpha=1.5]", "shuffled[gaussian-field[alpha=2]]", "faces[a/b.npz]")
    names = display_names(builtin, (), {label: label for label in datasets})
    assert list(map(names.dataset, datasets)) == [
        "C² cartoons",
        "C¹·⁵ cartoons",
        "Shuffled Gaussian fields",
        "Faces, b.npz",
    ]


def test_equal_names_are_followed_by_the_parameters_that_differ(builtin):
    assert entrants(
        builtin,
        "unet[width=16,levels=2]",
        "unet[width=32,levels=2,bias=true]",
        "unet[width=16,levels=2,training.steps=9]",
    ) == ["U-Net, width 16", "U-Net, width 32, with bias", "U-Net, width 16, training steps 9"]
    # Parameters in which nested plugins differ are shown, even if the name already shows the nested plugin.
    assert entrants(builtin, "oracle-shrink[wavelet[sym4,levels=1]]", "oracle-shrink[wavelet[sym4,levels=2]]") == [
        "Oracle shrinkage, sym4 wavelets, levels 1",
        "Oracle shrinkage, sym4 wavelets, levels 2",
    ]


def test_rows_of_sweeps_and_parts_share_the_name_of_their_entrant(builtin):
    assert entrants(builtin, "linear N=8", "linear N=all", "linear (one)", "linear (other) N=8") == [
        "Linear map, N = 8",
        "Linear map, N = all",
        "Linear map (one)",
        "Linear map (other), N = 8",
    ]


def test_labels_of_suites_and_unknown_plugins_are_shown_unchanged(builtin):
    labels = ("my net", "bandlets, squares to 8", "nobody[width=3]", "[", "")
    assert entrants(builtin, *labels) == list(labels)
    names = display_names(builtin, (), {"big discs": "discs[size=64]", "discs": "faces"})
    assert [names.dataset(label) for label in ("big discs", "discs")] == ["big discs", "discs"]


def test_a_name_that_another_label_has_is_not_given(builtin):
    assert entrants(builtin, "unet[width=16]", "U-Net") == ["unet[width=16]", "U-Net"]


def test_a_plugin_without_a_name_is_called_by_its_registered_name(own):
    assert entrants(own, "two-layer", "odd[width=3]", "named[width=8]", "named") == [
        "Two layer",
        "Odd",
        "Net | of 8 channels",
        "Named",
    ]


def test_selected_and_combined_results_keep_their_names():
    results = load_results("quick")
    both = combine({"one": results, "other": results})
    assert both.names == results.names
    assert results.names.entrant("unet[width=16,levels=2]") == "U-Net"
