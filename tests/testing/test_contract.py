"""The contract checks pass for every built-in plugin, and reports state their outcome."""

import pyiqa_weights
import pytest
import torch
from global_state import changed_names, global_state
from small_plugins import extras, small
from torch import nn
from torch.nn import functional

from gahbench._util.errors import PluginError
from gahbench.registry.configured import KINDS
from gahbench.registry.registry import Registry
from gahbench.testing import architectures, bases, check_configured, check_file, metrics, references
from gahbench.testing.architectures import check_sizes
from gahbench.testing.on_meta import check_on_meta


def marks(name):
    """Return the marks of the checks of a plugin: some engines start a cluster, or processes that import torch."""
    kind = {"dask": "cluster", "local": "processes", "slurm": "cluster"}.get(name)
    return [*extras(name), *([getattr(pytest.mark, kind)] if kind else [])]


BUILT_IN = [
    pytest.param(kind, name, marks=marks(name), id=f"{kind}-{name}")
    for kind in KINDS
    for name in Registry().names(kind)
]
#: Plugins whose checks have other sizes or budgets than those of ``gahbench check``.
OF_FULL_SIZE = [plugin for plugin in BUILT_IN if plugin.values[0] in ("architecture", "basis", "reference")]


@pytest.fixture
def small_checks(monkeypatch):
    """Check smaller images, and end each test training once the network has learnt."""
    monkeypatch.setattr(architectures, "MIN_STEPS", 5)
    # The number of steps alone limits the training, so that its outcome is the same on slow machines.
    monkeypatch.setattr(architectures, "MAX_SECONDS", 600.0)
    monkeypatch.setattr(references, "SHAPES", ((1, 16, 16), (3, 16, 16)))
    monkeypatch.setattr(references, "FAMILIES", ("sinusoids[size=8]", "c-alpha[size=8]"))
    monkeypatch.setattr(metrics, "FAMILIES", ("c-alpha[size=8]", "gaussian-field[size=8]", "discs[size=8]"))
    monkeypatch.setattr(bases, "SIZES", ((1, 16, 16), (3, 8, 16)))
    monkeypatch.setattr(bases, "SMALL_SIZES", ((1, 8, 16), (3, 8, 8)))
    monkeypatch.setattr(bases, "ODD", (1, 9, 11))


@pytest.mark.usefixtures("small_checks")
@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_every_built_in_plugin_passes_its_checks(request, builtin, tmp_path, kind, name):
    parameters = small(name, tmp_path)
    if name in ("c-alpha", "discs", "gaussian-field"):
        # The optima of these families are slow at larger sizes.
        parameters = {"size": 8}
    elif name == "timm-unet":
        parameters |= {"backbone": "resnet10t", "levels": 2}
    elif name == "empirical-bayes":
        # Between images that are nearly members, its Jacobian is almost 0, and smaller than the rounding of float32.
        request.getfixturevalue("monkeypatch").setattr(references, "SHAPES", ((1, 32, 32), (3, 32, 32)))
    elif name == "slurm":
        request.getfixturevalue("cluster")
    elif name == "dask":
        parameters = {"scheduler": request.getfixturevalue("dask_cluster").address}
    elif name in ("dists", "lpips"):
        # Its first import sets environment variables.
        pytest.importorskip("pyiqa")
        monkeypatch = request.getfixturevalue("monkeypatch")
        monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path))
        pyiqa_weights.draw_weights(name, monkeypatch)
    elif name == "wandb":
        # The tracker disables error reports, and the environment holds the address of the service until it has ended.
        request.getfixturevalue("monkeypatch").setenv("WANDB_ERROR_REPORTING", "false")
        wandb = pytest.importorskip("wandb")
        wandb.teardown()
    before = global_state()
    report = check_configured(builtin.configure(kind, name, **parameters))
    if name == "wandb":
        wandb.teardown()
    assert report.passed, str(report)
    # A tracker is any class with hooks, which two runs call.
    assert len(report.findings) >= {"tracker": 2, "claim": 1}.get(kind, 3)
    # Units of all built-in plugins share worker processes.
    assert changed_names(before) == []
    assert not any("raise ValueError in forward" in finding.detail for finding in report.findings), str(report)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), OF_FULL_SIZE)
def test_built_in_plugins_pass_their_checks_at_full_size(builtin, tmp_path, kind, name):
    report = check_configured(builtin.configure(kind, name, **small(name, tmp_path)))
    assert report.passed, str(report)


def test_notes_on_a_network_that_passes_are_reported(write_plugin):
    body = "if 3 in noisy.shape[1:2] or noisy.shape[2] % 4: raise ValueError('grey images with sides 4, 8, ...')\n"
    body += "if torch.is_autocast_enabled('cpu'): raise RuntimeError('no autocast')\n"
    body += "if noisy.is_meta or noisy.detach().cpu().numpy().ndim != 4: raise RuntimeError('needs numbers')\n"
    (report,) = check_file(
        write_plugin("particular", body + "return noisy - sigma.view(-1, 1, 1, 1) * self.noise(noisy)")
    )
    assert report.passed, str(report)
    details = {finding.check: finding.detail for finding in report.findings}
    assert "grey images" in details["refuses images of 3 channels"]
    assert details["works in bfloat16"].startswith("no: RuntimeError: no autocast")
    assert "needs numbers" in details["denoises on one device, but was not checked on torch's meta device"]
    assert "has no Jacobian scores" in details["has derivatives by torch.func, 1 channel"]
    assert details["denoises other sizes, or raises ValueError"].startswith("takes 32x64; refuses 33x35")


class ReflectedHalves(nn.Module):
    """A network that pads images by reflection, and loses the last row of odd sides."""

    def forward(self, noisy, sigma):
        return functional.pad(noisy, (8,) * 4, "reflect")[..., 8:-8, 8:-8][:, :, : 2 * (noisy.shape[2] // 2)]


def test_a_network_that_fails_on_some_sizes_gets_advice():
    finding = check_sizes(ReflectedHalves(), (1, 32, 32))
    assert finding.passed is None
    assert "takes 32x64; fails on 33x35 (returned (2, 1, 32, 35) for (2, 1, 33, 35)); fails on 15x32" in finding.detail
    assert "fails on 5x6 (RuntimeError" in finding.detail
    assert "raise ValueError in forward" in finding.detail


def test_a_report_ends_with_the_failed_checks_and_the_number_of_passed_checks(write_plugin):
    sound, broken = "noisy - 0.1 * self.noise(noisy)", "(noisy - self.noise(noisy)).double()"
    for body, end in ((sound, ""), (broken, "; failed: returns finite float32 values")):
        (report,) = check_file(write_plugin("mine", f"return {body}"))
        count = sum(finding.passed is not None for finding in report.findings)
        assert str(report).splitlines()[-1] == f"  {count - bool(end)} of {count} checks passed{end}"


def test_a_file_that_cannot_be_loaded_or_registers_nothing_raises_an_error(tmp_path):
    file = tmp_path / "empty.py"
    file.write_text("x = 1\n")
    with pytest.raises(PluginError, match="registers no plugin"):
        check_file(file)
    file.write_text("x = 1\n1 / 0\n")
    with pytest.raises(PluginError) as error:
        check_file(file)
    assert str(error.value) == f"{file}: cannot be loaded: ZeroDivisionError: division by zero ({file}:2)"
    (tmp_path / "other.py").write_text("import no_such_package\n")
    with pytest.raises(PluginError, match=r"empty.py:2\); .*other.py: .*ModuleNotFoundError"):
        check_file(tmp_path)


ON_META, ON_CPU = torch.zeros(2, 3, device="meta"), torch.zeros(2, 3)
IMAGES = torch.zeros(1, 1, 4, 4, device="meta")
MIXTURES = [
    lambda: ON_META + ON_CPU,
    lambda: ON_CPU.T @ ON_META,
    lambda: torch.cat([ON_META, ON_CPU]),
    lambda: torch.where(ON_META > 2, ON_META, ON_CPU),
    lambda: torch.tensor(1.0).add_(ON_META.sum()),
    lambda: ON_CPU[torch.arange(2, device="meta")],
    lambda: ON_META.gather(0, torch.zeros(1, 3, dtype=torch.int64)),
    lambda: functional.conv2d(IMAGES, torch.zeros(1, 1, 3, 3)),
    lambda: functional.linear(ON_META, ON_CPU),
    lambda: torch.einsum("ij,kj->ik", ON_META, ON_CPU),
    lambda: functional.group_norm(IMAGES, 1, torch.ones(1)),
    lambda: torch.randn(3, device="meta", generator=torch.Generator()),
]


ACCEPTED = [
    lambda: ON_META * torch.tensor(2.0),
    lambda: torch.where(ON_META > 2, ON_META, torch.tensor(0.0)),
    lambda: ON_META.clone().__setitem__(0, torch.tensor(1.0)),
    lambda: ON_META[torch.tensor([1])],
    lambda: ON_META.clone().copy_(ON_CPU),
    lambda: ON_CPU.to("meta"),
    lambda: torch.rand(3, generator=torch.Generator()) + ON_CPU[0],
]


READS = [ON_META.sum().item, ON_META.cpu, ON_META.nonzero, lambda: ON_META[ON_META > 0]]


@pytest.mark.parametrize(("passed", "operations"), [(False, MIXTURES), (True, ACCEPTED), (None, READS)])
def test_operations_on_two_devices_fail_and_operations_that_need_values_are_notes(passed, operations):
    for number, compute in enumerate(operations):
        finding = check_on_meta("runs", compute)
        assert finding.passed is passed, number
        assert finding.check.endswith("on one device, but reads values, for which a GPU waits") == (passed is None)
