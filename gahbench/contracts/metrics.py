"""Metrics: measurements of a denoiser, the inputs that they need, and the scores that they return."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from gahbench._util.shapes import Shape
from gahbench.contracts.preparation import Preparable
from gahbench.contracts.truth import Need

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.contracts.datasets import NoiseKind
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
    def parts(
        cls,
        values: Mapping[str, Tensor] | Mapping[tuple[str, float], Tensor],
        arrays: Mapping[str, Tensor] | None = None,
    ) -> Scores:
        """Lay out the values of parts, shape (N,) for each image, or () for all images together.

        The key of the values is a part with a noise level, or a part alone for values over all noise levels. NaN is
        left out, and so are infinite values over all noise levels.
        """
        rows = [
            (value, sigma, image if column.ndim else None, part)
            for key, column in values.items()
            for part, sigma in [(key, None) if isinstance(key, str) else key]
            for image, value in enumerate(column.double().reshape(-1).tolist())
            if math.isfinite(value) or (sigma is not None and not math.isnan(value))
        ]
        value, *labels = zip(*rows, strict=True) if rows else ((), (), (), ())
        if any(None in label and set(label) != {None} for label in labels):
            raise ValueError("values for each image or level, and for all, cannot be mixed; return them in two metrics")
        sigma, image, part = (label if label and None not in label else None for label in labels)
        return cls(value, sigma, image, part, arrays)


def validate_scores(scores: Scores, sigmas: Sequence[float], images: int) -> Scores:
    """Return scores as plain numbers; raise ``TypeError`` or ``ValueError`` if they are invalid."""
    if not isinstance(scores, Scores):
        raise TypeError(f"a metric returns gahbench.Scores, not {type(scores).__name__}")
    rules: dict[str, tuple[type, Callable[[Any], object], str]] = {
        "value": (float, math.isfinite, "finite numbers"),
        "sigma": (float, set(map(float, sigmas)).__contains__, "noise levels of the evaluation"),
        "image": (int, range(images).__contains__, f"indices from 0 to {images - 1}"),
        "part": (str, re.compile(r"[a-z0-9-]*").fullmatch, "lower-case letters, digits and hyphens"),
    }
    columns: dict[str, Any] = {}
    for name, (kind, is_accepted, accepted) in rules.items():
        if (column := getattr(scores, name)) is None:
            continue
        columns[name] = list(map(kind, column))
        if len(column) != len(scores.value):
            raise ValueError(f"the metric returned {len(scores.value)} values but {len(column)} in '{name}'")
        if invalid := [entry for entry in columns[name] if not is_accepted(entry)]:
            reason = f"{len(invalid)} of {len(column)} entries are invalid, such as {invalid[0]!r}"
            raise ValueError(f"{reason}, in '{name}' of the scores; accepted: {accepted}")
    unlabelled = [None] * len(scores.value)
    labels = [columns.get(name, unlabelled) for name in ("sigma", "image", "part")]
    if len(set(zip(*labels, strict=True))) < len(scores.value):
        raise ValueError("the metric returned two values for the same noise level and image; give each its 'image'")
    return replace(scores, **columns)


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

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError``, naming accepted values, for images (C, H, W) or noise levels that are not supported."""

    @abstractmethod
    def score(self, evaluation: Evaluation) -> Scores:
        """Measure the denoiser of an evaluation: its clean, noisy and denoised images at every noise level."""
