"""Contract checks of datasets, and of their statements about the optimal denoiser."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import get_args

import torch
from torch import Tensor

from gahbench._util.errors import DataError, listing
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import (
    SPLITS,
    Card,
    Dataset,
    Optimum,
    OptimumKind,
    Posterior,
    Split,
    TrueBasis,
    validate_sources,
)
from gahbench.jacobian import LARGEST_EXACT
from gahbench.registry.checked_images import image_faults, unchecked_images
from gahbench.registry.configured import Configured
from gahbench.testing.findings import Finding, expect, expect_notes, require
from gahbench.testing.samples import sample_noise

COUNT = 6
#: Maximum number of images of a finite split to compare with the images of other splits.
MAX_COMPARED = 4096
SIGMA = 0.1
#: Maximum factor between a mean error over a few images and its expectation.
FACTOR = 20.0


def check_dataset(configured: Configured) -> Iterator[Finding]:
    """Check shapes, types, determinism, prefixes, splits and the stated optimum of a dataset."""
    dataset: Dataset = configured.build()
    if (shapes := dataset.shapes(dataset.available("test") or COUNT)) is not None:
        yield from _check_shapes(configured, dataset, shapes)
        return
    first: dict[Split, Tensor] = {}
    for split in SPLITS:
        available = dataset.available(split)
        if (count := COUNT if available is None else min(COUNT, available)) == 0:
            yield Finding(f"{split} split", None, "holds no images")
            continue
        first[split] = yield from _check_images(dataset, configured.build, split, count, split)
        yield from _check_sources(configured, dataset, split, count)
        if available is not None:
            yield _check_refusal(dataset, split, available)
    fingerprint = dataset.fingerprint()
    is_valid = fingerprint is None or isinstance(fingerprint, str)
    is_stable = is_valid and configured.build().fingerprint() == fingerprint
    yield expect("fingerprint is a string, the same for every instance, or None", is_stable, f"{fingerprint!r}")
    yield expect_notes(dataset.notes)
    if dataset.splits_overlap:
        yield Finding("splits share images, as the dataset states", None)
    # The halves A and B may be parts of train.
    contents = {} if dataset.splits_overlap else {split: _image_bytes(dataset, split) for split in first}
    for left, right in itertools.combinations(contents, 2):
        if not (left == "train" and right in ("A", "B")):
            shared = len(contents[left] & contents[right])
            yield expect(f"{left} and {right} share no image", not shared, f"{shared} shared")
    if "test" in first:
        yield from _check_captured(dataset, first["test"])
        yield from check_optimum(dataset, first["test"])


def _check_shapes(configured: Configured, dataset: Dataset, shapes: Sequence[Shape]) -> Iterator[Finding]:
    """Check a set of test images of several shapes."""
    available, half = dataset.available("test"), len(shapes) // 2
    yield Finding("shapes() has a shape for each test image", len(shapes) == available, f"{len(shapes)} of {available}")
    repeated, first = configured.build().shapes(len(shapes)), dataset.shapes(half)
    yield Finding("a second instance has the same shapes", list(repeated or ()) == list(shapes))
    yield Finding("a request for fewer shapes returns the first of them", list(first or ()) == list(shapes[:half]))
    yield Finding("shape is the shape of the first image", dataset.shape == shapes[0], f"{dataset.shape}, {shapes[0]}")
    channels = {shape[0] for shape in shapes}
    yield Finding("all images have the same number of channels", len(channels) == 1, f"{sorted(channels)}")
    for shape in dict.fromkeys(shapes):
        part, count, size = dataset.of_shape(shape), list(shapes).count(shape), "x".join(map(str, shape))
        actual = (part.shape, part.available("test"))
        yield Finding(f"of_shape has all images of {size}", actual == (shape, count), f"{actual[1]} of {actual[0]}")
        build = functools.partial(lambda shape: configured.build().of_shape(shape), shape)
        images = yield from _check_images(part, build, "test", count, size)
        yield from _check_captured(part, images)


def _check_captured(dataset: Dataset, images: Tensor) -> Iterator[Finding]:
    """Check recorded noisy versions of the first test images, if there are any."""
    captured, count = dataset.captured(len(images)), len(images)
    if captured is None:
        return
    noisy, sigma, variance = captured.noisy, captured.sigma, captured.reference_variance
    fits = noisy.shape == images.shape and sigma.shape == variance.shape == (count,)
    yield Finding("recorded noisy images have the shape of the images, with noise levels", fits)
    if fits:
        is_valid = (noisy.isfinite().all(), variance.isfinite().all(), (sigma > 0).all(), (variance >= 0).all())
        yield Finding("recorded noisy images are finite, with positive noise levels", all(map(bool, is_valid)))
        part = dataset.captured(1)
        is_prefix = part is not None and torch.equal(part.noisy, noisy[:1])
        yield Finding("a request for fewer recorded images returns the first of them", is_prefix)


def _check_images(
    dataset: Dataset, build: Callable[[], Dataset], split: Split, count: int, name: str
) -> Generator[Finding, None, Tensor]:
    """Check the images of a split and return them."""
    load = unchecked_images(dataset)
    images = load(split, count)
    for check, fault in image_faults(images, (count, *dataset.shape)):
        yield require(f"{name}: {check}", fault is None, f"it returned {fault}")
    outside = float(((images < 0) | (images > 1)).float().mean())
    yield Finding(f"{name}: values lie in [0, 1]", outside < 0.05, f"{outside:.2%} outside; accepted: below 5%")
    repeated = unchecked_images(build())(split, count)
    yield Finding(f"{name}: a second instance returns the same images", torch.equal(repeated, images))
    copy: Tensor = images.clone()
    images.zero_()
    is_unchanged = load(split, count).equal(copy)
    fault = "a change of the returned tensor changes later results; return a copy"
    yield require(f"{name}: changes of returned images do not affect later calls", is_unchanged, fault)
    half = count // 2
    is_stable = torch.equal(load(split, half), copy[:half])
    yield require(f"{name}: a request for fewer images returns the first of them", is_stable)
    second_half = load(split, count - half, start=half)
    yield Finding(f"{name}: start skips images", torch.equal(second_half, copy[half:]))
    return copy


def _check_sources(configured: Configured, dataset: Dataset, split: Split, count: int) -> Iterator[Finding]:
    """Check the sources of the images of a split, if the dataset states them."""
    check = f"{split}: sources are an integer for each image"
    try:
        sources = validate_sources(dataset, split, count)
    except DataError as error:
        yield Finding(check, False, str(error))
        return
    if sources is None:
        return
    yield Finding(check, True, listing(map(str, sources)))
    repeated, first = validate_sources(configured.build(), split, count), validate_sources(dataset, split, count // 2)
    yield expect(f"{split}: a second instance returns the same sources", repeated == sources, repeated)
    is_stable, fault = first == sources[: count // 2], f"{first}, and {sources} for all"
    yield expect(f"{split}: a request for fewer sources returns the first of them", is_stable, fault)


def _image_bytes(dataset: Dataset, split: Split) -> set[bytes]:
    """Return the bytes of each of the first images of a split."""
    available = dataset.available(split)
    images = unchecked_images(dataset)(split, COUNT if available is None else min(MAX_COMPARED, available))
    return {image.numpy().tobytes() for image in images}


def _check_refusal(dataset: Dataset, split: str, available: int) -> Finding:
    check = f"{split}: a request for too many images raises DataError"
    try:
        unchecked_images(dataset)(split, available + 1)
    except DataError as error:
        return Finding(check, True, str(error))
    return Finding(check, False, f"it returned {available + 1} images of {available}")


def check_optimum(dataset: Dataset, clean: Tensor) -> Iterator[Finding]:
    """Check the stated optimum of a dataset on its first test images, shape (N, C, H, W)."""
    optimum = dataset.optimum
    is_known = isinstance(optimum, Optimum) and optimum.kind in get_args(OptimumKind)
    is_valid = is_known and (optimum.slope is None or 0 <= optimum.slope <= 1)
    yield expect("has a gahbench.Card", isinstance(dataset.card, Card), f"{dataset.card!r}")
    yield require("states an optimum, with a slope from 0 to 1 or None", is_valid, f"{optimum}")
    noisy = clean + sample_noise(clean, SIGMA)
    if optimum.kind == "exact":
        yield from _check_posterior(dataset, clean, noisy)
    if optimum.kind == "bracket":
        yield from _check_bracket(dataset, clean, noisy)
    # Use only two images, since the size of a basis may be the square of the number of pixels.
    yield from _check_basis(dataset, clean[:2])
    yield from _check_filters(dataset, noisy[:2])
    yield from _check_level_sets(dataset, clean)


def _check_posterior(dataset: Dataset, clean: Tensor, noisy: Tensor) -> Iterator[Finding]:
    posterior = dataset.posterior(noisy, SIGMA)
    mean, trace = posterior.mean, posterior.trace
    has_shapes = mean.shape == noisy.shape and trace.shape == (len(noisy),)
    yield require("posterior has the right shapes", has_shapes, f"{tuple(mean.shape)}, {tuple(trace.shape)}")
    yield Finding("posterior is finite", bool(mean.isfinite().all() and trace.isfinite().all()))
    yield Finding("posterior trace is not negative", bool((trace >= 0).all()))
    error = (mean.double() - clean).square().flatten(1).sum(1)
    is_closer = bool(error.mean() < (noisy - clean).square().flatten(1).sum(1).mean())
    yield Finding("posterior mean is closer to the clean image than the noisy image is", is_closer)
    realised, expected = float(error.mean()), float(trace.double().mean())
    # Errors below a millionth of the noise may be rounding errors.
    floor = 1e-6 * SIGMA**2 * clean[0].numel()
    ratio = max(realised, floor) / max(expected, floor)
    detail = f"{expected:.3e}, error {realised:.3e}; accepted: within a factor of {FACTOR:g}"
    yield Finding("posterior trace has the magnitude of the error", 1 / FACTOR < ratio < FACTOR, detail)
    ess_fraction = posterior.ess_fraction
    if ess_fraction is not None:
        is_share = ess_fraction.shape == (len(noisy),) and bool(((ess_fraction > 0) & (ess_fraction <= 1)).all())
        yield Finding("effective sample size is a share in (0, 1]", is_share, f"{ess_fraction}")
    first: Posterior = dataset.posterior(noisy[:1], SIGMA)
    is_same = torch.allclose(first.mean.double(), mean[:1].double(), atol=1e-5)
    yield Finding("posterior of an image is deterministic and independent of the other images", is_same)


def _check_bracket(dataset: Dataset, clean: Tensor, noisy: Tensor) -> Iterator[Finding]:
    bound = dataset.lower_bound("test", len(clean), SIGMA)
    is_valid = bound.shape == (len(clean),) and bool(((bound >= 0) & (bound <= SIGMA**2)).all())
    yield require("lower bound lies between 0 and sigma^2", is_valid, f"{bound}")
    genie = dataset.genie(noisy, SIGMA, "test")
    yield require("the genie keeps the shape of images", genie.shape == noisy.shape, tuple(genie.shape))
    realised, expected = float((genie.double() - clean).square().mean()), float(bound.mean())
    is_similar = expected / FACTOR < realised < FACTOR * expected
    detail = f"{realised:.3e}, bound {expected:.3e}; accepted: within a factor of {FACTOR:g}"
    yield Finding("the genie's error has the magnitude of the bound", is_similar, detail)
    last = len(clean) - 1
    is_same = torch.allclose(dataset.lower_bound("test", 1, SIGMA, start=last), bound[last:], rtol=1e-6, atol=0)
    yield Finding("lower_bound: start skips images", is_same)
    last_denoised = dataset.genie(noisy[last:], SIGMA, "test", start=last)
    yield Finding("genie: start skips images", torch.allclose(last_denoised.float(), genie[last:].float(), atol=1e-4))


def _check_filters(dataset: Dataset, noisy: Tensor) -> Iterator[Finding]:
    if noisy[0].numel() > LARGEST_EXACT:
        yield Finding("optimal filters are not checked", None, "the images are too large")
        return
    maps = dataset.optimal_filters(noisy, SIGMA, "test")
    if maps is None:
        reference = {"exact": "optimal", "bracket": "lower-bound"}.get(dataset.optimum.kind)
        detail = f"{reference} has no Jacobian on it, and no value in metrics that need one; " if reference else ""
        yield Finding("has no optimal filters", None, f"{detail}truth-alignment has no value for any denoiser")
        return
    has_shape = len(maps) == len(noisy) and maps.shape == tuple(noisy.shape[1:])
    yield require("there is an optimal filter for each image", has_shape, f"{len(maps)} for images {maps.shape}")
    vectors = sample_noise(noisy, 1.0, draw=4).flatten(1)[:, None]
    product, adjoint = maps.matvec(vectors), maps.rmatvec(vectors)
    is_symmetric = torch.allclose(product, adjoint, atol=1e-4 * float(product.abs().max()))
    yield Finding("optimal filters are symmetric", is_symmetric)
    if dataset.optimum.kind == "exact":
        # The optimal filter is the posterior covariance over sigma^2.
        expected, traces = dataset.posterior(noisy, SIGMA).trace.double(), SIGMA**2 * maps.trace().value
        agrees = torch.allclose(traces, expected, rtol=0.01, atol=1e-6 * SIGMA**2 * noisy[0].numel())
        yield Finding("traces of optimal filters agree with the posterior", agrees, f"{traces}, {expected}")


def _check_basis(dataset: Dataset, clean: Tensor) -> Iterator[Finding]:
    basis: TrueBasis | None = dataset.true_basis("test", len(clean))
    is_consistent = dataset.has_true_basis == (basis is not None and basis.energies is not None)
    yield Finding("has_true_basis agrees with true_basis", is_consistent)
    if basis is None:
        return
    vectors, energies = basis.vectors, basis.energies
    pixels = clean[0].numel()
    has_shape = vectors.ndim == 3 and len(vectors) in (1, len(clean)) and vectors.shape[1] == pixels
    yield require("true basis has the right shape", has_shape, f"{tuple(vectors.shape)} for {pixels} pixels")
    gram = vectors.double().mT @ vectors.double()
    error = float((gram - torch.eye(len(gram[0]))).abs().max())
    yield Finding("true basis is orthonormal", error < 1e-4, f"error {error:.1e}; accepted: below 1e-4")
    if energies is not None:
        is_valid = energies.shape == (len(vectors), vectors.shape[2]) and bool((energies >= 0).all())
        is_valid = is_valid and bool((energies.diff() <= 1e-6 * energies[:, :1]).all())
        yield Finding("each vector has an energy, not negative and in decreasing order", is_valid)


def _check_level_sets(dataset: Dataset, clean: Tensor) -> Iterator[Finding]:
    levels = dataset.level_sets("test", len(clean))
    yield Finding("has_level_sets agrees with level_sets", dataset.has_level_sets == (levels is not None))
    if levels is None:
        return
    has_shape = levels.shape == (len(clean), *clean.shape[2:])
    is_valid = has_shape and levels.dtype == torch.float64 and bool(levels.isfinite().all())
    detail = f"{levels.dtype}, {tuple(levels.shape)}"
    yield Finding("level sets are finite float64 values for each image", is_valid, detail)
    last = dataset.level_sets("test", 1, start=len(clean) - 1)
    is_same = is_valid and last is not None and torch.allclose(last, levels[-1:])
    yield Finding("level_sets: start skips images", is_same)
