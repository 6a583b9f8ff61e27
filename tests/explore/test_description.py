"""Facts of ``gahbench describe``: correct for known plugins, and robust against faulty plugins."""

import pytest

from gahbench.explore.description import facts
from gahbench.registry.registry import Registry


def describe(spec, kind="architecture", sources=(), shape=None):
    registry = Registry(tuple(sources))
    return {fact.name: fact.value for fact in facts(registry.configure(kind, spec), registry, shape)}


def test_facts_of_a_known_network():
    facts_by_name = describe("bf-cnn[width=4,layers=5]")
    # 5 convolutions of 3x3 between 1, 4, 4, 4, 4 and 1 channels, and 4 gains in each of 3 layers.
    assert facts_by_name["parameters"].startswith("516 (516) to train")
    # 9 multiply-adds per pair of channels at each of 64x64 pixels: (4 + 3 * 16 + 4) * 9 * 4096 = 2.06 M.
    assert facts_by_name["multiply-adds"] == "2.1 M per image, on images of 1x64x64"
    assert facts_by_name["receptive field"] == "11 pixels"
    assert facts_by_name["homogeneity"].startswith("homogeneous")
    assert facts_by_name["blind"].startswith("yes")
    assert facts_by_name["torch.func"].startswith("differentiable")
    assert "ICLR 2020" in facts_by_name["citation"]
    assert describe("bf-cnn[width=4,layers=5,bias=true]")["homogeneity"].startswith("not homogeneous")


def test_parameters_and_multiply_adds_depend_on_the_shape():
    assert describe("bf-cnn[width=4,layers=5]", shape=(1, 128, 64))["multiply-adds"].startswith("4.1 M")
    assert describe("bf-cnn[width=4,layers=5]", shape=(3, 64, 64))["parameters"].startswith("660 ")
    refused = describe("unet[width=2,levels=2]", shape=(1, 30, 30))
    assert refused["images"].startswith("of 1x32x32, since 1x30x30 is refused")
    assert "multiples of 4" in refused["images"]


def test_facts_of_references():
    optimal = describe("optimal", "reference")
    assert optimal["kind"].startswith("optimal")
    assert "discs" in optimal["defined on"].split(";")[0]
    assert "not on c-alpha" in optimal["defined on"]
    oracle = describe("oracle-shrink", "reference")
    untried = "every dataset; not tried on captures, hf-dataset, images, which need parameters or files"
    assert oracle["defined on"] == untried
    assert describe("identity", "reference")["learns"] == "nothing"


def test_facts_of_metrics(write_class):
    alignment = describe("alignment", "metric")
    assert (alignment["unit"], alignment["direction"]) == ("none", "higher is better")
    assert alignment["needs"] == "24 images or more, jacobian"
    psnr = describe("psnr", "metric")
    assert (psnr["unit"], psnr["needs"]) == ("dB", "images")
    assert describe("distance", "metric")["direction"] == "lower is better"
    file = write_class("metric", "higher_is_better = None\ndef score(self, evaluation): ...", "undirected")
    assert describe("undirected", "metric", (file,))["direction"] == "neither higher nor lower is better"


def test_a_metric_that_cannot_be_built_is_described_by_its_error():
    assert "accepted: fixed orthonormal bases" in describe("rate[basis=patch-graph]", "metric")["metric"]


def test_plugins_of_other_kinds_have_a_citation():
    assert describe("wavelet", "basis") == {"citation": describe("sym4", "basis")["citation"]}


FAULTY = {
    "raises": ("raise RuntimeError('no luck')", "network", "RuntimeError: no luck"),
    "exits": ("raise SystemExit(3)", "network", "SystemExit: 3"),
    "returns a pair": ("return noisy, sigma", "homogeneity", "unknown"),
    "returns numbers": ("return 1.0", "receptive field", "unknown"),
    "drops the gradient": ("return noisy.detach()", "receptive field", "unknown"),
    "ignores the image": ("return 0 * self.noise(noisy)", "receptive field", "no pixel"),
    "needs numbers": ("return noisy * float(noisy.mean())", "multiply-adds", "unknown"),
    "not a number": ("return noisy / 0 * 0", "homogeneity", "not homogeneous"),
    "refuses everything": ("raise ValueError('sides of 7')", "network", "sides of 7"),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_faults_of_plugins_are_reported(write_plugin, fault):
    body, name, reason = FAULTY[fault]
    facts_by_name = describe("mine", sources=[write_plugin("mine", body)])
    assert reason in facts_by_name[name]
    assert facts_by_name["citation"] == "none"


@pytest.mark.parametrize(("kind", "name"), [("architecture", "network"), ("reference", "reference")])
def test_a_failing_constructor_is_reported(write_class, kind, name):
    body = (
        "citation = gahbench.Citation('Wiener, Norbert', 'Smoothing', 1949)\n"
        "def __init__(self): raise RuntimeError('no luck')"
    )
    facts_by_name = describe("mine", kind, [write_class(kind, body, base="object")])
    assert facts_by_name == {name: "unknown: RuntimeError: no luck", "citation": "Wiener, Smoothing, 1949"}


def test_large_networks_are_not_built(write_class):
    body = (
        "def __init__(self):\n    super().__init__()\n    self.map = nn.Linear(64, 10**9)\n"
        "def forward(self, noisy, sigma):\n    return noisy + self.map(noisy)[..., :64]"
    )
    facts_by_name = describe("mine", sources=[write_class("architecture", body)])
    assert facts_by_name["parameters"].startswith("65 G")
    assert facts_by_name["forward pass"].startswith("unknown: networks of over 200 M parameters")
