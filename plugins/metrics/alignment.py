"""Alignment of a denoiser's filters with those that shrink in a basis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from gahbench import Basis, Metric, Names, Scores, Shape
from gahbench.evaluation import MIN_IMAGES, Evaluation, align, changes, unchanging
from gahbench.evaluation import Alignment as Found
from gahbench.jacobian import Sketch

from ._shared_bases import basis_on, filters_on


class Alignment(Metric):
    """Alignment of the denoiser's filter with the one that shrinks in a basis, in what changes from image to image.

    The filter of an image is the symmetric part of the denoiser's Jacobian there. From it the mean over the images is
    removed, and likewise from the filter that shrinks in the basis, as an oracle does (for graphs it smooths along
    the graph, for all images with the mean trace of the denoiser's); the score is the cosine between the two. It is 1
    for a denoiser that shrinks in the basis, 0 for one whose filter ignores the image. On ``graph-laplacian``, the
    default, it is the GAH alignment: how far the denoiser's own basis is geometry-adaptive and harmonic. Entrants
    without a Jacobian have no value, and neither have bases that are the same filter for all images.

    Parts: ``null``, the same with the filter of another image; ``retrieval``, the share of images whose own filter is
    the most alike of all; ``ceiling``, the alignment with the denoiser's own filters under fresh noise; ``error``, the
    standard error of the score where images of more than 2304 values make it an estimate from random vectors.

    Parameters
    ----------
    basis
        The basis.
    """

    needs = frozenset({"jacobian"})
    label_parameters = ("basis",)
    min_images = MIN_IMAGES

    def __init__(self, basis: Annotated[Basis, Names("basis", default="graph-laplacian")]) -> None:
        self.basis = basis

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images of which the basis has no filters."""
        self.basis.check_filters(shape)

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the alignment of every image at every noise level, and its parts."""
        values: dict[tuple[str, float], Tensor] = {}
        if basis_on(self.basis, evaluation.dataset) is None:
            return Scores([])
        for sigma in evaluation.sigmas:
            sketch, trace = evaluation.local.sketch(sigma), evaluation.local.trace(sigma)
            if sketch is None or trace is None:
                continue
            values |= self._at(evaluation, sigma, sketch, trace.value)
        return Scores.parts(values)

    def _at(
        self, evaluation: Evaluation, sigma: float, sketch: Sketch, traces: Tensor
    ) -> dict[tuple[str, float], Tensor]:
        """Return the values at one noise level."""
        found: Found | None
        if not changes(sketch):
            found = unchanging(len(sketch.rows))
        else:
            # One trace for all: matched to each image's own, filters on the graph of any image would agree with a
            # denoiser that does no more than vary its strength.
            filters = filters_on(self.basis, evaluation, sigma, traces.mean().expand(len(traces)), sketch)
            found = align(sketch, filters) if filters else None
        if found is None:
            return {}
        values = {"": found.own, "null": found.null, "retrieval": found.retrieved}
        if not sketch.exact:
            values["error"] = found.error
        fresh = evaluation.local.sketch(sigma, draw=1)
        if fresh is not None:
            values["ceiling"] = (align(sketch, fresh) or unchanging(len(fresh.rows))).own
        return {(part, sigma): value for part, value in values.items()}
