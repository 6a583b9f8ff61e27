"""What many tests need: a suite of seconds, and plugin files to break it with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gahbench import registry as registry_module
from gahbench.registry import Registry

TINY = """
name: tiny
datasets:
  - discs: {size: 16}
entrants:
  - unet: {width: 2, levels: 1}
  - identity
  - oracle-threshold: {basis: haar}
baseline: oracle-threshold[haar]
training: {steps: 12, batch_size: 4, compile: never, validations: 2, validation_images: 2}
scoring: {sigmas: [0.1, 0.3], images: 3, metrics: [psnr, slope]}
"""


@pytest.fixture(autouse=True)
def _fresh_registry() -> Iterator[None]:
    """Let no test see the plugins of another."""
    registry_module._default = None
    yield
    registry_module._default = None


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test find what another, or a user, has decoded."""
    monkeypatch.setenv("GAHBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def builtin() -> Registry:
    return Registry()


@pytest.fixture
def write_suite(tmp_path: Path) -> Callable[..., Path]:
    """Write the tiny suite with some of its lines replaced."""

    def write(*changes: tuple[str, str], text: str = TINY, name: str = "tiny.yaml") -> Path:
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture
def write_plugin(tmp_path: Path) -> Callable[..., Path]:
    """Write a one-file plugin whose architecture has the given body of ``forward``."""

    def write(name: str, forward: str, folder: str = "plugins") -> Path:
        file = tmp_path / folder / f"{name.replace('-', '_')}.py"
        file.parent.mkdir(exist_ok=True)
        body = "\n".join("        " + line for line in forward.splitlines())
        file.write_text(PLUGIN.format(name=name, body=body), encoding="utf-8")
        return file

    return write


PLUGIN = '''"""A plugin for tests."""
import os
import torch
from torch import nn
import gahbench


@gahbench.hookimpl
def register_architectures(register):
    register("{name}", Network)


class Network(nn.Module):
    """One convolution."""

    def __init__(self, channels: int, width: int = 4):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.last = nn.Conv2d(width, channels, 3, padding=1, bias=False)

    def noise(self, noisy):
        return self.last(torch.relu(self.first(noisy)))

    def forward(self, noisy, sigma):
{body}
'''
