"""Random weights for LPIPS and DISTS, in place of the published weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gahbench

#: Names of the backbones by the name of their file.
_BACKBONES = {"alexnet-owt-7be5be79.pth": "alexnet", "vgg16-397923af.pth": "vgg16"}


def draw_weights(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write random weights of a metric to the folder of torch.hub, and disable the comparison of their digests."""
    import torchvision

    monkeypatch.setattr(gahbench, "file_digest", lambda file: Path(file).stem.rpartition("-")[2] + 56 * "0")
    backbone, top = gahbench.create("metric", metric).files
    # pyiqa reads the folder of torch.hub when it is imported.
    monkeypatch.setattr("pyiqa.utils.download_util.DEFAULT_CACHE_DIR", str(top.parent))
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = getattr(torchvision.models, _BACKBONES[backbone.name])().state_dict()
    weights = {
        # The unused layers are large; zeros that are expanded need no space.
        name: torch.zeros(1).expand(tensor.shape)
        if name.startswith("classifier")
        else torch.randn(tensor.shape, generator=generator) * (2 / max(tensor[0].numel(), 1)) ** 0.5 * (tensor.ndim > 1)
        for name, tensor in shapes.items()
    }
    _save(weights, backbone)
    if metric.startswith("dists"):
        channel_weights = {name: torch.rand(1, 1475, 1, 1, generator=generator) for name in ("alpha", "beta")}
        _save(channel_weights, top)
        return
    channels = (64, 192, 384, 256, 256)
    lines = {
        f"lin{index}.model.1.weight": torch.rand(1, c, 1, 1, generator=generator) for index, c in enumerate(channels)
    }
    _save(lines, top)


def _save(weights: dict[str, torch.Tensor], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, file)
