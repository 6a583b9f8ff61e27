"""Membership statistics: tests of whether samples are nearer to the training images than to other images."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench.sampling.statistics.neighbours import nearest, nearest_by_cosine

#: Minimum number of values for an interval.
MIN_VALUES = 6


def nearest_is_own(samples: Tensor, own: Tensor, other: Tensor, affine: bool = False) -> Tensor:
    """Return, for each sample, whether its nearest image is a training image of its denoiser.

    The training images and the other images should be sets of equal size without a common image. If samples do not
    depend on which of the two sets was used for training, the average over both choices is 1/2, whatever the sets are.

    Parameters
    ----------
    samples
        Shape (N, ...).
    own
        Training images of the denoiser, shape (M, ...).
    other
        Other images, shape (M, ...).
    affine
        Whether to compare images up to brightness and contrast, by the cosine after removing the mean of each image. A
        bias-free network memorizes images up to brightness and contrast only; see :func:`affine_ratios`.

    Returns
    -------
    Tensor
        1 if the nearest image is in ``own``, 0 if it is in ``other``, 1/2 for equal distances; shape (N,), float64.

    Examples
    --------
    >>> import torch
    >>> images = torch.arange(4.0).reshape(4, 1, 1, 1)
    >>> nearest_is_own(torch.tensor([0.1, 2.9, 1.5]).reshape(3, 1, 1, 1), images[:2], images[2:]).tolist()
    [1.0, 0.0, 0.5]
    """
    if affine:
        own_distances, other_distances = (-nearest_by_cosine(samples, images).values[:, 0] for images in (own, other))
    else:
        own_distances, other_distances = (nearest(samples, images).values[:, 0] for images in (own, other))
    return torch.where(own_distances == other_distances, 0.5, (own_distances < other_distances).double())


def simultaneous_lower(values: Tensor, level: float = 0.95, draws: int = 2000) -> Tensor:
    """Return simultaneous lower confidence limits of the means of all rows, shape (T,).

    The limits come from a bootstrap of the largest deviation in standard errors; all rows share the resampled columns.

    Parameters
    ----------
    values
        Shape (T, N), such as :func:`nearest_is_own` of N samples at T times; NaN marks missing values. The limit of a
        row with fewer than six values is NaN.
    level
        Confidence level: the probability that all limits are below their means.
    draws
        Number of bootstrap samples.

    Examples
    --------
    >>> import torch
    >>> shares = torch.tensor([[1.0] * 10, [0.0, 1.0] * 5])
    >>> lower = simultaneous_lower(shares)
    >>> float(lower[0]), bool(lower[1] < 0.5)
    (1.0, True)
    """
    values = values.double()
    is_present = ~values.isnan()
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(values.shape[1], (draws, values.shape[1]), generator=generator)
    weights = torch.zeros(draws, values.shape[1], dtype=torch.float64).scatter_add_(
        1, chosen, torch.ones(chosen.shape, dtype=torch.float64)
    )
    means = values.nanmean(1)
    count = weights @ is_present.double().mT
    # A bootstrap sample without any value of a row has no deviation in that row.
    drawn = torch.where(count > 0, (weights @ values.nan_to_num().mT) / count.clamp_min(1.0), means)
    row_sizes = is_present.sum(1).double()
    is_known = row_sizes >= MIN_VALUES
    # The factor sqrt(n / (n - 1)) corrects the bias of the bootstrap variance.
    drawn = means + (drawn - means) * (row_sizes / (row_sizes - 1).clamp_min(1.0)).sqrt()
    errors = (drawn - means).square().mean(0).sqrt()
    has_spread = is_known & (errors > 0)
    if not has_spread.any():
        return means.where(is_known, torch.nan)
    largest = ((drawn - means) / errors.where(has_spread, torch.inf))[:, has_spread].amax(1)
    return (means - float(largest.quantile(level)) * errors).where(is_known, torch.nan)


def remove_shared(own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return two sets of images truncated to equal size, without the images that are in both.

    Parameters
    ----------
    own
        Shape (M, ...).
    other
        Shape (N, ...).

    Examples
    --------
    >>> import torch
    >>> images = torch.arange(4.0).reshape(4, 1, 1, 1)
    >>> [kept.flatten().tolist() for kept in remove_shared(images[:3], images[2:])]
    [[0.0], [3.0]]
    """
    _, group = torch.unique(torch.cat([own, other]).flatten(1), dim=0, return_inverse=True)
    own_groups, other_groups = group.split([len(own), len(other)])
    own, other = own[~torch.isin(own_groups, other_groups)], other[~torch.isin(other_groups, own_groups)]
    count = min(len(own), len(other))
    return own[:count], other[:count]
