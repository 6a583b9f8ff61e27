"""Any trainable denoiser of deepinv by the name of its class."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from .._messages import suggestion
from ._deepinv import SET, built, models

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
