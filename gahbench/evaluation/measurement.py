"""A score unit: a denoiser on images of a dataset, measured by metrics."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from gahbench.contracts.datasets import Dataset
from gahbench.contracts.metrics import Metric, Scores, validate_scores
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import Denoiser, TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench.networks.trained import Trained
from gahbench.sampling.settings import Sampling

#: Needs of metrics that compare images or require images of one shape.
_NEEDS_OF_ONE_SHAPE = frozenset({"training", "partner", "samples", "snapshots"})


@dataclass(frozen=True)
class Subject:
    """A denoiser to measure, before it is fitted.

    Parameters
    ----------
    build
        Function that returns the reference, or the trained network.
    learned_from
        Arguments of :class:`TrainingData`; ``None`` for all training images.
    snapshots
        Networks saved during training: for each, the number of steps and a function that loads the network.
    """

    build: Callable[[], Reference | nn.Module]
    learned_from: Mapping[str, Any] | None = None
    snapshots: Sequence[tuple[int, Callable[[], nn.Module]]] = ()


class Measurement:
    """A denoiser on images of a dataset at noise levels, to be scored by several metrics in turn."""

    def __init__(self, dataset: Dataset, subject: Subject, request: Mapping[str, Any], device: torch.device) -> None:
        self._dataset, self._subject, self._request, self._device = dataset, subject, request, device
        #: Function that returns the same entrant trained on other images; called only if a metric needs it.
        self.partner: Callable[[], Subject] | None = None
        self._other: Subject | None = None
        #: Indices of the images of each shape among all images; ``None`` if all images have one shape.
        self._indices: list[list[int]] | None = None
        denoiser, count = self._denoiser(subject), request["images"]
        shapes = dataset.shapes(count) if request["split"] == "test" else None
        if shapes is None:
            self.evaluations = [self._evaluation(denoiser, dataset, count)]
            return
        known = list(dict.fromkeys(shapes))
        self._indices = [[index for index, own in enumerate(shapes) if own == shape] for shape in known]
        self.evaluations = [
            self._evaluation(denoiser, dataset.of_shape(shape), len(indices), ("x".join(map(str, shape)),))
            for shape, indices in zip(known, self._indices, strict=True)
        ]

    @property
    def evaluation(self) -> Evaluation:
        """The evaluation of all images, or of images of the first shape if there are several shapes."""
        return self.evaluations[0]

    def score(self, metric: Metric) -> Scores:
        """Measure the denoiser by a metric."""
        if self._indices is None:
            return self._score(metric, self.evaluation)
        if metric.min_images > 1 or frozenset(metric.needs) & _NEEDS_OF_ONE_SHAPE:
            raise _unsupported_shapes(metric, "compares images, or needs images of one shape")
        parts = []
        for evaluation, indices in zip(self.evaluations, self._indices, strict=True):
            metric.check(evaluation.shape, evaluation.sigmas)
            scores = self._score(metric, evaluation)
            if scores.image is None and scores.value:
                raise _unsupported_shapes(metric, "gives one value for all images")
            parts.append(replace(scores, image=[indices[image] for image in scores.image or ()]))
        columns: dict[str, Any] = {}
        for name in ("value", "sigma", "image", "part"):
            known = [column for part in parts if (column := getattr(part, name)) is not None and part.value]
            columns[name] = list(itertools.chain(*known)) if known else None
        return Scores(**{**columns, "value": columns["value"] or []}, arrays=parts[0].arrays)

    def _evaluation(
        self, denoiser: Denoiser, dataset: Dataset, count: int, noise_parts: tuple[str, ...] = ()
    ) -> Evaluation:
        request, split = self._request, self._request["split"]
        return Evaluation(
            denoiser,
            dataset.images(split, count),
            request["sigmas"],
            request["noise_seed"],
            split,
            dataset,
            self._compared_training_data(self._subject, denoiser),
            sampling=Sampling.model_validate(request.get("sampling", {})),
            device=self._device,
            jacobian_precision=request.get("jacobian_precision", "auto"),
            captured=dataset.captured(count) if request.get("captured") and split == "test" else None,
            _noise_parts=noise_parts,
        )

    def _score(self, metric: Metric, evaluation: Evaluation) -> Scores:
        if "partner" in metric.needs and evaluation.partner is None and self.partner is not None:
            self._other = self.partner()
            denoiser = self._denoiser(self._other)
            evaluation.partner = self.evaluation.with_denoiser(denoiser)
            evaluation.partner.learned_from = self._compared_training_data(self._other, denoiser)
        if "snapshots" in metric.needs:
            evaluation.snapshots = self._snapshots(self._subject)
            if evaluation.partner is not None and self._other is not None:
                evaluation.partner.snapshots = self._snapshots(self._other)
        needs = frozenset(metric.needs)
        # Offer only the parts that the metric may use.
        view = copy.copy(evaluation)
        view.granted = needs
        view.partner = evaluation.partner if "partner" in needs else None
        view.snapshots = evaluation.snapshots if "snapshots" in needs else ()
        view.learned_from = evaluation.learned_from if needs & {"training", "partner"} else None
        view.sampling = evaluation.sampling if "samples" in needs else Sampling()
        count = evaluation.sampling.count if "samples" in needs else len(evaluation.clean)
        scores = validate_scores(metric.score(view), evaluation.sigmas, count)
        # Keep samples and Jacobians for the next metric.
        evaluation._samples, evaluation._local = view._samples, view._local
        return scores

    def _denoiser(self, subject: Subject) -> Denoiser:
        built = subject.build()
        if not isinstance(built, Reference):
            return Trained(built, self._device)
        built.move(self._device)
        # References that do not fit a subset learn from all training images, even if networks learn from a subset.
        built.fit(self._training_data(subject.learned_from if built.fits_training_subset else None))
        return built

    def _compared_training_data(self, subject: Subject, denoiser: Denoiser) -> TrainingData | None:
        """Return the training images to compare a denoiser with; ``None`` for a network trained on a stream."""
        data = self._training_data(subject.learned_from)
        return None if isinstance(denoiser, Trained) and data.count is None else data

    def _training_data(self, learned: Mapping[str, Any] | None) -> TrainingData:
        return TrainingData(self._dataset) if learned is None else TrainingData(self._dataset, **learned)

    def _snapshots(self, subject: Subject) -> list[tuple[int, Callable[[], Denoiser]]]:
        def load(build: Callable[[], nn.Module]) -> Callable[[], Denoiser]:
            return lambda: Trained(build(), self._device)

        return [(step, load(build)) for step, build in subject.snapshots]


def _unsupported_shapes(metric: Metric, why: str) -> ValueError:
    return ValueError(
        f"{type(metric).__name__} {why}, and these images have several shapes; accepted: metrics that score each image "
        "separately, such as psnr and ssim, or a dataset with images of one shape"
    )
