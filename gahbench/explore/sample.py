"""Samples of an entrant, by its name: resolved, fitted on a dataset, and sampled."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gahbench._util.errors import ParameterError
from gahbench._util.files import write_output
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import TrainingData
from gahbench.devices.hardware import chosen_device
from gahbench.planning.suite_entries import untrained_here
from gahbench.registry.registry import open_registry
from gahbench.sampling.denoisers import Denoise, images_device, of_denoiser
from gahbench.sampling.drawing import draw_samples
from gahbench.sampling.samples import Samples
from gahbench.sampling.settings import make_sampling


class EntrantSamples(Samples):
    """Samples of an entrant, which can be written with a sheet of them."""

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``samples.png``, a sheet of the first 64, and ``samples.npz``; equal samples give equal bytes."""
        from gahbench.report.contact_sheet import sample_sheet, write_figure

        sheet, arrays = Path(folder) / "samples.png", Path(folder) / "samples.npz"
        write_figure(sample_sheet(self), sheet)
        buffer = io.BytesIO()
        np.savez(buffer, **self.arrays())
        write_output(buffer.getvalue(), arrays)
        return [sheet, arrays]


def sample(
    entrant: str,
    *,
    dataset: str = "faces[size=24]",
    checkpoint: str | Path | None = None,
    batch: int | None = None,
    device: str = "auto",
    progress: Callable[[float, int], None] | None = None,
    plugins: Sequence[str | Path] = (),
    **settings: Any,
) -> EntrantSamples:
    """Sample images from a denoiser, by the density that it implies.

    Sample k of a seed starts from the same noise for every denoiser, however many samples are drawn.

    Parameters
    ----------
    entrant
        A reference that sees no clean image, or an architecture with a ``checkpoint``. One that takes a single noise
        level at a time, as all that are no networks do, is called image by image by the stochastic sampler, and if it
        learns anew at every noise level, as tuned references do, is better sampled by the flow.
    dataset, checkpoint
        The dataset that references learn from, and whose image size samples have; trained weights of an architecture.
    batch, device
        How many images are denoised at a time, by default as many as suit the memory; ``cpu``, ``cuda``, or ``auto``
        for a GPU if there is one.
    progress, plugins
        A function that is called with the share of the work that is done, in [0, 1], and the number of finished
        samples; plugin files, or folders of them.
    **settings
        Those of :class:`gahbench.sampling.Sampling`: ``sampler``, ``count``, ``seed``, ``step``, ``beta``, ...

    Returns
    -------
    EntrantSamples
        The images, and of each whether it converged, in how many steps and to which noise; ``save("folder")`` writes
        them.

    Raises
    ------
    GahbenchError
        If an argument is not accepted, or the denoiser has no weights or sees the clean image.

    Examples
    --------
    >>> import gahbench
    >>> samples = gahbench.sample("optimal", dataset="finite[discs[size=8],count=4]", count=3)
    >>> samples.status
    ('converged', 'converged', 'converged')
    """
    sampling, where = make_sampling(settings), _device(device)
    registry = open_registry(plugins)
    configured = untrained_here(registry, entrant, checkpoint, "sample")
    family = registry.configure("dataset", dataset)
    reference, images = configured.build(), family.build()
    denoise = _ready(reference, images, where, f"{configured.where} on {family.label}")
    there = images_device(reference, images.shape, where)
    drawn = draw_samples(denoise, images.shape, sampling, batch=batch, device=there, progress=progress)
    source = f"{configured.label}\nfor {family.label}"
    return EntrantSamples(drawn.images, drawn.steps, drawn.sigma, drawn.status, drawn.settings, drawn.first, source)


def _ready(reference: Reference, dataset: Dataset, device: torch.device, where: str) -> Denoise:
    """Return the denoiser of a reference, fitted to a dataset."""
    try:
        reference.check_shape(dataset.shape)
        if not reference.supports(dataset):
            raise ParameterError(f"not defined there; the kind of the optimum is '{dataset.optimum.kind}'")
        denoise = of_denoiser(reference, dataset.shape, dataset, device)
    except (ValueError, ParameterError) as error:
        raise ParameterError(f"{where}: {error}") from error
    reference.fit(TrainingData(dataset))
    return denoise


def _device(name: str) -> torch.device:
    try:
        found = chosen_device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ParameterError(f"device={name}: {reason}; accepted: auto, cpu, or cuda if there is a GPU") from error
    return found
