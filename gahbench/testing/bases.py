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
from gahbench.testing.findings import COPY, Finding, none_supported, require
from gahbench.testing.on_meta import DEVICE, check_on_meta
from gahbench.testing.samples import SampleDataset, sample_images, sample_noise

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
    truths = list(_samples(configured))
    if not truths:
        yield none_supported(FAMILIES)
        return
    for basis, truth in truths:
        yield from _check(basis, truth)
    basis, truth = truths[0]
    yield check_on_meta("transforms", lambda: _transform(basis, replace(truth, clean=truth.clean.to(DEVICE))))
    if basis.oracle:
        return
    odd = configured.build()
    try:
        odd.check_shape(ODD)
    except ValueError as error:
        yield Finding(f"takes images of {ODD[1]}x{ODD[2]}", None, f"it refuses them: {error}")
        return
    yield from _check(*_sample(odd, ODD))


def _samples(configured: Configured) -> Iterator[tuple[Basis, Truth]]:
    """Yield fitted bases with images to check them on: images of families if the basis uses more than the images."""
    basis: Basis = configured.build()
    if basis.oracle:
        families: list[Dataset] = [configured.registry.create("dataset", family) for family in FAMILIES]
        for dataset in families:
            basis = configured.build()
            if basis.supports(dataset):
                basis.fit(TrainingData(dataset))
                yield basis, Truth(dataset.images("test", COUNT).double(), dataset)
        return
    depends_on_images = basis.adaptive or type(basis).fit is not Basis.fit
    for shape in SMALL_SIZES if depends_on_images else SIZES:
        basis = configured.build()
        basis.check_shape(shape)
        yield _sample(basis, shape)


def _sample(basis: Basis, shape: Shape) -> tuple[Basis, Truth]:
    basis.fit(TrainingData(SampleDataset(shape)))
    return basis, Truth(sample_images(COUNT, shape).double())


def _transform(basis: Basis, truth: Truth) -> tuple[Tensor, Tensor]:
    """Return the coefficients of the images, and the images from the coefficients."""
    adapted = basis.adapt_to(truth, THRESHOLD)
    coefficients = adapted.analysis(truth.clean)
    return coefficients, adapted.synthesis(coefficients)


def _check(basis: Basis, truth: Truth) -> Iterator[Finding]:
    images = truth.clean
    shape = image_shape(images)
    original = images.clone()
    adapted = basis.adapt_to(truth, THRESHOLD)
    yield Finding("adapts to images if and only if it is adaptive", (adapted is not basis) == basis.adaptive)
    coefficients = adapted.analysis(images)
    copy = coefficients.clone()
    reconstructed = adapted.synthesis(coefficients)
    is_unchanged = images.equal(original) and coefficients.equal(copy)
    yield require("does not change its arguments", is_unchanged, COPY)
    yield Finding("is deterministic", adapted.analysis(images).equal(coefficients))
    yield Finding("keeps float64", coefficients.dtype == torch.float64, str(coefficients.dtype))
    has_shape = coefficients.shape[:2] == images.shape[:2]
    yield Finding("coefficients have shape (N, C, ...)", has_shape, f"{tuple(coefficients.shape)}")
    error = _distance(reconstructed, images) if reconstructed.shape == images.shape else float("inf")
    yield Finding(f"reconstructs images of {shape}", error < 1e-8, f"maximum error {error:.1e}; accepted: below 1e-8")
    single = adapted.analysis(images.float())
    difference = _distance(single, coefficients)
    detail = f"{str(single.dtype).removeprefix('torch.')}, differs by {difference:.1e}; accepted: below 1e-4"
    yield Finding("computes the same in float32", single.dtype == torch.float32 and difference < 1e-4, detail)
    separate = torch.cat([_transform(basis, image)[0] for image in truth.batches(1)])
    yield Finding("treats each image of a batch separately", _agree(separate, coefficients))
    if (accelerator := hardware()).is_accelerator:
        on_device = replace(truth, clean=images.to(accelerator.device))
        result, inverse = _transform(basis, on_device)
        # Absolute values are compared, since the signs of eigenvectors of a graph are arbitrary.
        errors = _distance(inverse, on_device.clean), _distance(result.cpu().abs(), coefficients.abs())
        detail = f"errors {errors[0]:.1e} and {errors[1]:.1e}; accepted: below 1e-6"
        yield Finding("computes the same on the GPU", max(errors) < 1e-6, detail)
    combination = adapted.analysis(sample_noise(images, 1.0) - 2 * images)
    is_linear = _agree(combination, adapted.analysis(sample_noise(images, 1.0)) - 2 * coefficients)
    yield Finding("analysis is linear", is_linear)
    combined = adapted.synthesis(combination + 3 * coefficients)
    yield Finding("synthesis is linear", _agree(combined, adapted.synthesis(combination) + 3 * reconstructed))
    labels, levels = adapted.bands(shape), adapted.noise_levels(shape)
    has_labels = _is_broadcastable(labels, coefficients) and not labels.is_floating_point()
    yield Finding("bands are integer labels of the coefficients of an image", has_labels)
    has_levels = _is_broadcastable(levels, coefficients)
    yield Finding("noise levels have the shape of the coefficients of an image", has_levels, f"{tuple(levels.shape)}")
    yield _check_filters(basis, truth)
    if adapted.is_orthonormal(shape):
        yield from _check_orthonormal(adapted, images, coefficients)
        detail = f"from {levels.min():.3g} to {levels.max():.3g}"
        yield Finding("noise levels are 1, since it is orthonormal", _distance(levels, torch.ones(())) < 1e-5, detail)
    elif has_levels:
        yield _check_noise_levels(basis, truth, levels)


def _distance(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max())


def _agree(left: Tensor, right: Tensor) -> bool:
    return torch.allclose(left, right, atol=1e-8)


def _check_orthonormal(basis: Basis, images: Tensor, coefficients: Tensor) -> Iterator[Finding]:
    shape = tuple(coefficients.shape)
    yield Finding("coefficients have the shape of the images", shape == tuple(images.shape), f"{shape}")
    energy = float((coefficients.square().sum() / images.square().sum() - 1).abs())
    yield Finding("preserves energy", energy < 1e-8, f"relative difference {energy:.1e}; accepted: below 1e-8")
    other = sample_noise(coefficients, 1.0, draw=1)
    left = float((coefficients * other).sum())
    right = float((images * basis.synthesis(other)).sum())
    yield Finding("synthesis is the adjoint of analysis", abs(left - right) < 1e-8 * max(1, abs(left)))


def _check_filters(basis: Basis, truth: Truth) -> Finding:
    """Check that filters in the basis have the requested trace, and attenuate noise more than clean images."""
    traces = torch.full((len(truth),), truth.clean[0].numel() / 8).double()
    family = basis.filters(truth, THRESHOLD)
    maps = family.at(traces)
    # For large images the traces follow from the noise levels, which another check covers.
    actual = maps.trace().value if maps.is_small else traces
    if not family.reaches(traces).all() or (actual - traces).abs().max() > 0.01 * traces.max():
        detail = f"traces are {actual.tolist()}, but {traces.tolist()} were requested; accepted: within 1 %"
        return Finding("filters have the requested trace", False, detail)
    clean, noise = (images.flatten(1)[:, None] for images in (truth.clean, sample_noise(truth.clean, 1.0, draw=5)))
    gains = [float(maps.matvec(vectors).double().norm() / vectors.norm()) for vectors in (clean, noise)]
    return Finding(
        "filters have the requested trace, and attenuate noise more than images",
        len(maps) == len(truth) and 0 <= gains[1] < gains[0] < 1.5,
        f"gain {gains[0]:.2f} for images, {gains[1]:.2f} for noise",
    )


def _check_noise_levels(basis: Basis, truth: Truth, levels: Tensor) -> Finding:
    """Compare the noise levels of all coefficients with the coefficients of random noise."""
    first = next(truth.batches(1))
    copies = first.clean.expand(DRAWS, *first.clean.shape[1:])
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
    try:
        return values.expand(coefficients.shape) is not None
    except RuntimeError:
        return False
