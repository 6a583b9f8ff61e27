"""Checks on the stand-in for a GPU find plugins that work only on a CPU."""

from __future__ import annotations

import pytest
import torch
from sample_files import HALF

from gahbench.devices import stand_in
from gahbench.registry.plugin import KINDS
from gahbench.registry.registry import Registry
from gahbench.testing import check_file, on_stand_in

PLUGIN = '''"""Plugins that work on a CPU."""
import torch
from torch import nn
import gahbench


@gahbench.hookimpl
def register_architectures(register):
    register("sound", Net)
    register("cpu-tensor", CpuTensor)
    register("no-buffer", NoBuffer)
    register("through-numpy", ThroughNumpy)
    register("waits", Waits)


@gahbench.hookimpl
def register_references(register):
    register("moved", Moved)


@gahbench.hookimpl
def register_bases(register):
    register("flips", Flips)


class Net(nn.Module):
    """A convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 3, padding=1)
        self.scale = torch.full((1, channels, 1, 1), 0.5)

    def forward(self, noisy, sigma):
        return noisy - self.layer(noisy)


class CpuTensor(Net):
    """A network that creates a tensor on the CPU."""

    def forward(self, noisy, sigma):
        return super().forward(noisy, sigma) + torch.zeros(1, 1, 1)


class NoBuffer(Net):
    """A network with a tensor that is not registered as a buffer."""

    def forward(self, noisy, sigma):
        return noisy - self.scale * self.layer(noisy)


class ThroughNumpy(Net):
    """A network that computes in numpy."""

    def forward(self, noisy, sigma):
        return super().forward(noisy, sigma) + 0 * float(noisy.detach().numpy().mean())


class Waits(Net):
    """A network that reads a value back."""

    def forward(self, noisy, sigma):
        return super().forward(noisy, sigma) * (1 + 0 * sigma.amax().item())


class Moved(gahbench.Reference):
    """A reference whose result changes when it is moved."""

    def move(self, device):
        self.weight = 1.0 if device.type == "cpu" else 0.5

    def denoise(self, noisy, sigma, truth):
        return self.weight * noisy


class Flips(gahbench.Basis):
    """Mirrored images."""

    def analysis(self, images):
        return images.flip(-1)

    synthesis = analysis
'''
pytestmark = pytest.mark.skipif(not stand_in.is_supported(), reason="torch has no Python backends, since it is too old")


def line_of(text):
    """Return the number of the line of the plugin file that contains a string."""
    (number,) = [number for number, line in enumerate(PLUGIN.splitlines(), 1) if text in line]
    return number


def write(folder):
    """Write the plugin file; return its path and its plugins."""
    file = folder / "on_cpu.py"
    file.write_text(PLUGIN, encoding="utf-8")
    registry = Registry((file,))
    plugins = [plugin for kind in KINDS for plugin in registry.plugins(kind) if plugin.origin == str(file)]
    return file, plugins


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """Return the findings on the stand-in by name of the plugin."""
    by_key = on_stand_in.check_on_stand_in(*write(tmp_path_factory.mktemp("plugins")))
    return {name: findings for (_, name), findings in by_key.items()}


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("cpu-tensor", "torch.zeros(", "one device"),
        ("no-buffer", "self.scale *", "one device"),
        ("through-numpy", ".numpy()", "numpy"),
    ],
)
def test_a_network_that_would_fail_on_a_gpu_is_reported_with_the_line(findings, name, line, reason):
    (finding,) = findings[name]
    assert finding.passed is False
    assert f"on_cpu.py:{line_of(line)}" in finding.detail
    assert reason in finding.detail


def test_a_training_step_that_waits_gets_a_note(findings):
    denoises, trains, waits = findings["waits"]
    assert denoises.passed
    assert trains.passed
    assert waits.passed is None
    assert "1 time" in waits.check
    assert "item" in waits.detail
    assert f"on_cpu.py:{line_of('.item()')}" in waits.detail


def test_a_sound_network_passes_on_the_stand_in(findings):
    assert [finding.passed for finding in findings["sound"]] == [True, True]


def test_a_reference_and_a_basis_are_compared_with_the_cpu(findings):
    (moved,), (basis,) = findings["moved"], findings["flips"]
    assert (moved.passed, basis.passed) == (False, True)
    assert moved.check == "denoises on a stand-in for a GPU as on the CPU"
    assert basis.check == "transforms on a stand-in for a GPU as on the CPU"


def test_reports_end_with_the_findings_on_the_stand_in(monkeypatch, tmp_path):
    monkeypatch.setattr(on_stand_in, "MAX_SECONDS", 0.0)
    file, _ = write(tmp_path)
    file.write_text(HALF)
    (report,) = check_file(file)
    assert report.passed, str(report)
    assert report.findings[-1].check == "was not checked on a stand-in for a GPU"
    assert report.findings[-1].detail == "it took longer than 0 s"


def test_an_old_torch_gives_a_note_that_nothing_was_checked(monkeypatch, tmp_path):
    monkeypatch.setattr(stand_in, "is_supported", lambda: False)
    (finding,) = on_stand_in.check_on_stand_in(*write(tmp_path))["architecture", "sound"]
    assert finding.passed is None
    assert "not checked" in finding.check
    assert torch.__version__ in finding.detail


def test_a_process_that_exits_gives_a_note_with_its_status(tmp_path):
    file, plugins = write(tmp_path)
    file.write_text("import os\nos._exit(3)\n", encoding="utf-8")
    (finding,) = on_stand_in.check_on_stand_in(file, plugins)["architecture", "sound"]
    assert finding.passed is None
    assert "status 3" in finding.detail
