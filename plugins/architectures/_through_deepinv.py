"""What the denoisers of deepinv share: building them without a download, and local weights."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gahbench import listing

from ..references._checkpoints.reading import read_state, without_prefixes

#: Those that read numbers from tensors while they are built, which the meta device has none of.
READ_NUMBERS = ("SwinIR", "SCUNet")
#: How many differing names an error tells of.
SHOWN = 3


def build(model: str, weights: str | None, **arguments: Any) -> Any:
    """Return a denoiser of deepinv, randomly initialised or with the weights of a local file; nothing is downloaded.

    Parameters
    ----------
    model
        Name of the class in ``deepinv.models``.
    weights
        A safetensors or torch file of the published state dict; ``None`` for random weights.
    arguments
        What its constructor is called with.

    Raises
    ------
    ValueError
        If the extra ``deepinv`` is not installed, or the weights are those of another network.
    ParameterError
        If the file cannot be read.
    """
    try:
        from deepinv import models
    except ImportError as error:
        raise ValueError(f"needs further packages: pip install 'gahbench[deepinv]' ({error})") from error
    device = torch.empty(0).device
    on_cpu = torch.device("cpu") if device.type == "meta" and model in READ_NUMBERS else contextlib.nullcontext()
    with warnings.catch_warnings(), on_cpu:
        warnings.filterwarnings("ignore", message="torch.meshgrid")
        network = getattr(models, model)(pretrained=None, **arguments).to(device)
    if weights is not None:
        load(network, Path(weights))
    return network


def load(network: nn.Module, path: Path) -> None:
    """Load the weights of a file, all of them; a network on the meta device is only compared with them.

    Raises
    ------
    ValueError
        Naming the first weights that are missing, left over, or of another shape.
    ParameterError
        If the file cannot be read.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given = min(without_prefixes(read_state(path)), key=lambda state: len(state.keys() ^ wanted.keys()))
    missing, foreign = wanted.keys() - given.keys(), given.keys() - wanted.keys()
    shapes = [name for name in wanted if name in given and tuple(given[name].shape) != wanted[name]]
    faults = [
        f"{len(names)} {what}: {listing(sorted(names)[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
        for what, names in (("missing", missing), ("not known", foreign))
        if names
    ] + [f"{name} has shape {tuple(given[name].shape)}, not {wanted[name]}" for name in shapes[:SHOWN]]
    if faults:
        raise ValueError(f"weights={path}: not those of this network: {'; '.join(faults)}")
    if not any(tensor.is_meta for tensor in network.state_dict().values()):
        network.load_state_dict(given)
