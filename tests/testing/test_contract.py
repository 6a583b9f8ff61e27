"""Every registered plugin keeps the contract, and the faults of broken ones are reported."""

import pyiqa_weights
import pytest
from global_state import changed, global_state
from small_plugins import extras, small

from gahbench._util.errors import PluginError
from gahbench.registry.plugin import KINDS
from gahbench.registry.registry import Registry
from gahbench.testing import check_file, check_plugin

BUILT_IN = [(kind, name) for kind in KINDS for name in Registry().names(kind)]


@pytest.mark.parametrize(
    ("kind", "name"), [pytest.param(*plugin, marks=extras(plugin[1]), id="-".join(plugin)) for plugin in BUILT_IN]
)
def test_every_plugin_keeps_the_contract(request, builtin, tmp_path, kind, name):
    parameters = small(name, tmp_path)
    if name == "slurm":
        request.getfixturevalue("cluster")
    elif name == "dask":
        parameters = {"scheduler": request.getfixturevalue("dask_cluster").address}
    elif name in ("dists", "lpips"):
        monkeypatch = request.getfixturevalue("monkeypatch")
        monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path))
        pyiqa_weights.draw_weights(name, tmp_path, monkeypatch)
    before = global_state()
    report = check_plugin(builtin.get(kind, name), builtin, **parameters)
    assert report.passed, str(report)
    assert len(report.findings) >= 3
    # Units of all built-in plugins share worker processes.
    assert changed(before) == []
    closed = [finding for finding in report.findings if finding.check.startswith("not differentiable by torch.func")]
    assert all("as its docstring says" in finding.detail for finding in closed), str(report)
    assert not any("raise ValueError in forward" in finding.detail for finding in report.findings), str(report)


BROKEN = {
    "wrong shape": ("return (noisy - self.noise(noisy))[:, :, 1:]", "returns the shape it got, 1 channel"),
    "one channel": ("return (noisy - self.noise(noisy)).mean(1, keepdim=True)", "returns the shape it got, 3 channels"),
    "crashes on colour": (
        "return noisy - self.noise(noisy).view(len(noisy), 1, 32, 32)",
        "denoises images of 3 channels",
    ),
    "float64": ("return (noisy - self.noise(noisy)).double()", "returns float32"),
    "nan": ("return noisy / 0 * 0", "finite values"),
    "nan at a noise level": (
        "return noisy - self.noise(noisy) / (sigma < 1).view(-1, 1, 1, 1)",
        "at its own noise level",
    ),
    "two results": ("return noisy, sigma", "returns one tensor"),
    "random": ("return noisy - self.noise(noisy) + 0.01 * torch.rand_like(noisy)", "is deterministic"),
    "batch": ("return noisy - self.noise(noisy - noisy.mean(0, keepdim=True))", "alone in evaluation"),
    "one batch size": (
        "return noisy - self.noise(noisy) * (1 if len(noisy) != 3 else torch.ones(4, 1, 1, 1))",
        "any number",
    ),
    "first sigma for all": ("return noisy - sigma[0] * self.noise(noisy)", "at its own noise level"),
    "sigma along rows": ("return noisy - sigma * self.noise(noisy)", "denoises images of 1 channel"),
    "residual": (
        "return noisy - torch.nn.functional.avg_pool2d(noisy, 5, 1, 2) + 0 * self.noise(noisy)",
        "not the noise",
    ),
    "writes into its input": ("return noisy.sub_(self.noise(noisy))", "leaves its arguments"),
    "writes into sigma": ("return noisy - self.noise(noisy) * sigma.mul_(2).view(-1, 1, 1, 1)", "leaves its arguments"),
    # A number of its own for every instance, drawn when it is first called.
    "hidden state": (
        "self.kept = getattr(self, 'kept', None) or float(torch.rand(()))\n"
        "return noisy - self.noise(noisy) + self.kept",
        "state_dict",
    ),
    "counts its calls": (
        "self.calls = getattr(self, 'calls', 0) + 1\nreturn noisy - self.noise(noisy) * self.calls",
        "is deterministic",
    ),
    "one memory layout": ("return noisy - self.noise(noisy) + 0 * noisy.view(-1).sum()", "channels last"),
    "refuses sizes without a word": (
        "if noisy.shape[2] % 2: raise ValueError\nreturn noisy - self.noise(noisy)",
        "refuses them with a ValueError",
    ),
    "no learning": ("return noisy + 0 * self.noise(noisy)", "learns to denoise"),
    "no gradient": ("return noisy - self.noise(noisy).detach()", "runs"),
    "raises": ("raise RuntimeError('no luck')", "runs"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_the_fault_of_an_architecture_is_reported(write_plugin, fault):
    body, names = BROKEN[fault]
    (report,) = check_file(write_plugin("broken", body))
    assert any(names in check for check in report.failed), str(report)


def test_a_sound_architecture_passes_and_its_homogeneity_is_reported(write_plugin):
    (report,) = check_file(write_plugin("sound", "return noisy - 0.1 * self.noise(noisy)"))
    assert report.passed, str(report)
    details = {finding.check: finding.detail for finding in report.findings if finding.passed is None}
    assert details["homogeneity"].startswith("homogeneous")
    assert details["blind"] == "yes"


def test_what_is_not_required_is_reported(write_plugin):
    body = "if 3 in noisy.shape[1:2] or noisy.shape[2] % 4: raise ValueError('grey images with sides 4, 8, ...')\n"
    body += "if torch.is_autocast_enabled('cpu'): raise RuntimeError('no autocast')\n"
    body += "if noisy.is_meta or noisy.detach().cpu().numpy().ndim != 4: raise RuntimeError('needs numbers')\n"
    (report,) = check_file(
        write_plugin("particular", body + "return noisy - sigma.view(-1, 1, 1, 1) * self.noise(noisy)")
    )
    assert report.passed, str(report)
    details = {finding.check: finding.detail for finding in report.findings}
    assert "grey images" in details["refuses images of 3 channels"]
    assert "no autocast" in details["does not work in bfloat16"]
    assert "needs numbers" in details["cannot be planned"]
    assert "say why in its docstring" in details["not differentiable by torch.func"]
    assert details["blind"].startswith("no")
    assert "takes 32x64" in details["denoises other sizes, or refuses them with a ValueError"]
    assert "refuses 33x35" in details["denoises other sizes, or refuses them with a ValueError"]


SOME_SIZES = {
    "halves twice": (
        "half = torch.nn.functional.avg_pool2d(noisy, 4)\n"
        "return noisy - self.noise(noisy + 0 * torch.nn.functional.interpolate(half, scale_factor=4))",
        "takes image sides that are multiples of 4 alone",
        "0, -W % 4, 0, -H % 4",
    ),
    "crops": (
        "return (noisy - self.noise(noisy))[:, :, : 2 * (noisy.shape[2] // 2)]",
        "takes image sides that are multiples of 2 alone",
        "fails on 33x35, 15x32, 5x6: returned (2, 1, 32, 35) for (2, 1, 33, 35)",
    ),
    "one size": (
        "return noisy - self.noise(noisy) + torch.zeros(1, 1, 32, 32, device=noisy.device)",
        "takes images of 32x32 pixels alone",
        "raise ValueError in forward for other images, naming sizes",
    ),
    "reflects borders": (
        "return noisy - self.noise(noisy) + 0 * torch.nn.functional.pad(noisy, (8,) * 4, 'reflect')[..., 8:-8, 8:-8]",
        "takes all but small images",
        "fails on 5x6: RuntimeError",
    ),
}


@pytest.mark.parametrize("case", SOME_SIZES)
def test_a_network_for_some_sizes_passes_and_is_told_what_others_need(write_plugin, case):
    body, names, detail = SOME_SIZES[case]
    (report,) = check_file(write_plugin("particular", body))
    (finding,) = [
        finding for finding in report.findings if finding.check.startswith("takes ") and names in finding.check
    ]
    assert finding.passed is None
    assert detail in finding.detail
    assert "raise ValueError in forward" in finding.detail
    assert report.passed, str(report)
    assert str(report).splitlines()[-1].strip() == report.summary
    assert report.summary == f"all {sum(finding.passed is not None for finding in report.findings)} checks passed"


def test_a_report_ends_with_what_failed_and_how_many_passed(write_plugin):
    (report,) = check_file(write_plugin("broken", "return (noisy - self.noise(noisy)).double()"))
    judged = [finding for finding in report.findings if finding.passed is not None]
    assert report.failed
    failed = "; ".join(report.failed)
    assert report.summary == f"{len(judged) - len(report.failed)} of {len(judged)} checks passed; failed: {failed}"


def test_a_file_that_registers_nothing_is_an_error(tmp_path):
    file = tmp_path / "empty.py"
    file.write_text("x = 1\n")
    with pytest.raises(PluginError, match="registers no plugin"):
        check_file(file)
    file.write_text("x = 1\n1 / 0\n")
    with pytest.raises(PluginError) as error:
        check_file(file)
    assert str(error.value) == f"{file}:2: cannot be loaded: ZeroDivisionError: division by zero"
    (tmp_path / "other.py").write_text("import no_such_package\n")
    with pytest.raises(PluginError, match=r"empty.py:2: .*; .*other.py:1: .*ModuleNotFoundError"):
        check_file(tmp_path)


def test_measured_values_come_with_the_accepted_ones(builtin):
    named = (("basis", "wavelet-ti"), ("reference", "threshold"))
    reports = [check_plugin(builtin.get(kind, name), builtin) for kind, name in named]
    details = {finding.check: finding.detail for report in reports for finding in report.findings}
    assert details["noise levels are those of noise"].endswith("; accepted: below 42%")
    assert details["its Jacobian is its derivative"].endswith("; accepted: below 0.1")
