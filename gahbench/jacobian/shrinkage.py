"""Oracle shrinkage filters, which weight coefficients in a basis by the clean coefficients."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gahbench._util.shapes import Shape, image_shape
from gahbench.jacobian.autograd import AutogradMaps
from gahbench.jacobian.families import FilterFamily
from gahbench.jacobian.maps import LARGEST_EXACT, LinearMaps

if TYPE_CHECKING:
    from typing import Any

    #: A :class:`gahbench.Basis` and a :class:`gahbench.Truth`; imports of these classes would be circular.
    Basis = Any
    Truth = Any

#: Lower bound of clean coefficients in units of sigma, added in quadrature so that filters of every trace exist.
_FLOOR = 1e-3
#: Number of rows of a matrix that are computed at once.
_ROWS_PER_BATCH = 256
#: Maximum rounding error of the elements of matrices in float32.
_ROUNDING = 1e-5


def oracle_filters(basis: Basis, truth: Truth, sigma: float) -> FilterFamily:
    """Return the oracle shrinkage filters in a basis, of any trace, for each image.

    The weights are a_k^2 / (a_k^2 + nu^2 level_k^2), with a_k^2 = c_k^2 + (sigma / 1000)^2 and c_k the clean
    coefficients. The standard deviation nu is chosen to give the requested trace, between 0 and the number of values of
    an image. An adaptive basis is adapted to the clean images, at sigma.
    """
    shape = image_shape(truth.clean)
    parts = list(basis.parts(truth))
    adapted = [basis.adapt_to(part, sigma) for part in parts]
    clean = [own_basis.analysis(part.clean) for own_basis, part in zip(adapted, parts, strict=True)]
    layout = clean[0].shape[1:]
    noise = [
        own_basis.noise_levels(shape).double().expand(len(coefficients), *layout)
        for own_basis, coefficients in zip(adapted, clean, strict=True)
    ]
    levels = torch.cat(noise).flatten(1).to(truth.clean.device)
    energy = torch.cat(clean).flatten(1).double().square() + (_FLOOR * sigma) ** 2
    values = levels.square() / energy

    if truth.clean[0].numel() > LARGEST_EXACT:

        def maps(weights: Tensor) -> LinearMaps:
            def forward(images: Tensor, first: int) -> Tensor:
                part = replace(truth, clean=truth.clean[first : first + len(images)], start=truth.start + first)
                own_basis = basis.adapt_to(part, sigma)
                own_weights = weights[first : first + len(images)].to(images).reshape(-1, *layout)
                filtered: Tensor = own_basis.synthesis(own_basis.analysis(images) * own_weights)
                return filtered

            return AutogradMaps(forward, truth.clean, repeatable=False)

        # In a Parseval frame, the contribution of a coefficient to the trace is its variance under white noise.
        return FilterFamily(values, levels.square(), shape, None, maps)

    if basis.adaptive:
        pairs = [_atoms(*part, shape) for part in zip(adapted, clean, strict=True)]
    else:
        pairs = [_atoms(basis, clean[0][:1], shape)]
    is_parseval = all(first is second for first, second in pairs)
    analysis = torch.cat([first for first, _ in pairs])
    synthesis = analysis if is_parseval else torch.cat([second for _, second in pairs])
    return FilterFamily(values, (analysis * synthesis).double().sum(-1), shape, (analysis, synthesis))


def _atoms(basis: Basis, coefficients: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Return rows of A and columns of Y, the analysis and synthesis, shape (N, K, d); the same tensor if Y = A'."""
    atoms = basis.atoms(shape)
    if atoms is not None:
        atoms = atoms.to(coefficients)
        return atoms, atoms
    matrices = _matrices_of_images if basis.adaptive else _shared_matrix
    analysis = matrices(basis.analysis, coefficients.new_zeros(len(coefficients), *shape))
    if basis.is_orthonormal(shape):
        return analysis, analysis
    synthesis = matrices(basis.synthesis, torch.zeros_like(coefficients)).mT.contiguous()
    return analysis, analysis if torch.allclose(analysis, synthesis, atol=_ROUNDING) else synthesis


def _shared_matrix(function: Callable[[Tensor], Tensor], example: Tensor) -> Tensor:
    """Return the matrix, shape (1, K, d), of a linear function that is the same for all images."""
    units = torch.eye(example[0].numel(), dtype=example.dtype, device=example.device)
    chunks = torch.split(units.reshape(-1, *example.shape[1:]), _ROWS_PER_BATCH)
    return torch.cat([function(chunk).flatten(1) for chunk in chunks]).mT.contiguous()[None]


def _matrices_of_images(function: Callable[[Tensor], Tensor], example: Tensor) -> Tensor:
    """Return the matrices, shape (N, K, d), of a linear function that processes N images independently."""
    with torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Operations that cannot be batched are only slow.
        inputs = example.clone().requires_grad_()
        value = function(inputs)
        size = value[0].numel()
        rows = []
        for units in torch.split(torch.eye(size, dtype=value.dtype, device=value.device), _ROWS_PER_BATCH):
            # Each unit vector is used for all images at once.
            cotangents = units.reshape(-1, 1, *value.shape[1:]).expand(-1, *value.shape)
            grads = torch.autograd.grad(value, inputs, cotangents, retain_graph=True, is_grads_batched=True)[0]
            rows.append(grads.flatten(2))
    return torch.cat(rows).transpose(0, 1).contiguous().detach()
