"""Common parts of the denoisers of deepinv: building them without a download, and local weights."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._extras import imported
from ..references._checkpoints.reading import read_state, without_prefixes
from ._sides import padded

#: How many differing names an error gives.
SHOWN = 3
#: Parameters that are set here: nothing is downloaded, and torch decides on the device.
SET = {"pretrained": None, "device": None}


class Through(nn.Module):
    """A denoiser of deepinv, called with images in [0, 1] and sigma in the same units."""

    network: Any
    multiple = 1
    min_side = 1

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) whose noise has standard deviations ``sigma``, shape (N,)."""
        denoised: Tensor = self.network(padded(noisy, self.multiple, self.min_side), sigma)
        return denoised[..., : noisy.shape[-2], : noisy.shape[-1]]


def build(model: str, weights: str | None, **arguments: Any) -> Any:
    """Return a denoiser of deepinv, randomly initialised or with the weights of a local file; nothing is downloaded."""
    network = built(getattr(models(), model), arguments)
    if weights is not None:
        load(network, Path(weights))
    return network


def models() -> Any:
    """Return the module ``deepinv.models``."""
    return imported("deepinv.models", "deepinv")


def built(factory: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Return the network that a factory builds on torch's default device, without a download."""
    known = inspect.signature(factory).parameters
    arguments = {**arguments, **{name: value for name, value in SET.items() if name in known}}
    device = torch.empty(0).device
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.meshgrid")
        try:
            return factory(**arguments).to(device)
        except RuntimeError:
            if device.type != "meta":
                raise
        # Some read numbers from tensors while they are built, and the meta device has none.
        with torch.device("cpu"):
            return factory(**arguments).to(device)


def load(network: nn.Module, path: Path) -> None:
    """Load the weights of a file, all of them; a network on the meta device is only compared with them."""
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given = min(without_prefixes(read_state(path)), key=lambda state: len(state.keys() ^ wanted.keys()))
    missing, foreign = wanted.keys() - given.keys(), given.keys() - wanted.keys()
    shapes = [name for name in wanted if name in given and tuple(given[name].shape) != wanted[name]]
    faults = [
        f"{len(names)} {what}: {', '.join(sorted(names)[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
        for what, names in (("missing", missing), ("not known", foreign))
        if names
    ] + [f"{name} has shape {tuple(given[name].shape)}, not {wanted[name]}" for name in shapes[:SHOWN]]
    if faults:
        raise ValueError(f"weights={path}: not those of this network: {'; '.join(faults)}")
    if not any(tensor.is_meta for tensor in network.state_dict().values()):
        network.load_state_dict(given)
