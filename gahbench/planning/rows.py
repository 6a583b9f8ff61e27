"""Rows of a board: entrants, repeated for each number of training images in a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from gahbench._util.errors import ParameterError, SuiteError
from gahbench.contracts.datasets import Split
from gahbench.contracts.metrics import Metric
from gahbench.contracts.published import PublishedTraining
from gahbench.contracts.row_labels import row_label
from gahbench.contracts.truth import TrainingSplit
from gahbench.planning.suite import Suite
from gahbench.planning.units import fits_training_subset
from gahbench.registry.configured import Configured
from gahbench.training.recipe import Training

#: Kinds of references that can be sampled; oracles cannot, since a sample has no clean image.
SAMPLED_KINDS = ("optimal", "trained")


class _Halves(NamedTuple):
    """Splits of the training images of a row and of its partner, and the number of images of each."""

    split: TrainingSplit
    partner: TrainingSplit | None
    number: int | Literal["all"]


@dataclass(frozen=True)
class Row:
    """An entrant and its training."""

    entrant: Configured
    training: Training | None = None
    is_swept: bool = False
    #: The training images of published weights; each row has a single number of them.
    published: PublishedTraining | None = None

    @property
    def label(self) -> str:
        """Name of the row on the board."""
        halves = self._halves
        if halves is None or not self.is_swept:
            return self.entrant.label
        return row_label(self.entrant.label, str(halves.number))

    @property
    def _halves(self) -> _Halves | None:
        """The training images of the row and of its partner; ``None`` for an entrant that is not trained."""
        if self.published is not None:
            return _Halves(self.published.half, self.published.partner, self.published.train_images[0])
        if self.training is None:
            return None
        count = self.training.train_images
        return _Halves(
            self.training.split,
            "B" if self.training.halves else None,
            count if isinstance(count, int) else "all",
        )

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Training of the row and of its partner, if any."""
        return tuple(training for training in (self.training, self.training and self.training.partner) if training)

    def learned_from(self, partner: bool = False) -> dict[str, Any] | None:
        """Return the split and number of training images (``None``: all images); ``None`` without a partner."""
        halves = self._halves or _Halves("train", None, "all")
        split = halves.partner if partner else halves.split
        return None if split is None else {"split": split, "count": None if halves.number == "all" else halves.number}

    def scored_on(self, split: Split, images: int) -> tuple[Split, int]:
        """Return the split and number of images on which the row is scored, given the suite's split and number."""
        halves = self._halves
        if split != "train" or halves is None or not (self.is_swept or halves.split != "train"):
            return split, images
        return halves.split, images if halves.number == "all" else min(images, halves.number)

    def is_measured_by(self, metric: Metric, split: Split, images: int) -> bool:
        """Return whether a metric applies to the row on a number of images of a split."""
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
        return self.scored_on(split, images)[1] >= metric.min_images


def rows(suite: Suite) -> Iterator[Row]:
    """Yield the rows of a suite in the order of its entrants and numbers of training images."""
    training = suite.training
    for entrant in suite.entrants:
        if entrant.kind == "architecture" or ((training.is_sweep or training.halves) and fits_training_subset(entrant)):
            entrant_training = suite.trainings.get(entrant.label, training)
            yield from (Row(entrant, member, training.is_sweep) for member in entrant_training.sweep)
        elif (published := _published_training(suite, entrant)) is not None:
            for count in published.train_images:
                yield Row(entrant, is_swept=True, published=replace(published, train_images=(count,)))
        else:
            yield Row(entrant)


def _published_training(suite: Suite, entrant: Configured) -> PublishedTraining | None:
    try:
        return entrant.published_training
    except ParameterError as error:
        raise SuiteError(f"{suite.location(entrant)}: {error}") from error


def check_training(suite: Suite, configured: Configured, metric: Metric) -> None:
    """Raise if a metric applies to no row of the suite."""
    has_partner = suite.training.halves or any(row.learned_from(partner=True) for row in rows(suite))
    if "partner" in metric.needs and not has_partner:
        raise ParameterError(
            f"{configured.where}: the metric compares networks that learned from different images: set 'halves: true' "
            "under 'training', or give published weights a 'partner'"
        )
    if "snapshots" in metric.needs and not suite.training.snapshots:
        raise ParameterError(
            f"{configured.where}: the metric follows networks along their training: set 'snapshots' under 'training' "
            "to the number of sets of weights to keep, 2 or more"
        )
    scoring = suite.scoring
    # `all` is resolved per dataset, where units are checked.
    images = metric.min_images if scoring.images == "all" else scoring.images
    if not any(row.is_measured_by(metric, split, images) for row in rows(suite) for split in scoring.splits):
        raise ParameterError(f"{configured.where}: {_explain_no_rows(metric)}")


def _explain_no_rows(metric: Metric) -> str:
    """Return why a metric applies to no entrant of a suite, and which entrants are accepted."""
    learners = "architectures, and in a sweep or with halves references that learn as networks do"
    if "snapshots" in metric.needs:
        return "the metric follows networks along their training, but no entrant is trained; accepted: architectures"
    if "partner" in metric.needs:
        return (
            "the metric compares an entrant with a partner that learned from other images, but no entrant has a "
            f"partner; accepted: {learners}"
        )
    if "samples" in metric.needs:
        return (
            "the metric measures samples, but no entrant can be sampled; accepted: references of the kinds "
            f"{' and '.join(SAMPLED_KINDS)}, {learners}"
        )
    return f"the metric needs {metric.min_images} images or more, but no entrant is scored on that many"
