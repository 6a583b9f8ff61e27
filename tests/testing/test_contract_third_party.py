"""Third-party plugins, written from the pages in .docs/plugins alone, pass the checks and get their rows."""

import pytest

import gahbench
from gahbench.testing import check_file

pytestmark = pytest.mark.usefixtures("dry_runs_here")

RESIDUAL = '''
import gahbench
from torch import nn


@gahbench.hookimpl
def register_architectures(register):
    register("small-residual", SmallResidual)


class SmallResidual(nn.Module):
    """A small residual CNN: it estimates the noise and takes it away."""

    citation = gahbench.Citation("Zhang, Kai and others", "Beyond a Gaussian denoiser", 2017)

    def __init__(self, channels: int, width: int = 8, layers: int = 3):
        super().__init__()
        chain = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        for _ in range(layers - 2):
            chain += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        self.noise = nn.Sequential(*chain, nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, noisy, sigma):
        return noisy - self.noise(noisy)
'''

CONDITIONED = '''
from typing import Annotated

import gahbench
import torch
from pydantic import Field
from torch import nn


@gahbench.hookimpl
def register_architectures(register):
    register("conditioned", Conditioned)


class Conditioned(nn.Module):
    """Two layers between which features are scaled by an embedding of log sigma; sides must be even."""

    label_parameters = ("width",)

    def __init__(self, channels: int, width: Annotated[int, Field(ge=1)] = 8):
        super().__init__()
        self.down = nn.Conv2d(channels, width, 4, stride=2, padding=1)
        self.embed = nn.Sequential(nn.Linear(1, 16), nn.SiLU(), nn.Linear(16, width))
        self.up = nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1)

    def forward(self, noisy, sigma):
        if noisy.shape[-1] % 2 or noisy.shape[-2] % 2:
            raise ValueError("conditioned takes images with even sides")
        factor = 1 + self.embed(sigma.log()[:, None])
        features = torch.relu(self.down(noisy)) * factor[:, :, None, None]
        return noisy - self.up(features)
'''

FOREIGN = '''
import torch
from torch import nn


class Net(nn.Module):
    """A network written without gahbench in mind; its result is the noise, in units of 0 to 255."""

    def __init__(self, width=8, in_channels=1):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, in_channels, 3, padding=1)
        )

    def forward(self, x):
        return self.body(x)


def make(channels, width=8):
    return Net(width, channels)
'''


def board(suite, tmp_path, entrants, plugins=()):
    outcome = gahbench.run(
        suite, out=tmp_path / "out", engine="inline[trusted=true]", plugins=plugins, entrants=entrants
    )
    assert not outcome.failed
    return outcome.results.leaderboard(full=True)


@pytest.mark.parametrize(
    ("text", "entrant", "field", "blind", "fact"),
    [
        (RESIDUAL, "small-residual[layers=4]", "9 pixels", "yes", "Zhang et al., Beyond a Gaussian denoiser, 2017"),
        (CONDITIONED, "conditioned[width=4]", "6 pixels", "no", "none"),
    ],
)
def test_a_third_party_file_passes_and_gets_its_row(tmp_path, write_suite, text, entrant, field, blind, fact):
    from gahbench.explore.description import facts

    file = tmp_path / "third_party.py"
    file.write_text(text)
    (report,) = check_file(file)
    assert report.passed, str(report)
    rows = board(write_suite(), tmp_path, [entrant], [file])
    (row,) = rows[rows["entrant"] == entrant].to_dict("records")
    assert row["kind"] == "trained"
    registry = gahbench.Registry((file,))
    described = {fact.name: fact.value for fact in facts(registry.configure("architecture", entrant), registry)}
    assert described["receptive field"] == field
    assert described["blind"].startswith(blind)
    assert fact in described["citation"]


def test_a_third_party_module_passes_and_gets_its_row(tmp_path, write_suite, monkeypatch):
    (tmp_path / "somebodys_nets.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)
    entrant = "module[somebodys_nets:make,arguments='{width: 4}',output=residual,scale=255]"
    registry = gahbench.Registry()
    from gahbench.testing import check_configured

    configured = registry.configure("architecture", entrant)
    report = check_configured(configured)
    assert report.passed, str(report)
    rows = board(write_suite(), tmp_path, [entrant])
    assert configured.label in set(rows["entrant"])
