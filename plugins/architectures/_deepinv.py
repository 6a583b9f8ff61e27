"""The denoisers of deepinv: found by name, built without a download, with local weights."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gahbench._util.errors import suggestion

from .._extras import imported
from ..references._checkpoints.reading import read_part, without_prefixes
from ._inputs import padded

#: How many differing names an error gives.
SHOWN = 3
#: Parameters that are set here: nothing is downloaded, and torch decides on the device.
SET = {"pretrained": None, "device": None}
#: Parameters of constructors that are the number of channels of the images.
CHANNELS = ("in_channels", "out_channels", "in_nc", "in_chans", "img_channels", "channels")
#: Beginnings of the names of parameters that say how published weights are read.
HIDDEN = ("pretrained", "_")
#: Names of the standard deviation of the noise in ``forward``: ``t`` is DiffUNet's, which takes it for one by default.
LEVEL_NAMES = ("sigma", "t")
#: Denoisers that have no weights to train, and wrappers of other denoisers.
NOT_TRAINED = (
    "BM3D",
    "BilateralFilter",
    "DiffusersDenoiserWrapper",
    "EPLLDenoiser",
    "MMSE",
    "MedianFilter",
    "ScoreModelWrapper",
)


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
    given = min(without_prefixes(read_part(path).state), key=lambda state: len(state.keys() ^ wanted.keys()))
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


def denoiser(model: str, given: dict[str, Any], channels: int, shape: tuple[int, int, int] | None = None) -> Any:
    """Return any trainable denoiser of deepinv, randomly initialised."""
    names = denoisers()
    if model not in names:
        raise ValueError(
            f"model={model}: {_refusal(model)}{suggestion(model, names) or ';'} accepted: {', '.join(names)}"
        )
    factory = getattr(models(), model)
    free = _arguments(factory)
    filled = dict.fromkeys(CHANNELS, channels) | ({"dim_input": math.prod(shape)} if shape else {})
    open_to_choice = [name for name in free if name not in (*filled, *SET) and not name.startswith(HIDDEN)]
    for name in given:
        if name not in open_to_choice:
            raise ValueError(
                f"model={model}: no argument '{name}' to choose{suggestion(name, open_to_choice) or ';'} "
                f"accepted: {', '.join(open_to_choice) or 'none'}"
            )
    try:
        return built(factory, {**{name: value for name, value in filled.items() if name in free}, **given})
    except Exception as error:
        raise ValueError(f"model={model} with the arguments {given}: {type(error).__name__}: {error}") from error


def denoisers() -> list[str]:
    """Return the names of the classes in ``deepinv.models`` that are trainable denoisers, sorted."""
    return sorted(name for name in vars(models()) if not _refusal(name))


def _refusal(model: str) -> str:
    """Return why a name in ``deepinv.models`` names no trainable denoiser; an empty text if it does."""
    found = getattr(models(), model, None)
    if model.startswith("_") or found is None:
        return "deepinv.models has none of this name"
    base = models().Denoiser
    if not inspect.isclass(found) or not issubclass(found, base) or found is base:
        return "not the class of a denoiser in deepinv.models"
    if model in NOT_TRAINED or any(not _is_plain(item) for item in _arguments(found).values()):
        return "without weights to train"
    if not _takes_level(found):
        return "its forward takes no (image, sigma)"
    return ""


def _arguments(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the named parameters of a constructor."""
    hidden = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: item for name, item in inspect.signature(factory).parameters.items() if item.kind not in hidden}


def _is_plain(item: inspect.Parameter) -> bool:
    """Return whether a parameter has a default, or is of a type that a suite can write."""
    return item.default is not item.empty or item.annotation in (bool, int, float, str, "bool", "int", "float", "str")


def _takes_level(found: Any) -> bool:
    """Return whether the second argument of ``forward`` can be the noise level."""
    second = list(inspect.signature(found.forward).parameters.values())[2:3]
    return any(item.name in LEVEL_NAMES or item.kind is item.VAR_POSITIONAL for item in second)
