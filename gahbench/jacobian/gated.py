"""Jacobians of ReLU networks, with gates computed in float32 and products computed in bfloat16.

Near an image, a network whose only nonlinearities are ReLUs is an affine map, determined by which ReLUs are active. A
forward pass in float32 computes these gates, and the affine map with fixed gates is applied to all unit vectors in
bfloat16. Rounding then affects only the products. A network that runs entirely in bfloat16 opens other gates, and its
Jacobian has an error of several per cent.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from gahbench.devices.hardware import Batches, hardware, is_out_of_memory

#: Functions and methods of torch that are a ReLU.
RELUS = frozenset(getattr(owner, name) for owner in (torch, functional, Tensor) for name in ("relu", "relu_"))
#: Number of unit vectors in one batch, on a CPU and on a GPU.
BATCH_SIZE, BATCH_SIZE_GPU = 32, 512


class _Gates(TorchFunctionMode):
    """A mode in which ReLUs multiply by given gates, or by their own gates, which are recorded."""

    def __init__(self, gates: Iterable[Tensor] | None = None) -> None:
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


@torch.no_grad()
def gated_columns(network: nn.Module, noisy: Tensor, sigma: Tensor, count: int) -> Tensor:
    """Return the first columns of the Jacobian at an image, as rows (count, d); ``ValueError`` if not supported."""

    def convert(values: Tensor) -> Tensor:
        values = values.to(torch.bfloat16)
        return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values

    with _Gates() as relus:
        network(noisy, sigma)
    if not relus.recorded or noisy.dtype != torch.float32:
        raise ValueError("the network has no ReLUs, or the image is not in float32")
    gates, level = [convert(gate) for gate in relus.recorded], convert(sigma)

    def compute(step: int) -> Tensor:
        def apply(images: Tensor) -> Tensor:
            with _Gates(gates):
                denoised: Tensor = rounded(convert(images), level.expand(len(images)))
            return denoised.float().flatten(1)

        units = torch.eye(count, noisy.numel(), device=noisy.device).reshape(-1, *noisy.shape[1:])
        # The map is affine: subtract its value at zero, the effect of biases.
        constant = apply(torch.zeros_like(noisy))
        return torch.cat([apply(chunk) - constant for chunk in torch.split(units, step)])

    try:
        rounded = copy.deepcopy(network).to(torch.bfloat16)
        for parameter in rounded.parameters():
            parameter.data = convert(parameter.data)
        return Batches(BATCH_SIZE_GPU if hardware(noisy.device).is_accelerator else BATCH_SIZE).run(compute)
    except (RuntimeError, TypeError, StopIteration) as error:
        if is_out_of_memory(error):
            raise
        # The network may convert tensors to float32 itself, or call its ReLUs differently in lower precision.
        raise ValueError("the network is not a chain of linear maps and ReLUs") from error
