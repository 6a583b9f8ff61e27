"""What a reference must do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from gahbench.contracts import Dataset, Reference, Shape, Truth
from gahbench.examples import Examples
from gahbench.registry import Configured, default_registry
from gahbench.testing.findings import Finding
from gahbench.testing.samples import SampleDataset, sample_noise

SHAPES: tuple[Shape, ...] = ((1, 32, 32), (3, 32, 32))
SIGMA = 0.1
COUNT = 4
DRAWS = 200
#: Where references that know more than images are tried, if they are known there.
FAMILIES = ("discs[size=16]", "c-alpha[size=16]")


def check_reference(configured: Configured) -> Iterator[Finding]:
    """Check shapes, honesty about the clean image, batches, and the closed-form risk of a reference."""
    reference = configured.build()
    if not isinstance(reference, Reference):
        yield Finding("is a gahbench.Reference", False, f"it is a {type(reference).__name__}")
        return
    samples = list(_samples(configured))
    if not samples:
        yield Finding("is known on a dataset", None, f"not on {', '.join(FAMILIES)}: nothing to try it on")
        return
    for reference, truth in samples:
        noisy = truth.clean + sample_noise(truth.clean, SIGMA)
        denoised = reference.denoise(noisy, SIGMA, truth)
        same = denoised.shape == noisy.shape
        channels = truth.clean.shape[1]
        yield Finding(f"returns the shape it got, {channels} channels", same, f"{tuple(denoised.shape)}")
        if not same:
            return
        yield Finding("returns finite float32", denoised.dtype == torch.float32 and bool(denoised.isfinite().all()))
    reference, truth = samples[0]
    noisy = truth.clean + sample_noise(truth.clean, SIGMA)
    denoised = reference.denoise(noisy, SIGMA, truth)
    yield Finding("is deterministic", torch.equal(denoised, reference.denoise(noisy, SIGMA, truth)))
    alone = [reference.denoise(noisy[i : i + 1], SIGMA, one) for i, one in enumerate(truth.batches(1))]
    yield Finding("treats each image of a batch alone", torch.allclose(torch.cat(alone), denoised, atol=1e-5))
    if reference.kind not in ("oracle", "bound"):
        other = replace(truth, clean=truth.clean.flip(0), start=truth.start + 1)
        blind = torch.equal(denoised, reference.denoise(noisy, SIGMA, other))
        detail = "" if blind else "it looks at the clean image; its kind must be 'oracle'"
        yield Finding("does not look at the clean image", blind, detail)
    if reference.kind == "classical":
        # What it was fitted to it knows from before.
        blind = torch.equal(denoised, reference.denoise(noisy, SIGMA, replace(truth, dataset=None)))
        yield Finding("does not look at the dataset", blind, "" if blind else "its kind must be 'optimal' or 'oracle'")
    if reference.kind == "classical":
        reference.risk(truth, SIGMA)
        after = torch.equal(denoised, reference.denoise(noisy, SIGMA, truth))
        yield Finding("does not learn from the clean image in its risk", after)
    notes = reference.notes
    told = isinstance(notes, tuple) and all(isinstance(note, str) for note in notes)
    yield Finding("notes are a tuple of texts", told, "" if told else f"{notes!r}")
    if reference.kind == "bound":
        # Its closed form is expected over what its genie is not told, and not of this one image.
        yield _bounds(reference, truth)
    elif (risk := reference.risk(first := next(truth.batches(1)), SIGMA)) is not None:
        yield _risk(reference, first, float(risk[0]))


def _samples(configured: Configured) -> Iterator[tuple[Reference, Truth]]:
    """Yield references, fitted, with images to try them on: grey and colour ones, or those of a family they know."""
    datasets: list[Dataset] = [SampleDataset(shape) for shape in SHAPES]
    if configured.build().kind in ("optimal", "bound") or not configured.build().is_known_on(datasets[0]):
        datasets = [default_registry().create("dataset", family) for family in FAMILIES]
    for dataset in datasets:
        reference: Reference = configured.build()
        if reference.is_known_on(dataset):
            reference.check_shape(dataset.shape)
            reference.fit(Examples(dataset))
            yield reference, Truth(dataset.images("test", COUNT), dataset)


def _bounds(reference: Reference, truth: Truth) -> Finding:
    risk = reference.risk(truth, SIGMA)
    sound = risk is not None and risk.shape == (len(truth),) and bool(((risk > 0) & (risk <= SIGMA**2)).all())
    return Finding("the bound of every image lies between 0 and sigma^2", sound, f"{risk}")


def _risk(reference: Reference, truth: Truth, risk: float) -> Finding:
    """Compare the closed form with a Monte Carlo mean, at four standard errors."""
    copies = truth.clean.expand(DRAWS, *truth.clean.shape[1:])
    noisy = copies + sample_noise(copies, SIGMA, draw=1)
    errors = (reference.denoise(noisy, SIGMA, replace(truth, clean=copies)) - copies).square().mean(dim=(1, 2, 3))
    mean, error = float(errors.mean()), float(errors.std() / DRAWS**0.5)
    passed = abs(mean - risk) < 4 * error + 1e-9
    return Finding("closed-form risk agrees with Monte Carlo", passed, f"{risk:.3e}, {mean:.3e} ± {error:.0e}")
