"""Contract checks of datasets."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence

import torch

from gahbench._util.errors import DataError, listing
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import SPLITS, Dataset, Split, checked_sources
from gahbench.registry.checked_images import unchecked
from gahbench.registry.configured import Configured
from gahbench.testing.findings import Finding
from gahbench.testing.optima import check_optimum

COUNT = 6
#: Images of finite splits that are searched for ones shared with other splits.
MANY = 4096


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
    """Check a set of test images of several shapes, of each shape the images."""
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
    """Check the images of a split and return them; ``None`` if they are such that other checks make no sense."""
    ask = unchecked(dataset)
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
    again = unchecked(configured.build())(split, count)
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
    """Check the sources of the images of a split, where a dataset says which come from one."""
    name = f"{split}: sources are one whole number for each image"
    try:
        found = checked_sources(dataset, split, count)
    except DataError as error:
        yield Finding(name, False, str(error))
        return
    if found is None:
        return
    yield Finding(name, True, listing(map(str, found)))
    again = checked_sources(configured.build(), split, count)
    yield Finding(
        f"{split}: another instance gives the same sources", again == found, "" if again == found else f"{again}"
    )
    first = checked_sources(dataset, split, count // 2)
    stable = first == found[: count // 2]
    yield Finding(f"{split}: the first k of n sources are the k", stable, "" if stable else f"{first} of {found}")


def _kind(images: object) -> str | None:
    """Return what images are, if that is no tensor of plain numbers in memory."""
    if not isinstance(images, torch.Tensor):
        return f"they are a {type(images).__name__}"
    if images.is_nested or images.layout != torch.strided or images.is_meta or images.is_quantized:
        return "they are a nested, sparse, meta or quantized tensor"
    return "they require a gradient; return images.detach()" if images.requires_grad else None


def _held(dataset: Dataset, split: Split) -> set[bytes]:
    """Return the images of a split, or the first of them, each as its bytes."""
    available = dataset.available(split)
    images = unchecked(dataset)(split, COUNT if available is None else min(MANY, available))
    return {image.numpy().tobytes() for image in images}


def _refusal(dataset: Dataset, split: str, available: int) -> Finding:
    try:
        unchecked(dataset)(split, available + 1)
    except DataError as error:
        return Finding(f"{split}: more images than there are is a DataError", True, str(error))
    return Finding(
        f"{split}: more images than there are is a DataError", False, f"it gave {available + 1} of {available}"
    )
