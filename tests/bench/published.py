"""The published code of Kadkhodaie et al. 2024, imported from a folder that holds it: nothing of it is here.

Its trainer is set up as ``main.py`` does, with the options at their defaults, and its weights are mapped to ours.
"""

import argparse
import importlib
import importlib.util
import sys
import types

import torch
from torch import nn
from torch.utils.data import DataLoader

import gahbench

#: The parts of their UNet and of ours, which register them in another order.
PARTS = {"encoder": "encoder", "mid_block": "middle", "upsample": "upsample", "decoder": "decoder"}


def module(folder, name):
    """Import a file of the published code."""
    if not (folder / f"{name}.py").is_file():
        sys.exit(f"error: the published code has no {name}.py; --published names the wrong folder")
    if importlib.util.find_spec("tensorboard") is None:
        # Of which the trainer imports SummaryWriter; an epoch does not write to it.
        sys.modules["torch.utils.tensorboard"] = types.ModuleType("torch.utils.tensorboard")
        sys.modules["torch.utils.tensorboard"].SummaryWriter = object
    keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(folder.resolve()))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)
        sys.dont_write_bytecode = keep


def unet(folder, width, levels, **options):
    """Return the published UNet for grey images, which estimates the noise, and its options."""
    given = argparse.Namespace(
        num_kernels=width, num_channels=1, kernel_size=3, padding=1, bias=False, num_blocks=levels,
        num_enc_conv=2, num_mid_conv=2, num_dec_conv=2, pool_window=2, **options,
    )  # fmt: skip
    return module(folder, "network").UNet(given), given


class Denoiser(nn.Module):
    """A published network as a denoiser."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, noisy, sigma=None):
        return noisy - self.network(noisy)


def trained(folder, width, levels, dataset, steps, device="cpu"):
    """Return a UNet, the published one if its code is there, after a short training on a dataset of grey images."""
    if folder is not None:
        network = Denoiser(unet(folder, width, levels)[0])
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
    return network.requires_grad_(False).eval()


class Fit:
    """A new UNet of 3 levels with the loss, the optimiser and the epoch of the published trainer."""

    def __init__(self, folder, width, seed, device="cpu"):
        self._trainer = module(folder, "trainer")
        torch.manual_seed(seed)
        self.network, self._options = unet(
            folder, width, 3, skip=True, coarse=True, rescale=False, noise_level_range=[0, 255], quadratic_noise=True,
            lr=1e-3, device=torch.device(device),
        )  # fmt: skip
        self.network.apply(self._trainer.weights_init_kaiming).to(device)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=self._options.lr)

    def epoch(self, images, batch):
        """Train for one epoch over the images, shuffled, in batches."""
        loader, criterion = DataLoader(dataset=images, batch_size=batch, shuffle=True), nn.MSELoss(reduction="sum")
        self._trainer.train_epoch(self.network, loader, criterion, self._optimizer, self._options)


def copy_weights(published, ours):
    """Copy parameters and buffers, part by part in their order; a ``ValueError`` says how networks differ."""
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


def disagreement(published, ours, noisy):
    """Return how far two networks of equal weights are apart, over the largest residual, in evaluation and training.

    The weights are first moved to where a difference would show: the published initial gains are so small that the
    residual would vanish whatever the layers do. Both networks are changed.
    """
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in published.state_dict().items():
            if name.endswith(("gammas", "running_sd")):
                value.uniform_(0.5, 1.5, generator=draw)
    copy_weights(published, ours)
    apart = {}
    for mode in ("evaluation", "training"):
        for network in (published, ours):
            network.train(mode == "training")
        with torch.no_grad():
            residual = published(noisy)
            difference = ours(noisy, torch.ones(len(noisy))) - (noisy - residual)
        apart[mode] = float(difference.abs().max() / residual.abs().max())
    return apart
