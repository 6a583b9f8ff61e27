"""The facts that ``describe`` lists: right for plugins whose facts are known, and never a crash."""

import pytest

from gahbench.explore.description import facts
from gahbench.registry.registry import Registry


def described(spec, kind="architecture", sources=(), shape=None):
    registry = Registry(tuple(sources))
    return {fact.name: fact.value for fact in facts(registry.configure(kind, spec), registry, shape)}


def test_a_network_that_is_known():
    found = described("bf-cnn[width=4,layers=5]")
    # 5 convolutions of 3x3 between 1, 4, 4, 4, 4 and 1 channels, and 3 gains for each of 4.
    assert found["parameters"].startswith("516 (516) to train")
    # 9 multiplications for each weight at each of 64x64 pixels: (4 + 3 * 16 + 4) * 9 * 4096 = 2.06 M.
    assert found["multiply-adds"] == "2.1 M for one of the images of 1x64x64"
    assert found["receptive field"] == "11 pixels"
    assert found["homogeneity"].startswith("homogeneous")
    assert found["blind"].startswith("yes")
    assert found["torch.func"].startswith("differentiable")
    assert "ICLR 2020" in found["citation"]
    assert described("bf-cnn[width=4,layers=5,bias=true]")["homogeneity"].startswith("not homogeneous")


def test_the_shape_decides_the_work():
    assert described("bf-cnn[width=4,layers=5]", shape=(1, 128, 64))["multiply-adds"].startswith("4.1 M")
    assert described("bf-cnn[width=4,layers=5]", shape=(3, 64, 64))["parameters"].startswith("660 ")
    refused = described("unet[width=2,levels=2]", shape=(1, 30, 30))
    assert refused["images"].startswith("of 1x32x32, since 1x30x30 is refused")
    assert "multiples of 4" in refused["images"]


def test_references_show_what_they_use_and_which_datasets_they_support():
    optimal = described("optimal", "reference")
    assert optimal["kind"].startswith("optimal")
    assert "discs" in optimal["defined on"].split(";")[0]
    assert "not on c-alpha" in optimal["defined on"]
    oracle = described("oracle-shrink", "reference")
    assert (oracle["defined on"], oracle["closed-form risk"]) == (
        "every dataset; not tried on hf-dataset, images, which need parameters or files",
        "yes",
    )
    assert described("tv", "reference")["closed-form risk"].startswith("no")
    assert described("identity", "reference")["learns"] == "nothing"


def test_metrics_show_unit_direction_and_needs(write_class):
    alignment = described("alignment", "metric")
    assert (alignment["unit"], alignment["direction"]) == ("none", "higher is better")
    assert alignment["needs"] == "24 images or more, jacobian"
    psnr = described("psnr", "metric")
    assert (psnr["unit"], psnr["needs"]) == ("dB", "images")
    assert described("distance", "metric")["direction"] == "lower is better"
    file = write_class("metric", "higher_is_better = None\ndef score(self, evaluation): ...", "undirected")
    assert described("undirected", "metric", (file,))["direction"] == "neither higher nor lower is better"


def test_a_metric_that_cannot_be_built_is_described_by_its_error():
    assert "accepted are fixed orthonormal bases" in described("rate[basis=patch-graph]", "metric")["metric"]


def test_other_kinds_have_a_citation():
    assert described("wavelet", "basis") == {"citation": described("sym4", "basis")["citation"]}


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
def test_a_fault_of_a_third_party_plugin_is_reported_and_harms_nothing(write_plugin, fault):
    body, name, reason = FAULTY[fault]
    found = described("mine", sources=[write_plugin("mine", body)])
    assert reason in found[name]
    assert found["citation"] == "none"


@pytest.mark.parametrize(("kind", "name"), [("architecture", "network"), ("reference", "reference")])
def test_a_constructor_that_fails(write_class, kind, name):
    body = (
        "citation = gahbench.Citation('Wiener, Norbert', 'Smoothing', 1949)\n"
        "def __init__(self): raise RuntimeError('no luck')"
    )
    found = described("mine", kind, [write_class(kind, body, base="object")])
    assert found == {name: "unknown, and all about it: RuntimeError: no luck", "citation": "Wiener, Smoothing, 1949"}


def test_what_is_too_large_is_not_built(write_class):
    body = (
        "def __init__(self):\n    super().__init__()\n    self.map = nn.Linear(64, 10**9)\n"
        "def forward(self, noisy, sigma):\n    return noisy + self.map(noisy)[..., :64]"
    )
    found = described("mine", sources=[write_class("architecture", body)])
    assert found["parameters"].startswith("65 G")
    assert "too many to build here" in found["receptive field"]
