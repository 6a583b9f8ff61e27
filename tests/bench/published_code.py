"""The published code of Kadkhodaie et al. 2024, and its UNet, for benches that stand side by side with it."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import gahbench
from gahbench.contracts.datasets import Dataset


class Denoiser(nn.Module):
    """A published network, which estimates the noise, as a denoiser."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy: Tensor, sigma: Tensor | None = None) -> Tensor:
        """Return the denoised images."""
        denoised: Tensor = noisy - self.network(noisy)
        return denoised


def trained(
    published: Path | None, width: int, levels: int, dataset: Dataset, steps: int, device: str = "cpu"
) -> nn.Module:
    """Return a UNet, the published one if its code is there, after a short training on a dataset of grey images."""
    if published is not None:
        shape = argparse.Namespace(
            num_kernels=width, num_channels=1, kernel_size=3, padding=1, bias=False, num_blocks=levels,
            num_enc_conv=2, num_mid_conv=2, num_dec_conv=2, pool_window=2,
        )  # fmt: skip
        network: nn.Module = Denoiser(module(published, "network").UNet(shape))
    else:
        network = gahbench.create("architecture", "unet", width=width, levels=levels)
    network.to(device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for step in range(steps):
        clean = dataset.images("train", 16, 16 * step).to(device)
        sigma = 10 ** (-2 * torch.rand(len(clean), device=device))
        noisy = clean + sigma[:, None, None, None] * torch.randn_like(clean)
        loss = ((network(noisy, sigma) - clean).square().mean((1, 2, 3)) / sigma**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network.eval()


def module(folder: Path, name: str) -> Any:
    """Import a file of the published code."""
    if not (folder / f"{name}.py").is_file():
        sys.exit(f"error: the published code has no {name}.py; --published names the wrong folder")
    keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(folder.resolve()))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)
        sys.dont_write_bytecode = keep
