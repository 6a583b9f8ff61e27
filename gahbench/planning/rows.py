"""Rows of a board: entrants, repeated for each number of training images in a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gahbench._util.errors import ParameterError, SuiteError, listing
from gahbench.contracts.datasets import Split
from gahbench.contracts.metrics import Metric
from gahbench.contracts.row_labels import row_label
from gahbench.contracts.truth import TrainingSplit
from gahbench.planning.suite import Suite
from gahbench.registry.configured import Configured
from gahbench.training.recipe import Training

#: What metrics need of rows, for errors. Oracles cannot be sampled, since a sample has no clean image.
_NEEDS = {
    "partner": "a partner that learned from other images: 'halves: true' under 'training', or published weights",
    "samples": "a denoiser that can be sampled: an architecture, or a reference of the kind optimal or trained",
    "snapshots": "networks with 'snapshots: 2' or more under 'training'",
}


@dataclass(frozen=True)
class Row:
    """An entrant, its training, and the images that it and its partner learn from."""

    entrant: Configured
    training: Training | None = None
    split: TrainingSplit = "train"
    partner: TrainingSplit | None = None
    #: The number of images; ``None`` for all.
    count: int | None = None
    is_swept: bool = False

    @property
    def label(self) -> str:
        """Name of the row on the board."""
        return row_label(self.entrant.label, self.count or "all") if self.is_swept else self.entrant.label

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Training of the row and of its partner, if any."""
        return tuple(training for training in (self.training, self.training and self.training.partner) if training)

    @property
    def depends_on_images(self) -> bool:
        """Whether a reference depends on the training images of its row: it learns, or selects weights."""
        return _learns(self.entrant) or self.entrant.published_training is not None

    def learned_from(self, partner: bool = False) -> dict[str, Any] | None:
        """Return the split and number of training images (``None``: all images); ``None`` without a partner."""
        split = self.partner if partner else self.split
        return None if split is None else {"split": split, "count": self.count}

    def scored_on(self, split: Split, images: int) -> tuple[Split, int]:
        """Return the split and number of images on which the row is scored, given the suite's split and number."""
        if split != "train" or not (self.is_swept or self.split != "train"):
            return split, images
        return self.split, images if self.count is None else min(images, self.count)

    def is_measured_by(self, metric: Metric, split: Split, images: int) -> bool:
        """Return whether a metric applies to the row on a number of images of a split."""
        is_network = self.entrant.kind == "architecture"
        kind = getattr(self.entrant.plugin.factory, "kind", None)
        met = {
            "test": split == "test",
            "partner": self.partner is not None,
            "samples": is_network or self.training is not None or kind in ("optimal", "trained"),
            "snapshots": is_network and self.training is not None and self.training.snapshots > 0,
        }
        return all(met.get(need, True) for need in metric.needs) and (
            self.scored_on(split, images)[1] >= metric.min_images
        )


def _learns(entrant: Configured) -> bool:
    """Return whether a reference learns from the training images of networks."""
    return bool(getattr(entrant.plugin.factory, "fits_training_subset", False))


def rows(suite: Suite) -> Iterator[Row]:
    """Yield the rows of a suite in the order of its entrants and numbers of training images."""
    training = suite.training
    for entrant in suite.entrants:
        try:
            published = entrant.published_training
        except ParameterError as error:
            raise SuiteError(f"{suite.location(entrant)}: {error}") from error
        if entrant.kind == "architecture" or ((training.is_sweep or training.halves) and _learns(entrant)):
            for member in suite.trainings.get(entrant.label, training).sweep:
                count = member.train_images if isinstance(member.train_images, int) else None
                partner: TrainingSplit | None = "B" if member.halves else None
                yield Row(entrant, member, member.split, partner, count, training.is_sweep)
        elif published is not None:
            for count in published.train_images:
                yield Row(entrant, None, published.half, published.partner, count, is_swept=True)
        else:
            yield Row(entrant)


def check_applies(suite: Suite, metric: Metric) -> None:
    """Raise if a metric applies to no row of the suite."""
    scoring = suite.scoring
    # `all` is resolved per dataset, where units are checked.
    images = metric.min_images if scoring.images == "all" else scoring.images
    if not any(row.is_measured_by(metric, split, images) for row in rows(suite) for split in scoring.splits):
        needs = [text for need, text in _NEEDS.items() if need in metric.needs]
        raise ParameterError(
            "the metric applies to no entrant of the suite; it needs "
            f"{listing([*needs, f'{metric.min_images} images or more'])}"
        )
