"""Metrics: measurements of a denoiser, the inputs that they need, and the scores that they return."""

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

    from gahbench.contracts.captured import NoiseKind
    from gahbench.evaluation.evaluation import Evaluation


@dataclass(frozen=True)
class Scores:
    """Values of one metric, as columns of equal length.

    Parameters
    ----------
    value
        The values, shape (R,).
    sigma
        Noise level of each value, shape (R,); ``None`` for values over all noise levels.
    image
        Image index of each value, shape (R,); ``None`` for values over all images.
    part
        Part of each value, shape (R,), for a metric that returns several measurements: part ``trace`` of the metric
        ``spectrum`` is ``spectrum.trace`` in the table of scores, and the empty part, the headline, is ``spectrum``.
        ``None`` if all values belong to the headline.
    arrays
        Additional data for figures by name, such as samples; stored with the unit, but in no table.

    Examples
    --------
    >>> import gahbench
    >>> import torch
    >>> scores = gahbench.Scores.grid(torch.tensor([[30.0, 31.0], [20.0, 21.0]]), sigmas=[0.1, 0.5])
    >>> scores.value, scores.sigma, scores.image
    ([30.0, 31.0, 20.0, 21.0], [0.1, 0.1, 0.5, 0.5], [0, 1, 0, 1])
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
        """Lay out the values, shape (N,), of parts at noise levels, without NaN."""
        rows = [
            (value, sigma, image, part)
            for (part, sigma), column in values.items()
            for image, value in enumerate(column.double().tolist())
            if not math.isnan(value)
        ]
        if not rows:
            return cls([])
        value, sigma, image, part = zip(*rows, strict=True)
        return cls(value, sigma, image, part)

    @classmethod
    def from_samples(cls, values: Mapping[str, Tensor], arrays: Mapping[str, Tensor] | None = None) -> Scores:
        """Lay out the finite values of parts, for each sample, shape (N,), or for all samples together, shape ()."""
        rows = [
            (value, image if column.ndim else None, part)
            for part, column in values.items()
            for image, value in enumerate(column.double().reshape(-1).tolist())
            if math.isfinite(value)
        ]
        value, image, part = zip(*rows, strict=True) if rows else ((), (), ())
        is_whole = all(index is None for index in image)
        if not is_whole and any(index is None for index in image):
            raise ValueError("values for each sample and for all samples cannot be mixed; return them in two metrics")
        return cls(value, None, None if is_whole else image, part, arrays)


def validate_scores(scores: Scores, sigmas: Sequence[float], images: int) -> Scores:
    """Return scores as plain numbers; raise ``TypeError`` or ``ValueError`` if they are invalid."""
    if not isinstance(scores, Scores):
        raise TypeError(f"a metric returns gahbench.Scores, not {type(scores).__name__}")
    value = [float(number) for number in scores.value]
    sigma = None if scores.sigma is None else [float(number) for number in scores.sigma]
    image = None if scores.image is None else [int(number) for number in scores.image]
    part = None if scores.part is None else [str(name) for name in scores.part]
    for name, column in (("sigma", sigma), ("image", image), ("part", part)):
        if column is not None and len(column) != len(value):
            raise ValueError(f"the metric returned {len(value)} values but {len(column)} in '{name}'")
    num_invalid = sum(not math.isfinite(number) for number in value)
    if num_invalid:
        raise ValueError(f"{num_invalid} of {len(value)} values are not finite numbers (NaN or infinite)")
    if sigma is not None and (unknown := set(sigma) - set(map(float, sigmas))):
        raise ValueError(f"the metric returned noise levels that the evaluation does not have: {sorted(unknown)}")
    if image is not None and any(not 0 <= index < images for index in image):
        raise ValueError(f"the metric returned image indices outside 0 to {images - 1}")
    if part is not None and (invalid := sorted({name for name in part if not re.fullmatch(r"[a-z0-9-]*", name)})):
        raise ValueError(f"names of parts consist of lower-case letters, digits and hyphens, not {invalid}")
    missing = [None] * len(value)
    keys = list(zip(*(missing if column is None else column for column in (sigma, image, part)), strict=True))
    if len(set(keys)) < len(keys):
        raise ValueError("the metric returned two values for the same noise level and image; give each its 'image'")
    return Scores(value, sigma, image, part, scores.arrays)


class Metric(Preparable, ABC):
    """A measurement of a denoiser on images at noise levels.

    A class may have two more attributes, tuples of parts (``""`` for the value), with which boards compute intervals
    that stay in the range of the values: ``share_parts``, values between 0 and 1, and ``positive_parts``, for which the
    board uses a logit and a logarithmic scale. Both are read without importing the class, so they must be literals.

    Examples
    --------
    >>> import gahbench
    >>> import torch
    >>> class LargestError(gahbench.Metric):
    ...     # Largest absolute error of an image.
    ...     higher_is_better = False
    ...     def score(self, evaluation):
    ...         errors = [(evaluation.denoised(sigma) - evaluation.clean).abs() for sigma in evaluation.sigmas]
    ...         return gahbench.Scores.grid(torch.stack(errors).amax((2, 3, 4)), evaluation.sigmas)
    """

    #: Unit of the values, such as ``dB``; empty for plain numbers.
    unit: ClassVar[str] = ""
    #: Whether higher values are better; ``None`` if neither direction is better.
    higher_is_better: ClassVar[bool | None] = True
    #: Labels of axes for the value (``""``) and its parts, with units, such as ``{"": "distance from {to}"}``, where
    #: ``{to}`` stands for the value of a parameter. Figures show the parts that have a title.
    titles: ClassVar[Mapping[str, str]] = {}
    #: Maps a part (``""`` for the value) to the part that holds the value expected by chance.
    nulls: ClassVar[Mapping[str, str]] = {}
    #: Values that boards compute, with an interval, as the ratio of the means of two parts, which differs from the mean
    #: of the images' ratios: maps the name of the value (``""`` for the headline) to numerator and denominator.
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {}
    #: Minimum number of images that the metric needs.
    min_images: ClassVar[int] = 1
    #: Number of images below which a plan warns: a metric that may leave out images then often has too few left.
    advised_images: ClassVar[int] = 1
    #: Needs other than the images and the denoiser (:data:`Need`); entrants that cannot meet them are not measured.
    needs: ClassVar[frozenset[Need]] = frozenset()
    #: Whether the metric only compares images, and so is defined under recorded noise.
    any_noise: ClassVar[bool] = False
    #: Kinds of recorded noise under which the metric needs no clean images (:attr:`Dataset.noise_kind`).
    without_clean: ClassVar[frozenset[NoiseKind]] = frozenset()
    #: Parameters that labels always show, default or not.
    label_parameters: ClassVar[tuple[str, ...]] = ()

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError``, naming accepted values, for images (C, H, W) or noise levels that are not supported."""

    @abstractmethod
    def score(self, evaluation: Evaluation) -> Scores:
        """Measure the denoiser of an evaluation: its clean, noisy and denoised images at every noise level."""
