"""Files of weights for LPIPS and DISTS that are drawn at random, where the published ones would be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gahbench

#: Of the backbones, by name of their files.
_MODELS = {"alexnet-owt-7be5be79.pth": "alexnet", "vgg16-397923af.pth": "vgg16"}


def draw_weights(metric: str, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the weights of a metric, below the folder of torch.hub, and have their digests not compared."""
    import torchvision

    monkeypatch.setattr("gahbench_plugins.metrics._perceptual.File.digest", "")
    backbone, top = gahbench.create("metric", metric).files
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        described = getattr(torchvision.models, _MODELS[backbone.path.name])().state_dict()
    weights = {
        # Layers that are not used are many and zero, which takes no place.
        name: torch.zeros(1).expand(one.shape)
        if name.startswith("classifier")
        else torch.randn(one.shape, generator=generator) * (2 / max(one[0].numel(), 1)) ** 0.5 * (one.ndim > 1)
        for name, one in described.items()
    }
    _save(weights, hub / backbone.relative_path)
    if metric.startswith("dists"):
        channel_weights = {name: torch.rand(1, 1475, 1, 1, generator=generator) for name in ("alpha", "beta")}
        _save(channel_weights, hub / top.relative_path)
        return
    channels = (64, 192, 384, 256, 256) if "alexnet" in backbone.relative_path else (64, 128, 256, 512, 512)
    lines = {
        f"lin{place}.model.1.weight": torch.rand(1, c, 1, 1, generator=generator) for place, c in enumerate(channels)
    }
    _save(lines, hub / top.relative_path)


def _save(weights: dict[str, torch.Tensor], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, file)
