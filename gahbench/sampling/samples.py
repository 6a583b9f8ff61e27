"""Results of sampling: images, and the status of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gahbench._util.shapes import Shape
from gahbench.sampling.settings import Sampling

Status = Literal["converged", "out of steps", "diverged"]
STATUSES: tuple[Status, ...] = ("converged", "out of steps", "diverged")

#: Called as sampling goes on, with the share of the work that is done, in [0, 1], and the number of finished samples.
Progress = Callable[[float, int], None]


@dataclass(frozen=True, eq=False)
class Samples:
    """Images sampled from a denoiser.

    Parameters
    ----------
    images
        Shape (N, C, H, W), float32, on the CPU; nothing is clipped. Those that diverged are as they were before the
        step in which they did.
    steps
        Steps that each took, without the denoising at the end, shape (N,), int64.
    sigma
        Noise left in each before that, as the root mean square of the residual f(y) - y, shape (N,), float64. Not a
        number where the residual is not.
    status
        ``converged``: the noise fell to ``sigma_end``, or the levels of the flow are passed; ``out of steps``: the
        noise did not fall that far in ``max_steps``; ``diverged``: the residual was not finite, or beyond
        ``settings.bound``.
    settings
        How they were sampled.
    first
        Number of the first sample.
    source
        The denoiser that they are from, for captions.
    """

    images: Tensor
    steps: Tensor
    sigma: Tensor
    status: tuple[Status, ...]
    settings: Sampling
    first: int = 0
    source: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def __str__(self) -> str:
        counts = Counter(self.status)
        became = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
        drawn = f"{len(self)} {'sample' if len(self) == 1 else 'samples'} by the {self.settings.sampler} sampler"
        last = self.sigma[self.sigma.isfinite()]
        left = f", σ = {_between(f'{float(last.min()):.3g}', f'{float(last.max()):.3g}')} left" if len(last) else ""
        return f"{drawn}: {became}; {_between(int(self.steps.min()), int(self.steps.max()))} steps{left}"

    @property
    def converged(self) -> Tensor:
        """Which converged, shape (N,), bool."""
        return torch.tensor([status == "converged" for status in self.status])

    def arrays(self) -> dict[str, Any]:
        """Return images, steps, sigma, status, first, source, and settings as JSON, as numpy's arrays by name."""
        return {
            "images": self.images.numpy(),
            "steps": self.steps.numpy(),
            "sigma": self.sigma.numpy(),
            "status": np.array(self.status),
            "first": np.array(self.first),
            "source": np.array(self.source),
            "settings": np.array(self.settings.model_dump_json()),
        }


class Gathered:
    """Samples as they finish, in any order.

    Parameters
    ----------
    settings, first
        How they are sampled, and the number of the first.
    shape
        Shape (C, H, W) of one.
    """

    def __init__(self, settings: Sampling, shape: Shape, first: int) -> None:
        self._settings, self._first = settings, first
        self._images = torch.full((settings.count, *shape), torch.nan)
        self._steps = torch.zeros(settings.count, dtype=torch.int64)
        self._sigma = torch.full((settings.count,), torch.nan, dtype=torch.float64)
        self._status: dict[int, Status] = {}

    def __len__(self) -> int:
        return len(self._status)

    def put(
        self, places: Sequence[int], images: Tensor, steps: Tensor, sigma: Tensor, status: Sequence[Status]
    ) -> None:
        """Keep finished samples, given their places from 0."""
        self._images[places] = images.float().cpu()
        self._steps[places] = steps
        self._sigma[places] = sigma
        self._status.update(zip(places, status, strict=True))

    def samples(self) -> Samples:
        """Return all of them."""
        status = tuple(self._status[place] for place in range(self._settings.count))
        return Samples(self._images, self._steps, self._sigma, status, self._settings, self._first)


def _between(low: object, high: object) -> str:
    return f"{low}" if low == high else f"{low} to {high}"
