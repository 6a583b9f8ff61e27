"""The checks of what plugins need from elsewhere."""

import socket

import pytest

from gahbench.testing import check_file

DATASET = """
import socket
import urllib.request
from pathlib import Path

import gahbench
import torch

FILE = Path("FOLDER/images")


@gahbench.hookimpl
def register_datasets(register):
    register("mine", Mine)


class Mine(gahbench.Dataset):
    shape = (1, 8, 8)

    def images(self, split, count, start=0):
        def draw(block):
            return torch.rand(64, 1, 8, 8, generator=gahbench.generator("data", "mine", split, block))
        return gahbench.in_blocks(draw, count, start)

"""
FOUND = "def missing(self): return () if FILE.is_file() else ('its images',)\n"
ASKS = """
def missing(self):
    try:
        {}
    except OSError:
        return ()
"""
MISSING = "says what is missing without a network"
LEFT = "prepare leaves nothing missing"
CASES = {
    "sound": (FOUND + "def prepare(self): FILE.touch()", []),
    "never missing": ("def prepare(self): FILE.touch()", []),
    "a list": (FOUND.replace("('its images',)", "['its images']") + "def prepare(self): FILE.touch()", []),
    "cannot be had": (FOUND + "def prepare(self): raise gahbench.DataError('no route')", [LEFT]),
    "does nothing": (FOUND, [LEFT]),
    "asks a network": (ASKS.format("urllib.request.urlopen('http://gahbench.invalid')"), [MISSING]),
    "asks a socket": (ASKS.format("with socket.socket() as one: one.connect(('127.0.0.1', 9))"), [MISSING]),
    "one text": ("def missing(self): return 'its images'", ["runs"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_dataset_is_checked(tmp_path, case):
    body, failed = CASES[case]
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (tmp_path / "mine.py").write_text(DATASET.replace("FOLDER", str(tmp_path)) + lines)
    (report,) = check_file(tmp_path / "mine.py")
    assert report.failed == failed, str(report)
    assert "connect" not in vars(socket.socket)
    assert socket.getaddrinfo.__module__ == "socket"


def test_a_dataset_without_is_not_checked_for_it(tmp_path):
    (tmp_path / "mine.py").write_text(DATASET.replace("FOLDER", str(tmp_path)))
    (report,) = check_file(tmp_path / "mine.py")
    assert report.passed
    assert {MISSING, LEFT}.isdisjoint(finding.check for finding in report.findings)


ARCHITECTURE = """
from pathlib import Path

import gahbench
import torch
from torch import nn

FILE = Path("FOLDER/weights")


@gahbench.hookimpl
def register_architectures(register):
    register("mine", Mine)


class Mine(nn.Module):
    def __init__(self, channels: int, width: int = 2):
        super().__init__()
        if not torch.empty(0).is_meta:
            FILE.read_text()
        first, last = nn.Conv2d(channels, 8, 3, padding=1), nn.Conv2d(8, channels, 3, padding=1)
        self.noise = nn.Sequential(first, nn.ReLU(), last)

    @staticmethod
    def missing(width, **others):
        return () if FILE.is_file() else (f"weights of width {width}",)

    @staticmethod
    def prepare(width, **others):
        FILE.touch()

    def forward(self, noisy, sigma):
        return noisy - self.noise(noisy)
"""


def test_an_architecture_is_prepared_before_it_is_built(tmp_path):
    (tmp_path / "mine.py").write_text(ARCHITECTURE.replace("FOLDER", str(tmp_path)))
    (report,) = check_file(tmp_path / "mine.py")
    assert report.passed, str(report)
    (finding,) = [finding for finding in report.findings if finding.check == MISSING]
    assert finding.detail == "weights of width 2"
