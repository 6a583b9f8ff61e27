"""Test images of several shapes: scored shape by shape, each image alone, and put together again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.metrics import Metric, Scores

#: What metrics may need that compares images, or is of one shape.
_SHARED = frozenset({"training", "partner", "samples", "snapshots"})


def by_shape(dataset: Dataset, shapes: Sequence[Shape]) -> Iterator[tuple[Shape, Dataset, tuple[int, ...]]]:
    """Yield each shape, the dataset of its images, and their places among all, given the shape of each."""
    for shape in dict.fromkeys(shapes):
        yield shape, dataset.of_shape(shape), tuple(place for place, one in enumerate(shapes) if one == shape)


def check_alone(metric: Metric) -> None:
    """Refuse a metric that compares images, or needs more than them."""
    if metric.min_images > 1 or frozenset(metric.needs) & _SHARED:
        raise _refusal(metric, "compares images, or needs some of one shape")


def joined(metric: Metric, scores: Sequence[tuple[Scores, Sequence[int]]]) -> Scores:
    """Return the scores of all images, given those of the images of each shape and their places among all."""
    rows: list[tuple[float, float | None, int, str | None]] = []
    for found, places in scores:
        if found.image is None:
            if found.value:
                raise _refusal(metric, "gives one value for all images")
            continue
        sigmas, parts = found.sigma or itertools.repeat(None), found.part or itertools.repeat(None)
        # The lengths of those that are there were compared before.
        rows += zip(found.value, sigmas, [places[image] for image in found.image], parts, strict=False)
    if not rows:
        return Scores([])
    value, sigma, image, part = zip(*rows, strict=True)
    return Scores(
        value,
        None if None in sigma else sigma,
        image,
        None if None in part else part,
        scores[0][0].arrays,
    )


def _refusal(metric: Metric, why: str) -> ValueError:
    return ValueError(
        f"{type(metric).__name__} {why}, and these have several shapes; accepted: metrics of each image alone, such as "
        "psnr and ssim, or a dataset of one shape"
    )
