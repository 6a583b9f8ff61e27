"""Errors of images, and training images: what several metrics compute."""

from __future__ import annotations

import contextlib
import copy
from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from gahbench._util.errors import OptimumError
from gahbench.contracts.metrics import Metric, Scores
from gahbench.contracts.references import Reference
from gahbench.evaluation.evaluation import Evaluation
from gahbench.evaluation.rates import MAX_PSNR

#: The noise of a reference explains at most nine tenths of a squared error: beyond, it is too large to be subtracted.
MIN_SHARE = 0.1
#: Largest number, and largest size in bytes, of the training images with which images are compared.
MAX_IMAGES, MAX_BYTES = 100_000, 1 << 30


class PerLevel(Metric):
    """A metric whose values at a noise level depend on no other level: a subclass returns the values of its parts.

    Examples
    --------
    >>> class Bias(PerLevel):
    ...     # Mean error of an image.
    ...     higher_is_better = None
    ...     def parts(self, evaluation, sigma):
    ...         return {"": (evaluation.denoised(sigma) - evaluation.clean).mean((1, 2, 3))}
    """

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the parts for every image at every noise level at which the optimum, if needed, is available."""
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            with contextlib.suppress(OptimumError):
                values |= {(part, sigma): value for part, value in self.parts(evaluation, sigma).items()}
        return Scores.parts(values)

    @abstractmethod
    def parts(self, evaluation: Evaluation, sigma: float) -> Mapping[str, Tensor]:
        """Return the values of each part at a noise level, shape (N,), NaN where an image has none."""


def psnr_of_error(error: Tensor) -> Tensor:
    """Return the PSNR in dB, float64, at most 140, of mean squared errors per pixel.

    Parameters
    ----------
    error
        Mean squared errors, in squared grey values, of any shape.
    """
    return -10 * error.double().clamp(min=10 ** (-MAX_PSNR / 10)).log10()


def psnr_per_image(evaluation: Evaluation, sigma: float) -> Tensor:
    """Return the PSNR in dB of each image, shape (N,), float64, at most 140.

    Parameters
    ----------
    evaluation
        The denoiser on its images. The expected error replaces the error if it has a closed form.
    sigma
        The noise level.
    """
    error = evaluation.risk(sigma)
    if error is None:
        error = (evaluation.denoised(sigma).double() - evaluation.clean).square().flatten(1).mean(1)
        if evaluation.captured is not None:
            error = (error - evaluation.captured.reference_variance).maximum(MIN_SHARE * error)
    return psnr_of_error(error)


def training_images(evaluation: Evaluation) -> Tensor:
    """Return the distinct training images of a denoiser, shape (M, C, H, W), at most 100,000 or 1 GiB.

    Parameters
    ----------
    evaluation
        The evaluation of a denoiser whose training images are known.
    """
    assert evaluation.learned_from is not None
    size = 4 * evaluation.clean[0].numel()
    images = evaluation.learned_from.training(max(1, min(MAX_IMAGES, MAX_BYTES // size)))
    # Rows are compared as byte strings, which sort much faster than rows of numbers.
    rows = images.flatten(1).contiguous().numpy()
    _, first = np.unique(rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))), return_index=True)
    return images if len(first) == len(images) else images[np.sort(first)]


def fit_on_same_images(reference: Reference, evaluation: Evaluation) -> Reference | None:
    """Return a copy of a reference fitted to the training images of the denoiser.

    The result is ``None`` if the reference cannot denoise the dataset, or needs training images and there are none.

    Parameters
    ----------
    reference
        The reference, which is not changed.
    evaluation
        The evaluation of the denoiser.
    """
    data, dataset = evaluation.learned_from, evaluation.dataset
    is_optimal = reference.kind == "optimal"
    if (data is None and not is_optimal) or (dataset is None and is_optimal):
        return None
    if dataset is not None and not reference.supports(dataset):
        return None
    fitted = copy.deepcopy(reference)
    fitted.check_shape(evaluation.shape)
    fitted.move(evaluation.device)
    if data is not None:
        fitted.fit(data)
    return fitted
