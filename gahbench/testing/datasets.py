"""Contract checks of datasets, and of their statements about the best denoiser."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
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
from gahbench.registry.checked_images import unchecked_images
from gahbench.registry.configured import Configured
from gahbench.testing.findings import Finding
from gahbench.testing.samples import sample_noise

COUNT = 6
#: Maximum of images of a finite split that are compared with the images of other splits.
MANY = 4096
SIGMA = 0.1
#: A mean error over a few images may differ from its expectation by so much, and by no more.
FACTOR = 20.0


def check_dataset(configured: Configured) -> Iterator[Finding]:
    """Check shapes, types, determinism, prefixes, splits and the stated optimum of a dataset."""
    dataset = configured.build()
    if not isinstance(dataset, Dataset):
        yield Finding("is a gahbench.Dataset", False, f"it is a {type(dataset).__name__}")
        return
    if (shapes := dataset.shapes(dataset.available("test") or COUNT)) is not None:
        yield from _check_shapes(configured, dataset, shapes)
        return
    first: dict[Split, torch.Tensor] = {}
    for split in SPLITS:
        available = dataset.available(split)
        count = COUNT if available is None else min(COUNT, available)
        if count == 0:
            yield Finding(f"{split} split", None, "holds no images")
            continue
        images = yield from _check_images(configured, dataset, split, count)
        if images is None:
            return
        first[split] = images
        yield from _check_sources(configured, dataset, split, count)
        if available is not None:
            yield _refusal(dataset, split, available)
    fingerprint = dataset.fingerprint()
    typed = fingerprint is None or isinstance(fingerprint, str)
    again = typed and configured.build().fingerprint() == fingerprint
    yield Finding("its fingerprint is a text, always the same, or None", again, "" if again else f"{fingerprint!r}")
    notes = dataset.notes
    sound = isinstance(notes, tuple) and all(isinstance(note, str) for note in notes)
    yield Finding("notes are a tuple of texts", sound, "" if sound else f"{notes!r:.100}")
    if dataset.splits_overlap:
        yield Finding("splits share images, as the dataset says", None)
    # The halves A and B may be parts of train.
    held = {} if dataset.splits_overlap else {split: _held(dataset, split) for split in first}
    for left, right in itertools.combinations(held, 2):
        if not (left == "train" and right in ("A", "B")):
            shared = len(held[left] & held[right])
            yield Finding(f"{left} and {right} share no image", not shared, f"{shared} shared" if shared else "")
    if "test" in first:
        yield from check_optimum(dataset, first["test"])


def _check_shapes(configured: Configured, dataset: Dataset, shapes: Sequence[Shape]) -> Iterator[Finding]:
    """Check a set of test images of several shapes."""
    available = dataset.available("test")
    yield Finding("names the shape of each test image", len(shapes) == available, f"{len(shapes)} of {available}")
    again = list(configured.build().shapes(len(shapes)) or ()) == list(shapes)
    yield Finding("another instance names the same shapes", again)
    half = len(shapes) // 2
    yield Finding("the first k of n shapes are the k", list(dataset.shapes(half) or ()) == list(shapes[:half]))
    yield Finding("its shape is that of the first image", dataset.shape == shapes[0], f"{dataset.shape}, {shapes[0]}")
    channels = {shape[0] for shape in shapes}
    yield Finding("all images have as many channels", len(channels) == 1, f"{sorted(channels)}")
    for shape in dict.fromkeys(shapes):
        one, count = dataset.of_shape(shape), list(shapes).count(shape)
        held = (one.shape, one.available("test"))
        where = "x".join(map(str, shape))
        yield Finding(f"of_shape gives the images of {where}", held == (shape, count), f"{held[1]} of {held[0]}")
        images = one.images("test", count)
        same = tuple(images.shape) == (count, *shape)
        yield Finding(f"{where}: images have that shape", same, f"{tuple(images.shape)}")
        sound = images.dtype == torch.float32 and bool(((images >= 0) & (images <= 1)).all())
        yield Finding(f"{where}: float32 values in [0, 1]", sound)
        yield Finding(f"{where}: the same again", torch.equal(dataset.of_shape(shape).images("test", count), images))


def _check_images(
    configured: Configured, dataset: Dataset, split: Split, count: int
) -> Generator[Finding, None, torch.Tensor | None]:
    """Check the images of a split and return them; ``None`` if other checks cannot use them."""
    ask = unchecked_images(dataset)
    images = ask(split, count)
    kind = _kind(images)
    yield Finding(f"{split}: images are an ordinary tensor", kind is None, kind or "")
    if kind is not None:
        return None
    wanted, got = (count, *dataset.shape), tuple(images.shape)
    yield Finding(f"{split}: images have the shape it states", wanted == got, f"{got}, stated {wanted}")
    plain = images.dtype == torch.float32 and images.device.type == "cpu"
    yield Finding(f"{split}: images are float32 on the CPU", plain, str(images.dtype))
    if wanted != got or not plain:
        return None
    finite = bool(images.isfinite().all())
    yield Finding(f"{split}: values are finite", finite)
    outside = float(((images < 0) | (images > 1)).float().mean())
    yield Finding(f"{split}: values lie in [0, 1]", outside < 0.05, f"{outside:.2%} outside; accepted: below 5%")
    again = unchecked_images(configured.build())(split, count)
    yield Finding(f"{split}: another instance gives the same images", torch.equal(again, images))
    kept = images.clone()
    images.zero_()
    unspoilt = ask(split, count).equal(kept)
    detail = "" if unspoilt else "writing into what it returned changes what it returns next; return a copy"
    yield Finding(f"{split}: writing into returned images does not change later ones", unspoilt, detail)
    if not unspoilt:
        return None
    half = count // 2
    stable = torch.equal(ask(split, half), kept[:half])
    yield Finding(f"{split}: the first k of n images are the k", stable)
    rest = ask(split, count - half, start=half)
    yield Finding(f"{split}: start skips images", torch.equal(rest, kept[half:]))
    return kept if finite and stable else None


def _check_sources(configured: Configured, dataset: Dataset, split: Split, count: int) -> Iterator[Finding]:
    """Check the sources of the images of a split, if the dataset states them."""
    name = f"{split}: sources are one whole number for each image"
    try:
        found = validate_sources(dataset, split, count)
    except DataError as error:
        yield Finding(name, False, str(error))
        return
    if found is None:
        return
    yield Finding(name, True, listing(map(str, found)))
    again = validate_sources(configured.build(), split, count)
    differs = "" if again == found else f"{again}"
    yield Finding(f"{split}: another instance gives the same sources", not differs, differs)
    first = validate_sources(dataset, split, count // 2)
    stable = first == found[: count // 2]
    yield Finding(f"{split}: the first k of n sources are the k", stable, "" if stable else f"{first} of {found}")


def _kind(images: object) -> str | None:
    """Return in words why images are not a tensor of plain numbers in memory; ``None`` if they are."""
    if not isinstance(images, torch.Tensor):
        return f"they are a {type(images).__name__}"
    if images.is_nested or images.layout != torch.strided or images.is_meta or images.is_quantized:
        return "they are a nested, sparse, meta or quantized tensor"
    return "they require a gradient; return images.detach()" if images.requires_grad else None


def _held(dataset: Dataset, split: Split) -> set[bytes]:
    """Return the images of a split, or the first of them, each as its bytes."""
    available = dataset.available(split)
    images = unchecked_images(dataset)(split, COUNT if available is None else min(MANY, available))
    return {image.numpy().tobytes() for image in images}


def _refusal(dataset: Dataset, split: str, available: int) -> Finding:
    check = f"{split}: more images than there are is a DataError"
    try:
        unchecked_images(dataset)(split, available + 1)
    except DataError as error:
        return Finding(check, True, str(error))
    return Finding(check, False, f"it gave {available + 1} of {available}")


def check_optimum(dataset: Dataset, clean: Tensor) -> Iterator[Finding]:
    """Check the stated optimum of a dataset on its first test images, shape (N, C, H, W)."""
    optimum = dataset.optimum
    known = isinstance(optimum, Optimum) and optimum.kind in get_args(OptimumKind)
    slope = known and (optimum.slope is None or 0 <= optimum.slope <= 1)
    yield Finding("states an optimum, with a slope from 0 to 1 or none", bool(slope), f"{optimum}")
    card = dataset.card
    yield Finding("has a gahbench.Card", isinstance(card, Card), "" if isinstance(card, Card) else f"{card!r}")
    if not known:
        return
    noisy = clean + sample_noise(clean, SIGMA)
    if optimum.kind == "exact":
        yield from _check_posterior(dataset, clean, noisy)
    if optimum.kind == "bracket":
        yield from _check_bracket(dataset, clean, noisy)
    # A basis may be as large as the square of the pixels: two images are enough.
    yield from _check_basis(dataset, clean[:2])
    yield from _check_filters(dataset, noisy[:2])
    yield from _check_level_sets(dataset, clean)


def _check_posterior(dataset: Dataset, clean: Tensor, noisy: Tensor) -> Iterator[Finding]:
    posterior = dataset.posterior(noisy, SIGMA)
    mean, trace = posterior.mean, posterior.trace
    shapes = mean.shape == noisy.shape and trace.shape == (len(noisy),)
    yield Finding("posterior has its shapes", shapes, f"{tuple(mean.shape)}, {tuple(trace.shape)}")
    if not shapes:
        return
    yield Finding("posterior is finite", bool(mean.isfinite().all() and trace.isfinite().all()))
    yield Finding("posterior trace is not negative", bool((trace >= 0).all()))
    error = (mean.double() - clean).square().flatten(1).sum(1)
    closer = bool(error.mean() < (noisy - clean).square().flatten(1).sum(1).mean())
    yield Finding("posterior mean is closer to the clean image than the noisy one", closer)
    realised, expected = float(error.mean()), float(trace.double().mean())
    # Below a millionth of the noise both may be rounding.
    floor = 1e-6 * SIGMA**2 * clean[0].numel()
    ratio = max(realised, floor) / max(expected, floor)
    alike = 1 / FACTOR < ratio < FACTOR
    yield Finding(
        "posterior trace is of the size of the error",
        alike,
        f"{expected:.3e}, {realised:.3e}; accepted: a factor of {FACTOR:g}",
    )
    ess_fraction = posterior.ess_fraction
    if ess_fraction is not None:
        share = ess_fraction.shape == (len(noisy),) and bool(((ess_fraction > 0) & (ess_fraction <= 1)).all())
        yield Finding("effective sample size is a share", share, f"{ess_fraction}")
    first: Posterior = dataset.posterior(noisy[:1], SIGMA)
    same = torch.allclose(first.mean.double(), mean[:1].double(), atol=1e-5)
    yield Finding("posterior of an image does not depend on the others, and repeats", same)


def _check_bracket(dataset: Dataset, clean: Tensor, noisy: Tensor) -> Iterator[Finding]:
    bound = dataset.lower_bound("test", len(clean), SIGMA)
    sound = bound.shape == (len(clean),) and bool(((bound >= 0) & (bound <= SIGMA**2)).all())
    yield Finding("lower bound lies between 0 and sigma^2", sound, f"{bound}")
    genie = dataset.genie(noisy, SIGMA, "test")
    same = genie.shape == noisy.shape
    yield Finding("the genie returns the shape it got", same, f"{tuple(genie.shape)}")
    if not (sound and same):
        return
    realised = float((genie.double() - clean).square().mean())
    expected = float(bound.mean())
    alike = expected / FACTOR < realised < FACTOR * expected
    yield Finding(
        "the genie's error is of the size of the bound",
        alike,
        f"{realised:.3e}, {expected:.3e}; accepted: a factor of {FACTOR:g}",
    )
    last = len(clean) - 1
    again = torch.allclose(dataset.lower_bound("test", 1, SIGMA, start=last), bound[last:], rtol=1e-6, atol=0)
    yield Finding("start skips images of the bound", again)
    alone = dataset.genie(noisy[last:], SIGMA, "test", start=last)
    yield Finding("start skips images of the genie", torch.allclose(alone.float(), genie[last:].float(), atol=1e-4))


def _check_filters(dataset: Dataset, noisy: Tensor) -> Iterator[Finding]:
    if noisy[0].numel() > LARGEST_EXACT:
        yield Finding("optimal filters", None, "not tried on images of this size")
        return
    maps = dataset.optimal_filters(noisy, SIGMA, "test")
    if maps is None:
        best = {"exact": "optimal", "bracket": "lower-bound"}.get(dataset.optimum.kind)
        detail = "truth-alignment has no value for any denoiser"
        if best is not None:
            detail = f"{best} has no Jacobian on it, and no value in metrics that need one; {detail}"
        yield Finding("has no optimal filters", None, detail)
        return
    shapes = len(maps) == len(noisy) and maps.shape == tuple(noisy.shape[1:])
    yield Finding("optimal filters are one for each image", shapes, f"{len(maps)} of images {maps.shape}")
    if not shapes:
        return
    vectors = sample_noise(noisy, 1.0, draw=4).flatten(1)[:, None]
    forth, back = maps.matvec(vectors), maps.rmatvec(vectors)
    symmetric = torch.allclose(forth, back, atol=1e-4 * float(forth.abs().max()))
    yield Finding("optimal filters are symmetric", symmetric)
    if dataset.optimum.kind == "exact":
        # The posterior covariance, over sigma^2, in both.
        expected, found = dataset.posterior(noisy, SIGMA).trace.double(), SIGMA**2 * maps.trace().value
        alike = torch.allclose(found, expected, rtol=0.01, atol=1e-6 * SIGMA**2 * noisy[0].numel())
        yield Finding("traces of optimal filters are those of the posterior", alike, f"{found}, {expected}")


def _check_basis(dataset: Dataset, clean: Tensor) -> Iterator[Finding]:
    basis: TrueBasis | None = dataset.true_basis("test", len(clean))
    consistent = dataset.has_true_basis == (basis is not None and basis.energies is not None)
    yield Finding("has_true_basis says whether there is one with energies", consistent)
    if basis is None:
        return
    vectors, energies = basis.vectors, basis.energies
    pixels = clean[0].numel()
    shape = vectors.ndim == 3 and len(vectors) in (1, len(clean)) and vectors.shape[1] == pixels
    yield Finding("true basis has its shape", shape, f"{tuple(vectors.shape)} for {pixels} pixels")
    if not shape:
        return
    gram = vectors.double().mT @ vectors.double()
    off = float((gram - torch.eye(gram.shape[-1], dtype=gram.dtype)).abs().max())
    yield Finding("true basis is orthonormal", off < 1e-4, f"off by {off:.1e}; accepted: below 1e-4")
    if energies is not None:
        sorted_down = energies.shape == (len(vectors), vectors.shape[2]) and bool((energies >= 0).all())
        sorted_down = sorted_down and bool((energies.diff() <= 1e-6 * energies[:, :1]).all())
        yield Finding("energies are one for each vector, not negative, largest first", sorted_down)


def _check_level_sets(dataset: Dataset, clean: Tensor) -> Iterator[Finding]:
    levels = dataset.level_sets("test", len(clean))
    yield Finding("has_level_sets says whether there are some", dataset.has_level_sets == (levels is not None))
    if levels is None:
        return
    shape = (len(clean), *clean.shape[2:])
    sound = levels.shape == shape and levels.dtype == torch.float64 and bool(levels.isfinite().all())
    yield Finding("level sets are finite, float64, one for each image", sound, f"{levels.dtype}, {tuple(levels.shape)}")
    last = dataset.level_sets("test", 1, start=len(clean) - 1)
    again = sound and last is not None and torch.allclose(last, levels[-1:])
    yield Finding("start skips images of the level sets", again)
