"""Jacobians of ReLU networks, with gates computed in float32 and products computed in bfloat16.

Near an image, a network whose only nonlinearities are ReLUs is an affine map, determined by which ReLUs are active. A
forward pass in float32 computes these gates, and the affine map with fixed gates is applied to all unit vectors in
bfloat16. Rounding then affects only the products. A network that runs entirely in bfloat16 opens other gates, and its
Jacobian has an error of several per cent. The affine map is traced, and operations that do not affect the denoised
image are removed: the published UNet, for example, computes unused variances of all channels in evaluation mode.
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

from gahbench.devices.hardware import Batches, hardware, is_out_of_memory

#: Functions and methods of torch that are a ReLU.
RELUS = frozenset(getattr(owner, name) for owner in (torch, functional, Tensor) for name in ("relu", "relu_"))
#: Number of unit vectors in one batch, on a CPU and on a GPU.
BATCH_SIZE, BATCH_SIZE_GPU = 32, 512

T = TypeVar("T")


class PerNetworkCache(Generic[T]):
    """Cache of one object per network, rebuilt when the weights of the network or the other arguments change."""

    def __init__(self, build: Callable[..., T]) -> None:
        self._build = build
        self._cache: WeakKeyDictionary[nn.Module, tuple[object, T]] = WeakKeyDictionary()

    def get(self, network: nn.Module, *arguments: object) -> T:
        """Return the object for the current weights of a network."""
        tensors = (*network.parameters(), *network.buffers())
        state = (arguments, tuple((tensor.data_ptr(), tensor._version) for tensor in tensors))
        cached = self._cache.get(network)
        if cached is None or cached[0] != state:
            cached = self._cache[network] = (state, self._build(network, *arguments))
        return cached[1]


class _Gates(TorchFunctionMode):
    """A mode in which ReLUs multiply by given gates, or by their own gates, which are recorded."""

    def __init__(self, gates: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        self.recorded: list[Tensor] = []
        self._gates = None if gates is None else iter(gates)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in RELUS:
            return func(*args, **(kwargs or {}))
        if self._gates is not None:
            return args[0] * next(self._gates)
        self.recorded.append(args[0] > 0)
        return args[0] * self.recorded[-1]


def gated_matrix(
    network: nn.Module, noisy: Tensor, sigma: Tensor, dtype: torch.dtype = torch.bfloat16, count: int | None = None
) -> Tensor | None:
    """Return the Jacobian of a ReLU network at an image; ``None`` for networks that are not supported."""
    shape, size = noisy.shape[1:], noisy.numel()
    with torch.no_grad(), _Gates() as relus:
        network(noisy, sigma)
    if not relus.recorded:
        return None
    rounded = _copies.get(network, dtype)
    gates = [_channels_last(gate.to(dtype)) for gate in relus.recorded]
    level = sigma.to(dtype)
    columns = functools.partial(_columns, rounded, level, gates, shape, size if count is None else min(count, size))
    try:
        matrix = Batches(BATCH_SIZE_GPU if hardware(noisy.device).is_accelerator else BATCH_SIZE).run(columns)
    except (RuntimeError, TypeError, StopIteration) as error:
        if is_out_of_memory(error):
            raise
        # The network may convert tensors to float32 itself, or call its ReLUs differently in lower precision.
        return None
    return matrix[:size].mT.contiguous()


def _columns(
    network: nn.Module, level: Tensor, gates: Sequence[Tensor], shape: torch.Size, count: int, step: int
) -> Tensor:
    """Return the first columns of a Jacobian as rows, in batches of ``step``, with the last batch padded."""
    size, dtype, device, columns = math.prod(shape), level.dtype, level.device, []
    with torch.no_grad():
        # The map is affine: subtract its value at zero, the effect of biases.
        zero = torch.zeros(1, *shape, dtype=dtype, device=device)
        constant = _run_gated(network, _channels_last(zero), level, gates)
        graph = _graphs.get(network, (step, *shape), tuple(gate.shape for gate in gates), dtype, device)
        linear = graph or functools.partial(_run_gated, network)
        for first in range(0, count, step):
            units = torch.zeros(step, size, dtype=dtype, device=device)
            units.diagonal(first).fill_(1)
            columns.append(
                (linear(_channels_last(units.reshape(-1, *shape)), level, gates) - constant).float().flatten(1)
            )
    return torch.cat(columns)


def _channels_last(values: Tensor) -> Tensor:
    """Return images in channels-last layout, like the copied weights, and other tensors unchanged."""
    return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values


def _run_gated(network: nn.Module, images: Tensor, level: Tensor, gates: Sequence[Tensor]) -> Tensor:
    with _Gates(gates):
        denoised: Tensor = network(images, level.expand(len(images)))
    return denoised


def _trace_graph(
    rounded: nn.Module, batch: tuple[int, ...], gates: tuple[torch.Size, ...], dtype: torch.dtype, device: torch.device
) -> GraphModule | None:
    """Return :func:`_run_gated` as a graph without unused operations, or ``None`` if it cannot be traced."""
    # This import is slow.
    from torch.fx.experimental.proxy_tensor import make_fx

    def run(images: Tensor, level: Tensor, gates: Sequence[Tensor]) -> Tensor:
        return _run_gated(rounded, images, level, gates)

    def example(shape: Sequence[int]) -> Tensor:
        return _channels_last(torch.ones(*shape, dtype=dtype, device=device))

    examples = (example(batch), example((1,)), [example(shape) for shape in gates])
    try:
        graph = make_fx(run)(*examples)
    except Exception:
        # The forward pass depends on values of tensors, or uses code outside torch.
        return None
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _copy_in_precision(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    network_copy = copy.deepcopy(network).to(dtype)
    for parameter in network_copy.parameters():
        parameter.data = _channels_last(parameter.data)
    return network_copy


#: Copies of networks in lower precision.
_copies = PerNetworkCache(_copy_in_precision)
#: Traced graphs of these copies.
_graphs = PerNetworkCache(_trace_graph)
