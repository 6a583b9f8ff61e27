"""Jacobians of networks of rectifiers: gates found once in float32, then products with many vectors in bfloat16.

Where its only nonlinearities are rectifiers, a network at an image is an affine map once it is known which of them are
open. So the forward pass runs once in float32, to find the gates, and the map is applied to all unit vectors with the
gates held. Rounding then falls on products only: a network that runs in bfloat16 as a whole opens other gates, and its
Jacobian is wrong by several hundredths. The map is a graph without what never reaches the denoised image: the published
UNet measures the variance of all its channels in evaluation too, and lets it fall.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from gahbench.devices.batches import Batches
from gahbench.devices.hardware import hardware, is_out_of_memory

#: The rectifiers of torch, as functions and methods.
RECTIFIERS = frozenset(getattr(owner, name) for owner in (torch, functional, Tensor) for name in ("relu", "relu_"))
#: Unit vectors that are sent through the network at once, on a processor and on a GPU.
TOGETHER, TOGETHER_GPU = 32, 512

T = TypeVar("T")


class Prepared(Generic[T]):
    """Something made of networks: one for each, the latest."""

    def __init__(self, make: Callable[..., T]) -> None:
        self._make = make
        self._kept: WeakKeyDictionary[nn.Module, tuple[object, T]] = WeakKeyDictionary()

    def of(self, network: nn.Module, *others: object) -> T:
        """Return what is made of a network as it is now."""
        tensors = (*network.parameters(), *network.buffers())
        state = (others, tuple((tensor.data_ptr(), tensor._version) for tensor in tensors))
        kept = self._kept.get(network)
        if kept is None or kept[0] != state:
            kept = self._kept[network] = (state, self._make(network, *others))
        return kept[1]


class _Gates(TorchFunctionMode):
    """Multiplies by gates where a rectifier is called."""

    def __init__(self, gates: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        self.found: list[Tensor] = []
        self._given = None if gates is None else iter(gates)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in RECTIFIERS:
            return func(*args, **(kwargs or {}))
        if self._given is not None:
            return args[0] * next(self._given)
        self.found.append(args[0] > 0)
        return args[0] * self.found[-1]


def gated_matrix(
    network: nn.Module, noisy: Tensor, sigma: Tensor, dtype: torch.dtype = torch.bfloat16, count: int | None = None
) -> Tensor | None:
    """Return the Jacobian of a network of rectifiers at an image, from products in a given precision."""
    shape, size = noisy.shape[1:], noisy.numel()
    with torch.no_grad(), _Gates() as rectifiers:
        network(noisy, sigma)
    if not rectifiers.found:
        return None
    rounded = _copies.of(network, dtype)
    gates = [_laid_out(gate.to(dtype)) for gate in rectifiers.found]
    level = sigma.to(dtype)
    columns = functools.partial(_columns, rounded, level, gates, shape, size if count is None else min(count, size))
    try:
        matrix = Batches(TOGETHER_GPU if hardware(noisy.device).has_large_batches else TOGETHER).run(columns)
    except (RuntimeError, TypeError, StopIteration) as error:
        if is_out_of_memory(error):
            raise
        # It converts to float32 on the way, or calls its rectifiers otherwise.
        return None
    return matrix[:size].mT.contiguous()


def _columns(
    network: nn.Module, level: Tensor, gates: Sequence[Tensor], shape: torch.Size, count: int, step: int
) -> Tensor:
    """Return the first columns of a Jacobian as rows, ``step`` at a time, the last ones filled up to as many."""
    size, dtype, device, columns = math.prod(shape), level.dtype, level.device, []
    with torch.no_grad():
        # Biases are the same for all vectors.
        zero = torch.zeros(1, *shape, dtype=dtype, device=device)
        constant = _through(network, _laid_out(zero), level, gates)
        graph = _graphs.of(network, (step, *shape), tuple(gate.shape for gate in gates), dtype, device)
        linear = graph or functools.partial(_through, network)
        for first in range(0, count, step):
            units = torch.zeros(step, size, dtype=dtype, device=device)
            units.diagonal(first).fill_(1)
            columns.append((linear(_laid_out(units.reshape(-1, *shape)), level, gates) - constant).float().flatten(1))
    return torch.cat(columns)


def _laid_out(values: Tensor) -> Tensor:
    """Return images with their channels last in memory, as the copies' weights have them; other tensors as they are."""
    return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values


def _through(network: nn.Module, images: Tensor, level: Tensor, gates: Sequence[Tensor]) -> Tensor:
    with _Gates(gates):
        found: Tensor = network(images, level.expand(len(images)))
    return found


def _graph(
    rounded: nn.Module, batch: tuple[int, ...], gates: tuple[torch.Size, ...], dtype: torch.dtype, device: torch.device
) -> GraphModule | None:
    """Return :func:`_through` for a network and batches of one shape, without what is never used, if it can be."""
    # It takes a while to load.
    from torch.fx.experimental.proxy_tensor import make_fx

    def through(images: Tensor, level: Tensor, gates: Sequence[Tensor]) -> Tensor:
        return _through(rounded, images, level, gates)

    def given(shape: Sequence[int]) -> Tensor:
        return _laid_out(torch.ones(*shape, dtype=dtype, device=device))

    examples = (given(batch), given((1,)), [given(shape) for shape in gates])
    try:
        graph = make_fx(through)(*examples)
    except Exception:
        # The forward pass depends on values, or leaves torch.
        return None
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _in_precision(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    made = copy.deepcopy(network).to(dtype)
    for parameter in made.parameters():
        parameter.data = _laid_out(parameter.data)
    return made


#: Copies of networks in another precision.
_copies = Prepared(_in_precision)
#: The graphs of these copies.
_graphs = Prepared(_graph)
