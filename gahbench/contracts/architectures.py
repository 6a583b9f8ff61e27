"""Architectures, which need no base class, as parameters of other plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gahbench._util.shapes import Shape

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, eq=False)
class ArchitectureFactory:
    """An architecture with its parameters, which builds networks for images of any shape.

    A plugin's constructor receives this object for a parameter that names an architecture.

    Parameters
    ----------
    label
        The architecture's name and parameters, as shown in tables.
    build
        Returns a new network with fresh weights for images of shape (C, H, W).
    parameters
        The values of all parameters except those that the dataset fills in.
    with_parameters
        Returns a factory with new values of the named parameters; raises ``ParameterError`` for a wrong type.

    Examples
    --------
    >>> import gahbench
    >>> untrained = gahbench.create("reference", "untrained", architecture="dncnn[width=4,layers=3]")
    >>> untrained.architecture.label, untrained.architecture.parameters["width"]
    ('dncnn[width=4,layers=3]', 4)
    >>> untrained.architecture.with_parameters(width=8).label
    'dncnn[width=8,layers=3]'
    """

    label: str
    build: Callable[[Shape], nn.Module]
    parameters: Mapping[str, Any]
    with_parameters: Callable[..., ArchitectureFactory]

    def __deepcopy__(self, memo: object) -> ArchitectureFactory:
        """Return the factory itself, which is immutable, so that copies of a reference share it."""
        return self
