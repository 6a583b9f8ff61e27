"""Construction of the denoisers of deepinv by name, without downloads, with local weights."""

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

from .._extras import import_optional
from ..references._checkpoints.reading import read_part, remove_prefixes
from ._inputs import pad_to_multiple

#: Largest number of names that an error message lists for each kind of difference.
MAX_LISTED = 3
#: Fixed arguments: no download, and the default device of torch.
FIXED_ARGUMENTS = {"pretrained": None, "device": None}
#: Names of constructor parameters for the number of image channels.
CHANNELS = ("in_channels", "out_channels", "in_nc", "in_chans", "img_channels", "channels")
#: Prefixes of parameters that control how published weights are loaded.
HIDDEN_PREFIXES = ("pretrained", "_")
#: Names of the noise level in ``forward``; DiffUNet calls it ``t``, and by default interprets it as the noise level.
LEVEL_NAMES = ("sigma", "t")
#: Denoisers without trainable weights, and wrappers of other denoisers.
NOT_TRAINED = (
    "BM3D",
    "BilateralFilter",
    "DiffusersDenoiserWrapper",
    "EPLLDenoiser",
    "MMSE",
    "MedianFilter",
    "ScoreModelWrapper",
)


class DeepinvNetwork(nn.Module):
    """Base class of networks that call a denoiser of deepinv on padded images."""

    network: Any
    multiple = 1
    min_side = 1

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) whose noise has standard deviations ``sigma``, shape (N,)."""
        denoised: Tensor = self.network(pad_to_multiple(noisy, self.multiple, self.min_side), sigma)
        return denoised[..., : noisy.shape[-2], : noisy.shape[-1]]


def build(model: str, weights: str | None, **arguments: Any) -> Any:
    """Build a denoiser of deepinv with random weights, or with the weights in a local file, without a download."""
    network = call_factory(getattr(import_models(), model), arguments)
    if weights is not None:
        load(network, Path(weights))
    return network


def import_models() -> Any:
    """Return the module ``deepinv.models``."""
    return import_optional("deepinv.models", "deepinv")


def call_factory(factory: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Build a network with a factory on the default device of torch, without a download."""
    known = inspect.signature(factory).parameters
    arguments = {**arguments, **{name: value for name, value in FIXED_ARGUMENTS.items() if name in known}}
    device = torch.empty(0).device
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.meshgrid")
        try:
            return factory(**arguments).to(device)
        except RuntimeError:
            if device.type != "meta":
                raise
        # Some constructors read values of tensors, which the meta device does not have.
        with torch.device("cpu"):
            return factory(**arguments).to(device)


def load(network: nn.Module, path: Path) -> None:
    """Load all weights from a file; for a network on the meta device only check that they fit."""
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    weights = min(remove_prefixes(read_part(path).state), key=lambda state: len(state.keys() ^ expected.keys()))
    missing, unknown = expected.keys() - weights.keys(), weights.keys() - expected.keys()
    mismatched = [name for name in expected if name in weights and tuple(weights[name].shape) != expected[name]]
    faults = [
        f"{len(names)} {kind}: {', '.join(sorted(names)[:MAX_LISTED])}{', ...' if len(names) > MAX_LISTED else ''}"
        for kind, names in (("missing", missing), ("unknown", unknown))
        if names
    ] + [f"{name} has shape {tuple(weights[name].shape)}, not {expected[name]}" for name in mismatched[:MAX_LISTED]]
    if faults:
        raise ValueError(f"weights={path}: the weights do not fit the network: {'; '.join(faults)}")
    if not any(tensor.is_meta for tensor in network.state_dict().values()):
        network.load_state_dict(weights)


def build_denoiser(
    model: str, arguments: dict[str, Any], channels: int, shape: tuple[int, int, int] | None = None
) -> Any:
    """Build a trainable denoiser of deepinv by name with random weights."""
    names = denoiser_names()
    if model not in names:
        raise ValueError(
            f"model={model}: {_reason_for_refusal(model)}{suggestion(model, names) or ';'} accepted: {', '.join(names)}"
        )
    factory = getattr(import_models(), model)
    parameters = _arguments(factory)
    image_arguments = dict.fromkeys(CHANNELS, channels) | ({"dim_input": math.prod(shape)} if shape else {})
    choices = [
        name
        for name in parameters
        if name not in (*image_arguments, *FIXED_ARGUMENTS) and not name.startswith(HIDDEN_PREFIXES)
    ]
    for name in arguments:
        if name not in choices:
            raise ValueError(
                f"model={model}: no argument '{name}'{suggestion(name, choices) or ';'} "
                f"accepted: {', '.join(choices) or 'none'}"
            )
    try:
        return call_factory(
            factory, {**{name: value for name, value in image_arguments.items() if name in parameters}, **arguments}
        )
    except Exception as error:
        raise ValueError(f"model={model} with the arguments {arguments}: {type(error).__name__}: {error}") from error


def denoiser_names() -> list[str]:
    """Return the sorted names of trainable denoisers in ``deepinv.models``."""
    return sorted(name for name in vars(import_models()) if not _reason_for_refusal(name))


def _reason_for_refusal(model: str) -> str:
    """Return why a name in ``deepinv.models`` is not a trainable denoiser, or an empty string if it is."""
    candidate = getattr(import_models(), model, None)
    if model.startswith("_") or candidate is None:
        return "deepinv.models has no such name"
    base = import_models().Denoiser
    if not inspect.isclass(candidate) or not issubclass(candidate, base) or candidate is base:
        return "it is not a denoiser class of deepinv.models"
    if model in NOT_TRAINED or any(not _is_plain(item) for item in _arguments(candidate).values()):
        return "it has no weights to train"
    if not _takes_level(candidate):
        return "its forward does not accept (image, sigma)"
    return ""


def _arguments(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the named parameters of a constructor, without ``*args`` and ``**kwargs``."""
    hidden = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: item for name, item in inspect.signature(factory).parameters.items() if item.kind not in hidden}


def _is_plain(item: inspect.Parameter) -> bool:
    """Return whether a parameter has a default, or a type that can be written in a suite."""
    return item.default is not item.empty or item.annotation in (bool, int, float, str, "bool", "int", "float", "str")


def _takes_level(denoiser: Any) -> bool:
    """Return whether the second argument of ``forward`` can be the noise level."""
    second = list(inspect.signature(denoiser.forward).parameters.values())[2:3]
    return any(item.name in LEVEL_NAMES or item.kind is item.VAR_POSITIONAL for item in second)
