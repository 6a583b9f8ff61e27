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
    basis = configured.build()
    if not isinstance(basis, Basis):
        yield Finding("is a gahbench.Basis", False, f"it is a {type(basis).__name__}")
        return
    truths = list(_samples(configured))
    if not truths:
        yield Finding(
            "supports a dataset of the checks",
            None,
            f"it does not support {', '.join(FAMILIES)}, so nothing is checked",
        )
        return
    for basis, truth in truths:
        yield from _check(basis, truth)
    yield from _check_odd_size(configured)


def _samples(configured: Configured) -> Iterator[tuple[Basis, Truth]]:
    """Yield fitted bases with images to check them on: images of families if the basis uses more than the images."""
    if configured.build().oracle:
        families: list[Dataset] = [configured.registry.create("dataset", family) for family in FAMILIES]
        for dataset in families:
            basis: Basis = configured.build()
            if basis.supports(dataset):
                basis.fit(TrainingData(dataset))
                yield basis, Truth(dataset.images("test", COUNT).double(), dataset)
        return
    depends_on_images = configured.build().adaptive or type(configured.build()).fit is not Basis.fit
    for shape in SMALL_SIZES if depends_on_images else SIZES:
        basis = configured.build()
        basis.check_shape(shape)
        basis.fit(TrainingData(SampleDataset(shape)))
        yield basis, Truth(sample_images(COUNT, shape).double())


def _check_odd_size(configured: Configured) -> Iterator[Finding]:
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
    original = images.clone()
    adapted = basis.adapt_to(truth, THRESHOLD)
    yield Finding("adapts to images if and only if it is adaptive", (adapted is not basis) == basis.adaptive)
    coefficients = adapted.analysis(images)
    copy = coefficients.clone()
    adapted.synthesis(coefficients)
    is_unchanged = images.equal(original) and coefficients.equal(copy)
    detail = "" if is_unchanged else "it writes into them; work on a copy"
    yield Finding("does not change its arguments", is_unchanged, detail)
    if not is_unchanged:
        return
    yield Finding("is deterministic", adapted.analysis(images).equal(coefficients))
    yield Finding("keeps float64", coefficients.dtype == torch.float64, str(coefficients.dtype))
    has_shape = coefficients.shape[:2] == images.shape[:2]
    yield Finding("coefficients have shape (N, C, ...)", has_shape, f"{tuple(coefficients.shape)}")
    reconstructed = adapted.synthesis(coefficients)
    is_same_shape = reconstructed.shape == images.shape
    error = float((reconstructed - images).abs().max()) if is_same_shape else float("inf")
    yield Finding(f"reconstructs images of {shape}", error < 1e-8, f"maximum error {error:.1e}; accepted: below 1e-8")
    single = adapted.analysis(images.float())
    difference = float((single - coefficients).abs().max())
    yield Finding(
        "computes the same in float32",
        single.dtype == torch.float32 and difference < 1e-4,
        f"{str(single.dtype).removeprefix('torch.')}, differs by {difference:.1e}; accepted: below 1e-4",
    )
    separate = [basis.adapt_to(single, THRESHOLD).analysis(single.clean) for single in truth.batches(1)]
    agrees = torch.allclose(torch.cat(separate), coefficients, atol=1e-8)
    yield Finding("treats each image of a batch separately", agrees)
    if (accelerator := hardware()).is_accelerator:
        yield _check_on_accelerator(basis, truth, coefficients, accelerator.device)
    other = sample_noise(images, 1.0)
    combination = adapted.analysis(other - 2 * images)
    is_linear = torch.allclose(combination, adapted.analysis(other) - 2 * coefficients, atol=1e-8)
    yield Finding("analysis is linear", is_linear)
    combined = adapted.synthesis(combination + 3 * coefficients)
    expected = adapted.synthesis(combination) + 3 * adapted.synthesis(coefficients)
    yield Finding("synthesis is linear", torch.allclose(combined, expected, atol=1e-8))
    labels = adapted.bands(shape)
    has_labels = _is_broadcastable(labels, coefficients) and not labels.is_floating_point()
    yield Finding("bands are integer labels of the coefficients of an image", has_labels)
    levels = adapted.noise_levels(shape)
    has_levels = _is_broadcastable(levels, coefficients)
    yield Finding("noise levels have the shape of the coefficients of an image", has_levels, f"{tuple(levels.shape)}")
    yield _check_filters(basis, truth)
    if adapted.is_orthonormal(shape):
        yield from _check_orthonormal(adapted, images, coefficients)
        are_ones = torch.allclose(levels.double(), torch.ones((), dtype=torch.float64))
        yield Finding(
            "noise levels are 1, since it is orthonormal", are_ones, f"from {levels.min():.3g} to {levels.max():.3g}"
        )
    elif has_levels:
        yield _check_noise_levels(basis, truth, levels)


def _check_on_accelerator(basis: Basis, truth: Truth, coefficients: Tensor, device: torch.device) -> Finding:
    on_device = replace(truth, clean=truth.clean.to(device))
    adapted = basis.adapt_to(on_device, THRESHOLD)
    result = adapted.analysis(on_device.clean)
    error = float((adapted.synthesis(result) - on_device.clean).abs().max())
    # Absolute values are compared, since the signs of eigenvectors of a graph are arbitrary.
    difference = float((result.cpu().abs() - coefficients.abs()).abs().max())
    detail = f"errors {error:.1e} and {difference:.1e}; accepted: below 1e-6"
    return Finding("computes the same on the GPU", max(error, difference) < 1e-6, detail)


def _check_orthonormal(basis: Basis, images: Tensor, coefficients: Tensor) -> Iterator[Finding]:
    has_shape = coefficients.shape == images.shape
    yield Finding("coefficients have the shape of the images", has_shape, f"{tuple(coefficients.shape)}")
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
        values.expand(coefficients.shape)
    except RuntimeError:
        return False
    return True
