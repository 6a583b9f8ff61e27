"""Eigendecomposition of a denoiser's Jacobian at an image, and comparison with bases."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gahbench._util.errors import DataError, GahbenchError, ParameterError, listing
from gahbench._util.files import write_output
from gahbench._util.readable import level_name
from gahbench.board.alignments import MEASURES, TRUTH_METRICS, Agreement, Measure, parse_agreement
from gahbench.board.statistics import UNKNOWN, Interval, means, sampled_means
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.metrics import Metric
from gahbench.evaluation.alignment import MIN_IMAGES
from gahbench.evaluation.evaluation import Evaluation
from gahbench.explore.sample import find_device, fit
from gahbench.jacobian import LARGEST_EXACT
from gahbench.jacobian.eigen import top
from gahbench.planning.suite_entries import configure_denoiser
from gahbench.planning.suite_fields import check_sigmas
from gahbench.registry.configured import Configured
from gahbench.registry.registry import Registry, open_registry
from gahbench.report.bases import LEARNED, bases_figure, decay_figure, gallery_figure, level_names, spectra_figure
from gahbench.report.drawing import encode_pages, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Default bases; bases that are not defined on the images are left out.
BASES = ("graph-laplacian", "bandlet", "sym4", "dct", "true-basis")
MAX_OTHERS = 63
#: Number of eigenvectors of large images, unless higher ranks are requested.
DEFAULT_COUNT = 33
#: Metrics that need the inspected image alone.
_IMAGE_METRICS = ("psnr", "spectrum", "self-consistency")


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

    def agreements(self, index: int) -> dict[str, Agreement]:
        """Return means over images by basis, with the value at one image; empty if no basis has a value."""
        rows = {}
        for name, measures in self.compared.items():
            direction, alignment = (measures.get(measure, {}) for measure in MEASURES)
            rows[name] = Agreement(
                _mean(direction),
                _mean(alignment),
                retrieval=_mean(alignment, "retrieval").value,
                share=_mean(direction, "basis-share").value,
                single=float(direction[""][index]) if "" in direction else math.nan,
            )
        return rows if any(row.direction.is_known or row.alignment.is_known for row in rows.values()) else {}


def _mean(parts: Mapping[str, Tensor], part: str = "") -> Interval:
    """Return the mean over images of a part of a metric; only the headline has an interval."""
    if part not in parts:
        return UNKNOWN
    row = parts[part].numpy()[None]
    return Interval(float(means(row))) if part else sampled_means(row[None]).intervals()[0]


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
    notes: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()

    def save(self, path: str | Path) -> list[Path]:
        """Write the figures as pages of a .pdf file, or to a folder: gallery-SIGMA, spectra, decay, bases (.png)."""
        path = check_out(path)
        if path.suffix.lower() == ".pdf":
            write_output(encode_pages(figure for _, figure in figures(self)), path)
            return [path]
        files = []
        for name, figure in figures(self):
            files.append(path / f"{name}.png")
            save_figure(figure, files[-1])
        return files


def check_out(path: str | Path) -> Path:
    """Return the path of the figures; raise ``ParameterError`` for a file that cannot hold several figures."""
    if (path := Path(path)).suffix.lower() in (".png", ".svg"):
        raise ParameterError(f"{path}: an inspection has several figures; accepted: a folder, or a .pdf file of pages")
    return path


def inspect(
    entrant: str,
    *,
    dataset: str = "faces[size=24]",
    index: int = 0,
    sigmas: Sequence[float] = (0.03, 0.1, 0.3),
    bases: Sequence[str] = (),
    checkpoint: str | Path | None = None,
    others: int = 27,
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
        Dataset of the inspected image, and of the training images of references: ``images[path=FOLDER,size=40]`` for
        images from files, ``photos[path=FOLDER,size=40]`` for patches of photographs.
    index : int, default 0
        Index of the test image, 0 or more.
    sigmas : sequence of float, default (0.03, 0.1, 0.3)
        Noise levels greater than 0, in units where images lie in [0, 1], such as 0.1 or 25/255.
    bases : sequence of str, default ()
        Bases to compare with. If empty, graph-laplacian, bandlet, sym4, dct and, if known, true-basis.
    checkpoint : str or Path, optional
        File of trained weights; same as the parameter ``checkpoint`` of an architecture.
    others : int, default 27
        Number of other images that direction and alignment need: 23 to 63, or 0 to skip both. With the default, up to
        four images may be left out. They are the next test images of the dataset. Both are skipped for images of more
        than 2304 values.
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
        If an argument is invalid, or the denoiser has no weights or no Jacobian.

    Examples
    --------
    >>> import gahbench
    >>> inspection = gahbench.inspect("low-pass[share=0.25]", dataset="discs[size=8]", sigmas=[0.1], others=0)
    >>> round(float(inspection.levels[0].eigenvalues.sum()))
    16
    """
    registry, target_device, levels = open_registry(plugins), find_device(device), check_sigmas(sigmas)
    if others and not MIN_IMAGES - 1 <= others <= MAX_OTHERS:
        raise ParameterError(f"others={others}; accepted: {MIN_IMAGES - 1} to {MAX_OTHERS}, or 0 for no comparison")
    configured = configure_denoiser(registry, entrant, checkpoint)
    family = registry.configure("dataset", dataset)
    images: Dataset = family.build()
    label = f"{family.label}, test image {index}"
    size = math.prod(images.shape)
    if invalid := [rank for rank in ranks if not 1 <= rank <= size]:
        raise ParameterError(f"ranks {listing(map(str, invalid))}; accepted: 1 to {size}, the number of values")
    is_small = size <= LARGEST_EXACT
    clean, start = _load_images(images, index, others if is_small else 0, family.label)
    reference = fit(configured, family, images, target_device)
    built, notes = _build_bases(registry, bases, family, images)
    names = list(_IMAGE_METRICS)
    if len(clean) >= MIN_IMAGES:
        names += [*TRUTH_METRICS.values(), *(f"{measure}[{basis}]" for basis in built for measure in MEASURES)]
    elif others:
        limit = f"at least {MIN_IMAGES} images" if is_small else f"images of at most {LARGEST_EXACT} values"
        notes.append(f"no direction or alignment: they need {limit}")
    metrics = {name: registry.create("metric", name) for name in names}
    done, steps = itertools.count(), len(levels) * (1 + len(metrics))
    measured = []
    for sigma in levels:
        # A separate evaluation for each noise level keeps the matrices of only one level in memory. The noise is not
        # redrawn, since that would double the time. The precision is the default of suites.
        evaluation = Evaluation(
            reference, clean, [sigma], dataset=images, start=start, redraws=False, jacobian_precision="auto"
        )

        def begin(name: str, at: str = f" at σ = {level_name(sigma)}") -> None:
            progress(next(done), steps, name + at)

        try:
            measured.append(_measure(evaluation, index - start, ranks, metrics, built, notes, begin))
        except (ValueError, GahbenchError) as error:
            raise ParameterError(f"{configured.where} on {label}, sigma={level_name(sigma)}: {error}") from error
    progress(steps, steps, "nothing")
    shown = clean[index - start]
    return Inspection(configured.label, label, shown, tuple(measured), index - start, tuple(notes), tuple(ranks))


def _load_images(dataset: Dataset, index: int, others: int, where: str) -> tuple[Tensor, int]:
    """Load a test image and the images after it, or before it near the end of the split, and the first index."""
    available = dataset.available("test")
    if index < 0 or (available is not None and index >= available):
        accepted = "0 or more" if available is None else f"0 to {available - 1}"
        raise DataError(f"{where}: test image {index} requested; accepted: {accepted}")
    count = others + 1 if available is None else min(others + 1, available)
    start = index if available is None else min(index, available - count)
    return dataset.images("test", count, start), start


def _build_bases(
    registry: Registry, specs: Sequence[str], family: Configured, images: Dataset
) -> tuple[dict[str, Basis], list[str]]:
    """Build the bases to compare with, by label, and notes on bases that cannot be compared."""
    bases: dict[str, Basis] = {}
    notes: list[str] = []
    for spec in specs or BASES:
        configured = registry.configure("basis", spec)
        try:
            basis: Basis = fit(configured, family, images)
        except ParameterError as error:
            if specs:
                raise
            # Few datasets have bases for oracles.
            notes += [] if configured.build().oracle else [f"without {error}"]
            continue
        bases[configured.label] = basis
        if not basis.is_orthonormal(images.shape):
            notes.append(f"no decay for {configured.label}: the basis is not orthonormal on images of this size")
    return bases, notes


def _measure(
    evaluation: Evaluation,
    index: int,
    ranks: Sequence[int],
    metrics: Mapping[str, Metric],
    bases: Mapping[str, Basis],
    notes: list[str],
    begin: Callable[[str], None],
) -> Level:
    """Measure the denoiser at a noise level; metrics of bases compare all images."""
    (sigma,), single = evaluation.sigmas, evaluation.select(index)
    begin("eigenvectors of the Jacobian")
    if bad := int((~evaluation.denoised(sigma).isfinite().flatten(1).all(dim=1)).sum()):
        raise ParameterError(f"{bad} of {len(evaluation.clean)} denoised images have infinite or NaN values")
    values, vectors = _eigenpairs(single, sigma, ranks, notes)
    scores: dict[str, float] = {}
    compared: dict[str, dict[Measure, dict[str, Tensor]]] = {}
    for name, metric in metrics.items():
        begin(name)
        is_alone = name in _IMAGE_METRICS
        parts = _values_by_part(metric, single if is_alone else evaluation)
        for part, value in parts.items():
            score = f"{name}.{part}" if part else name
            if is_alone:
                scores[score] = float(value)
            elif parsed := parse_agreement(score):
                measure, basis, part_of_measure = parsed
                compared.setdefault(basis, {}).setdefault(measure, {})[part_of_measure] = value
        if not is_alone and "" not in parts:
            reason = "the basis's own filters hardly adapt to the image, or too few images have a value"
            notes.append(f"σ = {level_name(sigma)}: no {name}: {reason}")
    truth = single.truth.double()
    coefficients = {
        label: basis.adapt_to(truth, sigma).analysis(truth.clean).flatten()
        for label, basis in bases.items()
        if basis.is_orthonormal(evaluation.shape)
    }
    return Level(
        sigma,
        single.noisy(sigma)[0],
        single.denoised(sigma)[0],
        values,
        vectors,
        scores,
        compared,
        {LEARNED: vectors @ truth.clean.flatten()} | coefficients,
    )


def _eigenpairs(evaluation: Evaluation, sigma: float, ranks: Sequence[int], notes: list[str]) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (k,), descending, and eigenvectors (k, d) at an image: all, or the first of large images."""
    filters = evaluation.local_filters
    if (maps := filters.maps(sigma)) is None:
        raise ParameterError("the denoiser has no Jacobian; accepted: denoisers that can be differentiated")
    if maps.size <= LARGEST_EXACT and (pairs := filters.eigenpairs(sigma)) is not None:
        return pairs[0][0].cpu(), pairs[1][0].cpu()
    count = min(max(ranks, default=DEFAULT_COUNT), maps.size)
    leading = top(maps, count)
    residual = f"|S v - λ v| at most {float(leading.residuals.max()):.1g}"
    notes.append(
        f"σ = {level_name(sigma)}: the first {count} of {maps.size} eigenvectors, by {leading.method}; {residual}"
    )
    return leading.values[0].cpu(), leading.vectors[0].cpu()


def _values_by_part(metric: Metric, evaluation: Evaluation) -> dict[str, Tensor]:
    """Return the values of a metric's parts, shape (N,), NaN for images without a value; and ratios at one image."""
    scores, parts = metric.score(evaluation), dict[str, Tensor]()
    names = scores.part or [""] * len(scores.value)
    for part, image, value in zip(names, scores.image or (), scores.value, strict=True):
        parts.setdefault(part, torch.full((len(evaluation.clean),), torch.nan, dtype=torch.float64))[image] = value
    if len(evaluation.clean) > 1:
        return parts
    ratios = {part: pair for part, pair in metric.ratios.items() if set(pair) <= set(parts) and parts[pair[1]] > 0}
    return parts | {part: parts[above] / parts[below] for part, (above, below) in ratios.items()}


def figures(inspection: Inspection) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of an inspection with their names, without suffix."""
    caption, ranks = f"{inspection.entrant}\non {inspection.image}", inspection.ranks or None
    levels = sorted(inspection.levels, key=lambda level: level.sigma)
    names = level_names(level.sigma for level in levels)
    for level in inspection.levels:
        images = {"clean": inspection.clean, "noisy": level.noisy, "denoised": level.denoised}
        at = f"{caption}, σ = {names[level.sigma]}"
        yield (
            f"gallery-{names[level.sigma]}",
            gallery_figure(images, level.eigenvalues, level.eigenvectors, ranks, at),
        )
    yield "spectra", spectra_figure({level.sigma: level.eigenvalues for level in levels}, caption)
    yield "decay", decay_figure({level.sigma: level.coefficients for level in levels}, caption)
    panels = {f"σ = {names[level.sigma]}": level.agreements(inspection.compared_index) for level in levels}
    if panels := {title: rows for title, rows in panels.items() if rows}:
        yield "bases", bases_figure(panels, caption)
