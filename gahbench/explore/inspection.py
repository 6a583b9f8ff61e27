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
from gahbench.board.metric_names import MEASURES, TRUTH_METRICS, Agreement, Measure, parse_agreement
from gahbench.board.statistics import UNKNOWN, sampled_means
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.metrics import Metric
from gahbench.evaluation.alignment import MIN_IMAGES
from gahbench.evaluation.evaluation import Evaluation
from gahbench.explore.sample import find_device, fit
from gahbench.jacobian import LARGEST_EXACT, top
from gahbench.planning.suite_entries import configure_denoiser
from gahbench.planning.suite_fields import check_sigmas
from gahbench.registry.registry import open_registry
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

    ``agreements`` holds means over the compared images, by basis; ``coefficients`` holds the coefficients (d,) of the
    clean image, by basis.
    """

    sigma: float
    noisy: Tensor
    denoised: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    scores: Mapping[str, float]
    agreements: Mapping[str, Agreement]
    coefficients: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Inspection:
    """Eigenvectors of a denoiser's Jacobian at an image and several noise levels.

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
    notes: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()

    def save(self, path: str | Path) -> list[Path]:
        """Write the figures as pages of a .pdf file, or to a folder: gallery-SIGMA, spectra, decay, bases (.png)."""
        path, drawn = check_out(path), dict(figures(self))
        if path.suffix.lower() == ".pdf":
            write_output(encode_pages(drawn.values()), path)
            return [path]
        for name, figure in drawn.items():
            save_figure(figure, path / f"{name}.png")
        return [path / f"{name}.png" for name in drawn]


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
    configured, family = configure_denoiser(registry, entrant), registry.configure("dataset", dataset)
    images: Dataset = family.build()
    label, size = f"{family.label}, test image {index}", math.prod(images.shape)
    if invalid := [rank for rank in ranks if not 1 <= rank <= size]:
        raise ParameterError(f"ranks {listing(map(str, invalid))}; accepted: 1 to {size}, the number of values")
    clean, start = _load_images(images, index, others if size <= LARGEST_EXACT else 0, family.label)
    reference = fit(configured, family, images, target_device)
    built, notes = dict[str, Basis](), list[str]()
    for spec in bases or BASES:
        basis = registry.configure("basis", spec)
        try:
            built[basis.label] = fit(basis, family, images)
        except ParameterError as error:
            if bases:
                raise
            # Few datasets have bases for oracles.
            notes += [] if basis.build().oracle else [f"without {error}"]
    names = list(_IMAGE_METRICS)
    if len(clean) >= MIN_IMAGES:
        names += [*TRUTH_METRICS.values(), *(f"{measure}[{basis}]" for basis in built for measure in MEASURES)]
    elif others:
        needed = f"at least {MIN_IMAGES} images of at most {LARGEST_EXACT} values"
        notes.append(f"no direction or alignment: they need {needed}")
    metrics = {name: registry.create("metric", name) for name in names}
    done, steps = itertools.count(), len(levels) * (1 + len(metrics))

    def begin(sigma: float, name: str) -> None:
        progress(next(done), steps, f"{name} at σ = {level_name(sigma)}")

    measured = []
    for sigma in levels:
        # A separate evaluation for each noise level keeps the matrices of only one level in memory. The noise is not
        # redrawn, since that would double the time. The precision is the default of suites.
        evaluation = Evaluation(
            reference, clean, [sigma], dataset=images, start=start, redraws=False, jacobian_precision="auto"
        )
        try:
            measured.append(_measure(evaluation, index - start, ranks, metrics, built, notes, begin))
        except (ValueError, GahbenchError) as error:
            raise ParameterError(f"{configured.where} on {label}, sigma={level_name(sigma)}: {error}") from error
    progress(steps, steps, "nothing")
    return Inspection(configured.label, label, clean[index - start], tuple(measured), tuple(notes), tuple(ranks))


def _load_images(dataset: Dataset, index: int, others: int, where: str) -> tuple[Tensor, int]:
    """Load a test image and the images after it, or before it near the end of the split, and the first index."""
    available = dataset.available("test")
    size = math.inf if available is None else available
    if not 0 <= index < size:
        raise DataError(f"{where}: test image {index} requested; accepted: 0 to {size - 1}")
    count = int(min(others + 1, size))
    start = int(min(index, size - count))
    return dataset.images("test", count, start), start


def _measure(
    evaluation: Evaluation,
    index: int,
    ranks: Sequence[int],
    metrics: Mapping[str, Metric],
    bases: Mapping[str, Basis],
    notes: list[str],
    begin: Callable[[float, str], None],
) -> Level:
    """Measure the denoiser at a noise level; metrics of bases compare all images."""
    (sigma,), single = evaluation.sigmas, evaluation.select(index)
    begin(sigma, "eigenvectors of the Jacobian")
    if bad := int((~evaluation.denoised(sigma).isfinite().flatten(1).all(dim=1)).sum()):
        raise ParameterError(f"{bad} of {len(evaluation.clean)} denoised images have infinite or NaN values")
    values, vectors = _eigenpairs(single, sigma, ranks, notes)
    scores: dict[str, float] = {}
    compared: dict[str, dict[Measure, Tensor]] = {}
    for name, metric in metrics.items():
        begin(sigma, name)
        if name in _IMAGE_METRICS:
            parts = {part: float(value) for part, value in _values_by_part(metric, single).items()}
            ratios = {part: pair for part, pair in metric.ratios.items() if parts.get(pair[1], 0) > 0}
            parts |= {part: parts[above] / parts[below] for part, (above, below) in ratios.items()}
            scores |= {f"{name}.{part}" if part else name: value for part, value in parts.items()}
        elif (agreement := parse_agreement(name)) and "" in (whole := _values_by_part(metric, evaluation)):
            compared.setdefault(agreement[1], {})[agreement[0]] = whole[""]
        else:
            reason = "the basis's own filters hardly adapt to the image, or too few images have a value"
            notes.append(f"σ = {level_name(sigma)}: no {name}: {reason}")
    truth = single.truth.double()
    coefficients = {LEARNED: vectors @ truth.clean.flatten()} | {
        label: basis.adapt_to(truth, sigma).analysis(truth.clean).flatten()
        for label, basis in bases.items()
        if basis.is_orthonormal(evaluation.shape)
    }
    agreements = {basis: _agreement(measures, index) for basis, measures in compared.items()}
    pictures = single.noisy(sigma)[0], single.denoised(sigma)[0]
    return Level(sigma, *pictures, values, vectors, scores, agreements, coefficients)


def _agreement(values: Mapping[Measure, Tensor], index: int) -> Agreement:
    """Return means over images of each measure, and the direction at one image."""
    means = {measure: sampled_means(row.numpy()[None, None]).intervals()[0] for measure, row in values.items()}
    single = float(values["direction"][index]) if "direction" in values else math.nan
    return Agreement(means.get("direction", UNKNOWN), means.get("alignment", UNKNOWN), single=single)


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
    """Return the values of a metric's parts, shape (N,), NaN for images without a value."""
    scores, parts = metric.score(evaluation), dict[str, Tensor]()
    names = scores.part or [""] * len(scores.value)
    for part, image, value in zip(names, scores.image or (), scores.value, strict=True):
        parts.setdefault(part, torch.full((len(evaluation.clean),), torch.nan, dtype=torch.float64))[image] = value
    return parts


def figures(inspection: Inspection) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of an inspection with their names, without suffix."""
    caption = f"{inspection.entrant}\non {inspection.image}"
    levels = sorted(inspection.levels, key=lambda level: level.sigma)
    names = level_names(level.sigma for level in levels)
    for level in inspection.levels:
        images = {"clean": inspection.clean, "noisy": level.noisy, "denoised": level.denoised}
        at = f"{caption}, σ = {names[level.sigma]}"
        gallery = gallery_figure(images, level.eigenvalues, level.eigenvectors, inspection.ranks, at)
        yield f"gallery-{names[level.sigma]}", gallery
    yield "spectra", spectra_figure({level.sigma: level.eigenvalues for level in levels}, caption)
    yield "decay", decay_figure({level.sigma: level.coefficients for level in levels}, caption)
    if panels := {f"σ = {names[level.sigma]}": level.agreements for level in levels if level.agreements}:
        yield "bases", bases_figure(panels, caption)
