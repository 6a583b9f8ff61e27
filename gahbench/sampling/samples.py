"""Sampled images, with the status of each sample."""

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

#: Callback for progress: takes the fraction of the work that is done, in [0, 1], and the number of finished samples.
Progress = Callable[[float, int], None]


@dataclass(frozen=True, eq=False)
class Samples:
    """Images sampled from a denoiser.

    Parameters
    ----------
    images
        Shape (N, C, H, W), float32, on the CPU, not clipped. A sample that diverged is the image before the step in
        which it diverged.
    steps
        Number of steps of each sample, without the final denoising, shape (N,), int64.
    sigma
        Noise level of each sample before the final denoising: the root mean square of the residual f(y) - y, shape
        (N,), float64. NaN if the residual is NaN.
    status
        ``converged``: the noise fell to ``sigma_end``, or the flow passed all its levels; ``out of steps``: the
        noise did not fall to ``sigma_end`` in ``max_steps``; ``diverged``: the residual was not finite, or exceeded
        ``settings.bound``.
    settings
        Settings of the sampler.
    first
        Index of the first sample.
    source
        Name of the denoiser, for captions.

    Examples
    --------
    >>> import torch
    >>> from gahbench.sampling import Sampling, draw_samples
    >>> samples = draw_samples(lambda noisy, sigma: torch.full_like(noisy, 0.5), (1, 4, 4), Sampling(count=2))
    >>> samples.status, samples.images.unique()
    (('converged', 'converged'), tensor([0.5000]))
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
        outcomes = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
        description = f"{len(self)} {'sample' if len(self) == 1 else 'samples'} by the {self.settings.sampler} sampler"
        finite = self.sigma[self.sigma.isfinite()]
        left = (
            f", σ = {_format_range(f'{float(finite.min()):.3g}', f'{float(finite.max()):.3g}')} left"
            if len(finite)
            else ""
        )
        steps = _format_range(int(self.steps.min()), int(self.steps.max()))
        return f"{description}: {outcomes}; {steps} steps{left}"

    @property
    def converged(self) -> Tensor:
        """Whether each sample converged, shape (N,), bool."""
        return torch.tensor([status == "converged" for status in self.status])

    def arrays(self) -> dict[str, Any]:
        """Return all fields as numpy arrays by name, ``settings`` as a JSON string."""
        return {
            "images": self.images.numpy(),
            "steps": self.steps.numpy(),
            "sigma": self.sigma.numpy(),
            "status": np.array(self.status),
            "first": np.array(self.first),
            "source": np.array(self.source),
            "settings": np.array(self.settings.model_dump_json()),
        }


class SampleCollector:
    """A buffer for samples, which finish in any order."""

    def __init__(self, settings: Sampling, shape: Shape, first: int, device: torch.device) -> None:
        self._settings, self._first = settings, first
        self._images = torch.full((settings.count, *shape), torch.nan, device=device)
        self._steps = torch.zeros(settings.count, dtype=torch.int64)
        self._sigma = torch.full((settings.count,), torch.nan, dtype=torch.float64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def collect_finished(
        self, indices: Sequence[int], images: Tensor, is_active: Tensor, steps: Tensor, sigma: Tensor
    ) -> tuple[list[int] | None, Tensor]:
        """Store the finished samples of a batch.

        Returns the positions in the batch of the active samples, ``None`` if all are active, and their noise levels.
        """
        # A single transfer from the device.
        active_cpu, steps_cpu, sigma_cpu = torch.stack([is_active.to(sigma), steps, sigma]).cpu().unbind()
        if active_cpu.all():
            return None, sigma_cpu
        active, finished = active_cpu.nonzero()[:, 0], (active_cpu == 0).nonzero()[:, 0]
        targets, device_hardware = torch.tensor(indices)[finished], hardware(images.device)
        uploaded = device_hardware.upload(targets)
        self._images.index_copy_(0, uploaded, images[device_hardware.upload(finished)].float())
        self._steps[targets], self._sigma[targets] = steps_cpu[finished].long(), sigma_cpu[finished]
        self._count += len(finished)
        return active.tolist(), sigma_cpu[active]

    def samples(self) -> Samples:
        """Return all samples, once they have finished."""
        status = tuple(self._status(sigma) for sigma in self._sigma.tolist())
        return Samples(self._images.cpu(), self._steps, self._sigma, status, self._settings, self._first)

    def _status(self, sigma: float) -> Status:
        # The comparison is negated so that NaN counts as diverged.
        if not sigma <= self._settings.bound:
            return "diverged"
        # The flow ends after its last noise level, however much noise is left.
        has_converged = self._settings.sampler == "flow" or sigma <= self._settings.sigma_end
        return "converged" if has_converged else "out of steps"


def _format_range(low: object, high: object) -> str:
    return f"{low}" if low == high else f"{low} to {high}"
