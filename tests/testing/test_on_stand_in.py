"""Plugins that work on a CPU alone are found out without a GPU."""

from __future__ import annotations

import pytest
import torch

from gahbench.devices import stand_in
from gahbench.registry.registry import Registry
from gahbench.testing import on_stand_in

PLUGIN = '''"""Architectures that work on a CPU."""
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


class Net(nn.Module):
    """A convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 3, padding=1)
        self.scale = torch.full((1, channels, 1, 1), 0.5)

    def forward(self, noisy, sigma):
        return noisy - self.layer(noisy)


class CpuTensor(Net):
    """A network that makes a tensor on the CPU."""

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
'''
pytestmark = pytest.mark.skipif(not stand_in.is_supported(), reason="torch has no Python backends, since it is too old")


def line_of(text):
    """Return the number of the line of the plugin that has a text."""
    (number,) = [number for number, line in enumerate(PLUGIN.splitlines(), 1) if text in line]
    return number


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """The findings on the stand-in, by name of the plugin."""
    file = tmp_path_factory.mktemp("plugins") / "on_cpu.py"
    file.write_text(PLUGIN, encoding="utf-8")
    plugins = [plugin for plugin in Registry((file,)).plugins("architecture") if plugin.origin == str(file)]
    return {name: found for (_, name), found in on_stand_in.findings_of(file, plugins).items()}


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("cpu-tensor", "torch.zeros(", "one device"),
        ("no-buffer", "self.scale *", "one device"),
        ("through-numpy", ".numpy()", "numpy"),
    ],
)
def test_a_network_that_would_fail_on_a_gpu_is_named_with_its_line(findings, name, line, reason):
    (finding,) = findings[name]
    assert finding.passed is False
    assert f"on_cpu.py:{line_of(line)}" in finding.detail
    assert reason in finding.detail


def test_a_step_that_waits_is_reported_and_not_judged(findings):
    denoises, trains, waits = findings["waits"]
    assert denoises.passed
    assert trains.passed
    assert waits.passed is None
    assert "1 time" in waits.check
    assert "item" in waits.detail
    assert f"on_cpu.py:{line_of('.item()')}" in waits.detail


def test_a_sound_network_passes(findings):
    assert [finding.passed for finding in findings["sound"]] == [True, True]


def test_a_torch_without_the_backend_says_that_nothing_was_checked(monkeypatch, tmp_path):
    file = tmp_path / "on_cpu.py"
    file.write_text(PLUGIN, encoding="utf-8")
    plugins = [plugin for plugin in Registry((file,)).plugins("architecture") if plugin.origin == str(file)]
    monkeypatch.setattr(stand_in, "is_supported", lambda: False)
    (finding,) = on_stand_in.findings_of(file, plugins)["architecture", "sound"]
    assert finding.passed is None
    assert "not checked" in finding.check
    assert torch.__version__ in finding.detail


def test_a_process_that_ends_early_is_said(tmp_path):
    file = tmp_path / "on_cpu.py"
    file.write_text(PLUGIN, encoding="utf-8")
    plugins = [plugin for plugin in Registry((file,)).plugins("architecture") if plugin.origin == str(file)]
    file.write_text("import os\nos._exit(3)\n", encoding="utf-8")
    (finding,) = on_stand_in.findings_of(file, plugins)["architecture", "sound"]
    assert finding.passed is None
    assert "status 3" in finding.detail
