"""The Muon optimiser: steps along the semi-orthogonal matrix nearest to the momentum."""

from __future__ import annotations

from collections import defaultdict
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
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for parameter in parameters:
            groups[parameter.ndim >= 2 and min(parameter.flatten(1).shape) > 1].append(parameter)
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__([{"params": group} for group in groups.values()], defaults)
        self._adam = AdamW([{"params": groups[False]}], lr=lr, weight_decay=weight_decay, fused=fused)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        matrices, vectors = self.param_groups
        rate, momentum = matrices["lr"], matrices["momentum"]
        by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for parameter in matrices["params"]:
            if parameter.grad is not None:
                by_shape[parameter.flatten(1).shape].append(parameter)
        for shape, group in by_shape.items():
            gradients = torch.stack([parameter.grad.flatten(1) for parameter in group if parameter.grad is not None])
            zeros = torch.zeros_like(gradients[0])
            averages = [self.state[parameter].setdefault("momentum", zeros.clone()) for parameter in group]
            torch._foreach_lerp_(averages, list(gradients.unbind()), 1 - momentum)
            # Nesterov's look-ahead.
            updates = orthogonalise(gradients.lerp(torch.stack(averages), momentum))
            for parameter, update in zip(group, updates.unbind(), strict=True):
                parameter.mul_(1 - rate * matrices["weight_decay"])
                parameter.add_(update.reshape(parameter.shape), alpha=-rate * UPDATE_RMS * max(shape) ** 0.5)
        self._adam.param_groups[0]["lr"] = vectors["lr"]
        self._adam.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {**super().state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state returned by :meth:`state_dict`."""
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "adam"})
        self._adam.load_state_dict(state_dict["adam"])


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
