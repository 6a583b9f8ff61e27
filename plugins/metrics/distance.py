"""Distance of a denoiser from a reference fitted to the same training images."""

from __future__ import annotations

import copy
from typing import Annotated, ClassVar

from torch import Tensor

from gahbench import Metric, Names, Reference, Scores
from gahbench.evaluation import Evaluation

from .._messages import name_of
from .._papers import KAMB_2025
from .model_variance import decibels, mean_square
from .score_agreement import cosine


class Distance(Metric):
    """Root mean square distance of the denoiser f from a reference g on the same noisy images, |f(y) - g(y)| / sqrt(d).

    The reference is fitted to the training images of the denoiser, or to the first training images if its parameters
    limit their number. ``empirical-bayes`` memorizes perfectly, ``wiener-linear`` is the best affine denoiser of the
    training set, and ``local-score`` the best denoiser with the constraints of a convolutional network (Kamb & Ganguli
    2025). A small distance on training images indicates memorization. A small distance on test images indicates that
    the denoiser generalizes like the reference.

    Parts: ``db``, the distance in dB, 20 log10; ``r2``, the squared cosine of the scores f(y) - y and g(y) - y, which
    is the fraction of the denoiser's score that the reference predicts up to a factor; ``relative``, the mean square
    distance in dB relative to the squared error of the denoiser.

    Parameters
    ----------
    to
        The reference, of kind ``classical``, ``trained`` or ``optimal``.
    """

    positive_parts = ("",)
    share_parts = ("r2",)
    citation = KAMB_2025
    unit = "grey scale"
    titles: ClassVar[dict[str, str]] = {"": "distance from {to}", "r2": "r² of scores, {to}"}
    higher_is_better = False
    needs = frozenset({"training"})
    label_parameters = ("to",)

    def __init__(self, to: Annotated[Reference, Names("reference", default="empirical-bayes")]) -> None:
        refuse_oracles(to)
        self.to = to

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the distance for every image at every noise level."""
        reference = fit_on_same_images(self.to, evaluation)
        if reference is None:
            return Scores([])
        other = evaluation.with_denoiser(reference)
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            noisy, denoised = evaluation.noisy(sigma), evaluation.denoised(sigma)
            predicted = other.denoised(sigma).cpu()
            square = mean_square(denoised.double() - predicted)
            error = mean_square(denoised.double() - evaluation.clean)
            values["", sigma] = square.sqrt()
            values["db", sigma] = decibels(square)
            values["r2", sigma] = cosine(denoised - noisy, predicted - noisy).square()
            values["relative", sigma] = decibels(square) - decibels(error)
        return Scores.parts(values)


def refuse_oracles(to: Reference) -> None:
    """Raise ``ValueError`` if a reference uses the clean image, since its output is then not a prediction."""
    if to.kind in ("oracle", "bound"):
        raise ValueError(
            f"to='{name_of(to)}' is of kind '{to.kind}', which uses the clean image; accepted: references of "
            "kind 'classical', 'trained' or 'optimal'"
        )


def fit_on_same_images(to: Reference, evaluation: Evaluation) -> Reference | None:
    """Return a copy of a reference fitted to the training images of the denoiser.

    The result is ``None`` if the reference cannot denoise the dataset, or needs training images and there are none.
    """
    data, dataset = evaluation.learned_from, evaluation.dataset
    is_optimal = to.kind == "optimal"
    if (data is None and not is_optimal) or (dataset is None and is_optimal):
        return None
    if dataset is not None and not to.supports(dataset):
        return None
    reference = copy.deepcopy(to)
    reference.check_shape(evaluation.shape)
    reference.move(evaluation.device)
    if data is not None:
        reference.fit(data)
    return reference
