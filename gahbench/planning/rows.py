"""The rows of a board: entrants, and those that learn once for each number of training images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gahbench._util.errors import ParameterError
from gahbench.contracts.datasets import Split
from gahbench.contracts.metrics import Metric
from gahbench.contracts.row_labels import row_label
from gahbench.planning.suite import Suite
from gahbench.planning.units import fits_training_subset
from gahbench.registry.configured import Configured
from gahbench.training.recipe import Training

#: References of these kinds have a density to sample from: an oracle would have to see an image that is not there yet.
SAMPLED_KINDS = ("optimal", "trained")


@dataclass(frozen=True)
class Row:
    """An entrant, and its training images."""

    entrant: Configured
    training: Training | None = None
    is_swept: bool = False

    @property
    def label(self) -> str:
        """Its name on the board."""
        if self.training is None or not self.is_swept:
            return self.entrant.label
        return row_label(self.entrant.label, str(self.training.train_images))

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Its training, and its partner's."""
        return tuple(one for one in (self.training, self.training and self.training.partner) if one is not None)

    def learned_from(self, partner: bool = False) -> dict[str, Any] | None:
        """Return split and number (``None``: all) of the images it learns from; ``None`` if it has no such partner."""
        if self.training is None:
            return None if partner else {"split": "train", "count": None}
        if partner and self.training.partner is None:
            return None
        count = self.training.train_images
        split = "B" if partner else self.training.split
        return {"split": split, "count": count if isinstance(count, int) else None}

    def shown(self, split: Split, images: int) -> tuple[Split, int]:
        """Return the split and the number of the images that it is scored on, where a suite scores a split."""
        training = self.training
        if split != "train" or training is None or not (self.is_swept or training.split != "train"):
            return split, images
        count = training.train_images
        return training.split, min(images, count) if isinstance(count, int) else images

    def is_measured_by(self, metric: Metric, split: Split, images: int) -> bool:
        """Return whether a metric measures it on so many images of a split."""
        if "test" in metric.needs and split != "test":
            return False
        if "partner" in metric.needs and self.learned_from(partner=True) is None:
            return False
        if (
            "samples" in metric.needs
            and self.entrant.kind == "reference"
            and self.training is None
            and getattr(self.entrant.plugin.factory, "kind", None) not in SAMPLED_KINDS
        ):
            return False
        if "snapshots" in metric.needs and (
            self.entrant.kind == "reference" or not (self.training and self.training.snapshots)
        ):
            return False
        return self.shown(split, images)[1] >= metric.min_images


def rows(suite: Suite) -> Iterator[Row]:
    """Yield the rows of a suite, in the order of its entrants, small numbers of images as the suite lists them."""
    training = suite.training
    for entrant in suite.entrants:
        if entrant.kind == "architecture" or ((training.is_sweep or training.halves) and fits_training_subset(entrant)):
            own = suite.trainings.get(entrant.label, training)
            yield from (Row(entrant, one, training.is_sweep) for one in own.sets)
        else:
            yield Row(entrant)


def check_training(suite: Suite, configured: Configured, metric: Metric) -> None:
    """Refuse a metric that no entrant of the suite can be measured by."""
    if "partner" in metric.needs and not suite.training.halves:
        raise ParameterError(
            f"{configured.where}: it compares networks that learned from different images: set 'halves: true' under "
            "'training'"
        )
    if "snapshots" in metric.needs and not suite.training.snapshots:
        raise ParameterError(
            f"{configured.where}: it follows networks along their training: set 'snapshots' under 'training' to how "
            "many sets of weights to keep, 2 or more"
        )
    scoring = suite.scoring
    # How many are all depends on the dataset, whose units are checked.
    images = metric.min_images if scoring.images == "all" else scoring.images
    if not any(row.is_measured_by(metric, split, images) for row in rows(suite) for split in scoring.splits):
        raise ParameterError(f"{configured.where}: {_why_none(metric)}")


def _why_none(metric: Metric) -> str:
    """Return why no entrant of a suite is measured by a metric, and which would be."""
    learners = "architectures, and in a sweep or with halves references that learn as networks do"
    if "snapshots" in metric.needs:
        return "it follows networks along their training, and no entrant is trained; accepted are architectures"
    if "partner" in metric.needs:
        return (
            "it compares an entrant with a partner that learned from other images, and none has any; accepted are "
            f"{learners}"
        )
    if "samples" in metric.needs:
        return (
            "it measures samples, and no entrant draws any; accepted are references of the kinds "
            f"{' and '.join(SAMPLED_KINDS)}, {learners}"
        )
    return f"it compares {metric.min_images} images or more, and no entrant is scored on so many"
