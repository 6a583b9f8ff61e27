"""Patches that are alike, replaced by their mean."""

from __future__ import annotations

import torch
from torch import Tensor

#: Patches are alike in groups of at most so many, and not split below so few.
LARGEST, SMALLEST = 1024, 4
#: Principal components that groups are split along, and patches that they are found from.
COMPONENTS, EXAMPLES = 12, 4096


def merged(patches: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Return patches, with those that lie close together replaced by their mean, and how many each stands for."""
    count = len(patches)
    halvings = max(0, (count // SMALLEST).bit_length() - 1)
    size = -(-count // 2**halvings)
    # The last patch is repeated to fill the groups, with the weight 0.
    places = torch.arange(size * 2**halvings, device=patches.device)
    weights = (places < count).to(patches)
    coordinates = _coordinates(patches)
    groups = places.clamp(max=count - 1)[None]
    of_groups = weights[None]
    means, numbers = [], []
    for _ in range(halvings + 1):
        if groups.shape[1] <= LARGEST:
            own = patches[groups]
            number = of_groups.sum(1)
            mean = (of_groups[..., None] * own).sum(1) / number.clamp(min=1)[:, None]
            spread = (of_groups * (own - mean[:, None]).square().sum(2)).sum(1) / number.clamp(min=1)
            alike = spread <= radius**2
            kept = alike & (number > 0)
            means.append(mean[kept])
            numbers.append(number[kept])
            groups, of_groups = groups[~alike], of_groups[~alike]
        if not len(groups) or groups.shape[1] < 2 * SMALLEST:
            break
        groups, of_groups = _halved(groups, of_groups, coordinates)
    single = groups[of_groups > 0]
    return torch.cat([*means, patches[single]]), torch.cat([*numbers, weights.new_ones(len(single))])


def _coordinates(patches: Tensor) -> Tensor:
    """Return coordinates of patches in which groups are split, shape (K, r)."""
    some = patches[:: max(1, len(patches) // EXAMPLES)]
    centred = some - some.mean(0)
    vectors: Tensor = torch.linalg.eigh(centred.mT @ centred).eigenvectors
    return patches @ vectors[:, -COMPONENTS:]


def _halved(groups: Tensor, weights: Tensor, coordinates: Tensor) -> tuple[Tensor, Tensor]:
    """Return twice as many groups of half the size: (2 G, L / 2) of (G, L), L even or one more of weight 0."""
    if groups.shape[1] % 2:
        groups = torch.cat([groups, groups[:, -1:]], 1)
        weights = torch.cat([weights, torch.zeros_like(weights[:, -1:])], 1)
    own = coordinates[groups]
    widest = own.var(1).argmax(1)
    order = own.gather(2, widest[:, None, None].expand(-1, own.shape[1], 1))[..., 0].argsort(1)
    half = groups.shape[1] // 2
    return groups.gather(1, order).reshape(-1, half), weights.gather(1, order).reshape(-1, half)
