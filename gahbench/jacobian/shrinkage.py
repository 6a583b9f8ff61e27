"""Filters of oracles: coefficients in any basis, multiplied by weights that the clean ones decide."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gahbench._util.shapes import Shape, image_shape
from gahbench.jacobian.autograd import AutogradMaps
from gahbench.jacobian.families import DiagonalFamily, FilterFamily
from gahbench.jacobian.maps import LARGEST_EXACT, LinearMaps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import ClassVar, Protocol

    from gahbench.contracts.truth import Truth

    class _Basis(Protocol):
        """The attributes of :class:`gahbench.Basis` that filters use; an import of that class would be circular."""

        adaptive: ClassVar[bool]

        def parts(self, truth: Truth) -> Iterator[Truth]: ...
        def adapt_to(self, truth: Truth, threshold: float) -> _Basis: ...
        def analysis(self, images: Tensor) -> Tensor: ...
        def synthesis(self, coefficients: Tensor) -> Tensor: ...
        def atoms(self, shape: Shape) -> Tensor | None: ...
        def noise_levels(self, shape: Shape) -> Tensor: ...
        def is_orthonormal(self, shape: Shape) -> bool: ...


#: Added to clean coefficients, in units of sigma, so that filters of every trace exist.
_FLOOR = 1e-3
#: Of a linear function, and an example of what it takes.
_Rows = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
#: Rows of a matrix that are found at once.
_TOGETHER = 256
#: In float32 the rows of A and the columns of A' differ by no more.
_ROUNDING = 1e-5


def oracle_filters(basis: _Basis, truth: Truth, sigma: float) -> FilterFamily:
    """Return the linear denoisers that shrink in a basis as oracles do, at any strength, for each image.

    The weights of clean coefficients c_k are a_k^2 / (a_k^2 + nu^2 level_k^2), a_k^2 = c_k^2 + (sigma / 1000)^2, as for
    noise of a standard deviation nu that is chosen so that the trace is the one asked for: any between 0 and the number
    of values of an image. A basis that is adapted to images is adapted to the clean ones, at sigma.
    """
    shape = image_shape(truth.clean)
    parts = list(basis.parts(truth))
    adapted = [basis.adapt_to(part, sigma) for part in parts]
    clean = [one.analysis(part.clean) for one, part in zip(adapted, parts, strict=True)]
    layout = clean[0].shape[1:]
    noise = [one.noise_levels(shape).double().expand(len(of), *layout) for one, of in zip(adapted, clean, strict=True)]
    levels = torch.cat(noise).flatten(1).to(truth.clean.device)
    energy = torch.cat(clean).flatten(1).double().square() + (_FLOOR * sigma) ** 2
    values = levels.square() / energy

    if truth.clean[0].numel() > LARGEST_EXACT:

        def maps(weights: Tensor) -> LinearMaps:
            def forward(images: Tensor, first: int) -> Tensor:
                one = replace(truth, clean=truth.clean[first : first + len(images)], start=truth.start + first)
                alone = basis.adapt_to(one, sigma)
                kept = weights[first : first + len(images)].to(images).reshape(-1, *layout)
                return alone.synthesis(alone.analysis(images) * kept)

            return AutogradMaps(forward, truth.clean, repeatable=False)

        # In a Parseval frame the trace of a coefficient's part is its power of white noise.
        return DiagonalFamily(values, levels.square(), shape, None, maps)

    if basis.adaptive:
        pairs = [_atoms(one, coefficients, shape, _rows) for one, coefficients in zip(adapted, clean, strict=True)]
    else:
        pairs = [_atoms(basis, clean[0][:1], shape, _rows_of_all)]
    same = all(first is second for first, second in pairs)
    analysis = torch.cat([first for first, _ in pairs])
    synthesis = analysis if same else torch.cat([second for _, second in pairs])
    return DiagonalFamily(values, (analysis * synthesis).double().sum(-1), shape, (analysis, synthesis))


def _atoms(basis: _Basis, coefficients: Tensor, shape: Shape, rows: _Rows) -> tuple[Tensor, Tensor]:
    """Return rows of the analysis A and columns of the synthesis Y, (N, K, d) each, one tensor twice if Y is A'."""
    held = basis.atoms(shape)
    if held is not None:
        held = held.to(coefficients)
        return held, held
    analysis = rows(basis.analysis, coefficients.new_zeros(len(coefficients), *shape))
    if basis.is_orthonormal(shape):
        return analysis, analysis
    synthesis = rows(basis.synthesis, torch.zeros_like(coefficients)).mT.contiguous()
    return analysis, analysis if torch.allclose(analysis, synthesis, atol=_ROUNDING) else synthesis


def _rows_of_all(function: Callable[[Tensor], Tensor], example: Tensor) -> Tensor:
    """Return the matrix, shape (1, K, d), of a linear function that takes any number of images at once."""
    units = torch.eye(example[0].numel(), dtype=example.dtype, device=example.device)
    columns = [function(some.reshape(-1, *example.shape[1:])).flatten(1) for some in torch.split(units, _TOGETHER)]
    return torch.cat(columns).mT.contiguous()[None]


def _rows(function: Callable[[Tensor], Tensor], example: Tensor) -> Tensor:
    """Return the matrices, shape (N, K, d), of a linear function of N images, which treats each of them alone."""
    with torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # That an operation is not batched, which is slow only.
        given = example.clone().requires_grad_()
        value = function(given)
        size = value[0].numel()
        found = []
        for units in torch.split(torch.eye(size, dtype=value.dtype, device=value.device), _TOGETHER):
            # Each unit vector for all of the batch at once.
            cotangents = units.reshape(-1, 1, *value.shape[1:]).expand(-1, *value.shape)
            grads = torch.autograd.grad(value, given, cotangents, retain_graph=True, is_grads_batched=True)[0]
            found.append(grads.flatten(2))
    return torch.cat(found).transpose(0, 1).contiguous().detach()
