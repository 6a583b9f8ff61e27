"""Samples of an entrant, by its name: resolved, fitted on a dataset, and sampled."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gahbench._util.errors import ParameterError
from gahbench._util.files import write_output
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.references import Reference
from gahbench.contracts.training_data import TrainingData
from gahbench.devices.hardware import chosen_device
from gahbench.planning.entrants import untrained_here
from gahbench.registry.registry import Registry
from gahbench.sampling.denoisers import images_device, of_denoiser
from gahbench.sampling.drawing import draw_samples
from gahbench.sampling.samples import Progress, Samples
from gahbench.sampling.settings import make_sampling

DATASET = "faces[size=24]"


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


def sample_entrant(
    entrant: str,
    registry: Registry,
    settings: Mapping[str, Any],
    dataset: str = DATASET,
    checkpoint: str | Path | None = None,
    batch: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> EntrantSamples:
    """Sample an entrant; the arguments are those of :func:`gahbench.sample`."""
    sampling = make_sampling(settings)
    where = _device(device)
    configured = untrained_here(registry, entrant, checkpoint, "sample")
    family = registry.configure("dataset", dataset)
    reference: Reference = configured.build()
    where_on = f"{configured.where} on {family.label}"
    of: Dataset = family.build()
    try:
        reference.check_shape(of.shape)
        if not reference.supports(of):
            raise ParameterError(f"not defined there; the kind of the optimum is '{of.optimum.kind}'")
        denoise = of_denoiser(reference, of.shape, of, where)
    except (ValueError, ParameterError) as error:
        raise ParameterError(f"{where_on}: {error}") from error
    reference.fit(TrainingData(of))
    there = images_device(reference, of.shape, where)
    drawn = draw_samples(denoise, of.shape, sampling, batch=batch, device=there, progress=progress)
    source = f"{configured.label}\nfor {family.label}"
    return EntrantSamples(drawn.images, drawn.steps, drawn.sigma, drawn.status, drawn.settings, drawn.first, source)


def _device(name: str) -> torch.device:
    try:
        found = chosen_device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ParameterError(f"device={name}: {reason}; accepted: auto, cpu, or cuda if there is a GPU") from error
    return found
