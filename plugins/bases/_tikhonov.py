"""The filter that smooths an image along its graph: (1 + mu L)^-1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gahbench import image_shape
from gahbench.jacobian import LARGEST_EXACT, DenseMaps, FunctionMaps, LinearMaps, probes_for

from ._matrices import Matrices

#: Bisections of the logarithm of mu, over this range.
STEPS = 60
RANGE = (1e-8, 1e8)
#: For images too large for eigenvalues: random vectors and bisections that find mu.
PROBES = 16
COARSE_STEPS = 20


def tikhonov_filters(
    laplacian: Callable[[Tensor], Tensor],
    spectrum: Callable[[Tensor], tuple[Matrices, Tensor]],
    images: Tensor,
    traces: Tensor,
) -> LinearMaps:
    """Return (1 + mu_i L_i)^-1 for the graph of each image, with given traces.

    Parameters
    ----------
    laplacian, spectrum
        Return, of each image, L and its eigenvectors and eigenvalues, as the methods of
        :class:`gahbench_plugins.bases._graph.GraphBasis`; one or the other is called, as the images are large or small.
    images
        Shape (N, C, H, W).
    traces
        Shape (N,), summed over the channels; where none has that trace (it is between the number of connected regions
        and that of pixels, in each channel) the filter is the nearest.
    """
    shape = image_shape(images)
    if images[0].numel() > LARGEST_EXACT:
        return _sparse(laplacian, images, traces)
    vectors, values = spectrum(images)
    strengths = strength(values, traces.to(values) / shape[0])
    weights = damping(strengths[:, None] * values)
    columns = vectors.vectors
    matrices = (columns * weights[:, None]) @ columns.mT
    return DenseMaps(_of_all_channels(matrices, shape[0]).float(), shape)


def damping(products: Tensor) -> Tensor:
    """Return 1 / (1 + mu lambda) for products mu lambda."""
    return 1 / (1 + products)


def strength(values: Tensor, traces: Tensor, kernel: Callable[[Tensor], Tensor] = damping) -> Tensor:
    """Return mu, shape (N,), such that the sum of a kernel over mu lambda_k, of eigenvalues (N, d), is the trace, (N,).

    The kernel falls from 1 to 0; by default it is 1 / (1 + mu lambda).
    """
    low, high = (torch.full_like(traces, end).log() for end in RANGE)
    for _ in range(STEPS):
        middle = (low + high) / 2
        excess = kernel(middle.exp()[:, None] * values).sum(1) > traces
        low, high = torch.where(excess, middle, low), torch.where(excess, high, middle)
    return ((low + high) / 2).exp()


def _of_all_channels(matrices: Tensor, channels: int) -> Tensor:
    """Return matrices on images of which each channel has the same, shape (N, C d, C d)."""
    if channels == 1:
        return matrices
    eye = torch.eye(channels, dtype=matrices.dtype, device=matrices.device)
    return torch.stack([torch.kron(eye, matrix) for matrix in matrices])


def _sparse(laplacian: Callable[[Tensor], Tensor], images: Tensor, traces: Tensor) -> LinearMaps:
    from scipy.sparse import csc_array, eye_array
    from scipy.sparse.linalg import splu

    shape = image_shape(images)
    pixels = shape[1] * shape[2]
    probes = probes_for(pixels, PROBES, 1, torch.empty(0, dtype=torch.float64))[0].mT.numpy()
    solvers = []
    for image, trace in zip(images, (traces / shape[0]).tolist(), strict=True):
        matrix = csc_array(laplacian(image[None])[0].cpu().numpy())

        def factor(mu: float, matrix: Any = matrix) -> Any:
            return splu((eye_array(pixels, format="csc") + mu * matrix).tocsc())

        low, high = (torch.tensor(end, dtype=torch.float64).log().item() for end in RANGE)
        for _ in range(COARSE_STEPS):
            middle = (low + high) / 2
            found = float((probes * factor(torch.tensor(middle).exp().item()).solve(probes)).sum() / PROBES)
            low, high = (middle, high) if found > trace else (low, middle)
        solvers.append(factor(torch.tensor((low + high) / 2).exp().item()))

    def filtered(vectors: Tensor, places: Sequence[int]) -> Tensor:
        found = []
        for place, own in zip(places, vectors, strict=True):
            columns = own.reshape(-1, pixels).double().cpu().numpy().T
            found.append(torch.as_tensor(solvers[place].solve(columns).T.copy()).reshape(own.shape))
        return torch.stack(found).to(vectors)

    return FunctionMaps(filtered, len(images), shape, images)
