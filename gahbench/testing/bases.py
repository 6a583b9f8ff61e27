"""Contract checks of bases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from gahbench._util.plugin_checks import unchecked
from gahbench._util.shapes import Shape, image_shape
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.truth import Truth
from gahbench.registry.configured import Configured
from gahbench.testing.findings import Finding, expect, require
from gahbench.testing.on_meta import DEVICE, check_on_meta
from gahbench.testing.samples import SampleDataset, check_batches, difference, fitted, same, sample_noise

SIZES: tuple[Shape, ...] = ((1, 32, 32), (3, 32, 64))
#: Sizes for bases that depend on images, whose time may grow as the cube of the number of pixels.
SMALL_SIZES: tuple[Shape, ...] = ((1, 16, 32), (3, 16, 16))
#: An odd size, which many transforms refuse.
ODD: Shape = (1, 17, 23)
#: The threshold for which adaptive bases are adapted.
THRESHOLD = 0.05
COUNT = 3
DRAWS = 400
#: Small families on which bases that use more than the images are checked, if they support the family.
FAMILIES = ("gaussian-field[size=16]", "c-alpha[size=16]")


def check_basis(configured: Configured) -> Iterator[Finding]:
    """Check reconstruction, energy, the adjoint, linearity, batches, noise levels and precision of a basis."""
    basis: Basis = configured.build()
    datasets: list[Dataset] = [configured.registry.create("dataset", name) for name in FAMILIES if basis.oracle]
    if not basis.oracle:
        depends_on_images = basis.adaptive or type(basis).fit is not Basis.fit
        datasets = [SampleDataset(shape) for shape in (*(SMALL_SIZES if depends_on_images else SIZES), ODD)]
    samples = [(basis, truth.double()) for basis, truth in fitted(configured, datasets, COUNT)]
    if not samples:
        yield Finding("supports a dataset of the checks", None, f"nothing is checked, since it refuses {FAMILIES}")
        return
    for basis, truth in reversed(samples):
        basis.__class__ = unchecked(type(basis))
        yield from _check(basis, truth)
    meta = replace(truth, clean=truth.clean.to(DEVICE))
    yield check_on_meta("transforms", lambda: _transform(basis, meta))


def _transform(basis: Basis, truth: Truth) -> tuple[Tensor, Tensor]:
    """Return the coefficients of the images, and the images from the coefficients."""
    adapted = basis.adapt_to(truth, THRESHOLD)
    coefficients = adapted.analysis(truth.clean)
    return coefficients, adapted.synthesis(coefficients)


def _check(basis: Basis, truth: Truth) -> Iterator[Finding]:
    images, shape = truth.clean, image_shape(truth.clean)
    adapted = basis.adapt_to(truth, THRESHOLD)
    yield Finding("adapts to images if and only if it is adaptive", (adapted is not basis) == basis.adaptive)
    coefficients = adapted.analysis(images)

    def analyse(part: slice) -> Tensor:
        return _transform(basis, replace(truth, clean=images[part], start=truth.start + (part.start or 0)))[0]

    yield from check_batches(analyse, coefficients, images)
    reconstructed = adapted.synthesis(coefficients)
    yield same(f"reconstructs images of {shape}", reconstructed, images, 1e-8)
    single = adapted.analysis(images.float())
    is_kept = (coefficients.dtype, single.dtype) == (torch.float64, torch.float32)
    is_same = is_kept and not difference(single, coefficients, 1e-4)
    yield Finding("keeps float64 and float32, with the same result", is_same, f"{coefficients.dtype}, {single.dtype}")
    noise = sample_noise(images, 1.0)
    combination = adapted.analysis(noise - 2 * images)
    yield same("analysis is linear", combination, adapted.analysis(noise) - 2 * coefficients, 1e-8)
    combined = adapted.synthesis(combination + 3 * coefficients)
    yield same("synthesis is linear", combined, adapted.synthesis(combination) + 3 * reconstructed, 1e-8)
    labels, levels = adapted.bands(shape), adapted.noise_levels(shape)
    has_labels = _is_broadcastable(labels, coefficients) and not labels.is_floating_point()
    yield Finding("bands are integer labels of the coefficients of an image", has_labels)
    has_levels = _is_broadcastable(levels, coefficients)
    yield require("noise levels have the shape of the coefficients of an image", has_levels, tuple(levels.shape))
    yield _check_filters(basis, truth)
    if not adapted.is_orthonormal(shape):
        yield _check_noise_levels(basis, truth, levels)
        return
    yield expect("coefficients have the shape of the images", coefficients.shape == images.shape, coefficients.shape)
    yield same("preserves energy", coefficients.square().sum() / images.square().sum(), 1, 1e-8)
    other = sample_noise(coefficients, 1.0, draw=1)
    products = (coefficients * other).sum(), (images * adapted.synthesis(other)).sum()
    yield same("synthesis is the adjoint of analysis", *products, 1e-8)
    yield same("noise levels are 1, since it is orthonormal", levels, torch.ones_like(levels), 1e-5)


def _check_filters(basis: Basis, truth: Truth) -> Finding:
    """Check that filters in the basis have the requested trace, and attenuate noise more than clean images."""
    traces = torch.full((len(truth),), truth.clean[0].numel() / 8).double()
    family = basis.filters(truth, THRESHOLD)
    maps = family.at(traces)
    # For large images the traces follow from the noise levels, which another check covers.
    actual = maps.trace().value if maps.is_small else traces
    has_traces = bool(family.reaches(traces).all()) and difference(actual, traces, 0.01) is None
    clean, noise = (images.flatten(1)[:, None] for images in (truth.clean, sample_noise(truth.clean, 1.0, draw=5)))
    gains = [float(maps.matvec(vectors).double().norm() / vectors.norm()) for vectors in (clean, noise)]
    is_met = has_traces and len(maps) == len(truth) and 0 <= gains[1] < gains[0] < 1.5
    detail = f"traces {actual.tolist()} of {traces.tolist()}, gains of images and noise {gains}"
    return Finding("filters have the requested trace, and attenuate noise more than images", is_met, detail)


def _check_noise_levels(basis: Basis, truth: Truth, levels: Tensor) -> Finding:
    """Compare the noise levels of all coefficients with the coefficients of random noise."""
    copies = truth.clean[:1].expand(DRAWS, *truth.clean.shape[1:])
    adapted = basis.adapt_to(Truth(copies, truth.dataset), THRESHOLD) if basis.adaptive else basis
    power = adapted.analysis(sample_noise(copies, 1.0, draw=2)).square().mean(0)
    expected = levels.square().expand(len(truth), *power.shape)[0]
    # The power of a coefficient whose noise level is 0 must be 0.
    worst = float((power / expected.clamp(min=1e-30) - (expected > 0).double()).abs().max())
    # The variance of 400 draws has a relative standard error of sqrt(2 / 400) = 0.07. The maximum over many
    # coefficients may be off by 5 standard errors.
    limit = 6 * (2 / DRAWS) ** 0.5
    detail = f"variances of {DRAWS} draws differ by up to {worst:.0%}; accepted: below {limit:.0%}"
    return Finding("noise levels agree with random noise", worst < limit, detail)


def _is_broadcastable(values: Tensor, coefficients: Tensor) -> bool:
    sides = zip(reversed(values.shape), reversed(coefficients.shape), strict=False)
    return values.ndim <= coefficients.ndim and all(side in (1, whole) for side, whole in sides)
