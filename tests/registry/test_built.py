"""The plugins that a constructor names are handed to it built, and the specs of what was built are kept."""

import gc

import pytest
import torch
from torch import nn

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.registry import configured as configured_plugins
from gahbench.registry.configured import record_spec, spec_of
from gahbench.registry.registry import Registry

PLUGIN = """
from typing import Annotated
import gahbench

@gahbench.hookimpl
def register_references(register):
    register("takes", Takes)
    register("preset", Takes, basis="haar", several=("dct",))

class Takes(gahbench.Reference):
    "Takes all that can be named."
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


def test_defaults_are_built(registry):
    configured = registry.configure("reference", "takes")
    assert configured.label == configured.text == "takes"
    found = configured.build()
    assert isinstance(found.basis, gahbench.Basis)
    assert spec_of(found.basis) == "wavelet[db4]"
    assert [spec_of(one) for one in found.several] == ["pixel", "dct"]
    assert found.inner is found.metric is None
    assert spec_of(found) == "takes"


def test_an_architecture_is_built_for_the_images(registry):
    factory = registry.create("reference", "takes[network=bf-cnn[layers=3,width=2]]").network
    assert factory.label == "bf-cnn[width=2,layers=3]"
    network = factory.build((3, 8, 8))
    assert isinstance(network, nn.Module)
    assert network(torch.rand(2, 3, 8, 8), torch.ones(2)).shape == (2, 3, 8, 8)


def test_specs_that_are_given_are_built_however_deep(registry):
    spec = "takes[sym4,several=[dct],inner=takes[inner=threshold[haar,k=2],network=unet[levels=3]],metric=psnr,scale=2]"
    configured = registry.configure("reference", spec)
    assert registry.configure("reference", configured.text).label == configured.label
    found = configured.build()
    assert spec_of(found.inner.inner.basis) == "haar"
    assert found.inner.network.label == "unet[width=64]"
    assert isinstance(found.metric, gahbench.Metric)
    assert spec_of(found) == configured.text


def test_every_build_has_objects_of_its_own(registry):
    configured = registry.configure("reference", "takes[inner=takes]")
    one, other = configured.build(), configured.build()
    assert one.basis is not other.basis
    assert one.inner is not other.inner
    assert one.several[0] is not other.several[0]


def test_a_constructor_that_refuses_is_named(registry):
    with pytest.raises(ParameterError, match=r"takes.*basis=dct\[levels=3\].*unknown parameter 'levels'"):
        registry.configure("reference", "takes[dct[levels=3]]")
    with pytest.raises(ParameterError, match=r"^basis 'patch-graph': patch=4: accepted are odd sides"):
        registry.create("reference", "takes[inner=heat-kernel[patch-graph[patch=4]]]")


def test_only_built_objects_have_a_spec():
    basis = gahbench.create("basis", "wavelet[levels=2,name=db2]")
    assert spec_of(basis) == "wavelet[db2,levels=2]"
    assert spec_of(type(basis)("db2")) is None
    assert spec_of(None) is spec_of("sym4") is None
    place = id(basis)
    del basis
    gc.collect()
    assert place not in configured_plugins._SPECS


def test_equal_objects_keep_specs_of_their_own():
    class Equal:
        __hash__ = None

        def __eq__(self, other):
            return True

    one, other = Equal(), Equal()
    record_spec(one, "one")
    record_spec(other, "other")
    assert (spec_of(one), spec_of(other)) == ("one", "other")
    record_spec(3, "three")
    assert spec_of(3) is None
