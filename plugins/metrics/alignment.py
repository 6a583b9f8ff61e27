"""Alignment of the filters of a denoiser with filters in a basis, and with those of the optimal denoiser."""

from __future__ import annotations

import copy
import math
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, Dataset, Names, Shape, TrainingData, generator, get_spec
from gahbench.evaluation import (
    ADVISED_IMAGES,
    MIN_IMAGES,
    Adaptation,
    Evaluation,
    PerLevel,
    StrengthRemoval,
    adaptation,
    align,
    changes,
    remove_strength,
)
from gahbench.jacobian import LARGEST_EXACT, FilterFamily, Sketch

#: Largest size in bytes of cached filters.
MAX_BYTES = 3 << 27
#: Number of random permutations from which significance is estimated.
PERMUTATIONS = 9999
#: Partial cosines are 0 if sqrt(1 - cosine^2) with the third residual is smaller: it explains everything.
MIN_FACTOR = 0.01


class Compared(PerLevel):
    """Base of metrics that compare the adaptation of a denoiser's filters with that of other filters."""

    needs = frozenset({"jacobian"})
    min_images = MIN_IMAGES
    advised_images = ADVISED_IMAGES
    #: Whether only the directional parts of the filters are compared.
    directional: ClassVar[bool] = False

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with more than 2304 values, if directions are compared."""
        if self.directional and math.prod(shape) > LARGEST_EXACT:
            raise ValueError(
                f"directions need complete filters; accepted: images of up to {LARGEST_EXACT} values (48x48 grey), not "
                f"{'x'.join(map(str, shape))}; alignments accept larger images"
            )

    @property
    def share(self) -> str:
        """Name of the part with the share of the denoiser's adaptation."""
        return "directional-share" if self.directional else "share"

    def adapt(self, sketch: Sketch, remove: StrengthRemoval, shape: Shape) -> Adaptation:
        """Return the adaptation of filters, on the CPU, or its directional part."""
        adapted = adaptation(Sketch(sketch.rows.cpu(), sketch.exact), remove)
        return adapted.directional(shape) if self.directional else adapted


class Alignment(Compared):
    """Alignment of a denoiser's adaptation to images with the adaptation of filters of equal strength in a basis.

    The filter S_i of an image is the symmetric part of the denoiser's Jacobian. It is compared with the filter of equal
    trace that shrinks in the basis. From both families of filters, a cubic regression on the logarithm of the trace
    removes the mean and everything that depends on the image only through the trace. The remainders describe where and
    along which directions an image is smoothed, but not how strongly. The value is the mean cosine between the
    remainders: 1 for the filters in the basis themselves, and 0 for a denoiser whose filter is constant or changes only
    in strength. With the default basis ``graph-laplacian`` the value is called the GAH alignment
    (geometry-adaptive harmonics). ``direction`` also removes the information about where an image is smoothed.

    Images for which no filter in the basis has the required trace are left out. There is no value if fewer than 24
    images remain, or if the entrant has no Jacobian.

    Parts: ``share`` (U), the fraction of the variation between images that is not strength (below 0.02 the value is 0
    by definition); ``basis-share``, the same fraction of the filters in the basis (below 0.02 there is no value);
    ``left-out``, 1 for images that are left out; ``ceiling``, the alignment with the denoiser's own
    filters under fresh noise, whose square root is the largest value for a basis that depends only on the clean image;
    ``retrieval``, the fraction of images whose filter agrees more with the geometry of its own image than with the
    geometry of any other image at equal strength; ``exchange``, the p-value of these agreements in a permutation test
    of the geometries; ``partial``, the partial cosine, controlling for the filters of the basis ``controlling_for``;
    ``error``, the standard error of the value for images of more than 2304 values, which is then estimated from random
    vectors.

    Parameters
    ----------
    basis
        The basis with which the denoiser is compared.
    controlling_for
        Another basis, for the part ``partial``; ``null`` to omit the part.
    ceiling_levels
        Number of noise levels, from the lowest, at which the part ``ceiling`` is computed; ``null`` for all. Each level
        takes as long as all other parts.
    exchange_levels
        Number of noise levels, from the lowest, at which the parts ``retrieval`` and ``exchange`` are computed;
        ``null`` for all. These parts take longer than all other parts for images of a thousand values.
    """

    label_parameters = ("basis",)
    share_parts = ("retrieval", "exchange", "share", "basis-share", "left-out")

    def __init__(
        self,
        basis: Annotated[Basis, Names("basis", default="graph-laplacian")],
        controlling_for: Annotated[Basis, Names("basis")] | None = None,
        ceiling_levels: Annotated[int, Field(ge=0)] | None = None,
        exchange_levels: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        self.bases = (basis,) if controlling_for is None else (basis, controlling_for)
        self.ceiling_levels, self.exchange_levels = ceiling_levels, exchange_levels

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for image shapes for which a basis has no filters, or that are too large."""
        for basis in self.bases:
            basis.check_filters(shape)
        super().check(shape, sigmas)

    def parts(self, evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
        """Return the value and parts; no values if a basis is not defined on the dataset, or without a Jacobian."""
        if any(fitted_on(basis, evaluation.dataset) is None for basis in self.bases):
            return {}
        local, count = evaluation.local_filters, len(evaluation.clean)
        sketch, trace = local.sketch(sigma), local.trace(sigma)
        if sketch is None or trace is None:
            return {}
        if not changes(sketch):
            # A denoiser with a constant filter does not adapt, so that its value is 0 with every basis.
            return dict.fromkeys(("", "left-out"), torch.zeros(count))
        families, traces = [filters_on(basis, evaluation, sigma) for basis in self.bases], trace.value.cpu()
        remove = remove_strength(traces, torch.stack([family.reaches(traces) for family in families]).all(0))
        parts = {"left-out": remove.scatter(count, 0.0).isnan()}
        if len(remove) < MIN_IMAGES:
            return parts
        denoiser = local.adaptation(sigma, remove, directional=self.directional)
        exact, probes = denoiser.sketch.exact, denoiser.sketch.rows.shape[1]
        sketches = [family.at(traces).sketch(None if exact else probes) for family in families]
        basis, *others = (self.adapt(each, remove, evaluation.shape) for each in sketches)
        alignment = align(denoiser, basis)
        values: dict[str, Tensor | float] = {"": alignment.own, self.share: denoiser.share, "basis-share": basis.share}
        ordered = sorted(evaluation.sigmas)
        if not exact:
            values["error"] = alignment.error
        elif sigma in ordered[: self.exchange_levels] and denoiser.adapts and basis.adapts:
            table = families[0].pairwise_agreement(denoiser.sketch.rows.cpu(), traces[remove.indices], remove.indices)
            if table is not None:
                values |= {"retrieval": is_own_geometry_closest(table), "exchange": exchange_significance(table)}
        for other in others:
            partial = partial_cosine(alignment.own, align(denoiser, other).own, align(basis, other).own)
            values["partial"] = partial if basis.adapts and other.adapts else torch.nan
        if sigma in ordered[: self.ceiling_levels] and local.maps(sigma, draw=1) is not None:
            fresh = local.adaptation(sigma, remove, draw=1, directional=self.directional)
            values["ceiling"] = align(denoiser, fresh).own
        return parts | {part: remove.scatter(count, value) for part, value in values.items()}


class Direction(Alignment):
    """Alignment of the directions along which a denoiser smooths with the directions of filters that shrink in a basis.

    The value is computed like ``alignment``, after also removing the isotropic part of both families of filters:
    everything that the symmetries of the grid around each pixel, quarter turns and reflections, leave unchanged
    (:func:`gahbench.evaluation.directional`). A blur whose width depends on the image has a high alignment with a
    graph, since both smooth least near edges. Its direction is 0, since it is isotropic at every pixel. The value is 1
    for the filters in the basis themselves, and 0 by definition for a denoiser whose adaptation has a directional
    fraction below 0.02. If the directional fraction of the basis's own filters is below 0.02, there is no value.

    The value says how much a denoiser is like one model of an image's geometry, such as the bilateral graph of the
    clean image (``graph-laplacian``). It does not say how good the denoiser is: the optimal denoiser may have a low
    value, and the filter on the graph itself has the value 1. Where the filters of the optimal denoiser are known,
    ``truth-direction`` compares with them.

    Parts: ``directional-share``, the directional fraction of the denoiser's adaptation; ``basis-share``, the
    directional fraction of the basis's adaptation; ``left-out``, ``ceiling`` and ``partial`` as in ``alignment``, for
    the directional parts.

    Parameters
    ----------
    basis
        The basis with which the denoiser is compared.
    controlling_for
        Another basis, for the part ``partial``; ``null`` to omit the part.
    ceiling_levels
        Number of noise levels, from the lowest, at which the part ``ceiling`` is computed; ``null`` for all. Each level
        takes as long as all other parts.
    """

    share_parts = ("directional-share", "basis-share", "left-out")  # type: ignore[assignment]
    directional = True

    def __init__(
        self,
        basis: Annotated[Basis, Names("basis", default="graph-laplacian")],
        controlling_for: Annotated[Basis, Names("basis")] | None = None,
        ceiling_levels: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        super().__init__(basis, controlling_for, ceiling_levels, exchange_levels=0)


class TruthAlignment(Compared):
    """Alignment of the denoiser's filters with those of the optimal denoiser or of the genie, as in ``alignment``.

    If the optimum of the dataset is exact, the optimal filter is the Jacobian of the posterior mean, Cov[x|y] / sigma^2
    (Kadkhodaie 2024, equation 9). If the optimum is a bracket, the filter of the genie takes the place of the optimal
    filter; the genie is a denoiser with additional information (on ``c-alpha``, the Wiener filter given the contour).
    The strengths of the two filters are not matched; the regression on the denoiser's strength removes strength from
    both. There is no value on other datasets, on Gaussian datasets, whose optimal filter is the same for all images, or
    on ``rays``, where only the strength of the optimal filter changes.

    Parts: ``truth-share``, the fraction of the variation of the optimal filters that is not strength (below 0.02 there
    is no value); ``share``, ``left-out`` and ``error`` as in ``alignment``.
    """

    citation = "kadkhodaie-2024"
    share_parts = ("share", "truth-share", "left-out")

    def parts(self, evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
        """Return the value and its parts; no values without a Jacobian, or if the optimal filters do not change."""
        count, local, dataset = len(evaluation.clean), evaluation.local_filters, evaluation.dataset
        sketch, trace = local.sketch(sigma), local.trace(sigma)
        if sketch is None or trace is None or dataset is None:
            return {}
        maps = dataset.optimal_filters(evaluation.noisy(sigma), sigma, evaluation.split, evaluation.start)
        if maps is None or not changes(filters := maps.sketch(None if sketch.exact else sketch.rows.shape[1])):
            return {}
        # A constant filter has the value 0 at any strength.
        remove = remove_strength(trace.value if changes(sketch) else torch.ones_like(trace.value))
        parts = {"left-out": remove.scatter(count, 0.0).isnan()}
        if len(remove) < MIN_IMAGES:
            return parts
        denoiser = local.adaptation(sigma, remove, directional=self.directional)
        # If only the strength of the optimal filters changes with the image, as on ``rays``, nothing is left after
        # removing their own strength, and there is no value.
        removals = remove, remove_strength(maps.trace().value)
        truth, own = (self.adapt(filters, removal, evaluation.shape) for removal in removals)
        alignment, known = align(denoiser, truth), 1.0 if own.adapts else torch.nan
        values: dict[str, Tensor | float] = {"": known * alignment.own, self.share: denoiser.share}
        values["truth-share"] = min(truth.share, own.share)
        if not denoiser.sketch.exact:
            values["error"] = known * alignment.error
        return parts | {part: remove.scatter(count, value) for part, value in values.items()}


class TruthDirection(TruthAlignment):
    """Alignment of the directions along which a denoiser smooths with the directions of the optimal denoiser.

    The value is the cosine of ``direction``, with the filters of the optimal denoiser, or of the genie, in place of
    filters in a basis; ``truth-alignment`` describes these filters. It is 1 for the optimal denoiser, and 0 by
    definition for a denoiser whose adaptation has a directional fraction below 0.02. The value exists where the optimal
    filters are known and change their directions from image to image: on ``discs``, ``sinusoids`` and ``c-alpha``, but
    not on Gaussian datasets, whose optimal filter is the same for all images, or on ``rays``, where only the strength
    of the optimal filter changes. Where the value exists, it says more than ``direction`` with any basis, which
    compares with a model of the geometry of an image instead of the optimal denoiser.

    Parts: ``truth-share``, the directional fraction of the adaptation of the optimal filters (below 0.02 there is no
    value); ``directional-share`` and ``left-out`` as in ``direction``.
    """

    share_parts = ("directional-share", "truth-share", "left-out")
    directional = True


def partial_cosine(first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """Return the partial cosine of S and W given V, (c_SW - c_SV c_WV) / sqrt((1 - c_SV^2)(1 - c_WV^2)), shape (M,).

    It is 0 where V explains all of S or of W, and NaN where a cosine is NaN.
    """
    left, right = ((1 - cosine.square()).clamp_min(0).sqrt() for cosine in (second, third))
    cosine = (first - second * third) / (left * right).clamp_min(MIN_FACTOR**2)
    is_explained = (left < MIN_FACTOR) | (right < MIN_FACTOR)
    return torch.where(is_explained & cosine.isfinite(), 0.0, cosine)


def exchange_significance(table: Tensor, permutations: int = PERMUTATIONS) -> float:
    """Return the p-value of sum_i T_ii: the share of permutations, and the identity, with at least that sum.

    T_ij is the agreement of the filter of image i with the geometry of image j at the strength of i, shape (M, M).
    """
    table = table.double().cpu()
    count = len(table)
    orders = torch.rand(permutations, count, generator=generator("noise", "exchange", count)).argsort(1)
    sums = table[torch.arange(count), orders].sum(1)
    # Sums of the same numbers in a different order differ by rounding.
    as_good = sums >= table.diagonal().sum() - 1e-12 * table.abs().sum(1).max() * count
    return (1 + int(as_good.sum())) / (1 + permutations)


def is_own_geometry_closest(table: Tensor) -> Tensor:
    """Return whether each filter agrees most with the geometry of its own image, as 0 or 1, shape (M,), float64."""
    return (table.argmax(1) == torch.arange(len(table), device=table.device)).double().cpu()


#: The latest dataset, its fitted bases, and filters on its images, which all entrants share.
_shared: list[Any] = []


def _shared_on(dataset: Dataset) -> list[Any]:
    """Return the bases and filters on a dataset, by their keys."""
    if not _shared or _shared[0]() is not dataset:
        _shared[:] = [weakref.ref(dataset), {}, OrderedDict()]
    return _shared[1:]


def fitted_on(basis: Basis, dataset: Dataset | None) -> Basis | None:
    """Return a copy of a basis fitted to a dataset, or ``None`` if it does not support the dataset."""
    if dataset is None:
        return basis
    # A basis that was constructed directly has no spec, and is not shared.
    bases: dict[Any, Basis | None] = _shared_on(dataset)[0]
    key = (type(basis), get_spec(basis) or "")
    if key not in bases or not key[1]:
        bases[key] = copy.deepcopy(basis) if basis.supports(dataset) else None
        if (fitted := bases[key]) is not None:
            fitted.fit(TrainingData(dataset))
    return bases[key]


def filters_on(basis: Basis, evaluation: Evaluation, sigma: float) -> FilterFamily:
    """Return the filters of a basis for the images of an evaluation, computed once for all entrants."""
    fitted = fitted_on(basis, evaluation.dataset)
    assert fitted is not None
    if evaluation.dataset is None or not get_spec(basis):
        return fitted.filters(evaluation.truth, sigma)
    filters: OrderedDict[Any, FilterFamily] = _shared_on(evaluation.dataset)[1]
    key = (type(basis), get_spec(basis), evaluation.split, evaluation.clean.numpy().tobytes(), sigma)
    if key not in filters:
        filters[key] = fitted.filters(evaluation.truth, sigma)
        while len(filters) > 1 and sum(family.bytes for family in filters.values()) > MAX_BYTES:
            filters.popitem(last=False)
    filters.move_to_end(key)
    return filters[key]
