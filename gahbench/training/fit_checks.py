"""Checks of a fit that has ended: its network is built alike again, and its code is that which is installed.

They name the cheapest ways to train more than a recipe allows. Plugins run in the same process, so that one that knows
of these checks can evade them; ``gahbench verify --fits`` trains again.
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
from gahbench._util.checks import as_text
from gahbench._util.error_text import error_text
from gahbench._util.errors import listing
from gahbench._util.shapes import Shape
from gahbench.devices.hardware import hardware, is_out_of_memory
from gahbench.networks.initialisation import build_network
from gahbench.training.recipe import Training

#: Images of a forward pass at most.
MAX_IMAGES = 8
#: Names that a mark lists at most.
MAX_NAMES = 3
_TORCH = str(Path(torch.__file__).parent) + os.sep
_OPTIMIZERS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Optimizer)
_METHODS = ("__init__", "_init_group", "step", "zero_grad")


class WatchedFit:
    """Builds the network of a fit, and checks it after the fit."""

    def __init__(self, build: Callable[[], nn.Module], training: Training, seed: int) -> None:
        self._build, self._training, self._seed = build, training, seed
        # Reads the installed code before a constructor of a plugin runs.
        replaced_code()

    def build(self) -> nn.Module:
        """Build the network, and remember the weights that its constructor gave it."""
        self._network = self._build()
        self._initial = _digests(self._network)
        return self._network

    def marks(self, shape: Shape, device: torch.device) -> list[str]:
        """Return what is wrong with the fit of the network that was built last; empty for honest ones."""
        replaced, marks = replaced_code(), []
        if replaced:
            marks.append(f"code of its training was replaced in its process: {_few(replaced)}")
        try:
            again = _digests(build_network(self._build, self._seed, stream=self._training.weights_stream))
            if names := [name for name in {**self._initial, **again} if self._initial.get(name) != again.get(name)]:
                marks.append(f"two constructions from one seed differ in their parameters: {_few(names)}")
            for mode, title in ((False, "evaluation"), (True, "training")):
                if names := self._changed_by_forward(shape, device, mode):
                    marks.append(f"a forward pass in {title} mode changes parameters: {_few(names)}")
        except Exception as error:
            # The passes here are in float32, and training may not have been.
            if not is_out_of_memory(error):
                marks.append(f"could not be built and run again for the checks of its fit: {error_text(error)}")
        return list(map(as_text, marks))

    def _changed_by_forward(self, shape: Shape, device: torch.device, training: bool) -> list[str]:
        """Return the names of the parameters that a forward pass changes, without a step of an optimiser."""
        network = self._network.train(training)
        before, there = _digests(network), hardware(device)
        with there.restored(), torch.set_grad_enabled(training):
            there.reseed(0)
            noisy = torch.rand(min(self._training.batch_size, MAX_IMAGES), *shape, device=device)
            network(noisy.contiguous(memory_format=torch.channels_last), torch.full((len(noisy),), 0.1, device=device))
        after = _digests(network)
        # Skip parameters that a first forward pass creates.
        return [name for name in before if after.get(name, before[name]) != before[name]]


def replaced_code() -> list[str]:
    """Return the names of replaced functions of training, noise and optimisers in this process."""
    replaced: list[str] = []
    for name, installed in _installed().items():
        replaced += _differing(vars(installed), vars(sys.modules[name]), name)
    for kind in _OPTIMIZERS:
        module = sys.modules[kind.__module__]
        functions = {f"{kind.__module__}.{name}": vars(module).get(name) for name in _defined(str(module.__file__))}
        functions |= {f"{kind.__module__}.{kind.__name__}.{name}": vars(kind).get(name) for name in _METHODS}
        replaced += [name for name, one in functions.items() if one is not None and not _is_torch(_unwrapped(one))]
    if torch_optimizer._global_optimizer_pre_hooks or torch_optimizer._global_optimizer_post_hooks:
        replaced.append("hooks of all optimisers")
    if not isinstance(time.monotonic, BuiltinFunctionType):
        replaced.append("time.monotonic")
    return list(dict.fromkeys(replaced))


@functools.cache
def _installed() -> dict[str, ModuleType]:
    """Return the modules that decide a fit as their files define them, apart from those in use."""
    prefix, found = f"{gahbench.training.__name__}.", {}
    own = [one.name for one in pkgutil.iter_modules(gahbench.training.__path__, prefix) if one.name != __name__]
    for name in ("gahbench._util.noise", *own):
        spec = importlib.util.find_spec(name)
        if name in sys.modules and spec is not None and spec.loader is not None:
            found[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(found[name])
    return found


def _differing(installed: Mapping[str, Any], present: Mapping[str, Any], place: str) -> Iterator[str]:
    """Yield the names of what differs between a module, or a class, and its installed one."""
    for name, value in installed.items():
        here, path = present.get(name), f"{place}.{name}"
        if isinstance(value, type) and place.startswith(value.__module__) and isinstance(here, type):
            yield from _differing(vars(value), vars(here), path)
        elif isinstance(value, ModuleType | type):
            if here is not value:
                yield path
        elif (isinstance(value, dict) and place in sys.modules and here != value) or not _is_same(value, here):
            yield path
    yield from (f"{place}.{name}" for name in present if name not in installed and callable(present[name]))


def _is_same(installed: Any, present: Any) -> bool:
    """Whether two functions, and those that they wrap, have the same code; other values, the same type."""
    installed, present = _unwrapped(installed), _unwrapped(present)
    if getattr(installed, "__code__", type(installed)) != getattr(present, "__code__", type(present)):
        return False
    inner = getattr(installed, "__wrapped__", None)
    return inner is None or _is_same(inner, getattr(present, "__wrapped__", None))


def _unwrapped(value: Any) -> Any:
    """Return the function of a method or property, without the wrappers that torch puts around it."""
    for kind, name in ((staticmethod, "__func__"), (classmethod, "__func__"), (property, "fget")):
        value = getattr(value, name) if isinstance(value, kind) else value
    while isinstance(value, FunctionType) and hasattr(value, "__wrapped__") and _is_torch(value):
        value = value.__wrapped__
    return value


def _is_torch(function: Any) -> bool:
    """Whether the code of a function is in a file of torch."""
    code = getattr(function, "__code__", None)
    return isinstance(code, CodeType) and code.co_filename.startswith(_TORCH) and code in _codes(code.co_filename)


@functools.cache
def _codes(file: str) -> frozenset[CodeType]:
    """Return the code of all functions in a file."""
    found, waiting = set(), [_module_code(file)]
    while waiting:
        inner = [constant for constant in waiting.pop().co_consts if isinstance(constant, CodeType)]
        found.update(inner)
        waiting += inner
    return frozenset(found)


@functools.cache
def _defined(file: str) -> tuple[str, ...]:
    """Return the names of the functions that a file defines at its top level."""
    constants = _module_code(file).co_consts
    return tuple(one.co_name for one in constants if isinstance(one, CodeType) and one.co_flags & 0x2)


def _module_code(file: str) -> CodeType:
    code = importlib.machinery.SourceFileLoader("installed", file).get_code("installed")
    assert code is not None
    return code


def _digests(network: nn.Module) -> dict[str, bytes]:
    """Return a digest of each parameter; those of lazy modules without a shape yet count as empty."""
    found = {}
    for name, value in network.named_parameters():
        if isinstance(value, nn.UninitializedParameter):
            found[name] = b""
        else:
            flat = value.detach().cpu().contiguous().flatten()
            found[name] = hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).digest()
    return found


def _few(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return (", ".join(names[:MAX_NAMES]) + more) if more else listing(names)
