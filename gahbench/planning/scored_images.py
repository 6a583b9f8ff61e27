"""How many images are scored."""

from __future__ import annotations

from gahbench._util.errors import DataError
from gahbench.contracts.datasets import Dataset, Split
from gahbench.planning.suite_fields import Scoring


def scored_images(scoring: Scoring, dataset: Dataset, split: Split) -> int:
    """Return how many images of a split are scored."""
    if scoring.images != "all":
        return scoring.images
    available = dataset.available(split)
    if not available:
        what = "never ends" if available is None else "holds none"
        raise DataError(f"images=all asked of the {split} split, which {what}; accepted: a number")
    return available
