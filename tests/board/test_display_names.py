"""Names of entrants and datasets for people."""

import pytest
from published_pages import PUBLISHED, load_results

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
    for plugin in builtin.plugins(kind):
        # Two names of one class have the same display name.
        names = display_names(builtin, [plugin.name], {plugin.name: plugin.name})
        shown = basis_names(builtin, [plugin.name]) | {**names.datasets, **names.entrants}
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


@pytest.mark.parametrize(
    "expected",
    [
        {"unet[width=16,blind=false]": "U-Net, given σ", "heat-kernel[graph-laplacian,kept=0.1]": "Heat kernel"},
        {"oracle-threshold[wavelet-ti[sym4]]": "Oracle threshold, translation-invariant sym4 wavelets"},
        {"cycle-spin[bayes-shrink[haar]]": "Cycle spinning of BayesShrink, haar wavelets"},
        # Equal names are followed by the parameters that differ.
        {
            "unet[width=16,levels=2]": "U-Net, width 16",
            "unet[width=32,levels=2,bias=true]": "U-Net, width 32, with bias",
            "unet[width=16,levels=2,training.steps=9]": "U-Net, width 16, training steps 9",
        },
        # Parameters in which nested plugins differ are shown, even if the name already shows the nested plugin.
        {
            "oracle-shrink[wavelet[sym4,levels=1]]": "Oracle shrinkage, sym4 wavelets, levels 1",
            "oracle-shrink[wavelet[sym4,levels=2]]": "Oracle shrinkage, sym4 wavelets, levels 2",
        },
        # Rows of sweeps and of parts share the name of their entrant.
        {
            "linear N=8": "Linear map, N = 8",
            "linear (one)": "Linear map (one)",
            "linear (other) N=all": "Linear map (other), N = all",
        },
        # Labels of suites, labels of unknown plugins, and names that another label has are shown unchanged.
        {label: label for label in ("my net", "bandlets, squares to 8", "nobody[width=3]", "[", "")},
        {"unet[width=16]": "unet[width=16]", "U-Net": "U-Net"},
    ],
)
def test_names_of_entrants(builtin, expected):
    assert entrants(builtin, *expected) == list(expected.values())


def test_names_of_datasets(builtin):
    expected = {
        "c-alpha[alpha=2]": "C² cartoons",
        "c-alpha[alpha=1.5]": "C¹·⁵ cartoons",
        "shuffled[gaussian-field[alpha=2]]": "Shuffled Gaussian fields",
        "faces[a/b.npz]": "Faces, b.npz",
        "big discs": "big discs",
        "discs": "discs",
    }
    specs = {label: label for label in expected} | {"big discs": "discs[size=64]", "discs": "faces"}
    names = display_names(builtin, (), specs)
    assert {label: names.dataset(label) for label in expected} == expected


def test_a_plugin_without_a_name_is_called_by_its_registered_name(own):
    assert entrants(own, "two-layer", "odd[width=3]", "named[width=8]", "named") == [
        "Two layer",
        "Odd",
        "Net | of 8 channels",
        "Named",
    ]
