"""Scores as a metric returns them, checked before they are kept."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from gahbench.contracts import Scores


def checked(scores: Scores, sigmas: Sequence[float], images: int) -> Scores:
    """Return scores as plain numbers.

    Parameters
    ----------
    scores
        As a metric returned them; values may be numpy's or torch's.
    sigmas, images
        Noise levels that were asked for, and how many images, or samples, there are.

    Raises
    ------
    ValueError
        If columns differ in length, a value is not finite, a noise level or an image is not among those asked for, or
        two values belong to the same noise level and image.
    TypeError
        If it is no :class:`Scores`, or holds no numbers.
    """
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
        raise ValueError(f"the metric returned noise levels that were not asked for: {sorted(other)}")
    if image is not None and any(not 0 <= place < images for place in image):
        raise ValueError(f"the metric returned images outside 0 to {images - 1}")
    if part is not None and (wrong_names := sorted({name for name in part if not re.fullmatch(r"[a-z0-9-]*", name)})):
        raise ValueError(f"parts are named by small letters, digits and dashes, not {wrong_names}")
    nowhere = [None] * len(value)
    places = list(zip(*(nowhere if column is None else column for column in (sigma, image, part)), strict=True))
    if len(set(places)) < len(places):
        raise ValueError("the metric returned two values for the same noise level and image; give each its 'image'")
    return Scores(value, sigma, image, part, scores.arrays)
