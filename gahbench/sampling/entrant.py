"""Samples of an entrant, by its name: resolved, fitted on a dataset, and sampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gahbench.contracts import Dataset, Reference
from gahbench.entrants import untrained_here
from gahbench.errors import ParameterError
from gahbench.examples import Examples
from gahbench.registry import Registry
from gahbench.sampling.denoisers import of_denoiser
from gahbench.sampling.drawing import draw_samples
from gahbench.sampling.samples import Progress, Samples
from gahbench.sampling.settings import make_sampling

DATASET = "faces[size=24]"


def sample_entrant(
    entrant: str,
    registry: Registry,
    settings: Mapping[str, Any],
    *,
    dataset: str = DATASET,
    checkpoint: str | Path | None = None,
    batch: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Samples:
    """Sample an entrant; the arguments are those of :func:`gahbench.sample`.

    Raises
    ------
    GahbenchError
        If an argument is not accepted, or the denoiser cannot be sampled.
    """
    sampling = make_sampling(settings)
    where = _device(device)
    configured = untrained_here(registry, entrant, checkpoint, "sample")
    family = registry.configure("dataset", dataset)
    reference: Reference = configured.build()
    told = f"{configured.where} on {family.label}"
    of: Dataset = family.build()
    try:
        reference.check_shape(of.shape)
        if not reference.is_known_on(of):
            raise ParameterError(f"not known there; what is known of the optimum is '{of.optimum.kind}'")
        denoise = of_denoiser(reference, of.shape, of, where)
    except (ValueError, ParameterError) as error:
        raise ParameterError(f"{told}: {error}") from error
    reference.fit(Examples(of))
    # What is no network takes its images on the CPU.
    where = where if reference.as_network(of.shape) is not None else torch.device("cpu")
    drawn = draw_samples(denoise, of.shape, sampling, batch=batch, device=where, progress=progress)
    return replace(drawn, source=f"{configured.label}\nfor {family.label}")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ParameterError(f"device={name}: {reason}; accepted: auto, cpu, or cuda if there is a GPU") from error
    return found
