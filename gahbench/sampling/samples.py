"""Sampled images, with the status of each sample."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gahbench._util.readable import pluralize
from gahbench.sampling.settings import Sampling

Status = Literal["converged", "out of steps", "diverged"]
STATUSES: tuple[Status, ...] = ("converged", "out of steps", "diverged")


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
    settings: Sampling
    first: int = 0
    source: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def __str__(self) -> str:
        counts = Counter(self.status)
        outcomes = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
        low, high = int(self.steps.min()), int(self.steps.max())
        steps = f"{high}" if low == high else f"{low} to {high}"
        return f"{pluralize(len(self), 'sample')} by the {self.settings.sampler} sampler: {outcomes}; {steps} steps"

    @property
    def status(self) -> tuple[Status, ...]:
        """How each sample ended.

        ``converged``: the noise fell to ``sigma_end``, or the flow passed all its levels; ``out of steps``: the noise
        did not fall to ``sigma_end`` in ``max_steps``; ``diverged``: the residual was not finite, or exceeded
        ``settings.bound``.
        """
        # The flow ends after its last noise level, however much noise is left.
        end = self.settings.bound if self.settings.sampler == "flow" else self.settings.sigma_end
        return tuple(
            "converged" if sigma <= end else "out of steps" if sigma <= self.settings.bound else "diverged"
            for sigma in self.sigma.tolist()
        )

    @property
    def converged(self) -> Tensor:
        """Whether each sample converged, shape (N,), bool."""
        return torch.tensor([status == "converged" for status in self.status])

    def arrays(self) -> dict[str, Any]:
        """Return all fields as numpy arrays by name, ``settings`` as a JSON string."""
        tensors = {name: getattr(self, name).numpy() for name in ("images", "steps", "sigma")}
        texts = {"status": self.status, "source": self.source, "settings": self.settings.model_dump_json()}
        return {**tensors, "first": np.array(self.first), **{name: np.array(text) for name, text in texts.items()}}
