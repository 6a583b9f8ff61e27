"""A score unit: a denoiser on images of a dataset, measured by metrics."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gahbench.contracts.datasets import Dataset
from gahbench.contracts.denoisers import Denoiser
from gahbench.contracts.metrics import Metric, Scores, checked
from gahbench.contracts.needs import Need
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench.evaluation.several_shapes import by_shape, check_alone, joined
from gahbench.networks.precision import Choices
from gahbench.networks.trained import Trained
from gahbench.sampling.settings import Sampling


@dataclass(frozen=True)
class Subject:
    """A denoiser to be measured, before it is fitted."""

    build: Callable[[], Reference | nn.Module]
    learned_from: Mapping[str, Any] | None = None
    snapshots: Sequence[tuple[int, Callable[[], nn.Module]]] = ()


@dataclass(frozen=True, eq=False)
class Part:
    """An evaluation, and the places of its images among all; ``None`` where they are all."""

    evaluation: Evaluation
    places: Sequence[int] | None


class Measurement:
    """A denoiser on images of a dataset at noise levels, for one metric after the other."""

    def __init__(
        self,
        dataset: Dataset,
        subject: Subject,
        request: Mapping[str, Any],
        device: torch.device,
        choices: Choices | None = None,
    ) -> None:
        self._dataset, self._subject, self._device = dataset, subject, device
        self._choices = Choices() if choices is None else choices
        #: Returns the same entrant, learned from other images; called for metrics that need it.
        self.partner: Callable[[], Subject] | None = None
        self._other: Subject | None = None
        denoiser = self._denoiser(subject)
        shapes = dataset.shapes(request["images"]) if request["split"] == "test" else None
        if shapes is None:
            clean = dataset.images(request["split"], request["images"])
            self._parts: tuple[Part, ...] = (Part(self._evaluation(denoiser, dataset, clean, request), None),)
        else:
            self._parts = tuple(
                Part(
                    self._evaluation(
                        denoiser, one, one.images("test", len(places)), request, ("x".join(map(str, shape)),)
                    ),
                    places,
                )
                for shape, one, places in by_shape(dataset, shapes)
            )

    @property
    def evaluation(self) -> Evaluation:
        """The evaluation; where images have several shapes, that of the images of the first."""
        return self._parts[0].evaluation

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """The evaluations, one for each shape of the images."""
        return tuple(part.evaluation for part in self._parts)

    def score(self, metric: Metric) -> Scores:
        """Measure the denoiser by a metric."""
        if self._parts[0].places is None:
            return self._score(metric, self.evaluation)
        check_alone(metric)
        scores = []
        for part in self._parts:
            metric.check(part.evaluation.shape, part.evaluation.sigmas)
            scores.append((self._score(metric, part.evaluation), part.places or ()))
        return joined(metric, scores)

    def _evaluation(
        self,
        denoiser: Denoiser,
        dataset: Dataset,
        clean: Tensor,
        request: Mapping[str, Any],
        of_shape: tuple[str, ...] = (),
    ) -> Evaluation:
        return Evaluation(
            denoiser,
            clean,
            request["sigmas"],
            request["noise_seed"],
            request["split"],
            dataset,
            self._learned(self._subject, denoiser),
            sampling=Sampling.model_validate(request.get("sampling", {})),
            device=self._device,
            jacobian_precision=request.get("jacobian_precision", "auto"),
            choices=self._choices,
            _of_shape=of_shape,
        )

    def _score(self, metric: Metric, evaluation: Evaluation) -> Scores:
        if "partner" in metric.needs and evaluation.partner is None and self.partner is not None:
            self._other = self.partner()
            evaluation.partner = self._along(self._other)
        if "snapshots" in metric.needs:
            evaluation.snapshots = self._snapshots(self._subject)
            if evaluation.partner is not None and self._other is not None:
                evaluation.partner.snapshots = self._snapshots(self._other)
        count = evaluation.sampling.count if "samples" in metric.needs else len(evaluation.clean)
        view = _granting(evaluation, frozenset(metric.needs))
        scores = checked(metric.score(view), evaluation.sigmas, count)
        # What one metric computed is not computed again for the next.
        evaluation._samples, evaluation._local = view._samples, view._local
        return scores

    def _along(self, subject: Subject) -> Evaluation:
        """Return the partner on the same noisy images."""
        denoiser = self._denoiser(subject)
        other = self.evaluation.along(denoiser)
        other.learned_from = self._learned(subject, denoiser)
        other.sampling, other.device = self.evaluation.sampling, self.evaluation.device
        other.jacobian_precision, other.choices = self.evaluation.jacobian_precision, self._choices
        return other

    def _denoiser(self, subject: Subject) -> Denoiser:
        built = subject.build()
        if not isinstance(built, Reference):
            return Trained(built, self._device)
        built.move(self._device)
        # Others learn from all training images, also where networks do not.
        built.fit(self._training_data(subject.learned_from if built.fits_training_subset else None))
        return built

    def _learned(self, subject: Subject, denoiser: Denoiser) -> TrainingData | None:
        """Return the images that a denoiser is compared with; ``None`` for a network that was trained on a stream."""
        data = self._training_data(subject.learned_from)
        return None if isinstance(denoiser, Trained) and data.count is None else data

    def _training_data(self, learned: Mapping[str, Any] | None) -> TrainingData:
        return TrainingData(self._dataset) if learned is None else TrainingData(self._dataset, **learned)

    def _snapshots(self, subject: Subject) -> list[tuple[int, Callable[[], Denoiser]]]:
        def load(build: Callable[[], nn.Module]) -> Callable[[], Denoiser]:
            return lambda: Trained(build(), self._device)

        return [(step, load(build)) for step, build in subject.snapshots]


def _granting(evaluation: Evaluation, needs: frozenset[Need]) -> Evaluation:
    """Return an evaluation as a metric with these needs may see it: the rest is missing, or refused."""
    view = copy.copy(evaluation)
    view.granted = needs
    view.partner = evaluation.partner if "partner" in needs else None
    view.snapshots = evaluation.snapshots if "snapshots" in needs else ()
    view.learned_from = evaluation.learned_from if needs & {"training", "partner"} else None
    view.sampling = evaluation.sampling if "samples" in needs else Sampling()
    return view
