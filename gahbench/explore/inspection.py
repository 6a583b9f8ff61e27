"""Eigendecomposition of a denoiser's Jacobian at an image, and comparison with bases."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from gahbench._util.errors import GahbenchError, ParameterError
from gahbench._util.readable import level_name
from gahbench._util.shapes import image_shape
from gahbench.board.alignments import MEASURES, TRUTH_METRICS, Agreement, AgreementCurve, Measure, parse_agreement
from gahbench.board.statistics import UNKNOWN, Interval, means, sampled_means
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.metrics import Metric, Scores
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.alignment import MIN_IMAGES, MIN_SHARE
from gahbench.evaluation.evaluation import Evaluation
from gahbench.explore.eigenvectors import check_ranks, eigenpairs, is_small
from gahbench.explore.inspected_images import Images, check_finite, load_images
from gahbench.explore.preview import check_levels
from gahbench.explore.sample import find_device
from gahbench.jacobian import LARGEST_EXACT
from gahbench.planning.suite_entries import configure_denoiser
from gahbench.registry.configured import Configured
from gahbench.registry.registry import Registry, open_registry
from gahbench.report.bases import (
    LEARNED,
    agreement_figure,
    bases_figure,
    decay_figure,
    gallery_figure,
    level_names,
    spectra_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIGMAS = (0.03, 0.1, 0.3)
DATASET = "faces[size=24]"
#: Default number of other images, for direction and alignment.
OTHERS = 27
#: Default bases; bases that are not defined on the images are left out.
BASES = ("graph-laplacian", "bandlet", "sym4", "dct", "true-basis")
MAX_OTHERS = 63
#: Metrics that need the inspected image alone.
_IMAGE_METRICS = ("psnr", "spectrum", "self-consistency")
#: Name of the first measurement at a noise level.
_JACOBIAN = "eigenvectors of the Jacobian"


@dataclass(frozen=True, eq=False)
class Level:
    """A denoiser's Jacobian and scores at an image of d = C * H * W values and a noise level.

    ``compared`` holds values for all images by basis, measure and part; ``coefficients`` holds the coefficients (d,)
    of the clean image by basis.
    """

    sigma: float
    noisy: Tensor
    denoised: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    scores: Mapping[str, float]
    compared: Mapping[str, Mapping[Measure, Mapping[str, Tensor]]]
    coefficients: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Inspection:
    """Eigenvectors of a denoiser's Jacobian at an image and several noise levels.

    ``compared_index`` is the index of the inspected image among the images that are compared with bases.

    Examples
    --------
    >>> import gahbench
    >>> inspection = gahbench.inspect("low-pass", dataset="discs[size=8]", sigmas=[0.1], others=0)
    >>> [round(value) for value in inspection.levels[0].eigenvalues[:8].tolist()]
    [1, 1, 1, 1, 1, 1, 0, 0]
    """

    entrant: str
    image: str
    clean: Tensor
    levels: tuple[Level, ...]
    compared_index: int = 0
    notes: tuple[str, ...] = field(default=())
    ranks: tuple[int, ...] = ()

    def save(self, folder: str | Path, ranks: Sequence[int] | None = None) -> list[Path]:
        """Write the figures: gallery-SIGMA.png per noise level, spectra.png, decay.png, bases.png, alignment.png."""
        from gahbench.explore.drawing import save_figure

        files = []
        for name, drawing in figures(self, ranks):
            files.append(Path(folder) / f"{name}.png")
            save_figure(drawing, files[-1])
        return files


def inspect(
    entrant: str,
    *,
    dataset: str = "faces[size=24]",
    index: int = 0,
    image: str | Path | None = None,
    size: int | None = None,
    colour: bool = False,
    sigmas: Sequence[float] = (0.03, 0.1, 0.3),
    bases: Sequence[str] = (),
    checkpoint: str | Path | None = None,
    others: int = OTHERS,
    ranks: Sequence[int] = (),
    device: str = "auto",
    plugins: Sequence[str | Path] = (),
    progress: Callable[[int, int, str], None] = lambda done, steps, doing: None,
) -> Inspection:
    """Decompose a denoiser's Jacobian at an image into eigenvectors, and score it by the metrics that runs use.

    Parameters
    ----------
    entrant : str
        A reference, fitted to the dataset, or an architecture with weights: ``unet[checkpoint=w.safetensors]``.
    dataset : str, default "faces[size=24]"
        Dataset of the inspected image, and of the training images of references.
    index : int, default 0
        Index of the test image, 0 or more.
    image : str or Path, optional
        File to inspect in place of a test image: an array (.npy, .npz), or a format that PIL opens.
    size : int, optional
        Side in pixels of a square that is cropped from the centre of `image`. By default 40, or the
        shorter side of `image` if that is smaller.
    colour : bool, default False
        Whether to keep the three channels of `image`, instead of their mean.
    sigmas : sequence of float, default (0.03, 0.1, 0.3)
        One to 8 noise levels greater than 0, in units where images lie in [0, 1].
    bases : sequence of str, default ()
        Bases to compare with. If empty, graph-laplacian, bandlet, sym4, dct and, if known, true-basis.
    checkpoint : str or Path, optional
        File of trained weights; same as the parameter ``checkpoint`` of an architecture.
    others : int, default 27
        Number of other images that direction and alignment need: 23 to 63, or 0 to skip both. With the default, up to
        four images may be left out. They are the next test images of the dataset, or other squares of `image`. Both are
        skipped for images of more than 2304 values.
    ranks : sequence of int, default ()
        Ranks of the eigenvectors to draw, of which 1 has the largest eigenvalue. By default 1, 2, 3, 5, 9, 17, ...
        Images of more than 2304 values (48x48 grey) have eigenvectors up to the largest rank only, by default 33: the
        time of Lanczos' method grows with this rank.
    device : str, default "auto"
        Device of networks: ``cpu``, ``cuda``, or ``auto`` (``cuda`` if available).
    plugins : sequence of str or Path, default ()
        Plugin files, or folders of plugin files.
    progress : callable, optional
        Called before each measurement with the number of finished measurements, the total number of measurements, and
        the name of the next measurement.

    Returns
    -------
    Inspection
        Eigenvalues, eigenvectors and scores at each noise level. ``save("folder")`` draws them.

    Raises
    ------
    GahbenchError
        If an argument is invalid, the image cannot be read, or the denoiser has no weights or no Jacobian.

    Examples
    --------
    >>> import gahbench
    >>> inspection = gahbench.inspect("low-pass[share=0.25]", dataset="discs[size=8]", sigmas=[0.1], others=0)
    >>> round(float(inspection.levels[0].eigenvalues.sum()))
    16
    """
    registry, target_device = open_registry(plugins), find_device(device)
    levels = check_levels(sigmas)
    if index < 0:
        raise ParameterError(f"index={index}; accepted: 0 or more")
    if others and not MIN_IMAGES - 1 <= others <= MAX_OTHERS:
        raise ParameterError(f"others={others}; accepted: {MIN_IMAGES - 1} to {MAX_OTHERS}, or 0 for no comparison")
    configured = configure_denoiser(registry, entrant, checkpoint)
    family = registry.configure("dataset", dataset)
    images = load_images(family, index, image, size, colour, others)
    check_ranks(ranks, image_shape(images.clean))
    reference = _fit_reference(configured, family, images, target_device)
    compared_bases, notes = _build_bases(registry, bases, images)
    if others and not is_small(image_shape(images.clean)):
        notes.append(f"no direction or alignment: they need images of at most {LARGEST_EXACT} values, such as 48x48")
    elif others and len(images.clean) < MIN_IMAGES:
        notes.append(
            f"no direction or alignment: they need at least {MIN_IMAGES} images, but {images.label} has "
            f"{len(images.clean)}"
        )
    can_compare = len(images.clean) >= MIN_IMAGES
    names = [_JACOBIAN, *_IMAGE_METRICS, *(_comparison_metrics(compared_bases) if can_compare else ())]
    steps, done = len(levels) * len(names), itertools.count()

    def begin(name: str) -> None:
        progress(next(done), steps, name)

    measured = [
        _measure_level(reference, configured, images, sigma, compared_bases, registry, notes, ranks, begin)
        for sigma in levels
    ]
    begin("nothing")
    return Inspection(
        configured.label,
        images.label,
        images.clean[images.index],
        tuple(measured),
        images.index,
        tuple(dict.fromkeys(notes)),
        tuple(ranks),
    )


def _fit_reference(configured: Configured, family: Configured, images: Images, device: torch.device) -> Reference:
    """Build and fit the reference; raise if it cannot denoise the images."""
    where = f"{configured.where} on {images.label}"
    reference: Reference = configured.build()
    reference.move(device)
    channels, height, width = images.clean.shape[1:]
    try:
        reference.check_shape((channels, height, width))
    except (ValueError, ParameterError) as error:
        raise ParameterError(f"{where}: {error}") from error
    if images.dataset is None and reference.kind in ("optimal", "bound"):
        raise ParameterError(
            f"{where}: its kind is '{reference.kind}', which needs a dataset; accepted: an image of a dataset"
        )
    if images.dataset is not None and not reference.supports(images.dataset):
        raise ParameterError(f"{where}: not defined on a dataset whose optimum is '{images.dataset.optimum.kind}'")
    # For an image file, the dataset is loaded only if the reference learns from it.
    if images.dataset is not None or type(reference).fit is not Reference.fit:
        reference.fit(TrainingData(images.dataset or cast(Dataset, family.build())))
    return reference


def _build_bases(registry: Registry, specs: Sequence[str], images: Images) -> tuple[dict[str, Basis], list[str]]:
    """Build the bases to compare with, by label, and notes on default bases that are not defined on the images."""
    bases: dict[str, Basis] = {}
    notes: list[str] = []
    channels, height, width = images.clean.shape[1:]
    for spec in specs or BASES:
        configured = registry.configure("basis", spec)
        basis: Basis = configured.build()
        try:
            if basis.oracle and (images.dataset is None or not basis.supports(images.dataset)):
                raise ParameterError("the basis is not defined on these images")
            basis.check_shape((channels, height, width))
            if images.dataset is not None:
                basis.fit(TrainingData(images.dataset))
            elif type(basis).fit is not Basis.fit:
                raise ParameterError("the basis learns from a dataset; accepted: an image of a dataset")
            bases[configured.label] = basis
        except (ValueError, GahbenchError) as error:
            if specs:
                raise ParameterError(f"{configured.where} on {images.label}: {error}") from error
            if not basis.oracle:
                notes.append(f"without {configured.label}: {error}")
    return bases, notes


def _measure_level(
    reference: Reference,
    configured: Configured,
    images: Images,
    sigma: float,
    bases: Mapping[str, Basis],
    registry: Registry,
    notes: list[str],
    ranks: Sequence[int],
    begin: Callable[[str], None],
) -> Level:
    # A separate evaluation for each noise level keeps the matrices of only one level in memory. The noise is not
    # redrawn, since that would double the time.
    evaluation = Evaluation(
        reference,
        images.clean,
        [sigma],
        dataset=images.dataset,
        start=images.start,
        redraws=False,
        jacobian_precision="auto",  # the default of suites, so that values agree with boards
    )
    single = evaluation.select(images.index)

    def step(name: str) -> None:
        begin(f"{name} at σ = {level_name(sigma)}")

    try:
        step(_JACOBIAN)
        check_finite(evaluation.denoised(sigma))
        values, vectors, note = eigenpairs(single, sigma, ranks)
        notes += [f"σ = {level_name(sigma)}: {note}"] if note else []
        scores = _score_image(single, registry, step)
        compared: dict[str, dict[Measure, dict[str, Tensor]]] = {}
        if len(images.clean) >= MIN_IMAGES:
            compared = _compare_with_bases(evaluation, bases, registry, step)
            notes += _reasons(compared, sigma)
    except (ValueError, GahbenchError) as error:
        raise ParameterError(f"{configured.where} on {images.label}, sigma={level_name(sigma)}: {error}") from error
    clean = images.clean[images.index]
    return Level(
        sigma,
        single.noisy(sigma)[0],
        single.denoised(sigma)[0],
        values,
        vectors,
        scores,
        compared,
        {LEARNED: vectors @ clean.double().flatten()} | _orthonormal_coefficients(bases, single, sigma, notes),
    )


def _score_image(evaluation: Evaluation, registry: Registry, step: Callable[[str], None]) -> dict[str, float]:
    """Return the scores of metrics that need the inspected image alone."""
    scores: dict[str, float] = {}
    for name in _IMAGE_METRICS:
        step(name)
        metric: Metric = registry.create("metric", name)
        parts = _with_ratios(metric, _values_by_part(metric.score(evaluation), 1))
        scores |= {f"{name}.{part}" if part else name: float(value[0]) for part, value in parts.items()}
    return scores


def _compare_with_bases(
    evaluation: Evaluation, bases: Iterable[str], registry: Registry, step: Callable[[str], None]
) -> dict[str, dict[Measure, dict[str, Tensor]]]:
    """Return the values of metrics that compare images with bases, for :attr:`Level.compared`."""
    compared: dict[str, dict[Measure, dict[str, Tensor]]] = {}
    for metric_name in _comparison_metrics(bases):
        step(metric_name)
        metric: Metric = registry.create("metric", metric_name)
        for part, value in _values_by_part(metric.score(evaluation), len(evaluation.clean)).items():
            parsed = parse_agreement(f"{metric_name}.{part}" if part else metric_name)
            assert parsed is not None
            measure, basis, name = parsed
            compared.setdefault(basis, {}).setdefault(measure, {})[name] = value
    return compared


def _comparison_metrics(bases: Iterable[str]) -> list[str]:
    """Return the names of metrics that compare images with the best denoiser and with bases."""
    return [*TRUTH_METRICS.values(), *(f"{measure}[{basis}]" for basis in bases for measure in MEASURES)]


def _reasons(compared: Mapping[str, Mapping[Measure, Mapping[str, Tensor]]], sigma: float) -> Iterator[str]:
    """Yield the reason for each measure that has no value with a basis."""
    for basis, measures in compared.items():
        for measure, parts in measures.items():
            if "" in parts:
                continue
            if "basis-share" in parts:
                share = float(means(parts["basis-share"].numpy()[None]))
                is_direction = measure == "direction"
                fault = "are hardly directional" if is_direction else "hardly adapt to the image, except in strength"
                reason = f"its own filters {fault} (share {share:.3f}; accepted: {MIN_SHARE} or more)"
            else:
                count = int((parts["left-out"] == 0).sum())
                reason = f"{count} images have a strength that its filters can match, and {MIN_IMAGES} are needed"
            yield f"σ = {level_name(sigma)}: no {measure} with {basis}: {reason}"


def _orthonormal_coefficients(
    bases: Mapping[str, Basis], evaluation: Evaluation, sigma: float, notes: list[str]
) -> dict[str, Tensor]:
    """Return the coefficients of the clean image, float64 of shape (d,), in each orthonormal basis."""
    truth, coefficients = evaluation.truth.double(), {}
    for label, basis in bases.items():
        if basis.is_orthonormal(evaluation.shape):
            coefficients[label] = basis.adapt_to(truth, sigma).analysis(truth.clean).flatten()
        else:
            notes.append(f"no decay for {label}: the basis is not orthonormal on images of this size")
    return coefficients


def _with_ratios(metric: Metric, parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the parts that boards compute as ratios to the parts of a single image."""
    ratios = {part: pair for part, pair in metric.ratios.items() if set(pair) <= set(parts)}
    return parts | {
        part: parts[numerator] / parts[denominator]
        for part, (numerator, denominator) in ratios.items()
        if float(parts[denominator]) > 0
    }


def _values_by_part(scores: Scores, count: int) -> dict[str, Tensor]:
    """Return the values of a metric's parts, shape (count,); NaN for images without a value."""
    values_by_part: dict[str, Tensor] = {}
    names = scores.part or [""] * len(scores.value)
    for part, image, value in zip(names, scores.image or (), scores.value, strict=True):
        values_by_part.setdefault(part, torch.full((count,), torch.nan, dtype=torch.float64))[image] = value
    return values_by_part


def figures(inspection: Inspection, ranks: Sequence[int] | None = None) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of an inspection with their names, without suffix."""
    caption = f"{inspection.entrant}\non {inspection.image}"
    names, ranks = level_names(level.sigma for level in inspection.levels), ranks or inspection.ranks or None
    for level in inspection.levels:
        images = {"clean": inspection.clean, "noisy": level.noisy, "denoised": level.denoised}
        name = names[level.sigma]
        yield (
            f"gallery-{name}",
            gallery_figure(images, level.eigenvalues, level.eigenvectors, ranks, f"{caption}, σ = {name}"),
        )
    yield "spectra", spectra_figure({level.sigma: level.eigenvalues for level in inspection.levels}, caption)
    yield "decay", decay_figure({level.sigma: level.coefficients for level in inspection.levels}, caption)
    ascending = sorted(inspection.levels, key=lambda level: level.sigma)
    compared = {level.sigma: level.compared for level in ascending if _has_values(level)}
    if not compared:
        return
    index = inspection.compared_index
    panels = {
        f"σ = {names[sigma]}": {name: _build_agreement(measures, index) for name, measures in bases.items()}
        for sigma, bases in compared.items()
    }
    yield "bases", bases_figure(panels, caption)
    kinds = dict.fromkeys((name for bases in compared.values() for name in bases), "classical")
    for measure in MEASURES:
        curves = {name: curve for name in kinds if (curve := _curve(compared, name, measure, index)) is not None}
        if curves:
            yield measure, agreement_figure({caption: curves}, list(kinds), kinds, "each basis", measure)


def _has_values(level: Level) -> bool:
    return any("" in parts for measures in level.compared.values() for parts in measures.values())


def _build_agreement(measures: Mapping[Measure, Mapping[str, Tensor]], index: int) -> Agreement:
    """Return the means over images, and the value at the inspected image."""
    direction, alignment = (measures.get(measure, {}) for measure in MEASURES)
    return Agreement(
        _estimate(direction),
        _estimate(alignment),
        retrieval=_mean_part(alignment, "retrieval"),
        share=_mean_part(direction, "basis-share"),
        single=float(direction[""][index]) if "" in direction else math.nan,
    )


def _mean_part(parts: Mapping[str, Tensor], part: str) -> float:
    return float(means(parts[part].numpy()[None])) if part in parts else math.nan


def _estimate(parts: Mapping[str, Tensor]) -> Interval:
    if "" not in parts:
        return UNKNOWN
    row = parts[""].numpy()[None, None]
    return sampled_means(row).intervals()[0]


def _curve(
    levels: Mapping[float, Mapping[str, Mapping[Measure, Mapping[str, Tensor]]]],
    basis: str,
    measure: Measure,
    index: int,
) -> AgreementCurve | None:
    """Return a curve without intervals: the inspected image's value with a basis at each noise level."""
    values = {
        sigma: float(parts[""][index])
        for sigma, bases in levels.items()
        if "" in (parts := bases.get(basis, {}).get(measure, {}))
    }
    if not values:
        return None
    no_interval = np.full(len(values), np.nan)
    return AgreementCurve(tuple(values), np.array(list(values.values())), no_interval, no_interval, no_interval)
