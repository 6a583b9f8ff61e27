"""Previews of datasets: images under noise, optimal estimates, and a card of properties."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from gahbench._util.errors import DataError, OptimumError, ParameterError, listing, suggestion
from gahbench._util.noise import evaluation_noise
from gahbench._util.readable import level_name
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import SPLITS, Card, Optimum, Split
from gahbench.evaluation.rates import input_psnr
from gahbench.explore.dataset_probe import NOISE_SEED, Best, DatasetProbe, Pixels, Vectors
from gahbench.registry.configured import Configured
from gahbench.registry.registry import open_registry
from gahbench.registry.spec import format_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIGMAS = (0.05, 0.15, 0.4)
COUNT = 4
#: Maximum numbers of images and noise levels, so that the contact sheet fits in memory.
MAX_IMAGES = 32
MAX_SIGMAS = 8
_VECTORS_PER_ROW = 8
#: Maximum number of values of noise in memory: noise is drawn for all preceding images of the split too.
MAX_NOISE = 1 << 27
#: Meaning of each kind of optimum.
_MEANING = {
    "exact": "exact: the posterior mean, which no denoiser beats, can be computed",
    "bracket": "bracket: no denoiser beats a genie that sees part of the parameters of an image",
    "rate": "rate: only the rate at which the error falls with the noise is known",
    "none": "none: the best denoiser is unknown",
}


@dataclass(frozen=True, eq=False)
class Level:
    """A preview at one noise level; ``obstacle`` is the reason why the optimum cannot be computed, if any."""

    sigma: float
    noisy: Tensor
    best: Best | None = None
    obstacle: str = ""


@dataclass(frozen=True, eq=False)
class Preview:
    """Images of a dataset under noise, and the dataset's properties."""

    configured: Configured
    shape: Shape
    card: Card
    optimum: Optimum
    fingerprint: str | None
    available: dict[Split, int | None]
    splits_overlap: bool
    notes: tuple[str, ...]
    pixels: Pixels
    split: Split
    start: int
    clean: Tensor
    levels: tuple[Level, ...]
    vectors: Vectors | None
    is_basis_requested: bool

    def save(self, file: str | Path) -> None:
        """Write the contact sheet: clean, noisy and, if known, optimally denoised images."""
        from gahbench.report.contact_sheet import write_figure

        write_figure(contact_sheet(self), Path(file))

    def save_basis(self, file: str | Path) -> None:
        """Write a sheet of the first vectors of the true basis; see :meth:`save`."""
        from gahbench.report.contact_sheet import write_figure

        if self.vectors is None:
            raise OptimumError(f"{self.configured.where}: the preview holds no true basis")
        write_figure(basis_sheet(self, self.vectors), Path(file))

    def _repr_png_(self) -> bytes:
        """Return the contact sheet for notebooks."""
        from gahbench.report.contact_sheet import encode_sheet

        return encode_sheet(contact_sheet(self), ".png")


def preview(
    dataset: str,
    sigmas: Sequence[float] = (0.05, 0.15, 0.4),
    *,
    count: int | None = None,
    split: Split = "test",
    start: int = 0,
    true_basis: bool = False,
    plugins: Sequence[str | Path] = (),
) -> Preview:
    """Preview a dataset: its properties, and a few images that are clean, noisy and optimally denoised.

    Parameters
    ----------
    dataset : str
        Name of a dataset, optionally with parameters, such as ``c-alpha[alpha=2,size=32]``.
    sigmas : sequence of float, default (0.05, 0.15, 0.4)
        One to 8 noise levels greater than 0, in units where images lie in [0, 1]. The noise is the same as in runs with
        the default noise seed.
    count : int, optional
        Number of images, 1 to 32. By default 4, or all images if the split has fewer.
    split : {"train", "validation", "test", "A", "B"}, default "test"
        Split of the images.
    start : int, default 0
        Index of the first image in the split, 0 or more.
    true_basis : bool, default False
        Whether to require the basis in which the optimal denoiser shrinks the first image. For large images this may
        take minutes and much memory. By default, the basis is computed for small images only.
    plugins : sequence of str or Path, default ()
        Plugin files, or folders of plugin files.

    Returns
    -------
    Preview
        Notebooks display its contact sheet, and ``save("sheet.png")`` writes it.

    Raises
    ------
    GahbenchError
        If an argument is invalid, the split has too few images, a required true basis is unknown, or the dataset fails.

    Examples
    --------
    >>> import gahbench
    >>> preview = gahbench.preview("discs[size=16]", sigmas=[0.1], count=2)
    >>> tuple(preview.levels[0].noisy.shape)
    (2, 1, 16, 16)
    """
    configured = open_registry(plugins).configure("dataset", dataset)
    return make_preview(configured, sigmas, count, split, start, true_basis)


def make_preview(
    configured: Configured,
    sigmas: Sequence[float] = SIGMAS,
    count: int | None = None,
    split: Split = "test",
    start: int = 0,
    true_basis: bool = False,
    max_pixels: int | None = None,
) -> Preview:
    """Build a preview; above `max_pixels` per image, the optimum is not computed."""
    levels = check_levels(sigmas)
    if count is not None and not 1 <= count <= MAX_IMAGES:
        raise ParameterError(f"count={count}; accepted: 1 to {MAX_IMAGES}")
    if split not in SPLITS:
        raise ParameterError(f"unknown split '{split}'{suggestion(split, SPLITS) or ';'} accepted: {listing(SPLITS)}")
    if start < 0:
        raise ParameterError(f"start={start}; accepted: 0 or more")
    probe = DatasetProbe(configured)
    available = probe.available()
    count = _check_count(configured, available, split, start, count)
    max_start = max(MAX_NOISE // math.prod(probe.shape) - count, 0)
    if start > max_start:
        raise ParameterError(f"start={start}: accepted for {count} images of this size: up to {max_start}")
    clean = probe.images(split, count, start)
    is_basis_requested = true_basis or probe.has_cheap_basis
    return Preview(
        configured,
        probe.shape,
        probe.card(),
        probe.optimum(),
        probe.fingerprint(),
        available,
        probe.splits_overlap(),
        probe.notes(),
        probe.pixels(split, available[split]),
        split,
        start,
        clean,
        tuple(_preview_level(probe, clean, sigma, split, start, max_pixels) for sigma in levels),
        probe.vectors(split, start, true_basis) if is_basis_requested else None,
        is_basis_requested,
    )


def check_levels(sigmas: Sequence[float]) -> tuple[float, ...]:
    """Return noise levels without duplicates; raise if they are invalid."""
    levels = tuple(dict.fromkeys(float(sigma) for sigma in sigmas))
    for sigma in levels:
        if not (math.isfinite(sigma) and sigma > 0):
            raise ParameterError(f"sigma={sigma:g}; accepted: finite noise levels greater than 0")
    if not 1 <= len(levels) <= MAX_SIGMAS:
        raise ParameterError(f"{len(levels)} noise levels; accepted: 1 to {MAX_SIGMAS}")
    return levels


def _check_count(
    configured: Configured, available: dict[Split, int | None], split: Split, start: int, count: int | None
) -> int:
    """Return the number of images to preview; raise if the split has too few."""
    size = available[split]
    if size is None:
        return COUNT if count is None else count
    if size == 0:
        nonempty = [name for name, number in available.items() if number is None or number > 0]
        raise DataError(f"{configured.where}: the {split} split holds no images; splits that do: {listing(nonempty)}")
    if start + (count or 1) > size:
        raise DataError(
            f"{configured.where}: {count or 1} {split} images requested from index {start}, but the split holds {size}"
        )
    return min(COUNT, size - start) if count is None else count


def _preview_level(
    probe: DatasetProbe, clean: Tensor, sigma: float, split: Split, start: int, max_pixels: int | None
) -> Level:
    # Noise is drawn by the index of an image in its split.
    end, render_size = start + len(clean), probe.dataset.render_size
    noise = evaluation_noise(end, probe.shape, sigma, NOISE_SEED, split, render_size=render_size)[start:]
    noisy = clean + noise
    if max_pixels is not None and math.prod(probe.shape) > max_pixels:
        return Level(sigma, noisy)
    try:
        return Level(sigma, noisy, probe.best(clean, noisy, sigma, split, start))
    except OptimumError as error:
        # The optimum cannot be computed accurately at this level; the rest of the preview is still useful.
        return Level(sigma, noisy, obstacle=" ".join(str(error).split()))


def contact_sheet(preview: Preview) -> Figure:
    """Draw a row for each image: clean, noisy, and denoised by the optimal denoiser or a genie, if known."""
    from gahbench.report.cells import number
    from gahbench.report.contact_sheet import Cell, cropping_note, format_psnr, lay_out, to_picture

    kind = preview.optimum.kind
    columns: list[tuple[str, Tensor]] = [("clean", preview.clean)]
    columns += [
        (f"noisy\nσ = {level_name(level.sigma)} ({number(float(input_psnr(level.sigma)), 1)} dB)", level.noisy)
        for level in preview.levels
    ]
    for level in preview.levels:
        if level.best is not None:
            name, sign = ("optimal", "") if kind == "exact" else ("genie", "≤ ")
            expected = format_psnr(level.best.expected)
            sign = "" if expected.startswith(">") else sign
            title = f"{name}\nσ = {level_name(level.sigma)} ({sign}{expected})"
            columns.append((title, level.best.denoised))
    rows = [
        [Cell(to_picture(images[row]), title if row == 0 else "") for title, images in columns]
        for row in range(len(preview.clean))
    ]
    last = preview.start + len(rows) - 1
    images_text = f"image {last}" if len(rows) == 1 else f"images {preview.start} to {last}"
    names = [str(preview.start + row) for row in range(len(rows))]
    return lay_out(
        rows, names, [preview.configured.label, f"{preview.split} {images_text}{cropping_note(preview.shape)}"]
    )


def basis_sheet(preview: Preview, vectors: Vectors) -> Figure:
    """Draw the first vectors of an image's true basis; grey is 0, and each vector has its own contrast."""
    from gahbench.report.contact_sheet import Cell, cropping_note, lay_out, to_picture

    cells = [Cell(to_picture(preview.clean[0]), "clean")]
    for index, vector in enumerate(vectors.images):
        title = f"vector {index + 1}"
        if vectors.energies is not None:
            title += f"\nstd {math.sqrt(max(float(vectors.energies[index]), 0)):.3g}"
        largest = max(float(vector.abs().max()), 1e-30)
        cells.append(Cell(to_picture(0.5 + vector / (2 * largest)), title))
    rows = [cells[first : first + _VECTORS_PER_ROW] for first in range(0, len(cells), _VECTORS_PER_ROW)]
    excerpt = f"the first {len(cells) - 1} of " if len(cells) - 1 < vectors.count else ""
    noun = "vector" if vectors.count == 1 else "vectors"
    note = cropping_note(preview.shape)
    caption = f"true basis of {preview.split} image {preview.start}: {excerpt}{vectors.count} {noun}{note}"
    return lay_out(rows, [""] * len(rows), [preview.configured.label, caption])


def card_facts(preview: Preview) -> Iterator[tuple[str, str]]:
    """Yield the names and values of properties of a previewed dataset, as strings."""
    parameters = preview.configured.parameters.items()
    if parameters:
        yield "parameters", ", ".join(f"{name}={format_value(value)}" for name, value in parameters)
    yield "shape", " × ".join(map(str, preview.shape)) + " (channels, height, width)"
    yield "origin", preview.card.origin
    yield "licence", preview.card.licence
    yield "images", _format_sizes(preview)
    for note in preview.notes:
        yield "note", note
    yield "fingerprint", preview.fingerprint or "none: no files are read"
    pixels = preview.pixels
    sample = "1 image" if pixels.count == 1 else f"{pixels.count} images"
    yield (
        "pixels",
        f"mean {pixels.mean:.3f}, standard deviation {pixels.std:.3f}, {_format_share(pixels.outside)} outside [0, 1], "
        f"over {sample} of {preview.split}",
    )
    yield "optimum", _format_optimum(preview.optimum)
    yield "true basis", _format_basis(preview)


def _format_sizes(preview: Preview) -> str:
    sizes = preview.available
    shared = "; splits share images" if preview.splits_overlap else ""
    if all(count is None for count in sizes.values()):
        return f"endless in every split{shared}"
    return ", ".join(f"{split} {'endless' if count is None else count}" for split, count in sizes.items()) + shared


def _format_share(share: float) -> str:
    """Format a share as a percentage, so that a positive share never reads as 0."""
    return "none" if share == 0 else "less than 0.001 %" if share < 1e-5 else f"{100 * share:.3g} %"


def _format_optimum(optimum: Optimum) -> str:
    if optimum.slope is None:
        return _MEANING[optimum.kind]
    return f"{_MEANING[optimum.kind]}; PSNR rises by {optimum.slope:.2f} dB per dB of input PSNR as σ tends to 0"


def _format_basis(preview: Preview) -> str:
    if preview.vectors is not None:
        kind = "spanning the tangent space" if preview.vectors.energies is None else "with the variance of each"
        return f"known: {preview.vectors.count} {'vector' if preview.vectors.count == 1 else 'vectors'} {kind}"
    return (
        "not known" if preview.is_basis_requested else "not computed, since it may take long; --true-basis computes it"
    )
