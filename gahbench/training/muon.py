"""Muon: gradient descent along the nearest semi-orthogonal matrix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

#: Coefficients of the quintic Newton-Schulz iteration a s + b s^3 + c s^5 of singular values s, and its steps.
COEFFICIENTS, STEPS = (3.4445, -4.7750, 2.0315), 5
#: The root mean square of an update over the learning rate: about that of Adam, so that its rates carry over.
SIZE = 0.2


class Muon(Optimizer):
    """Muon for kernels and matrices, AdamW for gains, biases, and matrices of a single row or column.

    A kernel (O, I, H, W) is the matrix (O, I H W). The update is the gradient's momentum with all singular values moved
    to about 1 (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024), scaled to the size of
    an update of Adam (Liu et al. 2025, arXiv 2502.16982, equation 4). ``torch.optim.Muon`` takes matrices alone.

    Parameters
    ----------
    parameters
        Parameters of a network.
    lr
        Learning rate.
    weight_decay
        Decoupled decay of weights.
    momentum
        Weight of the past in the momentum, which looks ahead (Nesterov).
    fused
        Whether AdamW is fused.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        fused: bool = False,
    ) -> None:
        given = list(parameters)
        matrices = [one for one in given if one.ndim >= 2 and min(_matrix(one).shape) > 1]
        known = {id(one) for one in matrices}
        others = [one for one in given if id(one) not in known]
        groups = [{"params": matrices}, {"params": others}]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self._adam = AdamW(others, lr=lr, weight_decay=weight_decay, fused=fused) if others else None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        matrices, others = self.param_groups
        by_shape: dict[torch.Size, list[nn.Parameter]] = {}
        for one in matrices["params"]:
            if one.grad is not None:
                by_shape.setdefault(_matrix(one).shape, []).append(one)
        for shape, group in by_shape.items():
            gradients = torch.stack([_matrix(one.grad) for one in group if one.grad is not None])
            updates = orthogonalised(self._ahead(group, gradients, matrices["momentum"]))
            rate = matrices["lr"]
            for one, update in zip(group, updates.unbind(), strict=True):
                one.mul_(1 - rate * matrices["weight_decay"])
                one.add_(update.reshape(one.shape), alpha=-rate * SIZE * max(shape) ** 0.5)
        if self._adam is not None:
            self._adam.param_groups[0]["lr"] = others["lr"]
            self._adam.step()

    def _ahead(self, group: list[nn.Parameter], gradients: Tensor, momentum: float) -> Tensor:
        """Move the momenta of parameters of one shape (K, rows, columns), and return them a step ahead."""
        for one in group:
            if "momentum" not in self.state[one]:
                self.state[one]["momentum"] = torch.zeros_like(_matrix(one))
        averages = [self.state[one]["momentum"] for one in group]
        torch._foreach_lerp_(averages, list(gradients.unbind()), 1 - momentum)
        return gradients.lerp(torch.stack(averages), momentum)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        return {**super().state_dict(), "adam": None if self._adam is None else self._adam.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned."""
        own = dict(state_dict)
        adam = own.pop("adam")
        super().load_state_dict(own)
        if self._adam is not None:
            self._adam.load_state_dict(adam)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Return matrices (K, rows, columns) with singular values of .7 to 1.2 and the singular vectors that they have.

    Singular values below some thousandths of the norm of a matrix stay smaller.
    """
    first, second, third = COEFFICIENTS
    found = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    found = found / found.flatten(1).norm(dim=1).clamp_min(1e-30).view(-1, 1, 1)
    for _ in range(STEPS):
        squared = found @ found.mT
        polynomial = torch.baddbmm(squared, squared, squared, beta=second, alpha=third)
        found = torch.baddbmm(found, polynomial, found, beta=first)
    return found.mT if matrices.shape[1] > matrices.shape[2] else found


def _matrix(values: Tensor) -> Tensor:
    return values.detach().flatten(1)
