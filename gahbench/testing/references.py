"""Contract checks of references."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from gahbench._util.errors import GahbenchError, listing
from gahbench._util.readable import counted
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.denoisers import KINDS, SEES_CLEAN, SEES_DATASET, by_noise_level
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import TrainingData, Truth
from gahbench.registry.configured import Configured
from gahbench.testing.findings import Finding, attempt
from gahbench.testing.samples import SampleDataset, sample_noise

SHAPES: tuple[Shape, ...] = ((1, 32, 32), (3, 32, 32))
SIGMA = 0.1
#: Noise levels at which results must be finite.
LEVELS = (0.01, 1.0)
COUNT = 4
DRAWS = 200
#: Accepted relative difference of a Jacobian from differences of denoised images.
TOLERANCE = 0.1
#: Families on which references that use more than images are tried, if they are defined there.
FAMILIES = ("discs[size=16]", "c-alpha[size=16]")
#: Methods about particular images of a split, and the index of the split among the arguments.
_OF_IMAGES = {"images": 0, "lower_bound": 0, "genie": 2, "true_basis": 0, "level_sets": 0}


def check_reference(configured: Configured) -> Iterator[Finding]:
    """Check shapes, honesty about the clean image, batches, and the closed-form risk of a reference."""
    reference = configured.build()
    if not isinstance(reference, Reference):
        yield Finding("is a gahbench.Reference", False, f"it is a {type(reference).__name__}")
        return
    if reference.kind not in KINDS:
        yield Finding("its kind is accepted", False, f"{reference.kind!r}; accepted: {listing(KINDS)}")
        return
    samples = list(fitted_samples(configured))
    if not samples:
        yield Finding("is defined on a dataset", None, f"not on {', '.join(FAMILIES)}: no images to try it on")
        return
    for reference, truth in samples:
        shape = yield from _shape(reference, truth)
        if not shape:
            return
    reference, truth = samples[0]
    noisy = truth.clean + sample_noise(truth.clean, SIGMA)
    before, images = noisy.clone(), truth.clean.clone()
    denoised = reference.denoise(noisy, SIGMA, truth).clone()
    stay = noisy.equal(before) and truth.clean.equal(images)
    yield Finding("leaves its arguments as they are", stay, "" if stay else "it writes into them; work on a copy")
    if not stay:
        return
    one = next(truth.batches(1))
    yield from _repeats(configured, reference, noisy, truth, denoised)
    yield from _blind(configured, reference, noisy, truth, denoised)
    notes = reference.notes
    texts = isinstance(notes, tuple) and all(isinstance(note, str) for note in notes)
    yield Finding("notes are a tuple of texts", texts, "" if texts else f"{notes!r}")
    yield from _jacobian(reference, noisy[:1], one)
    if reference.kind == "bound":
        # The closed form is an expectation over the parameters that the genie does not see, not for this image.
        yield _bounds(reference, truth)
    elif (risk := reference.risk(one, SIGMA)) is not None:
        yield _risk(reference, one, float(risk[0]))


def fitted_samples(configured: Configured) -> Iterator[tuple[Reference, Truth]]:
    """Yield references, fitted, with images to try them on: grey and colour ones, or of families that support them."""
    datasets: list[Dataset] = [SampleDataset(shape) for shape in SHAPES]
    if configured.build().kind in ("optimal", "bound") or not configured.build().supports(datasets[0]):
        datasets = [configured.registry.create("dataset", family) for family in FAMILIES]
    refusal: Exception | None = None
    accepted = False
    for dataset in datasets:
        reference: Reference = configured.build()
        if not reference.supports(dataset):
            continue
        try:
            reference.check_shape(dataset.shape)
        except (ValueError, GahbenchError) as error:
            # Some references are for grey images, or for colour, alone.
            refusal = error
            continue
        accepted = True
        reference.fit(TrainingData(dataset))
        yield reference, Truth(dataset.images("test", COUNT), dataset)
    if refusal is not None and not accepted:
        raise refusal


def _shape(reference: Reference, truth: Truth) -> Generator[Finding, None, bool]:
    """Check shape and type of the denoised images; return whether the shape is right."""
    noisy = truth.clean + sample_noise(truth.clean, SIGMA)
    denoised = reference.denoise(noisy, SIGMA, truth)
    same = denoised.shape == noisy.shape
    yield Finding(
        f"returns the shape it got, {counted(truth.clean.shape[1], 'channel')}", same, f"{tuple(denoised.shape)}"
    )
    if same:
        yield Finding("returns finite float32", denoised.dtype == torch.float32 and bool(denoised.isfinite().all()))
    return same


def _repeats(
    configured: Configured, reference: Reference, noisy: Tensor, truth: Truth, denoised: Tensor
) -> Iterator[Finding]:
    """Check that repetition, instance, batch size and other images do not change the result."""
    yield Finding("is deterministic", torch.equal(denoised, reference.denoise(noisy, SIGMA, truth)))
    one = next(truth.batches(1))
    twin, _ = next(fitted_samples(configured))
    same = torch.allclose(twin.denoise(noisy[:1], SIGMA, one), denoised[:1], atol=1e-5)
    yield Finding("another instance gives the same images", same)
    yield attempt("returns finite values at every noise level", lambda: _not_finite(reference, one))
    alone = [reference.denoise(noisy[i : i + 1], SIGMA, one) for i, one in enumerate(truth.batches(1))]
    yield Finding("treats each image of a batch alone", torch.allclose(torch.cat(alone), denoised, atol=1e-5))
    if type(reference).denoise_each is not Reference.denoise_each:
        yield attempt(
            "denoises different noise levels at once as one by one", lambda: _each_differs(reference, noisy, truth)
        )


def _blind(
    configured: Configured, reference: Reference, noisy: Tensor, truth: Truth, denoised: Tensor
) -> Iterator[Finding]:
    """Check that the reference uses nothing that its kind may not see."""
    if reference.kind not in SEES_CLEAN:
        yield from _stays_away(configured, noisy, truth)
        other = replace(truth, clean=truth.clean.flip(0), start=truth.start + 1)
        blind = torch.equal(denoised, reference.denoise(noisy, SIGMA, other))
        detail = "" if blind else "it looks at the clean image; its kind must be 'oracle'"
        yield Finding("does not look at the clean image", blind, detail)
    if reference.kind not in SEES_DATASET:
        # The reference may remember the dataset that it was fitted to.
        blind = torch.equal(denoised, reference.denoise(noisy, SIGMA, replace(truth, dataset=None)))
        yield Finding("does not look at the dataset", blind, "" if blind else "its kind must be 'optimal' or 'oracle'")
    if reference.kind == "classical":
        reference.risk(truth, SIGMA)
        after = torch.equal(denoised, reference.denoise(noisy, SIGMA, truth))
        yield Finding("does not learn from the clean image in its risk", after)


def _not_finite(reference: Reference, truth: Truth) -> str | None:
    for sigma in LEVELS:
        if not reference.denoise(truth.clean + sample_noise(truth.clean, sigma), sigma, truth).isfinite().all():
            return f"not at sigma={sigma:g}"
    return None


def _each_differs(reference: Reference, noisy: Tensor, truth: Truth) -> str | None:
    sigmas = SIGMA * 2.0 ** torch.arange(len(noisy))
    together = reference.denoise_each(noisy, sigmas, truth)
    off = float((together - by_noise_level(reference, noisy, sigmas, truth)).abs().max())
    return None if off < 1e-5 else f"denoise_each is off by up to {off:.2g} from denoise"


def _stays_away(configured: Configured, noisy: Tensor, truth: Truth) -> Iterator[Finding]:
    """Check that the reference does not ask the dataset for the images that it is scored on."""
    if truth.dataset is None:
        return
    reference: Reference = configured.build()
    with _calls_recorded(truth.dataset) as asked:
        reference.fit(TrainingData(truth.dataset))
        reference.denoise(noisy[:1], SIGMA, next(truth.batches(1)))
    detail = f"it asked the dataset for {', '.join(sorted(asked))}; its kind must be 'oracle'" if asked else ""
    yield Finding("does not ask for the images that it is scored on", not asked, detail)


def _jacobian(reference: Reference, noisy: Tensor, truth: Truth) -> Iterator[Finding]:
    """Compare the Jacobian, if it is known, with central differences, except that of an optimal denoiser."""
    maps = reference.jacobian(noisy, SIGMA, truth)
    if maps is None:
        yield Finding("has no Jacobian", None, "metrics of the basis that it shrinks in have no value")
        return
    along = torch.cat([sample_noise(noisy, 1.0, draw=draw) for draw in (3, 4, 5)])
    product = maps.matvec(along.flatten(1)[None])[0]
    shaped = product.shape == (3, noisy.numel()) and bool(product.isfinite().all())
    yield Finding("its Jacobian has finite products of the images' size", shaped, f"{tuple(product.shape)}")
    if shaped and reference.kind not in ("optimal", "bound"):
        step, errors = 3e-4 * SIGMA, []
        for one, found in zip(along, product.cpu(), strict=True):
            ends = [reference.denoise(noisy + sign * step * one, SIGMA, truth).double() for sign in (1, -1)]
            difference = ((ends[0] - ends[1]) / (2 * step)).flatten()
            errors.append(float((found - difference).norm() / difference.norm().clamp_min(1e-12)))
        # The minimum: thresholding jumps, which affect differences but not derivatives. A wrong Jacobian is off along
        # any direction.
        off = min(errors)
        detail = f"off by {off:.1e}; accepted: below {TOLERANCE:g}"
        yield Finding("its Jacobian is its derivative", off < TOLERANCE, detail)


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
    detail = f"{risk:.3e}, {mean:.3e} ± {error:.0e}; accepted: 4 standard errors"
    return Finding("closed-form risk agrees with Monte Carlo", passed, detail)


@contextlib.contextmanager
def _calls_recorded(dataset: Dataset) -> Iterator[set[str]]:
    """Yield the set of calls about test images of a dataset, except calls that its own methods make."""
    asked: set[str] = set()
    depth = 0

    def recorded(name: str, method: Any) -> Any:
        @functools.wraps(method)
        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal depth
            index = _OF_IMAGES.get(name, len(arguments))
            split = keywords.get("split", arguments[index] if len(arguments) > index else None)
            if not depth and name in _OF_IMAGES and split == "test":
                asked.add(f"{name} of test images")
            depth += 1
            try:
                return method(*arguments, **keywords)
            finally:
                depth -= 1

        return call

    methods = {name: recorded(name, getattr(dataset, name)) for name in ("posterior", *_OF_IMAGES)}
    with mock.patch.multiple(dataset, **methods):
        yield asked
