"""A score unit: a denoiser on images of a dataset, measured by metrics."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gahbench.contracts.datasets import Dataset
from gahbench.contracts.metrics import Metric, Scores, validate_scores
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import Denoiser, Need, TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench.networks.precision import Choices
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

    def __init__(
        self,
        dataset: Dataset,
        subject: Subject,
        request: Mapping[str, Any],
        device: torch.device,
        choices: Choices | None = None,
    ) -> None:
        self._dataset, self._subject, self._request, self._device = dataset, subject, request, device
        self._choices = Choices() if choices is None else choices
        #: Function that returns the same entrant trained on other images; called only if a metric needs it.
        self.partner: Callable[[], Subject] | None = None
        self._other: Subject | None = None
        #: Indices of the images of each shape among all images; ``None`` if all images have one shape.
        self._indices: list[list[int]] | None = None
        denoiser, count = self._denoiser(subject), request["images"]
        shapes = dataset.shapes(count) if request["split"] == "test" else None
        if shapes is None:
            clean = dataset.images(request["split"], count)
            self.evaluations = [self._evaluation(denoiser, dataset, clean)]
            return
        self._indices, self.evaluations = [], []
        for shape in dict.fromkeys(shapes):
            indices = [index for index, other_shape in enumerate(shapes) if other_shape == shape]
            same_shape = dataset.of_shape(shape)
            clean = same_shape.images("test", len(indices))
            self._indices.append(indices)
            self.evaluations.append(self._evaluation(denoiser, same_shape, clean, ("x".join(map(str, shape)),)))

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
        scores = []
        for evaluation in self.evaluations:
            metric.check(evaluation.shape, evaluation.sigmas)
            scores.append(self._score(metric, evaluation))
        return _join(metric, scores, self._indices)

    def _evaluation(
        self, denoiser: Denoiser, dataset: Dataset, clean: Tensor, noise_parts: tuple[str, ...] = ()
    ) -> Evaluation:
        request = self._request
        captured = dataset.captured(len(clean)) if request.get("captured") and request["split"] == "test" else None
        return Evaluation(
            denoiser,
            clean,
            request["sigmas"],
            request["noise_seed"],
            request["split"],
            dataset,
            self._compared_training_data(self._subject, denoiser),
            sampling=Sampling.model_validate(request.get("sampling", {})),
            device=self._device,
            jacobian_precision=request.get("jacobian_precision", "auto"),
            choices=self._choices,
            captured=captured,
            _noise_parts=noise_parts,
        )

    def _score(self, metric: Metric, evaluation: Evaluation) -> Scores:
        if "partner" in metric.needs and evaluation.partner is None and self.partner is not None:
            self._other = self.partner()
            evaluation.partner = self._other_evaluation(self._other)
        if "snapshots" in metric.needs:
            evaluation.snapshots = self._snapshots(self._subject)
            if evaluation.partner is not None and self._other is not None:
                evaluation.partner.snapshots = self._snapshots(self._other)
        count = evaluation.sampling.count if "samples" in metric.needs else len(evaluation.clean)
        view = _restrict(evaluation, frozenset(metric.needs))
        scores = validate_scores(metric.score(view), evaluation.sigmas, count)
        # Keep samples and Jacobians for the next metric.
        evaluation._samples, evaluation._local = view._samples, view._local
        return scores

    def _other_evaluation(self, subject: Subject) -> Evaluation:
        """Return the evaluation of another subject on the same noisy images."""
        denoiser = self._denoiser(subject)
        other = self.evaluation.with_denoiser(denoiser)
        other.learned_from = self._compared_training_data(subject, denoiser)
        return other

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


def _restrict(evaluation: Evaluation, needs: frozenset[Need]) -> Evaluation:
    """Return a view of an evaluation that offers only the parts that a metric with these needs may use."""
    view = copy.copy(evaluation)
    view.granted = needs
    view.partner = evaluation.partner if "partner" in needs else None
    view.snapshots = evaluation.snapshots if "snapshots" in needs else ()
    view.learned_from = evaluation.learned_from if needs & {"training", "partner"} else None
    view.sampling = evaluation.sampling if "samples" in needs else Sampling()
    return view


def _join(metric: Metric, scores: Sequence[Scores], indices: Sequence[Sequence[int]]) -> Scores:
    """Join the scores of images of each shape, given the indices of these images among all images."""
    rows: list[tuple[float, float | None, int, str | None]] = []
    for shape_scores, indices_among_all in zip(scores, indices, strict=True):
        if shape_scores.image is None:
            if shape_scores.value:
                raise _unsupported_shapes(metric, "gives one value for all images")
            continue
        sigmas, parts = shape_scores.sigma or itertools.repeat(None), shape_scores.part or itertools.repeat(None)
        rows += zip(
            shape_scores.value, sigmas, [indices_among_all[image] for image in shape_scores.image], parts, strict=False
        )
    if not rows:
        return Scores([])
    value, sigma, image, part = zip(*rows, strict=True)
    return Scores(value, None if None in sigma else sigma, image, None if None in part else part, scores[0].arrays)


def _unsupported_shapes(metric: Metric, why: str) -> ValueError:
    return ValueError(
        f"{type(metric).__name__} {why}, and these images have several shapes; accepted: metrics that score each image "
        "separately, such as psnr and ssim, or a dataset with images of one shape"
    )
