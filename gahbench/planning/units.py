"""Rows of a board, their units of work, and the documents of units, whose hashes are the keys of the units.

A document is plain JSON of everything that affects the outcome of a unit. It does not contain the order of units,
paths, times, or the number of workers. It contains digests of the behaviour of code, under the names ``source`` (of a
plugin) and ``code`` (of the function that computes the unit).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gahbench._util.errors import ParameterError, prefix_errors
from gahbench._util.records import key_of
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset, Split
from gahbench.contracts.metrics import Metric
from gahbench.contracts.row_labels import row_label
from gahbench.contracts.truth import TrainingSplit
from gahbench.contracts.unit import Unit
from gahbench.planning.suite import Suite
from gahbench.planning.suite_fields import Scoring
from gahbench.registry.behaviour import function_digest
from gahbench.registry.configured import Configured, Kind
from gahbench.registry.registry import Registry
from gahbench.registry.spec import Spec
from gahbench.training.recipe import Training

#: Functions that compute units, by kind.
FIT = "gahbench.training.fitting:fit"
SCORE = "gahbench.evaluation.measurement:Measurement"
#: Function that audits a denoiser after it is scored, and the metric and split of these scores.
CHECKS = "gahbench.evaluation.audit:audit"
AUDITED = ("psnr", "test")
#: Version of the rules of the audit, incremented when the rules detect more.
CHECKS_VERSION = 2


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
            # Oracles cannot be sampled, since a sample has no clean image.
            "samples": is_network or self.training is not None or kind in ("optimal", "trained"),
            "snapshots": is_network and self.training is not None and self.training.snapshots > 0,
        }
        has_images = self.scored_on(split, images)[1] >= metric.min_images
        return has_images and all(met.get(need, True) for need in metric.needs)


def _learns(entrant: Configured) -> bool:
    """Return whether a reference learns from the training images of networks."""
    return bool(getattr(entrant.plugin.factory, "fits_training_subset", False))


def rows(suite: Suite) -> Iterator[Row]:
    """Yield the rows of a suite in the order of its entrants and numbers of training images."""
    training = suite.training
    for entrant in suite.entrants:
        with prefix_errors(suite.location(entrant)):
            published = entrant.published
        if entrant.kind == "architecture" or ((training.is_sweep or training.halves) and _learns(entrant)):
            for member in suite.trainings.get(entrant.label, training).sweep:
                count = member.train_images if isinstance(member.train_images, int) else None
                partner: TrainingSplit | None = "B" if member.halves else None
                yield Row(entrant, member, member.split, partner, count, training.is_sweep)
        elif published is not None:
            for count in published.published_images:
                half, partner = published.published_half, published.published_partner
                yield Row(entrant, None, half, partner, count, is_swept=True)
        else:
            yield Row(entrant)


@dataclass(frozen=True)
class PlannedDataset:
    """A dataset, its configuration, noise levels, numbers of scored images by split, and shapes of its test images."""

    configured: Configured
    dataset: Dataset
    levels: list[float] = field(default_factory=list)
    images: Mapping[Split, int] = field(default_factory=dict)
    shapes: tuple[Shape, ...] = ()

    @functools.cached_property
    def document(self) -> dict[str, Any]:
        """The dataset as documents of units describe it: with a fingerprint of images instead of paths of files."""
        identity, fingerprint = self.configured.identity, self.dataset.fingerprint()
        return {**(identity if fingerprint is None else _without(identity, ("path",))), "fingerprint": fingerprint}


def fit_unit(planned: PlannedDataset, row: Row, training: Training, seed: int, multiply_adds: float) -> Unit:
    """Build the unit that trains the network of a row, or its partner; a forward pass takes ``multiply_adds``."""
    from gahbench.training.batches import training_count

    try:
        steps = training.total_steps(training_count(planned.dataset, training))
    except ValueError as error:
        raise ParameterError(f"{row.entrant.where} on {planned.configured.label}: {error}") from error
    document = {
        "code": function_digest(FIT),
        "dataset": planned.document,
        "entrant": row.entrant.identity,
        "training": training.key_fields(),
        "seed": seed,
    }
    return Unit(
        kind="fit",
        key=key_of(document),
        dataset=planned.configured.label,
        entrant=row.label,
        entrant_kind="architecture",
        seed=seed,
        split=training.split if training.halves else None,
        metric=None,
        requires=None,
        # A backward pass costs about twice a forward pass.
        work=3.0 * training.batch_size * steps * multiply_adds,
        payload={
            "dataset": describe_plugin(planned.configured),
            "entrant": describe_plugin(row.entrant),
            # The weights of a network do not depend on its partner.
            "training": training.model_dump(mode="json", exclude={"halves"}),
            "seed": seed,
        },
        document=document,
    )


def score_request(planned: PlannedDataset, row: Row, scoring: Scoring, split: Split) -> dict[str, Any]:
    """Return the part of the payload of scores that all metrics share."""
    image_split, count = row.scored_on(split, planned.images[split])
    return {
        "dataset": describe_plugin(planned.configured),
        "entrant": describe_plugin(row.entrant),
        "split": image_split,
        "images": count,
        "sigmas": planned.levels,
        "noise_seed": scoring.noise_seed,
        # Whether noisy images were recorded.
        **({} if scoring.sigmas else {"captured": True}),
        "learned_from": row.learned_from(),
        "partner_learned_from": row.learned_from(partner=True),
        "sampling": scoring.sampling.model_dump(mode="json"),
        "jacobian_precision": scoring.jacobian_precision,
    }


def score_unit(
    planned: PlannedDataset,
    row: Row,
    metric: Configured,
    measure: Metric,
    split: Split,
    request: Mapping[str, Any],
    seed: int | None = None,
    fits: Sequence[str] = (),
    multiply_adds: float = 0.0,
) -> Unit:
    """Build the unit that scores a row by a metric; ``fits`` are the keys of its fit, and of the fit of its partner."""
    fit, partner = (*fits, None, None)[:2]
    document = {
        "code": function_digest(SCORE, frozenset(measure.needs)),
        "dataset": planned.document,
        "metric": metric.identity,
        "split": split,
        "shown": request["split"],
        "entrant": row.entrant.identity if fit is None else fit,
        **{name: request[name] for name in ("images", "sigmas", "noise_seed", "captured") if name in request},
    }
    if "samples" in measure.needs:
        document["sampling"] = request["sampling"]
    if "jacobian" in measure.needs:
        document["jacobian_precision"] = request["jacobian_precision"]
    if (metric.plugin.name, split) == AUDITED:
        document["audit"] = {"code": function_digest(CHECKS)}
    # The key of a fit already contains the training images of the network. A reference may learn, or select weights.
    depends_on_images = fit is None and (_learns(row.entrant) or row.entrant.published is not None)
    if depends_on_images or measure.needs & {"training", "partner"}:
        document["learned_from"] = request["learned_from"]
    if "partner" in measure.needs:
        document["partner"] = request["partner_learned_from"] if partner is None else partner
    return Unit(
        kind="score",
        key=key_of(document),
        dataset=planned.configured.label,
        entrant=row.label,
        entrant_kind="reference" if fit is None else "architecture",
        seed=seed,
        split=split,
        metric=metric.label,
        requires=fit,
        work=multiply_adds * request["images"] * len(request["sigmas"]),
        payload={**request, "metric": describe_plugin(metric)},
        partner=partner if "partner" in measure.needs else None,
        document=document,
    )


def protocol_key(planned: PlannedDataset, noise_seed: int) -> str:
    """Return a digest of images and noise, which does not depend on code."""
    return key_of({"dataset": _without(planned.document, ("code", "source")), "noise_seed": noise_seed})


def _without(document: Any, excluded: Sequence[str]) -> Any:
    """Return a nested document without the fields of some names."""
    if isinstance(document, Mapping):
        return {name: _without(value, excluded) for name, value in document.items() if name not in excluded}
    return [_without(item, excluded) for item in document] if isinstance(document, list | tuple) else document


def describe_plugin(configured: Configured) -> dict[str, Any]:
    """Return the description from which a worker builds a plugin, and checks that it is unchanged."""
    return {
        "name": configured.plugin.name,
        "parameters": configured.parameters,
        "identity": configured.identity_key,
        "origins": list(configured.origins),
        "label": configured.label,
    }


def configure_recorded(registry: Registry, kind: Kind, description: Mapping[str, Any]) -> Configured:
    """Configure the plugin that a payload describes."""
    configured = registry.configure(kind, Spec(description["name"], (), dict(description["parameters"])))
    return replace(configured, label=description["label"])
