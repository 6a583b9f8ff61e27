"""The published trainer of Kadkhodaie et al. 2024, imported from a folder that holds their code.

Nothing of that code is in this repository. What is here sets it up as its ``main.py`` does, with the options at their
defaults, and maps its weights to ours.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from training_common import CPU

#: The parts of their UNet and of ours, which register them in another order.
PARTS = {"encoder": "encoder", "mid_block": "middle", "upsample": "upsample", "decoder": "decoder"}


class Published:
    """Their modules ``network`` and ``trainer``.

    Parameters
    ----------
    folder
        Holds ``network.py``, ``trainer.py`` and what these import.

    Raises
    ------
    SystemExit
        If the folder has no such files.
    """

    def __init__(self, folder: Path) -> None:
        for name in ("network.py", "trainer.py"):
            if not (folder / name).is_file():
                raise SystemExit(f"error: the published code has no {name}; --published names the wrong folder")
        _stub_tensorboard()
        keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        sys.path.insert(0, str(folder.resolve()))
        try:
            self.network: Any = importlib.import_module("network")
            self.trainer: Any = importlib.import_module("trainer")
        finally:
            sys.path.pop(0)
            sys.dont_write_bytecode = keep

    def fit(self, width: int, channels: int, seed: int, device: torch.device = CPU) -> PublishedFit:
        """Return a fit with a new network on a device, initialised as theirs are."""
        options = argparse.Namespace(
            num_kernels=width,
            num_channels=channels,
            kernel_size=3,
            padding=1,
            bias=False,
            num_blocks=3,
            num_enc_conv=2,
            num_mid_conv=2,
            num_dec_conv=2,
            pool_window=2,
            skip=True,
            coarse=True,
            rescale=False,
            noise_level_range=[0, 255],
            quadratic_noise=True,
            lr=1e-3,
            device=device,
        )
        torch.manual_seed(seed)
        network = self.network.UNet(options)
        network.apply(self.trainer.weights_init_kaiming)
        return PublishedFit(self.trainer.train_epoch, network.to(device), options)


class PublishedFit:
    """A network with the loss and the optimiser of the published ``main.py``.

    Parameters
    ----------
    train_epoch
        Their function.
    network
        Returns the residual, which is subtracted from the noisy images.
    options
        What their functions take as ``args``.
    """

    def __init__(self, train_epoch: Any, network: nn.Module, options: argparse.Namespace) -> None:
        self.network = network
        self._train_epoch = train_epoch
        self._options = options
        self._criterion = nn.MSELoss(reduction="sum")
        self._optimizer = torch.optim.Adam(network.parameters(), lr=options.lr)

    def epoch(self, images: Tensor, batch: int) -> None:
        """Train for one epoch over the images, shuffled, in batches."""
        loader: DataLoader[Any] = DataLoader(dataset=images, batch_size=batch, shuffle=True)  # type: ignore[arg-type]
        self._train_epoch(self.network, loader, self._criterion, self._optimizer, self._options)


def copy_weights(published: nn.Module, ours: nn.Module) -> None:
    """Copy parameters and buffers, part by part in their order.

    Raises
    ------
    ValueError
        If the two networks do not correspond.
    """
    source, target = published.state_dict(), ours.state_dict()
    copied = 0
    for theirs, name in PARTS.items():
        given = [value for key, value in source.items() if key.startswith(f"{theirs}.")]
        wanted = [value for key, value in target.items() if key.startswith(f"{name}.")]
        if len(given) != len(wanted):
            raise ValueError(f"{theirs} has {len(given)} tensors, {name} has {len(wanted)}")
        for value, place in zip(given, wanted, strict=True):
            # Their normalisation keeps (1, C, 1, 1) where ours keeps (C,).
            if value.squeeze().shape != place.squeeze().shape:
                raise ValueError(f"{theirs}: shape {tuple(value.shape)} against {tuple(place.shape)} in {name}")
            place.copy_(value.reshape(place.shape))
        copied += len(given)
    if not copied == len(source) == len(target):
        raise ValueError(f"{copied} tensors correspond, of {len(source)} published and {len(target)} ours")


def disagreement(published: nn.Module, ours: nn.Module, noisy: Tensor) -> dict[str, float]:
    """Return how far two networks of equal weights are apart: the largest difference over the largest residual.

    The weights are first moved to where a difference would show: the published initial gains are so small that the
    residual would vanish whatever the layers do. Both networks are changed.

    Returns
    -------
    dict
        By mode: ``evaluation``, with running deviations, and ``training``, with those of the batch.
    """
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in published.state_dict().items():
            if name.endswith(("gammas", "running_sd")):
                value.uniform_(0.5, 1.5, generator=draw)
    copy_weights(published, ours)
    sigma = torch.ones(len(noisy))
    apart = {}
    for mode in ("evaluation", "training"):
        for network in (published, ours):
            network.train(mode == "training")
        with torch.no_grad():
            residual = published(noisy)
            difference = ours(noisy, sigma) - (noisy - residual)
        apart[mode] = float(difference.abs().max() / residual.abs().max())
    return apart


def _stub_tensorboard() -> None:
    """Let ``from torch.utils.tensorboard import SummaryWriter`` succeed; an epoch does not write to it."""
    if importlib.util.find_spec("tensorboard") is None:
        stub: Any = types.ModuleType("torch.utils.tensorboard")
        stub.SummaryWriter = object
        sys.modules["torch.utils.tensorboard"] = stub
