"""What a basis must do."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from gahbench.contracts import Basis
from gahbench.registry import Configured
from gahbench.testing.findings import Finding
from gahbench.testing.samples import sample_images, sample_noise

SHAPE = (1, 32, 32)


def check_basis(configured: Configured) -> Iterator[Finding]:
    """Check reconstruction, energy, the adjoint, batches and precision of a basis."""
    basis = configured.build()
    if not isinstance(basis, Basis):
        yield Finding("is a gahbench.Basis", False, f"it is a {type(basis).__name__}")
        return
    for shape in (SHAPE, (3, 32, 64)):
        basis.check_shape(shape)
        images = sample_images(3, shape).double()
        coefficients = basis.analysis(images)
        yield Finding("keeps float64", coefficients.dtype == torch.float64, str(coefficients.dtype))
        back = basis.synthesis(coefficients)
        error = float((back - images).abs().max()) if back.shape == images.shape else float("inf")
        yield Finding(f"reconstructs images of {shape}", error < 1e-8, f"largest error {error:.1e}")
    images = sample_images(3, SHAPE).double()
    coefficients = basis.analysis(images)
    alone = torch.cat([basis.analysis(images[i : i + 1]) for i in range(3)])
    yield Finding("treats each image of a batch alone", torch.allclose(alone, coefficients, atol=1e-10))
    labels = basis.bands(SHAPE)
    fits = (labels + torch.zeros_like(coefficients[0])).shape == coefficients.shape[1:]
    yield Finding("bands label the coefficients of an image", fits, f"{tuple(labels.shape)}")
    if basis.orthonormal:
        energy = float((coefficients.square().sum() / images.square().sum() - 1).abs())
        yield Finding("keeps the energy", energy < 1e-8, f"relative difference {energy:.1e}")
        other = torch.zeros_like(coefficients) + sample_noise(coefficients, 1.0)
        left = float((coefficients * other).sum())
        right = float((images * basis.synthesis(other)).sum())
        yield Finding("synthesis is the adjoint of analysis", abs(left - right) < 1e-8 * max(1, abs(left)))
