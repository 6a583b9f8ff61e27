"""Contract checks of references."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from gahbench._util.errors import GahbenchError, listing
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.denoisers import KINDS, SEES_CLEAN, SEES_DATASET, denoise_by_level
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import TrainingData, Truth
from gahbench.registry.configured import Configured
from gahbench.testing.findings import Finding, check_notes, expect, require, unsupported
from gahbench.testing.on_meta import DEVICE, check_on_meta
from gahbench.testing.samples import SampleDataset, check_batches, check_denoised, difference, sample_noise

SHAPES: tuple[Shape, ...] = ((1, 32, 32), (3, 32, 32))
SIGMA = 0.1
#: Noise levels at which denoised images must be finite.
LEVELS = (0.01, 1.0)
COUNT = 4
DRAWS = 200
#: Accepted relative difference of a Jacobian from finite differences.
TOLERANCE = 0.1
#: Families on which references that use more than images are checked, if they support the family.
FAMILIES = ("discs[size=16]", "c-alpha[size=16]")
#: Methods of datasets about particular images of a split.
_IMAGE_METHODS = ("images", "lower_bound", "genie", "true_basis", "level_sets")


def check_reference(configured: Configured) -> Iterator[Finding]:
    """Check shapes, use of the clean image, batches, and the closed-form risk of a reference."""
    kind = configured.build().kind
    yield require("its kind is accepted", kind in KINDS, f"{kind!r}; accepted: {listing(KINDS)}")
    samples = list(fitted_samples(configured))
    if not samples:
        yield unsupported(FAMILIES)
        return
    for reference, truth in reversed(samples):
        noisy = truth.clean + sample_noise(truth.clean, SIGMA)
        denoised = reference.denoise(noisy, SIGMA, truth)
        yield from check_denoised(denoised, noisy)
    denoised, first, other = denoised.clone(), next(truth.batches(1)), next(fitted_samples(configured))[0]

    def denoise(part: slice) -> Tensor:
        start = truth.start + (part.start or 0)
        return reference.denoise(noisy[part], SIGMA, replace(truth, clean=truth.clean[part], start=start))

    yield from check_batches(denoise, denoised, noisy, truth.clean)
    fault = difference(other.denoise(noisy[:1], SIGMA, first), denoised[:1], 1e-5)
    yield expect("a second instance returns the same images", not fault, fault)
    drawn = {level: first.clean + sample_noise(first.clean, level) for level in LEVELS}
    levels = [level for level in LEVELS if not reference.denoise(drawn[level], level, first).isfinite().all()]
    yield expect("returns finite values at every noise level", not levels, f"not finite at {levels}")
    if type(reference).denoise_each is not Reference.denoise_each:
        sigmas = SIGMA * 2.0 ** torch.arange(len(noisy))
        expected = denoise_by_level(reference, noisy, sigmas, truth)
        fault = difference(reference.denoise_each(noisy, sigmas, truth), expected, 1e-5)
        yield expect("denoise_each agrees with denoise", not fault, fault)
    yield from _check_kind(configured, reference, noisy, truth, denoised)
    yield check_notes(reference.notes)
    if type(reference).move is not Reference.move:
        yield check_on_meta("denoises", lambda: _denoise_on_meta(configured.build(), noisy, truth))
    yield from _check_jacobian(reference, noisy[:1], first)
    risk = reference.risk(truth if kind == "bound" else first, SIGMA)
    if kind == "bound":
        # The bound is an expectation over the parameters that the genie does not see, and not the risk on this image.
        is_valid = risk is not None and risk.shape == (len(truth),) and bool(((risk > 0) & (risk <= SIGMA**2)).all())
        yield Finding("the bound of every image lies between 0 and sigma^2", is_valid, f"{risk}")
    elif risk is not None:
        yield _check_risk(reference, first, float(risk[0]))


def fitted_samples(configured: Configured) -> Iterator[tuple[Reference, Truth]]:
    """Yield fitted references with images to check them on: grey and colour images, or images of families."""
    datasets: list[Dataset] = [SampleDataset(shape) for shape in SHAPES]
    if configured.build().kind in ("optimal", "bound") or not configured.build().supports(datasets[0]):
        datasets = [configured.registry.create("dataset", family) for family in FAMILIES]
    supported = [dataset for dataset in datasets if configured.build().supports(dataset)]
    refusals: list[Exception] = []
    for dataset in supported:
        reference: Reference = configured.build()
        try:
            reference.check_shape(dataset.shape)
        except (ValueError, GahbenchError) as error:
            # Some references only accept grey images, or only colour images.
            refusals.append(error)
            continue
        reference.fit(TrainingData(dataset))
        yield reference, Truth(dataset.images("test", COUNT), dataset)
    if supported and len(refusals) == len(supported):
        raise refusals[-1]


def _check_kind(
    configured: Configured, reference: Reference, noisy: Tensor, truth: Truth, denoised: Tensor
) -> Iterator[Finding]:
    """Check that the reference does not use parts of the truth that its kind may not see."""
    if reference.kind not in SEES_CLEAN and truth.dataset is not None:
        with _record_requests(truth.dataset) as requests:
            other: Reference = configured.build()
            other.fit(TrainingData(truth.dataset))
            other.denoise(noisy[:1], SIGMA, next(truth.batches(1)))
        fault = f"it calls {listing(sorted(requests))}; its kind must be 'oracle'"
        yield expect("does not request the images that it is scored on", not requests, fault)
        hidden = replace(truth, clean=truth.clean.flip(0), start=truth.start + 1)
        is_blind = torch.equal(denoised, reference.denoise(noisy, SIGMA, hidden))
        yield expect("does not use the clean image", is_blind, "it uses the clean image; its kind must be 'oracle'")
    if reference.kind not in SEES_DATASET:
        # The reference may remember the dataset that it was fitted to.
        is_blind = torch.equal(denoised, reference.denoise(noisy, SIGMA, replace(truth, dataset=None)))
        yield expect("does not use the dataset", is_blind, "its kind must be 'optimal' or 'oracle'")
    if reference.kind == "classical":
        reference.risk(truth, SIGMA)
        is_same = torch.equal(denoised, reference.denoise(noisy, SIGMA, truth))
        yield Finding("risk does not change later results", is_same)


@contextlib.contextmanager
def _record_requests(dataset: Dataset) -> Iterator[set[str]]:
    """Yield a set that collects the methods of a dataset that are called about its test images."""
    requests: set[str] = set()

    def record(name: str, method: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if inspect.signature(method).bind(*arguments, **keywords).arguments["split"] == "test":
                requests.add(name)
            return method(*arguments, **keywords)

        return call

    with mock.patch.multiple(dataset, **{name: record(name, getattr(dataset, name)) for name in _IMAGE_METHODS}):
        yield requests


def _denoise_on_meta(reference: Reference, noisy: Tensor, truth: Truth) -> None:
    """Denoise on the meta device with a reference that moves CPU images to its device."""
    reference.move(DEVICE)
    if truth.dataset is not None:
        reference.fit(TrainingData(truth.dataset))
    reference.denoise(noisy, SIGMA, truth)


def _check_jacobian(reference: Reference, noisy: Tensor, truth: Truth) -> Iterator[Finding]:
    """Compare the Jacobian, if it is known, with central differences, except for optimal denoisers and bounds."""
    maps = reference.jacobian(noisy, SIGMA, truth)
    if maps is None:
        yield Finding("has no Jacobian", None, "metrics that need its Jacobian have no value")
        return
    directions = torch.cat([sample_noise(noisy, 1.0, draw=draw) for draw in (3, 4, 5)])
    products = maps.matvec(directions.flatten(1)[None])[0]
    is_valid = products.shape == (3, noisy.numel()) and bool(products.isfinite().all())
    yield Finding("products of its Jacobian are finite and have the right shape", is_valid, f"{tuple(products.shape)}")
    if is_valid and reference.kind not in ("optimal", "bound"):
        step, errors = 3e-4 * SIGMA, []
        for direction, product in zip(directions, products.cpu(), strict=True):
            ends = [reference.denoise(noisy + sign * step * direction, SIGMA, truth).double() for sign in (1, -1)]
            quotient = ((ends[0] - ends[1]) / (2 * step)).flatten()
            errors.append(float((product - quotient).norm() / quotient.norm().clamp_min(1e-12)))
        # The minimum counts, since jumps of thresholding affect differences along some directions, but a wrong Jacobian
        # is wrong along all directions.
        detail = f"error {min(errors):.1e}; accepted: below {TOLERANCE:g}"
        yield Finding("its Jacobian is its derivative", min(errors) < TOLERANCE, detail)


def _check_risk(reference: Reference, truth: Truth, risk: float) -> Finding:
    """Check that the closed form is within 4 standard errors of a Monte Carlo mean."""
    copies = truth.clean.expand(DRAWS, *truth.clean.shape[1:])
    noisy = copies + sample_noise(copies, SIGMA, draw=1)
    errors = (reference.denoise(noisy, SIGMA, replace(truth, clean=copies)) - copies).square().mean(dim=(1, 2, 3))
    mean, standard_error = float(errors.mean()), float(errors.std() / DRAWS**0.5)
    agrees = abs(mean - risk) < 4 * standard_error + 1e-9
    detail = f"{risk:.3e}, Monte Carlo {mean:.3e} ± {standard_error:.0e}; accepted: within 4 standard errors"
    return Finding("closed-form risk agrees with Monte Carlo", agrees, detail)
