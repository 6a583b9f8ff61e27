"""Contract checks of datasets, and of their statements about the optimal denoiser."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, get_args

import torch
from torch import Tensor

from gahbench._util.errors import DataError
from gahbench._util.plugin_checks import image_fault, unchecked
from gahbench.contracts.datasets import SPLITS, Card, Dataset, Optimum, OptimumKind, Split, validate_sources
from gahbench.jacobian import LARGEST_EXACT
from gahbench.registry.configured import Configured
from gahbench.testing.findings import Finding, check_notes, expect, require
from gahbench.testing.samples import same, sample_noise

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
        for shape in dict.fromkeys(shapes):
            part, count, name = dataset.of_shape(shape), list(shapes).count(shape), "x".join(map(str, shape))
            actual = (part.shape, part.available("test"))
            yield expect(f"of_shape has all images of {name}", actual == (shape, count), f"{actual[1]} of {actual[0]}")
            yield from _check_images(part, lambda: configured.build().of_shape(shape), "test", count, name)  # noqa: B023
        return
    load, contents = _own_images(dataset), dict[Split, set[bytes]]()
    for split in SPLITS:
        available = dataset.available(split)
        number = COUNT if available is None else min(MAX_COMPARED, available)
        if number == 0:
            yield Finding(f"{split} split", None, "holds no images")
            continue
        yield from _check_images(dataset, configured.build, split, min(COUNT, number), split)
        if available is not None:
            try:
                returned = len(load(split, available + 1))
            except DataError:
                returned = 0
            yield expect(f"{split}: a request for too many images raises DataError", not returned, f"{returned} images")
        contents[split] = {image.numpy().tobytes() for image in load(split, number)}
    fingerprint = dataset.fingerprint()
    is_valid = isinstance(fingerprint, str | None) and configured.build().fingerprint() == fingerprint
    yield expect("fingerprint is a string, the same for every instance, or None", is_valid, f"{fingerprint!r}")
    yield check_notes(dataset.notes)
    for left, right in itertools.combinations(contents, 2):
        # The halves A and B may be parts of train.
        if not dataset.splits_overlap and not (left == "train" and right in ("A", "B")):
            shared = len(contents[left] & contents[right])
            yield expect(f"{left} and {right} share no image", not shared, f"{shared} shared")
    if "test" in contents:
        yield from _check_optimum(dataset, load("test", min(COUNT, dataset.available("test") or COUNT)))


def _own_images(dataset: Dataset) -> Callable[..., Any]:
    """Return the plugin's own method ``images``."""
    return functools.partial(unchecked(type(dataset)).images, dataset)


def _check_images(
    dataset: Dataset, build: Callable[[], Dataset], split: Split, count: int, name: str
) -> Iterator[Finding]:
    """Check the images of a split, and their sources."""
    load, half = _own_images(dataset), count // 2
    images = load(split, count)
    fault = image_fault(images, (count, *dataset.shape))
    yield require(f"{name}: images are valid", not fault, f"it returned {fault}")
    outside = float(((images < 0) | (images > 1)).float().mean())
    yield Finding(f"{name}: values lie in [0, 1]", outside < 0.05, f"{outside:.2%} outside; accepted: below 5%")
    yield same(f"{name}: a second instance returns the same images", _own_images(build())(split, count), images)
    copy = images.clone()
    images.zero_()
    is_same = load(split, count).equal(copy)
    fault = "a change of the returned tensor changes later results; return a copy"
    yield require(f"{name}: changes of returned images do not affect later calls", is_same, fault)
    yield same(f"{name}: a request for fewer images returns the first of them", load(split, half), copy[:half])
    yield same(f"{name}: start skips images", load(split, count - half, start=half), copy[half:])
    try:
        sources = validate_sources(dataset, split, count)
    except DataError as error:
        yield Finding(f"{name}: sources are an integer for each image", False, str(error))
        return
    if sources is not None:
        repeated, first = validate_sources(build(), split, count), validate_sources(dataset, split, half)
        yield same(f"{name}: a second instance returns the same sources", repeated, sources)
        yield same(f"{name}: a request for fewer sources returns the first of them", first, sources[:half])


def _check_optimum(dataset: Dataset, clean: Tensor) -> Iterator[Finding]:
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
    levels = dataset.level_sets("test", len(clean))
    yield Finding("has_level_sets agrees with level_sets", dataset.has_level_sets == (levels is not None))
    if levels is not None:
        has_shape = levels.shape == (len(clean), *clean.shape[2:])
        is_valid = has_shape and levels.dtype == torch.float64 and bool(levels.isfinite().all())
        yield require("level sets are finite float64 values for each image", is_valid, f"{levels.dtype}")
        last = dataset.level_sets("test", 1, start=len(clean) - 1)
        yield same("level_sets: start skips images", last, levels[-1:], 1e-8)


def _check_posterior(dataset: Dataset, clean: Tensor, noisy: Tensor) -> Iterator[Finding]:
    posterior = dataset.posterior(noisy, SIGMA)
    mean, trace, share = posterior.mean, posterior.trace, posterior.ess_fraction
    has_shapes = mean.shape == noisy.shape and trace.shape == (len(noisy),)
    is_valid = has_shapes and bool(mean.isfinite().all() and trace.isfinite().all() and (trace >= 0).all())
    fault = f"shapes {tuple(mean.shape)}, {tuple(trace.shape)}, least trace {trace.min()}"
    yield require("posterior is finite and has the right shapes, and its trace is not negative", is_valid, fault)
    error = float((mean.double() - clean).square().flatten(1).sum(1).mean())
    is_closer = error < float((noisy - clean).square().flatten(1).sum(1).mean())
    yield Finding("posterior mean is closer to the clean image than the noisy image is", is_closer)
    # Errors below a millionth of the noise may be rounding errors.
    floor = 1e-6 * SIGMA**2 * clean[0].numel()
    yield _check_magnitude("posterior trace", floor + float(trace.double().mean()), floor + error)
    if share is not None:
        is_share = share.shape == (len(noisy),) and bool(((share > 0) & (share <= 1)).all())
        yield Finding("effective sample size is a share in (0, 1]", is_share, f"{share}")
    first = dataset.posterior(noisy[:1], SIGMA).mean
    yield same("posterior of an image is deterministic and independent of the other images", first, mean[:1], 1e-5)


def _check_magnitude(name: str, stated: float, realised: float) -> Finding:
    """Compare a stated expected error with the error on a few images."""
    detail = f"{stated:.3e}, error {realised:.3e}; accepted: within a factor of {FACTOR:g}"
    return Finding(f"{name} has the magnitude of the error", stated / FACTOR < realised < FACTOR * stated, detail)


def _check_bracket(dataset: Dataset, clean: Tensor, noisy: Tensor) -> Iterator[Finding]:
    bound, last = dataset.lower_bound("test", len(clean), SIGMA), len(clean) - 1
    is_valid = bound.shape == (len(clean),) and bool(((bound >= 0) & (bound <= SIGMA**2)).all())
    yield require("lower bound lies between 0 and sigma^2", is_valid, f"{bound}")
    genie = dataset.genie(noisy, SIGMA, "test")
    yield require("the genie keeps the shape of images", genie.shape == noisy.shape, tuple(genie.shape))
    yield _check_magnitude("lower bound", float(bound.mean()), float((genie.double() - clean).square().mean()))
    start_bound = dataset.lower_bound("test", 1, SIGMA, start=last)
    yield same("lower_bound: start skips images", start_bound / SIGMA**2, bound[last:] / SIGMA**2, 1e-6)
    start_genie = dataset.genie(noisy[last:], SIGMA, "test", start=last)
    yield same("genie: start skips images", start_genie, genie[last:], 1e-4)


def _check_filters(dataset: Dataset, noisy: Tensor) -> Iterator[Finding]:
    if noisy[0].numel() > LARGEST_EXACT:
        yield Finding("optimal filters are not checked", None, "the images are too large")
        return
    maps = dataset.optimal_filters(noisy, SIGMA, "test")
    if maps is None:
        reference = {"exact": "optimal", "bracket": "lower-bound"}.get(dataset.optimum.kind)
        detail = f"{reference} has no Jacobian on it, and no value in metrics that need one; " if reference else ""
        yield Finding("has no optimal filters", None, f"{detail}truth-alignment has no value for any denoiser")
    elif dataset.optimum.kind == "exact":
        # The optimal filter is the posterior covariance over sigma^2.
        expected, traces = dataset.posterior(noisy, SIGMA).trace.double() / SIGMA**2, maps.trace().value
        yield same("traces of optimal filters agree with the posterior", traces, expected, 0.01)


def _check_basis(dataset: Dataset, clean: Tensor) -> Iterator[Finding]:
    basis, pixels = dataset.true_basis("test", len(clean)), clean[0].numel()
    is_consistent = dataset.has_true_basis == (basis is not None and basis.energies is not None)
    yield Finding("has_true_basis agrees with true_basis", is_consistent)
    if basis is None:
        return
    vectors, energies = basis.vectors.double(), basis.energies
    has_shape = vectors.ndim == 3 and len(vectors) in (1, len(clean)) and vectors.shape[1] == pixels
    yield require("true basis has the right shape", has_shape, f"{tuple(vectors.shape)} for {pixels} pixels")
    gram = vectors.mT @ vectors
    yield same("true basis is orthonormal", gram, torch.eye(len(gram[0])).expand(gram.shape), 1e-4)
    if energies is not None:
        is_valid = energies.shape == (len(vectors), vectors.shape[2]) and bool((energies >= 0).all())
        is_valid = is_valid and bool((energies.diff() <= 1e-6 * energies[:, :1]).all())
        yield Finding("each vector has an energy, not negative and in decreasing order", is_valid)
