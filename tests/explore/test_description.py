"""Facts of ``gahbench describe``, correct for known and for faulty plugins, and BibTeX of ``gahbench cite``."""

import re

import pytest

import gahbench
from gahbench import GahbenchError, cite
from gahbench.explore.description import facts
from gahbench.registry.registry import Registry
from gahbench.testing import check_file


def describe(spec, kind="architecture", sources=(), shape=None):
    registry = Registry(tuple(sources))
    return dict(facts(registry.configure(kind, spec), registry, shape))


def test_facts_of_a_known_network():
    known = describe("bf-cnn[width=4,layers=5]")
    # 5 convolutions of 3x3 between 1, 4, 4, 4, 4 and 1 channels, and 4 gains in each of 3 layers.
    assert known["parameters"].startswith("516 (516) to train")
    # 9 multiply-adds per pair of channels at each of 64x64 pixels: (4 + 3 * 16 + 4) * 9 * 4096 = 2.06 M.
    assert known["multiply-adds"].startswith("2.1 M")
    assert known["receptive field"] == "11 pixels"
    starts = {"homogeneity": "homogeneous", "blind": "yes", "torch.func": "differentiable"}
    assert all(known[name].startswith(start) for name, start in starts.items())
    assert "ICLR 2020" in known["citation"]
    biased = describe("bf-cnn[width=4,layers=5,bias=true]", shape=(3, 128, 64))
    assert biased["homogeneity"].startswith("not homogeneous")
    # 9 * 4 weights and 1 bias for each of 2 more channels, in the first and the last layer.
    assert biased["multiply-adds"].startswith(f"{9 * 72 * 128 * 64 / 1e6:.1f} M")
    refused = describe("unet[width=2,levels=2]", shape=(1, 30, 30))["images"]
    assert refused.startswith("of 1x32x32, since 1x30x30 is refused")


@pytest.mark.parametrize(
    ("kind", "spec", "name", "value"),
    [
        ("reference", "optimal", "kind", "optimal: it uses the dataset"),
        ("reference", "gaussian-blur", "defined on", "every dataset"),
        ("reference", "untrained[bf-cnn[width=4,layers=5]]", "receptive field", "11 pixels"),
        ("metric", "alignment", "needs", "24 images or more, jacobian"),
        ("metric", "distance", "direction", "lower is better"),
    ],
)
def test_facts_of_other_plugins(kind, spec, name, value):
    assert describe(spec, kind)[name] == value


def test_references_are_defined_on_some_datasets():
    names = describe("optimal", "reference")["defined on"].split(", ")
    assert {"discs", "faces", "c-alpha"} & set(names) == {"discs"}


FAULTY = {
    "raises": ("raise RuntimeError('no luck')", "architecture", "RuntimeError: no luck"),
    "drops the gradient": ("return noisy.detach()", "receptive field", "unknown"),
    "ignores the image": ("return 0 * self.noise(noisy)", "receptive field", "no pixel"),
    "not a number": ("return noisy / 0 * 0", "homogeneity", "not homogeneous"),
    "refuses everything": ("raise ValueError('sides of 7')", "architecture", "sides of 7"),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_faults_of_plugins_are_reported(write_plugin, fault):
    body, name, reason = FAULTY[fault]
    described = describe("mine", sources=[write_plugin("mine", body)])
    assert reason in described[name]
    assert described["citation"] == "none"


@pytest.mark.parametrize("kind", ["architecture", "reference", "metric"])
def test_a_failing_constructor_is_reported(write_class, kind):
    body = (
        "citation = gahbench.Citation('Wiener, Norbert', 'Smoothing', 1949)\n"
        "def __init__(self): raise RuntimeError('no luck')"
    )
    described = describe("mine", kind, [write_class(kind, body, base="object")])
    assert described == {kind: "unknown: RuntimeError: no luck", "citation": "Wiener, Smoothing, 1949"}


PLUGIN = "citation = {citation}\ndef denoise(self, noisy, sigma, truth): return 0.9 * noisy"


def keys(text):
    return re.findall(r"^@\w+{(\w+),$", text, re.MULTILINE)


def test_plugins_are_cited_with_the_plugins_in_their_parameters():
    assert keys(cite("oracle-threshold[sym4]")) == ["donoho1994ideal", "mallat1989theory"]
    # Both a basis and a reference are named bandlet.
    assert keys(cite("bandlet")) == ["dossal2011bandlet", "peyre2008orthogonal"]
    # `images` has a required parameter, and cites the same publication as `faces`.
    assert keys(cite("images")) == ["kadkhodaie2024generalization"]
    assert cite("psnr") == ""
    with pytest.raises(GahbenchError, match=r"'bf-cn'; did you mean 'bf-cnn'.*'gahbench list'"):
        cite("bf-cn")


def test_a_board_is_cited_after_its_plugin_file_is_deleted(tmp_path, write_class, figures_not_rendered):
    file = write_class("reference", PLUGIN.format(citation='gahbench.Citation("Noether, Emmy", "Invariants", 1918)'))
    suite = tmp_path / "tiny.yaml"
    suite.write_text(
        "name: tiny\ndatasets: [discs: {size: 8}]\nentrants: [identity, mine, 'oracle-threshold[haar]']\n"
        "baseline: oracle-threshold[haar]\nscoring: {images: 2, sigmas: [0.1], metrics: [psnr]}\n"
    )
    gahbench.run(suite, tmp_path / "out", engine="inline", plugins=[file])
    file.unlink()
    expected = ["donoho1994ideal", "kadkhodaie2024generalization", "mallat1989theory", "noether1918invariants"]
    assert keys(cite(tmp_path / "out")) == ["gahbench", *expected]
    suite.write_text(suite.read_text().replace("mine, ", ""))
    gahbench.run(suite, tmp_path / "out", engine="inline")
    assert keys(cite(tmp_path / "out")) == ["gahbench", *expected[:-1]]


def test_an_invalid_citation_fails_the_check(write_class):
    (report,) = check_file(write_class("reference", PLUGIN.format(citation="'Noether 1918'")))
    assert report.failed == ["citations are valid"]
