"""The Muon optimiser: steps along the semi-orthogonal matrix nearest to the momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

#: Coefficients (a, b, c) of the quintic Newton-Schulz iteration s -> a s + b s^3 + c s^5, and the number of iterations.
COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
#: Root mean square of an update, divided by the learning rate: about as for Adam, so that Adam's learning rates apply.
UPDATE_RMS = 0.2
#: Added to norms, so that the vanishing momentum of a layer without gradients is not amplified.
EPSILON = 1e-7


class Muon(Optimizer):
    """Muon for convolution kernels and matrices; AdamW for gains, biases, and matrices of a single row or column.

    A kernel of shape (O, I, H, W) is treated as the matrix (O, I H W). The update is the momentum of the gradient with
    all singular values set to about 1 (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024),
    scaled to the size of an update of Adam (Liu et al. 2025, arXiv 2502.16982, equation 4). ``torch.optim.Muon``
    accepts only matrices.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        fused: bool = False,
    ) -> None:
        matrices: list[nn.Parameter] = []
        vectors: list[nn.Parameter] = []
        for parameter in parameters:
            is_matrix = parameter.ndim >= 2 and min(_matrix(parameter).shape) > 1
            (matrices if is_matrix else vectors).append(parameter)
        groups = [{"params": matrices}, {"params": vectors}]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self._adam = AdamW(vectors, lr=lr, weight_decay=weight_decay, fused=fused) if vectors else None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        matrices, vectors = self.param_groups
        by_shape: dict[torch.Size, list[nn.Parameter]] = {}
        for parameter in matrices["params"]:
            if parameter.grad is not None:
                by_shape.setdefault(_matrix(parameter).shape, []).append(parameter)
        for shape, group in by_shape.items():
            gradients = torch.stack([_matrix(parameter.grad) for parameter in group])
            updates = orthogonalise(self._nesterov_momenta(group, gradients, matrices["momentum"]))
            rate = matrices["lr"]
            for parameter, update in zip(group, updates.unbind(), strict=True):
                parameter.mul_(1 - rate * matrices["weight_decay"])
                parameter.add_(update.reshape(parameter.shape), alpha=-rate * UPDATE_RMS * max(shape) ** 0.5)
        if self._adam is not None:
            self._adam.param_groups[0]["lr"] = vectors["lr"]
            self._adam.step()

    def _nesterov_momenta(self, group: list[nn.Parameter], gradients: Tensor, momentum: float) -> Tensor:
        """Update the momenta of parameters of one shape; return Nesterov's look-ahead, shape (K, rows, columns)."""
        for parameter in group:
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(_matrix(parameter))
        averages = [self.state[parameter]["momentum"] for parameter in group]
        torch._foreach_lerp_(averages, list(gradients.unbind()), 1 - momentum)
        return gradients.lerp(torch.stack(averages), momentum)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {**super().state_dict(), "adam": None if self._adam is None else self._adam.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state returned by :meth:`state_dict`."""
        own = dict(state_dict)
        adam = own.pop("adam")
        super().load_state_dict(own)
        if self._adam is not None:
            self._adam.load_state_dict(adam)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Return matrices, shape (K, rows, columns), with the same singular vectors, but singular values of 0.7 to 1.2."""
    first, second, third = COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if is_tall else matrices
    wide = wide / (wide.flatten(1).norm(dim=1).view(-1, 1, 1) + EPSILON)
    for _ in range(ITERATIONS):
        squared = wide @ wide.mT
        polynomial = torch.baddbmm(squared, squared, squared, beta=second, alpha=third)
        wide = torch.baddbmm(wide, polynomial, wide, beta=first)
    return wide.mT if is_tall else wide


def _matrix(values: Tensor | None) -> Tensor:
    assert values is not None
    return values.detach().flatten(1)
