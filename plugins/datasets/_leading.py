"""The leading part of the covariance of two regions, from few eigenvectors of a background."""

from __future__ import annotations

import torch
from torch import Tensor


class Leading:
    """The matrix A = M K_r M + (1 - M) K_r (1 - M) + v (m m' + (1 - m) (1 - m)') = F F' of masks m, M = diag(m).

    K_r = W W' is the covariance of a background from r eigenvectors, and F = [M W, (1 - M) W, v^(1/2) m,
    v^(1/2) (1 - m)] has 2 r + 2 columns. F is never formed.
    """

    def __init__(self, values: Tensor, vectors: Tensor, constant: float) -> None:
        self.scaled = vectors * values.sqrt()
        self.values = values
        self.root = constant**0.5

    @property
    def rank(self) -> int:
        """Number r of eigenvectors."""
        return len(self.values)

    @property
    def columns(self) -> int:
        """Number of columns of F."""
        return 2 * self.rank + 2

    def analysis(self, masks: Tensor, images: Tensor) -> Tensor:
        """Return F' x, shape (N, 2 r + 2), for images x and masks, shape (N, d) each or (1, d) for one of them."""
        inside = masks * images
        outside = images - inside
        sums = self.root * torch.stack([inside.sum(-1), outside.sum(-1)], dim=-1)
        return torch.cat([inside @ self.scaled, outside @ self.scaled, sums], dim=-1)

    def synthesis(self, masks: Tensor, parts: Tensor) -> Tensor:
        """Return F c, shape (N, d), for coefficients c, shape (N, 2 r + 2), and masks, shape (N, d) or (1, d)."""
        first, second, sums = torch.split(parts, [self.rank, self.rank, 2], dim=-1)
        inside = first @ self.scaled.T + self.root * sums[:, :1]
        outside = second @ self.scaled.T + self.root * sums[:, 1:]
        images: Tensor = outside + masks * (inside - outside)
        return images

    def gram(self, mask: Tensor) -> Tensor:
        """Return F' F, shape (2 r + 2, 2 r + 2), for a mask, shape (d,)."""
        rank = self.rank
        both = mask * (1 - mask)
        # Few pixels are of both regions, and the eigenvectors are orthonormal: one large product makes three blocks.
        mixed = both.nonzero()[:, 0]
        first = (self.scaled * mask.square()[:, None]).T @ self.scaled
        across = (self.scaled[mixed] * both[mixed, None]).T @ self.scaled[mixed]
        second = torch.diag(self.values) - first - 2 * across
        found = torch.empty(self.columns, self.columns, dtype=torch.float64)
        found[:rank, :rank], found[rank:-2, rank:-2] = first, second
        found[:rank, rank:-2], found[rank:-2, :rank] = across, across
        shares = torch.stack([mask.square(), both, (1 - mask).square()])
        sums = self.root * shares @ self.scaled
        found[:rank, -2:] = sums[:2].T
        found[rank:-2, -2:] = sums[1:].T
        found[-2:, :-2] = found[:-2, -2:].T
        found[-2:, -2:] = self.root**2 * shares.sum(1)[torch.tensor([[0, 1], [1, 2]])]
        return found
