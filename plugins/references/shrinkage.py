"""What references that shrink coefficients in an orthonormal basis share."""

from __future__ import annotations

from typing import cast

from gahbench.contracts import Basis, Reference, Shape
from gahbench.registry import default_registry


class Shrinkage(Reference):
    """A reference that works on the coefficients in an orthonormal basis.

    Parameters
    ----------
    basis
        Name and parameters of the basis, such as ``wavelet[sym4,levels=3]``.

    Raises
    ------
    ValueError
        If the basis is not orthonormal: only then are noisy coefficients the clean ones plus white noise.
    """

    always_shown = ("basis",)

    def __init__(self, basis: str) -> None:
        self.basis = cast(Basis, default_registry().create("basis", basis))
        if not self.basis.orthonormal:
            raise ValueError(f"basis '{basis}' is not orthonormal; accepted are bases that are, such as sym4 or dct")

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) that the basis cannot analyse."""
        self.basis.check_shape(shape)
