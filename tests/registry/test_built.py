"""Plugins that receive other plugins, and the specs of built objects."""

import copy

import pytest
import torch
from torch import nn

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.registry.configured import get_spec
from gahbench.registry.registry import Registry

PLUGIN = """
from typing import Annotated
import gahbench

@gahbench.hookimpl
def register_references(register):
    register("takes", Takes)
    register("preset", Takes, basis="haar", several=("dct",))

class Takes(gahbench.Reference):
    "Takes plugins of several kinds."
    def __init__(
        self,
        basis: Annotated[gahbench.Basis, gahbench.Names("basis", default="wavelet[db4]")],
        several: Annotated[tuple[gahbench.Basis, ...], gahbench.Names("basis", default=("pixel", "dct"))],
        network: Annotated[gahbench.ArchitectureFactory, gahbench.Names("architecture", default="bf-cnn[width=4]")],
        inner: Annotated[gahbench.Reference | None, gahbench.Names("reference")] = None,
        metric: Annotated[gahbench.Metric, gahbench.Names("metric")] | None = None,
        scale: float = 1.0,
    ):
        self.basis, self.several, self.network, self.inner, self.metric = basis, several, network, inner, metric
    def denoise(self, noisy, sigma, truth):
        return noisy
"""


@pytest.fixture
def registry(tmp_path):
    (tmp_path / "takes.py").write_text(PLUGIN)
    return Registry((tmp_path / "takes.py",))


def test_default_plugins_are_built(registry):
    configured = registry.configure("reference", "takes")
    assert configured.label == configured.text == "takes"
    built = configured.build()
    assert isinstance(built.basis, gahbench.Basis)
    assert get_spec(built.basis) == "wavelet[db4]"
    assert [get_spec(basis) for basis in built.several] == ["pixel", "dct"]
    assert built.inner is built.metric is None
    assert get_spec(built) == "takes"


def test_an_architecture_is_built_for_the_images(registry):
    factory = registry.create("reference", "takes[network=bf-cnn[layers=3,width=2]]").network
    assert factory.label == "bf-cnn[width=2,layers=3]"
    network = factory.build((3, 8, 8))
    assert isinstance(network, nn.Module)
    assert network(torch.rand(2, 3, 8, 8), torch.ones(2)).shape == (2, 3, 8, 8)


def test_nested_specs_are_built(registry):
    spec = "takes[sym4,several=[dct],inner=takes[inner=threshold[haar,k=2],network=unet[levels=3]],metric=psnr,scale=2]"
    configured = registry.configure("reference", spec)
    assert registry.configure("reference", configured.text).label == configured.label
    built = configured.build()
    assert get_spec(built.inner.inner.basis) == "haar"
    assert built.inner.network.label == "unet[width=64]"
    assert isinstance(built.metric, gahbench.Metric)
    assert get_spec(built) == configured.text
    assert configured.build().inner is not built.inner


def test_errors_of_nested_plugins_name_the_plugin(registry):
    with pytest.raises(ParameterError, match=r"takes.*basis=dct\[levels=3\].*unknown parameter 'levels'"):
        registry.configure("reference", "takes[dct[levels=3]]")
    with pytest.raises(ParameterError, match=r"^basis 'wavelet-ti': 'bior2.2' is not"):
        registry.create("reference", "takes[inner=heat-kernel[wavelet-ti[bior2.2]]]")


def test_only_built_objects_have_a_spec():
    basis = gahbench.create("basis", "wavelet[levels=2,name=db2]")
    assert get_spec(basis) == "wavelet[db2,levels=2]"
    assert get_spec(type(basis)("db2")) is get_spec(copy.copy(basis)) is None
    assert get_spec(None) is get_spec("sym4") is None
