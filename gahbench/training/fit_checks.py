"""Checks of a finished fit: its network can be rebuilt identically, and the code that ran is the installed code.

The checks detect the cheapest ways to train more than a recipe allows. Plugins run in the same process, so a plugin
that knows these checks can evade them; ``gahbench verify --fits`` trains again.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.machinery
import importlib.util
import os
import pkgutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import nn
from torch.optim import optimizer as torch_optimizer

import gahbench.training
from gahbench._util.errors import error_text, listing
from gahbench._util.readable import printable
from gahbench._util.shapes import Shape
from gahbench.devices.hardware import hardware, is_out_of_memory
from gahbench.networks.initialisation import build_network
from gahbench.training.recipe import Training

#: Maximum number of images in a forward pass.
MAX_IMAGES = 8
#: Maximum number of names that a reason to flag a fit lists.
MAX_NAMES = 3
_TORCH = str(Path(torch.__file__).parent) + os.sep
_OPTIMIZERS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Optimizer)
_METHODS = ("__init__", "_init_group", "step", "zero_grad")


class WatchedFit:
    """A builder of the network of a fit, which checks the network after the fit."""

    def __init__(self, build: Callable[[], nn.Module], training: Training, seed: int) -> None:
        self._build, self._training, self._seed = build, training, seed
        # Read the installed code before a plugin's constructor can change it.
        replaced_code()

    def build(self) -> nn.Module:
        """Build the network, and record digests of its initial weights."""
        self._network = self._build()
        self._initial = _digests(self._network)
        return self._network

    def flags(self, shape: Shape, device: torch.device) -> list[str]:
        """Return reasons to flag the fit of the network that was built last; empty for an honest fit."""
        replaced, flags = replaced_code(), []
        if replaced:
            flags.append(f"code of its training was replaced in its process: {_abbreviate(replaced)}")
        try:
            rebuilt = _digests(build_network(self._build, self._seed, stream=self._training.weights_stream))
            if names := [name for name in {**self._initial, **rebuilt} if self._initial.get(name) != rebuilt.get(name)]:
                flags.append(f"two constructions from one seed differ in their parameters: {_abbreviate(names)}")
            for mode, title in ((False, "evaluation"), (True, "training")):
                if names := self._changed_by_forward(shape, device, mode):
                    flags.append(f"a forward pass in {title} mode changes parameters: {_abbreviate(names)}")
        except Exception as error:
            # Running out of memory is not flagged: these passes use float32, while training may have used bfloat16.
            if not is_out_of_memory(error):
                flags.append(f"could not be built and run again for the checks of its fit: {error_text(error)}")
        return list(map(printable, flags))

    def _changed_by_forward(self, shape: Shape, device: torch.device, training: bool) -> list[str]:
        """Return the names of the parameters that a forward pass changes, without a step of an optimiser."""
        network = self._network.train(training)
        before, device_hardware = _digests(network), hardware(device)
        with device_hardware.restore_generators(), torch.set_grad_enabled(training):
            device_hardware.reseed(0)
            noisy = torch.rand(min(self._training.batch_size, MAX_IMAGES), *shape, device=device)
            network(noisy.contiguous(memory_format=torch.channels_last), torch.full((len(noisy),), 0.1, device=device))
        after = _digests(network)
        # Skip parameters that the first forward pass creates.
        return [name for name in before if after.get(name, before[name]) != before[name]]


def replaced_code() -> list[str]:
    """Return the names of replaced functions of training, noise and optimisers in this process."""
    replaced: list[str] = []
    for name, installed in _load_installed_modules().items():
        replaced += _differing(vars(installed), vars(sys.modules[name]), name)
    for optimizer in _OPTIMIZERS:
        module = sys.modules[optimizer.__module__]
        functions = {
            f"{optimizer.__module__}.{name}": vars(module).get(name)
            for name in _top_level_functions(str(module.__file__))
        }
        prefix = f"{optimizer.__module__}.{optimizer.__name__}"
        functions |= {f"{prefix}.{name}": vars(optimizer).get(name) for name in _METHODS}
        replaced += [
            name for name, function in functions.items() if function is not None and not _is_torch(_unwrap(function))
        ]
    if torch_optimizer._global_optimizer_pre_hooks or torch_optimizer._global_optimizer_post_hooks:
        replaced.append("hooks of all optimisers")
    if not isinstance(time.monotonic, BuiltinFunctionType):
        replaced.append("time.monotonic")
    return list(dict.fromkeys(replaced))


@functools.cache
def _load_installed_modules() -> dict[str, ModuleType]:
    """Return the modules that determine a fit, loaded afresh from their files."""
    prefix, modules = f"{gahbench.training.__name__}.", {}
    own = [info.name for info in pkgutil.iter_modules(gahbench.training.__path__, prefix) if info.name != __name__]
    for name in ("gahbench._util.noise", *own):
        spec = importlib.util.find_spec(name)
        if name in sys.modules and spec is not None and spec.loader is not None:
            modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(modules[name])
    return modules


def _differing(installed: Mapping[str, Any], present: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Yield the names of attributes that differ between a module or class in use and its installed version."""
    for name, value in installed.items():
        current, path = present.get(name), f"{prefix}.{name}"
        if isinstance(value, type) and prefix.startswith(value.__module__) and isinstance(current, type):
            yield from _differing(vars(value), vars(current), path)
        elif isinstance(value, ModuleType | type):
            if current is not value:
                yield path
        elif (isinstance(value, dict) and prefix in sys.modules and current != value) or not _is_same(value, current):
            yield path
    yield from (f"{prefix}.{name}" for name in present if name not in installed and callable(present[name]))


def _is_same(installed: Any, present: Any) -> bool:
    """Return whether two functions, and the functions they wrap, have the same code, or other values the same type."""
    installed, present = _unwrap(installed), _unwrap(present)
    if getattr(installed, "__code__", type(installed)) != getattr(present, "__code__", type(present)):
        return False
    inner = getattr(installed, "__wrapped__", None)
    return inner is None or _is_same(inner, getattr(present, "__wrapped__", None))


def _unwrap(value: Any) -> Any:
    """Return the function behind a method or property, without torch's wrappers."""
    for kind, name in ((staticmethod, "__func__"), (classmethod, "__func__"), (property, "fget")):
        value = getattr(value, name) if isinstance(value, kind) else value
    while isinstance(value, FunctionType) and hasattr(value, "__wrapped__") and _is_torch(value):
        value = value.__wrapped__
    return value


def _is_torch(function: Any) -> bool:
    """Return whether the code of a function comes from a file of torch."""
    code = getattr(function, "__code__", None)
    return isinstance(code, CodeType) and code.co_filename.startswith(_TORCH) and code in _codes(code.co_filename)


@functools.cache
def _codes(file: str) -> frozenset[CodeType]:
    """Return the code of all functions in a file."""
    codes, waiting = set(), [_module_code(file)]
    while waiting:
        inner = [constant for constant in waiting.pop().co_consts if isinstance(constant, CodeType)]
        codes.update(inner)
        waiting += inner
    return frozenset(codes)


@functools.cache
def _top_level_functions(file: str) -> tuple[str, ...]:
    """Return the names of the functions that a file defines at its top level."""
    constants = _module_code(file).co_consts
    return tuple(code.co_name for code in constants if isinstance(code, CodeType) and code.co_flags & 0x2)


def _module_code(file: str) -> CodeType:
    code = importlib.machinery.SourceFileLoader("installed", file).get_code("installed")
    assert code is not None
    return code


def _digests(network: nn.Module) -> dict[str, bytes]:
    """Return a digest of each parameter; uninitialised parameters of lazy modules count as empty."""
    digests = {}
    for name, value in network.named_parameters():
        if isinstance(value, nn.UninitializedParameter):
            digests[name] = b""
        else:
            flat = value.detach().cpu().contiguous().flatten()
            digests[name] = hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).digest()
    return digests


def _abbreviate(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return (", ".join(names[:MAX_NAMES]) + more) if more else listing(names)
