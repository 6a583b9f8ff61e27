"""Every registered plugin keeps the contract, and broken ones are told what is wrong."""

import pytest

import gahbench
from gahbench.errors import PluginError
from gahbench.registry import KINDS, Registry
from gahbench.testing import check_file, check_plugin

BUILT_IN = [(kind, name) for kind in KINDS for name in Registry().names(kind)]
#: The published widths are right but slow; their shape is what the contract is about.
SMALL = {"unet": {"width": 8, "levels": 2}, "bf-cnn": {"width": 8, "layers": 6}}
#: Packages of extras, without which a plugin says which extra it needs.
NEEDS = {("basis", "curvelet"): "curvelets", ("reference", "bm3d"): "deepinv"}


@pytest.mark.parametrize(("kind", "name"), BUILT_IN, ids=[f"{kind}-{name}" for kind, name in BUILT_IN])
def test_every_plugin_keeps_the_contract(builtin, kind, name):
    if (kind, name) in NEEDS:
        pytest.importorskip(NEEDS[kind, name])
    report = check_plugin(builtin.get(kind, name), builtin, **SMALL.get(name, {}))
    assert report.passed, str(report)
    assert len(report.findings) >= 3


BROKEN = {
    "wrong shape": ("return (noisy - self.noise(noisy))[:, :, 1:]", "returns the shape it got"),
    "one channel": ("return (noisy - self.noise(noisy)).mean(1, keepdim=True)", "3 channels"),
    "float64": ("return (noisy - self.noise(noisy)).double()", "returns float32"),
    "nan": ("return noisy / 0 * 0", "finite values"),
    "two results": ("return noisy, sigma", "returns one tensor"),
    "random": ("return noisy - self.noise(noisy) + 0.01 * torch.rand_like(noisy)", "is deterministic"),
    "batch": ("return noisy - self.noise(noisy - noisy.mean(0, keepdim=True))", "alone in evaluation"),
    "residual": (
        "return noisy - torch.nn.functional.avg_pool2d(noisy, 5, 1, 2) + 0 * self.noise(noisy)",
        "not the noise",
    ),
    "hidden state": ("return noisy - self.noise(noisy) + id(self) % 97", "state_dict"),
    "no learning": ("return noisy + 0 * self.noise(noisy)", "learns to denoise"),
    "raises": ("raise RuntimeError('no luck')", "runs"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_architecture_is_told_its_fault(write_plugin, fault):
    body, names = BROKEN[fault]
    (report,) = check_file(write_plugin("broken", body))
    failed = [finding.check for finding in report.findings if finding.passed is False]
    assert not report.passed
    assert any(names in check for check in failed), str(report)


def test_a_sound_architecture_passes_and_its_homogeneity_is_reported(write_plugin):
    (report,) = check_file(write_plugin("sound", "return noisy - 0.1 * self.noise(noisy)"))
    assert report.passed, str(report)
    (finding,) = [finding for finding in report.findings if finding.check == "homogeneity"]
    assert finding.passed is None
    assert finding.detail.startswith("homogeneous")


def broken_reference(tmp_path, body, extra=""):
    file = tmp_path / "reference.py"
    file.write_text(
        "import torch, gahbench\n"
        "@gahbench.hookimpl\n"
        "def register_references(register):\n    register('mine', Mine)\n"
        f"class Mine(gahbench.Reference):\n{extra}"
        f"    def denoise(self, noisy, sigma, truth):\n        return {body}\n"
    )
    (report,) = check_file(file)
    return [finding.check for finding in report.findings if finding.passed is False]


def test_a_reference_that_looks_at_the_clean_image_must_say_so(tmp_path):
    assert broken_reference(tmp_path, "truth.clean") == ["does not look at the clean image"]
    assert broken_reference(tmp_path, "truth.clean", "    kind = 'oracle'\n") == []


def test_a_reference_that_learns_from_its_risk_is_found(tmp_path):
    file = tmp_path / "sly.py"
    file.write_text(
        "import torch, gahbench\n"
        "@gahbench.hookimpl\n"
        "def register_references(register):\n"
        "    register('sly', Sly)\n"
        "class Sly(gahbench.Reference):\n"
        "    seen = None\n"
        "    def risk(self, truth, sigma):\n"
        "        self.seen = truth.clean\n"
        "    def denoise(self, noisy, sigma, truth):\n"
        "        return noisy if self.seen is None else self.seen\n"
    )
    (report,) = check_file(file)
    failed = [finding.check for finding in report.findings if finding.passed is False]
    assert failed == ["does not learn from the clean image in its risk"]


def test_a_wrong_risk_is_found(tmp_path):
    wrong = "    def risk(self, truth, sigma):\n        return torch.full((len(truth),), 0.5 * sigma**2)\n"
    assert broken_reference(tmp_path, "noisy", wrong) == ["closed-form risk agrees with Monte Carlo"]
    right = wrong.replace("0.5 * ", "")
    assert broken_reference(tmp_path, "noisy", right) == []


def broken_basis(tmp_path, analysis, synthesis):
    file = tmp_path / "basis.py"
    file.write_text(
        "import torch, gahbench\n"
        "@gahbench.hookimpl\n"
        "def register_bases(register):\n    register('mine', Mine)\n"
        "class Mine(gahbench.Basis):\n"
        f"    def analysis(self, images):\n        return {analysis}\n"
        f"    def synthesis(self, coefficients):\n        return {synthesis}\n"
    )
    (report,) = check_file(file)
    return " ".join(finding.check for finding in report.findings if finding.passed is False)


def test_a_wrong_basis_is_found(tmp_path):
    assert broken_basis(tmp_path, "images.flip(-1)", "coefficients.flip(-1)") == ""
    assert "reconstructs" in broken_basis(tmp_path, "images", "coefficients.flip(-1)")
    assert "keeps the energy" in broken_basis(tmp_path, "2 * images", "coefficients / 2")
    assert "float64" in broken_basis(tmp_path, "images.float()", "coefficients.double()")
    assert "alone" in broken_basis(tmp_path, "images - images.mean(0) / 2", "coefficients")


def test_a_wrong_dataset_is_found(tmp_path):
    file = tmp_path / "dataset.py"
    text = (
        "import torch, gahbench\n"
        "@gahbench.hookimpl\n"
        "def register_datasets(register):\n    register('mine', Mine)\n"
        "class Mine(gahbench.Dataset):\n"
        "    shape = (1, 8, 8)\n"
        "    def images(self, split, count, start=0):\n"
        "        draw = torch.Generator().manual_seed(SEED)\n"
        "        return torch.rand(start + count, 1, 8, 8, generator=draw)[start:]\n"
    )
    seeds = {"len(split) * ord(split[0])": "", "0": "share no image", "count": "first k of n"}
    for seed, fault in seeds.items():
        file.write_text(text.replace("SEED", seed))
        (report,) = check_file(file)
        failed = " ".join(finding.check for finding in report.findings if finding.passed is False)
        assert fault in failed, str(report)
        assert bool(fault) == bool(failed), str(report)


def test_a_file_that_registers_nothing_is_an_error(tmp_path):
    file = tmp_path / "empty.py"
    file.write_text("x = 1\n")
    with pytest.raises(PluginError, match="registers no plugin"):
        gahbench.check(file)
    file.write_text("1 / 0\n")
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        gahbench.check(file)
