"""Checks of a finished fit: its network can be rebuilt identically, and the code that ran is the installed code.

The checks detect the cheapest ways to train more than a recipe allows. Plugins run in the same process, so a plugin
that knows these checks can evade them; ``gahbench verify --fits`` trains again.
"""

from __future__ import annotations

import pkgutil
import sys
import time
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import optimizer

import gahbench.training
from gahbench._util.errors import error_text
from gahbench._util.readable import printable
from gahbench._util.shapes import Shape
from gahbench.devices.hardware import hardware, is_out_of_memory
from gahbench.networks.initialisation import build_network
from gahbench.training.recipe import Training

#: Maximum number of images in a forward pass, and of names that a reason to flag a fit lists.
MAX_IMAGES, MAX_NAMES = 8, 3
#: Modules that determine a fit, and the packages that define their functions.
_MODULES = (
    "gahbench._util.noise",
    *(f"gahbench.training.{module.name}" for module in pkgutil.iter_modules(gahbench.training.__path__)),
    *(f"torch.optim.{name}" for name in ("optimizer", "adam", "adamw", "sgd")),
)
_PACKAGES = {"gahbench", "torch", "pydantic", "pydantic_core", "typing_extensions", *sys.stdlib_module_names}


class WatchedFit:
    """A builder of the network of a fit, which checks the network after the fit."""

    def __init__(self, build: Callable[[], nn.Module], training: Training, seed: int) -> None:
        self._build, self._training, self._seed = build, training, seed

    def build(self) -> nn.Module:
        """Build the network, and keep a copy of its initial weights."""
        self._network = self._build()
        self._initial = _copy(self._network)
        return self._network

    def flags(self, shape: Shape, device: torch.device) -> list[str]:
        """Return reasons to flag the fit of the network that was built last; empty for an honest fit."""
        reasons: dict[str, list[str]] = {"code of its training was replaced in its process": replaced_code()}
        try:
            rebuilt = _copy(build_network(self._build, self._seed, stream=self._training.weights_stream))
            differing = [*_changed(self._initial, rebuilt), *(rebuilt.keys() ^ self._initial.keys())]
            reasons["two constructions from one seed differ in their parameters"] = differing
            for is_training, title in ((False, "evaluation"), (True, "training")):
                changed = self._changed_by_forward(shape, device, is_training)
                reasons[f"a forward pass in {title} mode changes parameters"] = changed
        except Exception as error:
            # Running out of memory is not flagged: these passes use float32, while training may have used bfloat16.
            if not is_out_of_memory(error):
                reasons["could not be built and run again for the checks of its fit"] = [error_text(error)]
        return [printable(f"{reason}: {', '.join(names[:MAX_NAMES])}") for reason, names in reasons.items() if names]

    def _changed_by_forward(self, shape: Shape, device: torch.device, is_training: bool) -> list[str]:
        """Return the names of the parameters that a forward pass changes, without a step of an optimiser."""
        network = self._network.train(is_training)
        before, device_hardware = _copy(network), hardware(device)
        with device_hardware.restore_generators(), torch.set_grad_enabled(is_training):
            device_hardware.reseed(0)
            noisy = torch.rand(min(self._training.batch_size, MAX_IMAGES), *shape, device=device)
            network(noisy.contiguous(memory_format=torch.channels_last), torch.full((len(noisy),), 0.1, device=device))
        return _changed(before, _copy(network))


def replaced_code() -> list[str]:
    """Return the names of functions of training, noise and optimisers in this process that a plugin has defined."""
    replaced = [name for name, value in _members() if not _is_installed(value)]
    if optimizer._global_optimizer_pre_hooks or optimizer._global_optimizer_post_hooks:
        replaced.append("hooks of all optimisers")
    return replaced if isinstance(time.monotonic, BuiltinFunctionType) else [*replaced, "time.monotonic"]


def _members() -> Iterator[tuple[str, Any]]:
    """Yield the names and values in the modules that determine a fit, and in their classes."""
    for module in (sys.modules[name] for name in _MODULES if name in sys.modules):
        for name, value in vars(module).items():
            yield f"{module.__name__}.{name}", value
            if isinstance(value, type) and value.__module__ == module.__name__:
                for attribute, member in vars(value).items():
                    yield f"{module.__name__}.{name}.{attribute}", member


def _is_installed(value: Any) -> bool:
    """Return whether a function, those that it wraps, or the type of another value come from an installed package."""
    value = getattr(value, "__func__", getattr(value, "fget", value))
    if isinstance(value, FunctionType):
        is_installed = str(value.__globals__.get("__name__")).partition(".")[0] in _PACKAGES
        return is_installed and _is_installed(getattr(value, "__wrapped__", None))
    kind = value if isinstance(value, type) else type(value)
    return kind.__module__.partition(".")[0] in _PACKAGES


def _copy(network: nn.Module) -> dict[str, Tensor]:
    """Return copies of the parameters, without uninitialised parameters of lazy modules."""
    parameters = network.named_parameters()
    return {name: value.detach().clone() for name, value in parameters if not nn.parameter.is_lazy(value)}


def _changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[str]:
    return [name for name, value in before.items() if not torch.equal(value, after.get(name, value))]
