"""Contract checks of references."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import torch
from torch import Tensor

from gahbench._util.errors import listing
from gahbench._util.shapes import Shape, image_shape
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import KINDS, SEES_CLEAN, SEES_DATASET, TrainingData, Truth, denoise_by_level
from gahbench.registry.configured import Configured
from gahbench.testing.findings import Finding, check_notes, expect, require
from gahbench.testing.on_meta import DEVICE, check_on_meta
from gahbench.testing.samples import SampleDataset, check_batches, check_denoised, fitted, same, sample_noise

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
        yield Finding("supports a dataset of the checks", None, f"nothing is checked, since it refuses {FAMILIES}")
        return
    for reference, truth in reversed(samples):
        noisy = truth.clean + sample_noise(truth.clean, SIGMA)
        denoised = reference.denoise(noisy, SIGMA, truth)
        yield from check_denoised(denoised, noisy)
    denoised, first, other = denoised.clone(), next(truth.batches(1)), next(fitted_samples(configured))[0]

    def denoise(part: slice) -> Tensor:
        start = truth.start + (part.start or 0)
        return reference.denoise(noisy[part], SIGMA, replace(truth, clean=truth.clean[part], start=start))

    def denoise_on_meta() -> Tensor:
        on_meta: Reference = configured.build()
        on_meta.move(DEVICE)
        if truth.dataset is not None:
            on_meta.fit(TrainingData(truth.dataset))
        return on_meta.denoise(noisy, SIGMA, truth)

    yield from check_batches(denoise, denoised, noisy, truth.clean)
    repeated = other.denoise(noisy[:1], SIGMA, first)
    yield same("a second instance returns the same images", repeated, denoised[:1], 1e-5)
    at_levels = [reference.denoise(first.clean + sample_noise(first.clean, level), level, first) for level in LEVELS]
    is_finite = bool(torch.cat(at_levels).isfinite().all())
    yield Finding("returns finite values at every noise level", is_finite, f"{LEVELS}")
    if (network := reference.as_network(image_shape(noisy))) is not None:
        sigmas = SIGMA * 2.0 ** torch.arange(len(noisy))
        expected = denoise_by_level(reference, noisy, sigmas, truth)
        with torch.no_grad():
            sampled = network(noisy, sigmas)
        yield same("as_network agrees with denoise", sampled, expected, 1e-5)
    yield from _check_kind(configured, reference, noisy, truth, denoised)
    yield check_notes(reference.notes)
    if type(reference).move is not Reference.move:
        yield check_on_meta("denoises", denoise_on_meta)
    yield _check_jacobian(reference, noisy[:1], first)
    risk = reference.risk(truth if kind == "bound" else first, SIGMA)
    if kind == "bound":
        # The bound is an expectation over the parameters that the genie does not see, and not the risk on this image.
        is_valid = risk is not None and risk.shape == (len(truth),) and bool(((risk > 0) & (risk <= SIGMA**2)).all())
        yield Finding("the bound of every image lies between 0 and sigma^2", is_valid, f"{risk}")
    elif risk is not None:
        copies = first.clean.expand(DRAWS, *first.clean.shape[1:])
        drawn = reference.denoise(copies + sample_noise(copies, SIGMA, draw=1), SIGMA, replace(first, clean=copies))
        errors = (drawn - copies).square().mean(dim=(1, 2, 3))
        mean, standard_error = float(errors.mean()), float(errors.std() / DRAWS**0.5)
        agrees = abs(mean - float(risk[0])) < 4 * standard_error + 1e-9
        detail = f"{risk}, Monte Carlo {mean:.3e} ± {standard_error:.0e}; accepted: within 4 standard errors"
        yield Finding("closed-form risk agrees with Monte Carlo", agrees, detail)


def fitted_samples(configured: Configured) -> Iterator[tuple[Reference, Truth]]:
    """Yield fitted references with images to check them on: grey and colour images, or images of families."""
    datasets: list[Dataset] = [SampleDataset(shape) for shape in SHAPES]
    if configured.build().kind in ("optimal", "bound") or not configured.build().supports(datasets[0]):
        datasets = [configured.registry.create("dataset", family) for family in FAMILIES]
    return fitted(configured, datasets, COUNT)


def _check_kind(
    configured: Configured, reference: Reference, noisy: Tensor, truth: Truth, denoised: Tensor
) -> Iterator[Finding]:
    """Check that the reference does not use parts of the truth that its kind may not see."""
    if reference.kind not in SEES_CLEAN and truth.dataset is not None:
        methods = {name: mock.Mock(wraps=getattr(truth.dataset, name)) for name in _IMAGE_METHODS}
        with mock.patch.multiple(truth.dataset, **methods):
            other: Reference = configured.build()
            other.fit(TrainingData(truth.dataset))
            other.denoise(noisy[:1], SIGMA, next(truth.batches(1)))
        calls = [(name, call) for name, method in methods.items() for call in method.call_args_list]
        requests = sorted({name for name, call in calls if "test" in (*call.args, *call.kwargs.values())})
        fault = f"it calls {listing(requests)}; its kind must be 'oracle'"
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


def _check_jacobian(reference: Reference, noisy: Tensor, truth: Truth) -> Finding:
    """Compare the Jacobian, if it is known, with central differences, except for optimal denoisers and bounds."""
    maps = reference.jacobian(noisy, SIGMA, truth)
    if maps is None:
        return Finding("has no Jacobian", None, "metrics that need its Jacobian have no value")
    directions = torch.cat([sample_noise(noisy, 1.0, draw=draw) for draw in (3, 4, 5)])
    products = maps.matvec(directions.flatten(1)[None])[0].cpu()
    if reference.kind in ("optimal", "bound"):
        return Finding("products of its Jacobian are finite", bool(products.isfinite().all()))
    step, errors = 3e-4 * SIGMA, []
    for direction, product in zip(directions, products, strict=True):
        ends = [reference.denoise(noisy + sign * step * direction, SIGMA, truth).double() for sign in (1, -1)]
        quotient = ((ends[0] - ends[1]) / (2 * step)).flatten()
        errors.append(float((product - quotient).norm() / quotient.norm().clamp_min(1e-12)))
    # The minimum counts, since jumps of thresholding affect differences along some directions, but a wrong Jacobian is
    # wrong along all directions.
    detail = f"error {min(errors):.1e}; accepted: below {TOLERANCE:g}"
    return Finding("its Jacobian is its derivative", min(errors) < TOLERANCE, detail)
