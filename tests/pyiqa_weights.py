"""Random weights for LPIPS and DISTS, in place of the published weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gahbench

#: Names of the backbones by the name of their file.
_BACKBONES = {"alexnet-owt-7be5be79.pth": "alexnet", "vgg16-397923af.pth": "vgg16"}


def draw_weights(metric: str, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write random weights of a metric to the folder of torch.hub, and disable the comparison of their digests."""
    import torchvision

    monkeypatch.setattr("gahbench_plugins.metrics._perceptual.File.digest", "")
    backbone, top = gahbench.create("metric", metric).files
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = getattr(torchvision.models, _BACKBONES[backbone.path.name])().state_dict()
    weights = {
        # The unused layers are large; zeros that are expanded need no space.
        name: torch.zeros(1).expand(tensor.shape)
        if name.startswith("classifier")
        else torch.randn(tensor.shape, generator=generator) * (2 / max(tensor[0].numel(), 1)) ** 0.5 * (tensor.ndim > 1)
        for name, tensor in shapes.items()
    }
    _save(weights, hub / backbone.relative_path)
    if metric.startswith("dists"):
        channel_weights = {name: torch.rand(1, 1475, 1, 1, generator=generator) for name in ("alpha", "beta")}
        _save(channel_weights, hub / top.relative_path)
        return
    channels = (64, 192, 384, 256, 256) if "alexnet" in backbone.relative_path else (64, 128, 256, 512, 512)
    lines = {
        f"lin{index}.model.1.weight": torch.rand(1, c, 1, 1, generator=generator) for index, c in enumerate(channels)
    }
    _save(lines, hub / top.relative_path)


def _save(weights: dict[str, torch.Tensor], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, file)
