"""Contract checks of bases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from gahbench._util.shapes import Shape, image_shape
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.truth import TrainingData, Truth
from gahbench.devices.hardware import hardware
from gahbench.registry.configured import Configured
from gahbench.testing.findings import Finding
from gahbench.testing.samples import SampleDataset, sample_images, sample_noise

SIZES: tuple[Shape, ...] = ((1, 32, 32), (3, 32, 64))
#: Sizes for bases that are computed from images, whose time may grow as the cube of the number of pixels.
SMALL_SIZES: tuple[Shape, ...] = ((1, 16, 32), (3, 16, 16))
#: An odd size, which many transforms do not take as it is.
ODD: Shape = (1, 17, 23)
#: The threshold that adaptive bases are adapted for.
THRESHOLD = 0.05
COUNT = 3
DRAWS = 400
#: Small families on which bases that use more than the images are tried, if they exist there.
FAMILIES = ("gaussian-field[size=16]", "c-alpha[size=16]")


def check_basis(configured: Configured) -> Iterator[Finding]:
    """Check reconstruction, energy, the adjoint, linearity, batches, noise levels and precision of a basis."""
    basis = configured.build()
    if not isinstance(basis, Basis):
        yield Finding("is a gahbench.Basis", False, f"it is a {type(basis).__name__}")
        return
    truths = list(_samples(configured))
    if not truths:
        yield Finding("exists on a dataset", None, f"not on {', '.join(FAMILIES)}: no images to try it on")
        return
    for basis, truth in truths:
        yield from _check(basis, truth)
    yield from _odd(configured)


def _samples(configured: Configured) -> Iterator[tuple[Basis, Truth]]:
    """Yield fitted bases with images to try them on: images of families if the basis uses more than the images."""
    if configured.build().oracle:
        families: list[Dataset] = [configured.registry.create("dataset", family) for family in FAMILIES]
        for dataset in families:
            basis: Basis = configured.build()
            if basis.supports(dataset):
                basis.fit(TrainingData(dataset))
                yield basis, Truth(dataset.images("test", COUNT).double(), dataset)
        return
    made_from_images = configured.build().adaptive or type(configured.build()).fit is not Basis.fit
    for shape in SMALL_SIZES if made_from_images else SIZES:
        basis = configured.build()
        basis.check_shape(shape)
        basis.fit(TrainingData(SampleDataset(shape)))
        yield basis, Truth(sample_images(COUNT, shape).double())


def _odd(configured: Configured) -> Iterator[Finding]:
    """Check images of an odd size, or report that the basis refuses them."""
    basis = configured.build()
    if basis.oracle:
        return
    size = f"{ODD[1]}x{ODD[2]}"
    try:
        basis.check_shape(ODD)
    except ValueError as error:
        yield Finding(f"takes images of {size}", None, f"it refuses them: {error}")
        return
    basis.fit(TrainingData(SampleDataset(ODD)))
    yield from _check(basis, Truth(sample_images(COUNT, ODD).double()))


def _check(basis: Basis, truth: Truth) -> Iterator[Finding]:
    images = truth.clean
    shape = image_shape(images)
    before = images.clone()
    adapted = basis.adapt_to(truth, THRESHOLD)
    yield Finding("adapts to images if it is adaptive", (adapted is not basis) == basis.adaptive)
    coefficients = adapted.analysis(images)
    kept = coefficients.clone()
    adapted.synthesis(coefficients)
    stay = images.equal(before) and coefficients.equal(kept)
    yield Finding("leaves its arguments as they are", stay, "" if stay else "it writes into them; work on a copy")
    if not stay:
        return
    yield Finding("is deterministic", adapted.analysis(images).equal(coefficients))
    yield Finding("keeps float64", coefficients.dtype == torch.float64, str(coefficients.dtype))
    same = coefficients.shape[:2] == images.shape[:2]
    yield Finding("coefficients have the images' batch and channels", same, f"{tuple(coefficients.shape)}")
    back = adapted.synthesis(coefficients)
    error = float((back - images).abs().max()) if back.shape == images.shape else float("inf")
    yield Finding(f"reconstructs images of {shape}", error < 1e-8, f"largest error {error:.1e}; accepted: below 1e-8")
    single = adapted.analysis(images.float())
    close = float((single - coefficients).abs().max())
    alike = single.dtype == torch.float32 and close < 1e-4
    yield Finding(
        "computes in float32 alike",
        alike,
        f"{str(single.dtype).removeprefix('torch.')}, differs by {close:.1e}; accepted: below 1e-4",
    )
    alone = [basis.adapt_to(one, THRESHOLD).analysis(one.clean) for one in truth.batches(1)]
    agrees = torch.allclose(torch.cat(alone), coefficients, atol=1e-8)
    yield Finding("treats each image of a batch alone", agrees)
    if (there := hardware()).is_accelerator:
        yield _on_accelerator(basis, truth, coefficients, there.device)
    other = sample_noise(images, 1.0)
    both = adapted.analysis(other - 2 * images)
    linear = torch.allclose(both, adapted.analysis(other) - 2 * coefficients, atol=1e-8)
    yield Finding("analysis is linear", linear)
    combined = adapted.synthesis(both + 3 * coefficients)
    expected = adapted.synthesis(both) + 3 * adapted.synthesis(coefficients)
    yield Finding("synthesis is linear", torch.allclose(combined, expected, atol=1e-8))
    labels = adapted.bands(shape)
    fits = _fits(labels, coefficients)
    yield Finding("bands label the coefficients of an image", fits and not labels.is_floating_point())
    levels = adapted.noise_levels(shape)
    yield Finding(
        "noise levels fit the coefficients of an image", _fits(levels, coefficients), f"{tuple(levels.shape)}"
    )
    yield _filters(basis, truth)
    if adapted.is_orthonormal(shape):
        yield from _orthonormal(adapted, images, coefficients)
        ones = torch.allclose(levels.double(), torch.ones((), dtype=torch.float64))
        yield Finding(
            "noise levels are 1, since it is orthonormal", ones, f"from {levels.min():.3g} to {levels.max():.3g}"
        )
    elif _fits(levels, coefficients):
        yield _noise_levels(basis, truth, levels)


def _on_accelerator(basis: Basis, truth: Truth, coefficients: Tensor, device: torch.device) -> Finding:
    there = replace(truth, clean=truth.clean.to(device))
    adapted = basis.adapt_to(there, THRESHOLD)
    found = adapted.analysis(there.clean)
    error = float((adapted.synthesis(found) - there.clean).abs().max())
    # Eigenvectors of a graph may come with other signs.
    differs = float((found.cpu().abs() - coefficients.abs()).abs().max())
    detail = f"{error:.1e}, {differs:.1e}; accepted: below 1e-6"
    return Finding("computes alike on the GPU", max(error, differs) < 1e-6, detail)


def _orthonormal(basis: Basis, images: Tensor, coefficients: Tensor) -> Iterator[Finding]:
    same = coefficients.shape == images.shape
    yield Finding("has as many coefficients as pixels, in their shape", same, f"{tuple(coefficients.shape)}")
    energy = float((coefficients.square().sum() / images.square().sum() - 1).abs())
    yield Finding("keeps the energy", energy < 1e-8, f"relative difference {energy:.1e}; accepted: below 1e-8")
    other = sample_noise(coefficients, 1.0, draw=1)
    left = float((coefficients * other).sum())
    right = float((images * basis.synthesis(other)).sum())
    yield Finding("synthesis is the adjoint of analysis", abs(left - right) < 1e-8 * max(1, abs(left)))


def _filters(basis: Basis, truth: Truth) -> Finding:
    """Check that filters in the basis have the trace asked for, and keep clean images better than noise."""
    traces = torch.full((len(truth),), truth.clean[0].numel() / 8).double()
    family = basis.filters(truth, THRESHOLD)
    maps = family.at(traces)
    # The traces for large images follow from the noise levels, which have a check of their own.
    found = maps.trace().value if maps.is_small else traces
    if not family.reaches(traces).all() or (found - traces).abs().max() > 0.01 * traces.max():
        detail = f"traces {found.tolist()} where {traces.tolist()} were asked for; accepted: within 1 %"
        return Finding("filters in it have the trace asked for", False, detail)
    clean, noise = (images.flatten(1)[:, None] for images in (truth.clean, sample_noise(truth.clean, 1.0, draw=5)))
    kept = [float(maps.matvec(one).double().norm() / one.norm()) for one in (clean, noise)]
    sound = len(maps) == len(truth) and 0 <= kept[1] < kept[0] < 1.5
    return Finding(
        "filters in it have the trace asked for, and keep images better than noise",
        sound,
        f"{kept[0]:.2f} against {kept[1]:.2f}",
    )


def _noise_levels(basis: Basis, truth: Truth, levels: Tensor) -> Finding:
    """Compare the noise levels with those of drawn noise, over all coefficients, at five standard errors."""
    first = next(truth.batches(1))
    copies = first.clean.expand(DRAWS, *first.clean.shape[1:])
    adapted = basis.adapt_to(Truth(copies, truth.dataset), THRESHOLD) if basis.adaptive else basis
    power = adapted.analysis(sample_noise(copies, 1.0, draw=2)).square().mean(0)
    expected = levels.square().expand(len(truth), *power.shape)[0]
    # A coefficient that has no noise is compared with 0.
    worst = float((power / expected.clamp(min=1e-30) - (expected > 0).double()).abs().max())
    # A variance from 400 draws has a relative standard error of sqrt(2 / 400) = 0.07; the largest of many is 5 off.
    limit = 6 * (2 / DRAWS) ** 0.5
    detail = f"variances of {DRAWS} draws differ from theirs by up to {worst:.0%}; accepted: below {limit:.0%}"
    return Finding("noise levels are those of noise", worst < limit, detail)


def _fits(values: Tensor, coefficients: Tensor) -> bool:
    """Return whether values can be broadcast to coefficients."""
    try:
        values.expand(coefficients.shape)
    except RuntimeError:
        return False
    return True
