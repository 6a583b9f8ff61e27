"""The basis that a denoiser learned: its Jacobian at one image, decomposed."""

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
from gahbench.board.alignments import MEASURES, TRUTH_ALIGNMENT, AgreementCurve, Aligned, Measure, parts_of
from gahbench.board.statistics import UNKNOWN, Interval, bootstrap_means, estimate, means
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.metrics import Metric, Scores
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.alignment import MIN_IMAGES
from gahbench.evaluation.evaluation import Evaluation
from gahbench.explore.inspected_images import Choice, Images, chosen_images
from gahbench.explore.preview import checked_levels
from gahbench.planning.suite_entries import untrained_here
from gahbench.registry.configured import Configured
from gahbench.registry.registry import Registry, open_registry
from gahbench.report.bases import (
    LEARNED,
    course_figure,
    decay_figure,
    gallery_figure,
    level_names,
    ranking_figure,
    spectra_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIGMAS = (0.03, 0.1, 0.3)
DATASET = "faces[size=24]"
#: Images beside the one that is inspected, for alignment.
OTHERS = 23
#: Bases that it is compared with where none are named: those of these that exist there.
BASES = ("graph-laplacian", "bandlet", "sym4", "dct", "true-basis")
MAX_OTHERS = 63
#: The metrics that are measured on the image alone.
_FACTS = ("psnr", "spectrum", "self-consistency")
#: The first measurement at a noise level.
_JACOBIAN = "eigenvectors of the Jacobian"


@dataclass(frozen=True, eq=False)
class Level:
    """A denoiser at one image and noise level; d = C * H * W."""

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
    """The basis that a denoiser learned, at one image and several noise levels."""

    entrant: str
    image: str
    clean: Tensor
    levels: tuple[Level, ...]
    place: int = 0
    notes: tuple[str, ...] = field(default=())

    def save(self, folder: str | Path, ranks: Sequence[int] | None = None) -> list[Path]:
        """Write the figures: gallery-SIGMA.png per noise level, spectra.png, decay.png, ranking.png, alignment.png."""
        from gahbench.explore.drawing import save_figure

        written = []
        for name, drawing in figures(self, ranks):
            written.append(Path(folder) / f"{name}.png")
            save_figure(drawing, written[-1])
        return written


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
    others: int = 23,
    plugins: Sequence[str | Path] = (),
    progress: Callable[[int, int, str], None] = lambda done, steps, doing: None,
) -> Inspection:
    """Decompose a denoiser's Jacobian at one image, with the metrics and the noise of runs.

    Parameters
    ----------
    entrant
        A reference, fitted to the dataset, or an architecture with weights: ``unet[checkpoint=w.safetensors]``.
    dataset, index, image
        Test image number ``index`` of a dataset, or in its place the image of a file: of a format that PIL opens, or an
        array (.npy, .npz).
    size, colour
        Of an image file: side in pixels of the square in its centre, by default 40 or less, up to 48 for grey; and
        whether three channels are kept, rather than their mean.
    sigmas
        Noise levels, up to 8, in units where an image lies in [0, 1].
    bases
        Bases to compare with; by default graph-laplacian, bandlet, sym4, dct and, where it is known, true-basis.
    checkpoint
        Trained weights, as ``checkpoint`` of an architecture.
    others
        How many other images to compare with, 23 or more: the next images, or squares of the file; 0 for none.
    plugins
        Plugin files or folders.
    progress
        A function that is called before each measurement, with the number of measurements that are done, the number of
        all, and the name of the next.

    Returns
    -------
    Inspection
        The tensors, and ``save("folder")``, which draws them.

    Raises
    ------
    GahbenchError
        If an argument is not accepted, the image cannot be read, or the denoiser has no weights or no Jacobian.

    Examples
    --------
    >>> import gahbench
    >>> found = gahbench.inspect("low-pass", dataset="discs[size=8]", sigmas=[0.1], others=0)
    >>> [round(value) for value in found.levels[0].eigenvalues[:8].tolist()]
    [1, 1, 1, 1, 1, 1, 0, 0]
    """
    registry, choice = open_registry(plugins), Choice(dataset, index, image, size, colour)
    return _inspect(entrant, registry, choice, sigmas, bases, checkpoint, others, progress)


def _inspect(
    entrant: str,
    registry: Registry,
    choice: Choice,
    sigmas: Sequence[float],
    bases: Sequence[str],
    checkpoint: str | Path | None,
    others: int,
    progress: Callable[[int, int, str], None],
) -> Inspection:
    levels = checked_levels(sigmas)
    if choice.index < 0:
        raise ParameterError(f"index={choice.index}: accepted: 0 or more")
    if others and not MIN_IMAGES - 1 <= others <= MAX_OTHERS:
        raise ParameterError(f"others={others}: accepted: {MIN_IMAGES - 1} to {MAX_OTHERS}, or 0 for no comparison")
    configured = untrained_here(registry, entrant, checkpoint, "inspect")
    family = registry.configure("dataset", choice.dataset)
    images = chosen_images(choice, family, others)
    reference = _ready(configured, family, images)
    wanted, notes = _bases(registry, bases, images)
    if others and len(images.clean) < MIN_IMAGES:
        notes.append(
            f"no direction or alignment: they compare at least {MIN_IMAGES} images, and there are "
            f"{len(images.clean)} of {images.label}"
        )
    compares = len(images.clean) >= MIN_IMAGES
    names = [_JACOBIAN, *_FACTS, *(_comparisons(wanted) if compares else ())]
    steps, done = len(levels) * len(names), itertools.count()

    def begin(name: str) -> None:
        progress(next(done), steps, name)

    measured = [_level(reference, configured, images, sigma, wanted, registry, notes, begin) for sigma in levels]
    begin("nothing")
    return Inspection(
        configured.label,
        images.label,
        images.clean[images.place],
        tuple(measured),
        images.place,
        tuple(dict.fromkeys(notes)),
    )


def _ready(configured: Configured, family: Configured, images: Images) -> Reference:
    """Return the reference, fitted, on images that it can denoise."""
    where = f"{configured.where} on {images.label}"
    reference: Reference = configured.build()
    channels, height, width = images.clean.shape[1:]
    try:
        reference.check_shape((channels, height, width))
    except (ValueError, ParameterError) as error:
        raise ParameterError(f"{where}: {error}") from error
    if images.dataset is None and reference.kind in ("optimal", "bound"):
        raise ParameterError(
            f"{where}: its kind is '{reference.kind}', which needs a dataset; accepted: an image of one"
        )
    if images.dataset is not None and not reference.supports(images.dataset):
        raise ParameterError(f"{where}: not defined there; the kind of the optimum is '{images.dataset.optimum.kind}'")
    # A dataset is read for a file's image only if something is learned from it.
    if images.dataset is not None or type(reference).fit is not Reference.fit:
        reference.fit(TrainingData(images.dataset or cast(Dataset, family.build())))
    return reference


def _bases(registry: Registry, asked: Sequence[str], images: Images) -> tuple[dict[str, Basis], list[str]]:
    """Return the bases to compare with, by label, and notes on default ones that do not exist here."""
    found: dict[str, Basis] = {}
    notes: list[str] = []
    channels, height, width = images.clean.shape[1:]
    for described in asked or BASES:
        configured = registry.configure("basis", described)
        basis: Basis = configured.build()
        try:
            if basis.oracle and (images.dataset is None or not basis.supports(images.dataset)):
                raise ParameterError("it does not exist there")
            basis.check_shape((channels, height, width))
            if images.dataset is not None:
                basis.fit(TrainingData(images.dataset))
            elif type(basis).fit is not Basis.fit:
                raise ParameterError("it learns from a dataset; accepted: an image of one")
            found[configured.label] = basis
        except (ValueError, GahbenchError) as error:
            if asked:
                raise ParameterError(f"{configured.where} on {images.label}: {error}") from error
            if not basis.oracle:
                notes.append(f"without {configured.label}: {error}")
    return found, notes


def _level(
    reference: Reference,
    configured: Configured,
    images: Images,
    sigma: float,
    bases: Mapping[str, Basis],
    registry: Registry,
    notes: list[str],
    begin: Callable[[str], None],
) -> Level:
    # An evaluation for each noise level, so that the matrices of one at a time are held, and only those: fresh noise
    # would take as long again.
    group = Evaluation(
        reference,
        images.clean,
        [sigma],
        dataset=images.dataset,
        start=images.start,
        redraws=False,
        jacobian_precision="auto",  # the default of suites, so that the numbers are those of their boards
    )
    one = group.only(images.place)

    def step(name: str) -> None:
        begin(f"{name} at σ = {level_name(sigma)}")

    try:
        step(_JACOBIAN)
        _check_finite(group.denoised(sigma))
        pairs = one.local.eigenpairs(sigma)
        if pairs is None:
            raise ParameterError("it has no Jacobian; accepted are denoisers whose code can be differentiated")
        scores = _facts(one, registry, step)
        compared: dict[str, dict[Measure, dict[str, Tensor]]] = {}
        if len(images.clean) >= MIN_IMAGES:
            compared = _compared(group, bases, registry, step)
            short = [basis for basis in bases if not _has_value(compared.get(basis, {}))]
            if short:
                notes.append(
                    f"σ = {level_name(sigma)}: no direction or alignment with {', '.join(short)}: its filters are the "
                    f"same for all images, or fewer than {MIN_IMAGES} images have a strength that they can match"
                )
    except (ValueError, GahbenchError) as error:
        raise ParameterError(f"{configured.where} on {images.label}, sigma={level_name(sigma)}: {error}") from error
    values, vectors = (found[0].cpu() for found in pairs)
    clean = images.clean[images.place]
    return Level(
        sigma,
        one.noisy(sigma)[0],
        one.denoised(sigma)[0],
        values,
        vectors,
        scores,
        {basis: measures for basis, measures in compared.items() if _has_value(measures)},
        {LEARNED: vectors @ clean.double().flatten()} | _coefficients(bases, one, sigma, notes),
    )


def _check_finite(denoised: Tensor) -> None:
    wrong = int((~denoised.isfinite().flatten(1).all(dim=1)).sum())
    if wrong:
        raise ParameterError(
            f"{wrong} of {len(denoised)} denoised images have values that are infinite or NaN; accepted are denoisers "
            "that return finite values"
        )


def _facts(one: Evaluation, registry: Registry, step: Callable[[str], None]) -> dict[str, float]:
    """Return the values of the metrics that are measured on the image alone."""
    scores: dict[str, float] = {}
    for name in _FACTS:
        step(name)
        metric: Metric = registry.create("metric", name)
        parts = _with_ratios(metric, _parts(metric.score(one), 1))
        scores |= {f"{name}.{part}" if part else name: float(value[0]) for part, value in parts.items()}
    return scores


def _compared(
    group: Evaluation, bases: Iterable[str], registry: Registry, step: Callable[[str], None]
) -> dict[str, dict[Measure, dict[str, Tensor]]]:
    """Return the values of the metrics that compare images, as of :attr:`Level.compared`."""
    compared: dict[str, dict[Measure, dict[str, Tensor]]] = {}
    for metric_name in _comparisons(bases):
        step(metric_name)
        measured: Metric = registry.create("metric", metric_name)
        for part, value in _parts(measured.score(group), len(group.clean)).items():
            known = parts_of(f"{metric_name}.{part}" if part else metric_name)
            assert known is not None
            measure, basis, name = known
            compared.setdefault(basis, {}).setdefault(measure, {})[name] = value
    return compared


def _comparisons(bases: Iterable[str]) -> list[str]:
    """Return the metrics that compare images."""
    return [*(f"{measure}[{basis}]" for basis in bases for measure in MEASURES), TRUTH_ALIGNMENT]


def _has_value(measures: Mapping[Measure, Mapping[str, Tensor]]) -> bool:
    return any("" in parts for parts in measures.values())


def _coefficients(bases: Mapping[str, Basis], one: Evaluation, sigma: float, notes: list[str]) -> dict[str, Tensor]:
    """Return the clean image's coefficients, shape (d,), float64, in each basis that is orthonormal."""
    truth, found = one.truth.double(), {}
    for label, basis in bases.items():
        if basis.is_orthonormal(one.shape):
            found[label] = basis.adapt_to(truth, sigma).analysis(truth.clean).flatten()
        else:
            notes.append(f"decay without {label}: it is not orthonormal on images of this size")
    return found


def _with_ratios(metric: Metric, parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the parts of one image and those that boards compute as ratios."""
    known = {part: pair for part, pair in metric.ratios.items() if set(pair) <= set(parts)}
    return parts | {
        part: parts[numerator] / parts[denominator]
        for part, (numerator, denominator) in known.items()
        if float(parts[denominator]) > 0
    }


def _parts(scores: Scores, count: int) -> dict[str, Tensor]:
    """Return the values of a metric's parts, shape (count,), NaN for images without one."""
    found: dict[str, Tensor] = {}
    names = scores.part or [""] * len(scores.value)
    for part, image, value in zip(names, scores.image or (), scores.value, strict=True):
        found.setdefault(part, torch.full((count,), torch.nan, dtype=torch.float64))[image] = value
    return found


def figures(inspection: Inspection, ranks: Sequence[int] | None = None) -> Iterator[tuple[str, Figure]]:
    """Yield the name, without suffix, and each figure of an inspection."""
    caption = f"{inspection.entrant}\non {inspection.image}"
    names = level_names(level.sigma for level in inspection.levels)
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
    compared = {level.sigma: level.compared for level in ascending if level.compared}
    if not compared:
        return
    place = inspection.place
    panels = {
        f"σ = {names[sigma]}": {name: _aligned(measures, place) for name, measures in bases.items()}
        for sigma, bases in compared.items()
    }
    yield "ranking", ranking_figure(panels, caption)
    kinds = dict.fromkeys((name for bases in compared.values() for name in bases), "classical")
    for measure in MEASURES:
        curves = {name: curve for name in kinds if (curve := _course(compared, name, measure, place)) is not None}
        if curves:
            yield measure, course_figure({caption: curves}, list(kinds), kinds, "each basis", measure)


def _aligned(measures: Mapping[Measure, Mapping[str, Tensor]], place: int) -> Aligned:
    """Return the means over images, and the value of one by which bases are ranked."""
    direction, alignment = (measures.get(measure, {}) for measure in MEASURES)
    headline = direction if "" in direction else alignment
    return Aligned(
        _estimate(direction),
        _estimate(alignment),
        retrieval=float(means(alignment["retrieval"].numpy()[None])) if "retrieval" in alignment else math.nan,
        single=float(headline[""][place]),
    )


def _estimate(parts: Mapping[str, Tensor]) -> Interval:
    if "" not in parts:
        return UNKNOWN
    row = parts[""].numpy()[None, None]
    return estimate(means(row)[0], bootstrap_means(row)[:, 0])


def _course(
    levels: Mapping[float, Mapping[str, Mapping[Measure, Mapping[str, Tensor]]]],
    basis: str,
    measure: Measure,
    place: int,
) -> AgreementCurve | None:
    """Return the value of one image with a basis at every noise level that has one; there is no interval."""
    found = {
        sigma: float(parts[""][place])
        for sigma, bases in levels.items()
        if "" in (parts := bases.get(basis, {}).get(measure, {}))
    }
    if not found:
        return None
    nothing = np.full(len(found), np.nan)
    return AgreementCurve(tuple(found), np.array(list(found.values())), nothing, nothing, nothing)
