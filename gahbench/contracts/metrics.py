"""Metrics: measurements of a denoiser, what they need, and the scores that they return."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gahbench._util.shapes import Shape
from gahbench.contracts.needs import Need
from gahbench.contracts.preparation import Preparable

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.contracts.citation import Citations
    from gahbench.evaluation.evaluation import Evaluation


@dataclass(frozen=True)
class Scores:
    """Values of one metric, as columns of equal length.

    Parameters
    ----------
    value
        The values, shape (R,).
    sigma, image
        Noise level and image index of each value, shape (R,); ``None`` for values over all noise levels or images.
    part
        Name of the measurement of each value, shape (R,), for a metric that returns several measurements: the table of
        scores calls ``trace`` of metric ``spectrum`` ``spectrum.trace``, and the empty part, which is the headline, by
        the metric's name alone. ``None`` if all values are the headline.
    arrays
        Data for figures beside the values, such as samples, by name; stored with the unit, but in no table.
    """

    value: Sequence[float]
    sigma: Sequence[float] | None = None
    image: Sequence[int] | None = None
    part: Sequence[str] | None = None
    arrays: Mapping[str, Tensor] | None = None

    @classmethod
    def grid(cls, values: Tensor, sigmas: Sequence[float]) -> Scores:
        """Lay out values of shape (S, N), for every noise level and image."""
        levels, count = values.shape
        return cls(
            value=values.double().flatten().tolist(),
            sigma=[sigma for sigma in sigmas for _ in range(count)],
            image=list(range(count)) * levels,
        )

    @classmethod
    def per_image(cls, values: Tensor) -> Scores:
        """Lay out values of shape (N,), for every image over all noise levels."""
        return cls(value=values.double().tolist(), image=list(range(len(values))))

    @classmethod
    def parts(cls, values: Mapping[tuple[str, float], Tensor]) -> Scores:
        """Lay out the values, shape (N,), of parts at noise levels, without those that are NaN."""
        rows = [
            (value, sigma, image, part)
            for (part, sigma), found in values.items()
            for image, value in enumerate(found.double().tolist())
            if not math.isnan(value)
        ]
        if not rows:
            return cls([])
        value, sigma, image, part = zip(*rows, strict=True)
        return cls(value, sigma, image, part)

    @classmethod
    def of_samples(cls, values: Mapping[str, Tensor], arrays: Mapping[str, Tensor] | None = None) -> Scores:
        """Lay out finite values of parts: of each sample, shape (N,), or of all samples together, shape ()."""
        rows = [
            (value, image if found.ndim else None, part)
            for part, found in values.items()
            for image, value in enumerate(found.double().reshape(-1).tolist())
            if math.isfinite(value)
        ]
        value, image, part = zip(*rows, strict=True) if rows else ((), (), ())
        whole = all(place is None for place in image)
        if not whole and any(place is None for place in image):
            raise ValueError("values of each sample and of all together do not mix: give them in two metrics")
        return cls(value, None, None if whole else image, part, arrays)


def checked(scores: Scores, sigmas: Sequence[float], images: int) -> Scores:
    """Return scores as plain numbers; raise an error for scores that cannot be stored."""
    if not isinstance(scores, Scores):
        raise TypeError(f"a metric returns gahbench.Scores, not {type(scores).__name__}")
    value = [float(number) for number in scores.value]
    sigma = None if scores.sigma is None else [float(number) for number in scores.sigma]
    image = None if scores.image is None else [int(number) for number in scores.image]
    part = None if scores.part is None else [str(name) for name in scores.part]
    for name, column in (("sigma", sigma), ("image", image), ("part", part)):
        if column is not None and len(column) != len(value):
            raise ValueError(f"the metric returned {len(value)} values but {len(column)} of '{name}'")
    wrong = sum(not math.isfinite(number) for number in value)
    if wrong:
        raise ValueError(f"{wrong} of {len(value)} values are not finite numbers (NaN or infinite)")
    if sigma is not None and (other := set(sigma) - set(map(float, sigmas))):
        raise ValueError(f"the metric returned noise levels that are not of the evaluation: {sorted(other)}")
    if image is not None and any(not 0 <= place < images for place in image):
        raise ValueError(f"the metric returned images outside 0 to {images - 1}")
    if part is not None and (wrong_names := sorted({name for name in part if not re.fullmatch(r"[a-z0-9-]*", name)})):
        raise ValueError(f"parts are named by small letters, digits and dashes, not {wrong_names}")
    nowhere = [None] * len(value)
    places = list(zip(*(nowhere if column is None else column for column in (sigma, image, part)), strict=True))
    if len(set(places)) < len(places):
        raise ValueError("the metric returned two values for the same noise level and image; give each its 'image'")
    return Scores(value, sigma, image, part, scores.arrays)


class Metric(Preparable, ABC):
    """A measurement of a denoiser on images at noise levels."""

    #: Unit of the values, such as ``dB``; empty for plain numbers.
    unit: ClassVar[str] = ""
    #: Whether higher values are better; ``None`` if neither direction is.
    higher_is_better: ClassVar[bool | None] = True
    #: Labels of axes for the value (``""``) and its parts, with units, such as ``{"": "distance from {to}"}``, where
    #: ``{to}`` stands for the value of a parameter. Figures show the parts that have a title.
    titles: ClassVar[Mapping[str, str]] = {}
    #: Parts that hold the value expected by chance, by the part to compare them with (``""`` for the value).
    nulls: ClassVar[Mapping[str, str]] = {}
    #: Values that boards compute as the ratio of the means of two parts, with its interval: by name of the value
    #: (``""`` for the headline), numerator and denominator. It differs from the mean of the images' ratios.
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {}
    #: Minimum number of images; a suite with fewer images is refused.
    min_images: ClassVar[int] = 1
    #: Needs beside images and the denoiser (:data:`Need`); entrants that cannot meet them are not measured.
    needs: ClassVar[frozenset[Need]] = frozenset()
    #: Parameters that labels always show, default or not.
    label_parameters: ClassVar[tuple[str, ...]] = ()
    #: The publications that the metric implements.
    citation: ClassVar[Citations] = None

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError``, naming accepted values, for images (C, H, W) or noise levels that are not supported."""

    @abstractmethod
    def score(self, evaluation: Evaluation) -> Scores:
        """Measure the denoiser of an evaluation: its clean, noisy and denoised images at every noise level."""
