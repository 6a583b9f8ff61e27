"""Whether samples are nearer to the images that their denoiser learned from than to as many others."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench.sampling.statistics.neighbours import nearest

#: Least number of values of which an interval is estimated.
FEWEST = 6


def own_set(samples: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """Return whether the image nearest to each sample, of two sets, is in its own.

    The two sets should be equally many, and share no image: of samples of any sampler that does not depend on which set
    is which, half are then nearer to their own on average over both, whatever the sets are.

    Parameters
    ----------
    samples
        Shape (N, ...).
    own, other
        Images, shapes (M, ...) each.

    Returns
    -------
    Tensor
        1 or 0, and 1/2 where both are equally near, shape (N,), float64.

    Examples
    --------
    >>> import torch
    >>> images = torch.arange(4.0).reshape(4, 1, 1, 1)
    >>> own_set(torch.tensor([0.1, 2.9, 1.5]).reshape(3, 1, 1, 1), images[:2], images[2:]).tolist()
    [1.0, 0.0, 0.5]
    """
    mine, others = (nearest(samples, images).values[:, 0] for images in (own, other))
    return torch.where(mine == others, 0.5, (mine < others).double())


def simultaneous_lower(values: Tensor, level: float = 0.95, draws: int = 2000) -> Tensor:
    """Return lower ends that the means of all rows are above at once, shape (T,).

    A bootstrap over columns, which all rows share, of the largest deviation in standard errors.

    Parameters
    ----------
    values
        Shape (T, N), such as :func:`own_set` of N samples at T times; NaN where one is missing. A row with fewer than
        six has the end NaN.
    level
        Share of cases in which all ends are below their means.
    draws
        Number of resamplings.
    """
    values = values.double()
    there = ~values.isnan()
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(values.shape[1], (draws, values.shape[1]), generator=generator)
    weights = torch.zeros(draws, values.shape[1], dtype=torch.float64).scatter_add_(
        1, chosen, torch.ones(chosen.shape, dtype=torch.float64)
    )
    means = values.nanmean(1)
    count = weights @ there.double().mT
    # A resampling without any value of a row does not deviate.
    drawn = torch.where(count > 0, (weights @ values.nan_to_num().mT) / count.clamp_min(1.0), means)
    numbers = there.sum(1).double()
    known = numbers >= FEWEST
    # Times sqrt(n / (n - 1)): a resampling has the variance that is divided by n.
    drawn = means + (drawn - means) * (numbers / (numbers - 1).clamp_min(1.0)).sqrt()
    errors = (drawn - means).square().mean(0).sqrt()
    varies = known & (errors > 0)
    if not varies.any():
        return means.where(known, torch.nan)
    largest = ((drawn - means) / errors.where(varies, torch.inf))[:, varies].amax(1)
    return (means - float(largest.quantile(level)) * errors).where(known, torch.nan)


def without_shared(own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return two sets of images, equally many, without those that are in both.

    Parameters
    ----------
    own, other
        Shapes (M, ...) and (N, ...).
    """
    _, group = torch.unique(torch.cat([own, other]).flatten(1), dim=0, return_inverse=True)
    mine, others = group.split([len(own), len(other)])
    own, other = own[~torch.isin(mine, others)], other[~torch.isin(others, mine)]
    count = min(len(own), len(other))
    return own[:count], other[:count]
