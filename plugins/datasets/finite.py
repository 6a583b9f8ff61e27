"""A finite set of images that is the whole density: the best denoiser is the one that memorizes."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Dataset, Names, Optimum, Posterior, Split, image_shape
from gahbench.jacobian import FunctionMaps, LinearMaps

from .._messages import name_of
from .._tensors import can_read_values
from ._derived import Derived
from ._generated import Generated

#: Members read at a time.
READ = 4096
#: Elements of a float64 tensor, which bound the memory: images and weights come in pieces of at most 64 MiB.
ELEMENTS = 2**23
#: Members of smaller weight do not count for filters.
COUNTS = 1e-14


class Finite(Derived, Generated):
    """N training images of another dataset, taken for the whole density: each is as likely as any other.

    Every split is an endless series of draws from the same N images, with replacement. So here, and on purpose, splits
    share images, and a test image is never new: only its noise is. The posterior mean is the average of the N images
    weighted by softmax(-|y - x_i|^2 / 2 sigma^2), the output of a denoiser that memorized its training set.
    There is no rate: once sigma is small against the distances between images, the error falls faster than any power
    of it.

    Parameters
    ----------
    dataset
        Where the images are from: its first training images.
    count
        Number N of images.
    seed
        Seed of the draws; the N images are the same for every seed.

    Raises
    ------
    ValueError
        If the dataset holds fewer training images.
    """

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
        available = self.dataset.available("train")
        if available is not None and count > available:
            raise ValueError(
                f"count={count} of {name_of(dataset)}, which holds {available} training images; accepted: no more"
            )

    @property
    def optimum(self) -> Optimum:
        """The posterior mean is known in closed form."""
        return Optimum("exact")

    @property
    def recipe(self) -> str:
        """Draws from a few images."""
        return f"{self.count} images, each drawn again and again"

    @functools.cached_property
    def members(self) -> Tensor:
        """The N images, shape (N, C, H, W), float32."""
        members = torch.empty(self.count, *self.shape)
        # In pieces, so that images that are put together from parts never are in memory twice.
        for start in range(0, self.count, READ):
            part = members[start : start + READ]
            part.copy_(self.dataset.images("train", len(part), start))
        return members

    def draw(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw images, shape (count, C, H, W), float32."""
        return self.members[torch.randint(self.count, (count,), generator=generator)]

    def posterior(self, noisy: Tensor, sigma: float) -> Posterior:
        """Return mean, float64, and spread of the members given noisy images; see :func:`empirical_bayes`."""
        flat = empirical_bayes(self.members.flatten(1), noisy.flatten(1), sigma)
        return Posterior(flat.mean.view_as(noisy), flat.trace)

    def optimal_filters(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> LinearMaps:
        """Return the posterior covariances over sigma^2; see :func:`empirical_filters`."""
        return empirical_filters(self.members, noisy, sigma)


def empirical_filters(members: Tensor, noisy: Tensor, sigma: float) -> LinearMaps:
    """Return the Jacobians of :func:`empirical_bayes`: sum_i w_i (x_i - m) (x_i - m)' / sigma^2, m the mean."""
    points = members.flatten(1)
    spreads = _spreads(points, noisy.flatten(1).double(), sigma)

    def filtered(vectors: Tensor, places: Sequence[int]) -> Tensor:
        spread = [spreads[place] for place in places]
        return torch.stack([own @ rows.mT @ rows for own, rows in zip(vectors, spread, strict=True)])

    return FunctionMaps(filtered, len(noisy), image_shape(members), noisy.double())


def _spreads(points: Tensor, noisy: Tensor, sigma: float) -> list[Tensor]:
    """Return for each image the rows sqrt(w_i) (x_i - m) / sigma of the points that count, shape (K, d)."""
    pieces = torch.split(points, max(1, ELEMENTS // points.shape[1]))
    weights = []
    for image in noisy:
        distances = torch.cat([(some.to(image) - image).square().sum(1) for some in pieces])
        weights.append(torch.softmax(-distances / (2 * sigma**2), dim=0))
    # The others weigh less than rounding; their weight is given to the rest. A GPU is waited for once.
    counts = torch.stack([(own > COUNTS).sum() for own in weights]).cpu().tolist()
    return [
        _spread(points, own, own.topk(count).indices.sort().values) / sigma
        for own, count in zip(weights, counts, strict=True)
    ]


def _spread(points: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
    """Return the rows sqrt(w_i) (x_i - m) of chosen points, shape (K, d)."""
    weights, members = weights[chosen] / weights[chosen].sum(), points[chosen.to(points.device)].to(weights)
    return weights.sqrt()[:, None] * (members - weights @ members)


def empirical_bayes(points: Tensor, noisy: Tensor, sigma: float | Tensor) -> Posterior:
    """Return the posterior of a uniform choice among points, given noisy ones.

    The mean is sum_i w_i x_i, w = softmax(-|y - x_i|^2 / 2 sigma^2), and the trace sum_i w_i |x_i - mean|^2. Distances
    are float64 and relative to the mean of the points. Mean and trace are relative to the likeliest point, so
    that both keep their relative accuracy when its weight rounds to 1.
    """
    origin = torch.zeros(points.shape[1], dtype=torch.float64, device=noisy.device)
    centre = torch.stack([some.sum(0) for some in _pieces(points, origin)]).sum(0) / len(points)
    rows = max(1, ELEMENTS // len(points))
    variances = torch.as_tensor(sigma, dtype=torch.float64, device=noisy.device).square().expand(len(noisy))
    pieces = [
        _posterior(points, centre, some.double(), of_some[:, None])
        for some, of_some in zip(torch.split(noisy, rows), torch.split(variances, rows), strict=True)
    ]
    return Posterior(torch.cat([mean for mean, _ in pieces]), torch.cat([trace for _, trace in pieces]))


def _posterior(points: Tensor, centre: Tensor, noisy: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    centred = noisy - centre
    # Half the squared distances, less the part common to all points.
    distances = torch.cat([some.square().sum(1) / 2 - centred @ some.mT for some in _pieces(points, centre)], dim=1)
    weights = torch.softmax(-distances / variance, dim=1)
    likeliest = weights.argmax(1, keepdim=True)
    others = weights.scatter(1, likeliest, 0)
    base = points[likeliest[:, 0].to(points.device)].to(noisy)
    sums, energy = torch.zeros_like(noisy), noisy.new_zeros(len(noisy))
    start = 0
    for some in _pieces(points, centre):
        shares = others[:, start : start + len(some)]
        start += len(some)
        # At low noise hardly any point counts; a GPU adds them all rather than wait for which do.
        if not can_read_values(shares) or shares.any():
            sums = sums + shares @ some
            energy = energy + shares @ some.square().sum(1)
    share = others.sum(1)
    anchor = base - centre
    offset = sums - share[:, None] * anchor
    # The sum of w_i |x_i - x_likeliest|^2.
    around = energy - 2 * (anchor * sums).sum(1) + share * anchor.square().sum(1)
    return base + offset, (around - offset.square().sum(1)).clamp(min=0)


def _pieces(points: Tensor, centre: Tensor) -> Iterator[Tensor]:
    for some in torch.split(points, max(1, ELEMENTS // points.shape[1])):
        yield some.to(centre) - centre
