"""Sample images from entrants."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gahbench._util.errors import ParameterError, prefix_errors
from gahbench._util.files import write_output
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import TrainingData
from gahbench.devices.hardware import hardware
from gahbench.planning.suite_entries import configure_denoiser
from gahbench.registry.configured import Configured
from gahbench.registry.registry import open_registry
from gahbench.report.drawing import save_figure
from gahbench.report.pictures import sample_sheet
from gahbench.sampling.denoisers import wrap_denoiser
from gahbench.sampling.drawing import draw_samples
from gahbench.sampling.samples import Samples
from gahbench.sampling.settings import make_sampling


class EntrantSamples(Samples):
    """Samples of an entrant, which can be saved with a contact sheet."""

    def save(self, folder: str | Path) -> list[Path]:
        """Write the first 64 samples to ``samples.png``, and all to ``samples.npz``; equal samples give equal bytes."""
        sheet, arrays = Path(folder) / "samples.png", Path(folder) / "samples.npz"
        save_figure(sample_sheet(self), sheet)
        buffer = io.BytesIO()
        np.savez(buffer, **self.arrays())
        write_output(buffer.getvalue(), arrays)
        return [sheet, arrays]


def sample(
    entrant: str,
    *,
    dataset: str = "faces[size=24]",
    batch: int | None = None,
    device: str = "auto",
    progress: Callable[[float], None] | None = None,
    plugins: Sequence[str | Path] = (),
    **settings: Any,
) -> EntrantSamples:
    """Sample images from the density that a denoiser implies.

    For a given seed, sample k starts from the same noise for every denoiser and every number of samples.

    Parameters
    ----------
    entrant : str
        A reference that does not see the clean image, or an architecture with weights:
        ``unet[checkpoint=w.safetensors]``. The stochastic sampler calls references image by image; for references that
        are tuned at each noise level, prefer the flow sampler.
    dataset : str, default "faces[size=24]"
        Dataset that references learn from; samples have the size of its images.
    batch : int, optional
        Number of images that are denoised at once, 1 or more. By default, a batch holds about 33,000 values, or
        a million on a GPU.
    device : str, default "auto"
        Device of networks: ``cpu``, ``cuda``, or ``auto`` for a GPU if available.
    progress : callable, optional
        Called with the finished share of the work, in [0, 1].
    plugins : sequence of str or Path, default ()
        Plugin files, or folders of plugin files.
    **settings
        Settings of :class:`gahbench.sampling.Sampling`, such as ``sampler``, ``count``, ``seed``, ``step``, ``beta``.

    Returns
    -------
    EntrantSamples
        Images, with the status, number of steps and final noise level of each. ``save("folder")`` writes them.

    Raises
    ------
    GahbenchError
        If an argument is invalid, the denoiser has no weights, or it sees the clean image.

    Examples
    --------
    >>> import gahbench
    >>> gahbench.sample("optimal", dataset="finite[discs[size=8],count=4]", count=3).status
    ('converged', 'converged', 'converged')
    """
    sampling, target_device, registry = make_sampling(settings), find_device(device), open_registry(plugins)
    configured, family = configure_denoiser(registry, entrant), registry.configure("dataset", dataset)
    images: Dataset = family.build()
    reference: Reference = fit(configured, family, images, target_device)
    with prefix_errors(f"{configured.where} on {family.label}"):
        denoise = wrap_denoiser(reference, images.shape, images, target_device)
    drawn = draw_samples(denoise, images.shape, sampling, batch=batch, device=target_device, progress=progress)
    return EntrantSamples(**vars(drawn) | {"source": f"{configured.label}\nfor {family.label}"})


def fit(configured: Configured, family: Configured, dataset: Dataset, device: torch.device | None = None) -> Any:
    """Return a reference or basis that is fitted to a dataset; raise ``ParameterError`` if the dataset has none."""
    built: Any = configured.build()
    if device is not None:
        built.move(device)
    try:
        built.check_shape(dataset.shape)
        if not built.supports(dataset):
            raise ValueError(f"not defined on a dataset whose optimum is '{dataset.optimum.kind}'")
        built.fit(TrainingData(dataset))
    except (ValueError, ParameterError) as error:
        raise ParameterError(f"{configured.where} on {family.label}: {error}") from error
    return built


def find_device(name: str) -> torch.device:
    """Return the device of a name, or of ``auto``; raise ``ParameterError`` if it cannot be used."""
    try:
        device = hardware(name).device
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ParameterError(f"device={name}: {reason}; accepted: auto, cpu, or cuda if there is a GPU") from error
    return device
