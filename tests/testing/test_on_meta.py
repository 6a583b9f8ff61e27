"""Checks on torch's meta device find plugins that work only on a CPU."""

import pytest
import torch
from torch.nn import functional

from gahbench.testing import check_file
from gahbench.testing.on_meta import check_on_meta

PLUGINS = """import torch
from torch import nn
import gahbench


@gahbench.hookimpl
def register_architectures(register):
    for network in (Sound, NoBuffer, ThroughNumpy, Backward, OwnGenerator, Waits):
        register(network.__name__, network)


@gahbench.hookimpl
def register_references(register):
    register("Moved", Moved)


@gahbench.hookimpl
def register_bases(register):
    register("Flips", Flips)
    register("CpuWeights", CpuWeights)


class Sound(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 3, padding=1)
        self.scale = torch.full((1, channels, 1, 1), 0.5)

    def forward(self, noisy, sigma):
        return noisy - self.layer(noisy)


class NoBuffer(Sound):
    def forward(self, noisy, sigma):
        return noisy - self.scale * self.layer(noisy)  # NoBuffer


class ThroughNumpy(Sound):
    def forward(self, noisy, sigma):
        return super().forward(noisy, sigma) + 0 * float(noisy.detach().numpy().mean())  # ThroughNumpy


class Double(torch.autograd.Function):
    @staticmethod
    def forward(context, values):
        return 2 * values

    @staticmethod
    def backward(context, gradient):
        return gradient * torch.full((1, 1, 1, 1), 2.0)  # Backward


class Backward(Sound):
    def forward(self, noisy, sigma):
        return noisy - Double.apply(self.layer(noisy))


class OwnGenerator(Sound):
    def forward(self, noisy, sigma):
        generator = torch.Generator().manual_seed(0)
        drawn = torch.empty_like(noisy[:1]).normal_(generator=generator)  # OwnGenerator
        return super().forward(noisy, sigma) + 0 * drawn


class Waits(Sound):
    def forward(self, noisy, sigma):
        return super().forward(noisy, sigma) * (1 + 0 * sigma.amax().item())  # Waits


class Moved(gahbench.Reference):
    device = torch.device("cpu")

    def fit(self, examples):
        self.weight = torch.full((1, 1, 1, 1), 0.5)

    def move(self, device):
        self.device = device

    def denoise(self, noisy, sigma, truth):
        return (self.weight * noisy.to(self.device)).cpu()  # Moved


class Flips(gahbench.Basis):
    def analysis(self, images):
        return images.flip(-1)

    synthesis = analysis


class CpuWeights(Flips):
    def analysis(self, images):
        return images @ torch.eye(images.shape[-1], dtype=images.dtype).flip(-1)  # CpuWeights

    synthesis = analysis
"""
FAULTS = {
    "NoBuffer": "denoises",
    "ThroughNumpy": "denoises",
    "Backward": "trains",
    "OwnGenerator": "denoises",
    "Moved": "denoises",
    "CpuWeights": "transforms",
}


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """Return the findings on one device by name of the plugin."""
    file = tmp_path_factory.mktemp("plugins") / "on_cpu.py"
    file.write_text(PLUGINS, encoding="utf-8")
    return {
        report.label: [finding for finding in report.findings if "on one device" in finding.check]
        for report in check_file(file)
    }


@pytest.mark.parametrize("name", FAULTS)
def test_a_plugin_that_would_fail_on_a_gpu_is_reported_with_the_line(findings, name):
    (finding,) = [finding for finding in findings[name] if finding.passed is not True]
    assert (finding.check, finding.passed) == (f"{FAULTS[name]} on one device", False)
    (line,) = [number for number, line in enumerate(PLUGINS.splitlines(), 1) if line.endswith(f"# {name}")]
    assert f"on_cpu.py:{line})" in finding.detail


def test_sound_plugins_pass(findings):
    checks = {name: [(finding.check, finding.passed) for finding in findings[name]] for name in ("Sound", "Flips")}
    assert checks["Sound"] == [("denoises on one device", True), ("trains on one device", True)]
    assert checks["Flips"] == [("transforms on one device", True)]


def test_a_network_that_reads_values_gets_a_note_with_the_line(findings):
    (finding,) = findings["Waits"]
    assert (finding.check, finding.passed) == ("denoises on one device, but reads values, for which a GPU waits", None)
    assert f"on_cpu.py:{[line.endswith('# Waits') for line in PLUGINS.splitlines()].index(True) + 1})" in finding.detail


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


@pytest.mark.parametrize("compute", MIXTURES)
def test_operations_on_two_devices_fail(compute):
    assert check_on_meta("runs", compute).passed is False


ACCEPTED = [
    lambda: ON_META * torch.tensor(2.0),
    lambda: torch.where(ON_META > 2, ON_META, torch.tensor(0.0)),
    lambda: ON_META.clone().__setitem__(0, torch.tensor(1.0)),
    lambda: ON_META[torch.tensor([1])],
    lambda: ON_META.clone().copy_(ON_CPU),
    lambda: ON_CPU.to("meta"),
    lambda: torch.rand(3, generator=torch.Generator()) + ON_CPU[0],
]


@pytest.mark.parametrize("compute", ACCEPTED)
def test_operations_that_a_gpu_accepts_pass(compute):
    assert check_on_meta("runs", compute).passed is True


@pytest.mark.parametrize("compute", [ON_META.sum().item, ON_META.cpu, ON_META.nonzero, lambda: ON_META[ON_META > 0]])
def test_operations_that_need_values_are_notes(compute):
    finding = check_on_meta("runs", compute)
    assert (finding.check, finding.passed) == ("runs on one device, but reads values, for which a GPU waits", None)
