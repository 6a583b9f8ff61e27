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
from gahbench.devices.hardware import hardware
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
    """Samples as they finish, in any order."""

    def __init__(self, settings: Sampling, shape: Shape, first: int, device: torch.device) -> None:
        self._settings, self._first = settings, first
        self._images = torch.full((settings.count, *shape), torch.nan, device=device)
        self._steps = torch.zeros(settings.count, dtype=torch.int64)
        self._sigma = torch.full((settings.count,), torch.nan, dtype=torch.float64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def take_finished(
        self, places: Sequence[int], images: Tensor, going: Tensor, steps: Tensor, sigma: Tensor
    ) -> tuple[list[int] | None, Tensor]:
        """Keep the samples of a batch that have finished; return where in it the others are, and their noise levels."""
        is_going, known_steps, known_sigma = torch.stack([going.to(sigma), steps, sigma]).cpu().unbind()
        if is_going.all():
            return None, known_sigma
        stay, ended = is_going.nonzero()[:, 0], (is_going == 0).nonzero()[:, 0]
        where, there = torch.tensor(places)[ended], hardware(images.device)
        self._images.index_copy_(0, there.upload(where), images[there.upload(ended)].float())
        self._steps[where], self._sigma[where] = known_steps[ended].long(), known_sigma[ended]
        self._count += len(ended)
        return stay.tolist(), known_sigma[stay]

    def samples(self) -> Samples:
        """Return all of them."""
        status = tuple(self._status(sigma) for sigma in self._sigma.tolist())
        return Samples(self._images.cpu(), self._steps, self._sigma, status, self._settings, self._first)

    def _status(self, sigma: float) -> Status:
        # Written so that NaN has diverged.
        if not sigma <= self._settings.bound:
            return "diverged"
        # The flow ends when its noise levels are passed, whatever noise is left.
        has_converged = self._settings.sampler == "flow" or sigma <= self._settings.sigma_end
        return "converged" if has_converged else "out of steps"


def _between(low: object, high: object) -> str:
    return f"{low}" if low == high else f"{low} to {high}"
