"""Architectures: trainable denoisers, which need no base class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gahbench._util.shapes import Shape

if TYPE_CHECKING:
    import torch
    from torch import nn


class Architecture(Protocol):
    """A trainable denoiser: any ``torch.nn.Module`` with this ``forward``."""

    def forward(self, noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Return the denoised images (never a residual) for ``noisy`` (N, C, H, W) and ``sigma`` (N,)."""
        ...


@dataclass(frozen=True, eq=False)
class ArchitectureFactory:
    """An architecture with its parameters, to be built for images of some shape.

    A constructor gets it for a parameter that names an architecture.

    Parameters
    ----------
    label
        Its name and parameters, as tables show them.
    build
        Returns a new network with fresh weights for images (C, H, W).
    parameters
        The values of all its parameters but those that the dataset fills in.
    with_parameters
        Returns it with other values for some, given by name; raises ``ParameterError`` for values of a wrong type.
    """

    label: str
    build: Callable[[Shape], nn.Module]
    parameters: Mapping[str, Any]
    with_parameters: Callable[..., ArchitectureFactory]

    def __deepcopy__(self, memo: object) -> ArchitectureFactory:
        """Return itself: it never changes, and a copy of a reference need not copy all that networks are built from."""
        return self
