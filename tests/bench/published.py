"""Import of the published code of Kadkhodaie et al. 2024 from a folder; this repository does not contain the code.

The published trainer is set up as in its ``main.py``, with default options.
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

#: Published networks, by the specs of the same networks of gahbench.
NETWORKS = {"unet": "UNet", "bf-cnn": "BF_CNN", "bf-cnn-rf[spacing=4]": "BF_CNN_RF"}


def module(folder, name):
    """Import a file of the published code."""
    if not (folder / f"{name}.py").is_file():
        sys.exit(f"error: the published code has no {name}.py; --published names the wrong folder")
    if importlib.util.find_spec("tensorboard") is None:
        # The trainer imports SummaryWriter, but an epoch does not use it.
        sys.modules["torch.utils.tensorboard"] = types.ModuleType("torch.utils.tensorboard")
        sys.modules["torch.utils.tensorboard"].SummaryWriter = object
    previous, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(folder.resolve()))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)
        sys.dont_write_bytecode = previous


def build(folder, width, levels, name="unet", **options):
    """Return a published network for grey images, which predicts the noise, and its options."""
    settings = argparse.Namespace(
        num_kernels=width, num_channels=1, kernel_size=3, padding=1, bias=False, num_blocks=levels, num_enc_conv=2,
        num_mid_conv=2, num_dec_conv=2, pool_window=2, num_layers=21, first_layer_linear=False, RF=13, coarse=True,
        **options,
    )  # fmt: skip
    return getattr(module(folder, "network"), NETWORKS[name])(settings), settings


class Denoiser(nn.Module):
    """A published network as a denoiser."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, noisy, sigma=None):
        return noisy - self.network(noisy)


def train(folder, width, levels, dataset, steps, device="cpu"):
    """Return the published UNet, or gahbench's if ``folder`` is None, after brief training on grey images."""
    if folder is not None:
        network = Denoiser(build(folder, width, levels)[0])
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
    """An untrained published network with the loss, optimiser and epoch of the published trainer."""

    def __init__(self, folder, width, seed, device="cpu", name="unet", levels=3):
        self._trainer = module(folder, "trainer")
        torch.manual_seed(seed)
        self.network, self._options = build(
            folder, width, levels, name, skip=True, rescale=False, noise_level_range=[0, 255], quadratic_noise=True,
            lr=1e-3, device=torch.device(device),
        )  # fmt: skip
        self.network.apply(self._trainer.weights_init_kaiming).to(device)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=self._options.lr)

    def halve_rate(self):
        """Halve the learning rate, as the published trainer does at each tenth of its epochs."""
        for group in self._optimizer.param_groups:
            group["lr"] /= 2

    def epoch(self, images, batch):
        """Train for one epoch over the shuffled images."""
        loader, criterion = DataLoader(dataset=images, batch_size=batch, shuffle=True), nn.MSELoss(reduction="sum")
        self._trainer.train_epoch(self.network, loader, criterion, self._optimizer, self._options)
