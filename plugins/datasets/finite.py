"""Draws from a finite set of images, whose best denoiser memorizes the set."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Dataset, Names, Optimum, Posterior, Split, get_spec, image_shape
from gahbench.jacobian import FunctionMaps, LinearMaps
from gahbench_plugins.datasets.generated import Derived, Generated

#: Maximum number of elements of a float64 tensor: images and weights are processed in pieces of at most 64 MiB.
ELEMENTS = 2**23
#: Images of smaller posterior weight are omitted from filters.
MIN_WEIGHT = 1e-14


class Finite(Derived, Generated):
    """Draws from N training images of another dataset, which are equally likely.

    Every split is an endless sequence of draws from the same N images, with replacement. Splits share images on
    purpose: a test image is never new, only its noise. The posterior mean is the average of the N images weighted by
    softmax(-|y - x_i|^2 / 2 sigma^2), which is the output of a denoiser that memorized its training set. There is no
    rate: if sigma is small compared with the distances between images, the error falls faster than any power of sigma.

    Parameters
    ----------
    dataset
        Dataset whose first training images are used.
    count
        Number N of images.
    seed
        Seed of the draws; the N images are the same for every seed.

    Raises
    ------
    ValueError
        If the dataset has fewer training images.
    """

    display_name = "finite {dataset}"
    label_parameters = ("dataset", "count")
    splits_overlap = True

    def __init__(
        self,
        dataset: Annotated[Dataset, Names("dataset", default="faces")],
        count: Annotated[int, Field(ge=1)] = 64,
        seed: int = 0,
    ) -> None:
        super().__init__("finite", seed)
        self.dataset = dataset
        self.count = count
        self.recipe = f"{count} images, each drawn again and again"
        available = self.dataset.available("train")
        if available is not None and count > available:
            raise ValueError(
                f"count={count}, but {get_spec(dataset)} has {available} training images; accepted: up to {available}"
            )

    @property
    def optimum(self) -> Optimum:
        """The posterior mean is known in closed form."""
        return Optimum("exact")

    @functools.cached_property
    def members(self) -> Tensor:
        """The N images, shape (N, C, H, W), float32."""
        return self.dataset.images("train", self.count)

    def draw(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw images, shape (count, C, H, W), float32."""
        return self.members[torch.randint(self.count, (count,), generator=generator)]

    def posterior(self, noisy: Tensor, sigma: float) -> Posterior:
        """Return the posterior mean, float64, and trace given noisy images; see :func:`empirical_bayes`."""
        flat = empirical_bayes(self.members.flatten(1), noisy.flatten(1), sigma)
        return Posterior(flat.mean.view_as(noisy), flat.trace)

    def optimal_filters(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> LinearMaps:
        """Return the posterior covariances over sigma^2; see :func:`empirical_filters`."""
        return empirical_filters(self.members, noisy, sigma)


def empirical_filters(members: Tensor, noisy: Tensor, sigma: float) -> LinearMaps:
    """Return the Jacobians of :func:`empirical_bayes`: sum_i w_i (x_i - m) (x_i - m)' / sigma^2, m the mean."""
    points = members.flatten(1)
    spreads = _spreads(points, noisy.flatten(1).double(), sigma)

    def apply_filters(vectors: Tensor, indices: Sequence[int]) -> Tensor:
        factors = [spreads[index] for index in indices]
        return torch.stack([images @ rows.mT @ rows for images, rows in zip(vectors, factors, strict=True)])

    return FunctionMaps(apply_filters, len(noisy), image_shape(members), noisy.double())


def _spreads(points: Tensor, noisy: Tensor, sigma: float) -> list[Tensor]:
    """Return, for each image, rows sqrt(w_i) (x_i - m) / sigma of the points of sufficient weight, shape (K, d)."""
    spreads = []
    for image in noisy:
        pieces = torch.split(points, max(1, ELEMENTS // points.shape[1]))
        distances = torch.cat([(piece.to(image) - image).square().sum(1) for piece in pieces])
        weights = torch.softmax(-distances / (2 * sigma**2), dim=0)
        # Omitted points weigh less than rounding; the weights are renormalised.
        chosen = (weights > MIN_WEIGHT).nonzero()[:, 0]
        kept, members = weights[chosen] / weights[chosen].sum(), points[chosen.to(points.device)].to(weights)
        spreads.append(kept.sqrt()[:, None] * (members - kept @ members) / sigma)
    return spreads


def empirical_bayes(points: Tensor, noisy: Tensor, sigma: float | Tensor) -> Posterior:
    """Return the posterior of a uniform choice among points, given noisy points.

    The mean is sum_i w_i x_i, w = softmax(-|y - x_i|^2 / 2 sigma^2), and the trace sum_i w_i |x_i - mean|^2. Distances
    are computed in float64, relative to the mean of the points. Mean and trace are computed relative to the likeliest
    point, and so keep their relative accuracy when its weight rounds to 1.
    """
    origin = torch.zeros(points.shape[1], dtype=torch.float64, device=noisy.device)
    centre = torch.stack([piece.sum(0) for piece in _pieces(points, origin)]).sum(0) / len(points)
    rows = max(1, ELEMENTS // len(points))
    variances = torch.as_tensor(sigma, dtype=torch.float64, device=noisy.device).square().expand(len(noisy))
    pieces = [
        _posterior(points, centre, batch.double(), variance[:, None])
        for batch, variance in zip(torch.split(noisy, rows), torch.split(variances, rows), strict=True)
    ]
    return Posterior(torch.cat([mean for mean, _ in pieces]), torch.cat([trace for _, trace in pieces]))


def _posterior(points: Tensor, centre: Tensor, noisy: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    centred = noisy - centre
    # Half the squared distances, minus the part common to all points.
    distances = torch.cat([piece.square().sum(1) / 2 - centred @ piece.mT for piece in _pieces(points, centre)], dim=1)
    weights = torch.softmax(-distances / variance, dim=1)
    likeliest = weights.argmax(1, keepdim=True)
    others = weights.scatter(1, likeliest, 0)
    base = points[likeliest[:, 0].to(points.device)].to(noisy)
    sums, energy = torch.zeros_like(noisy), noisy.new_zeros(len(noisy))
    start = 0
    for piece in _pieces(points, centre):
        shares = others[:, start : start + len(piece)]
        start += len(piece)
        # At low noise most weights are 0; a GPU adds all points, since a check of the weights would synchronize it.
        if shares.device.type != "cpu" or shares.any():
            sums = sums + shares @ piece
            energy = energy + shares @ piece.square().sum(1)
    share = others.sum(1)
    anchor = base - centre
    offset = sums - share[:, None] * anchor
    # The sum of w_i |x_i - x_likeliest|^2.
    around = energy - 2 * (anchor * sums).sum(1) + share * anchor.square().sum(1)
    return base + offset, (around - offset.square().sum(1)).clamp(min=0)


def _pieces(points: Tensor, centre: Tensor) -> Iterator[Tensor]:
    for piece in torch.split(points, max(1, ELEMENTS // points.shape[1])):
        yield piece.to(centre) - centre
