"""Sheets of pictures: test images and eigenvectors of a board, and samples with the closest training images.

Metrics keep images in the units of a run. A published folder has a sheet for each dataset: a small PNG file, whose rows
are those of :class:`Sheet`, and which ``results.json`` describes. Pages show the sheets as galleries, and ``gahbench
draw denoised`` as figures, which enlarge images by an integer factor, so that their pixels are squares.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn.objects as so
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath
from numpy.typing import NDArray
from PIL import Image

from gahbench._util.errors import ParameterError, ResultsError, listing
from gahbench._util.files import read_regular
from gahbench._util.readable import level_name
from gahbench._util.records import is_inside
from gahbench._util.shapes import Shape, image_shape
from gahbench.board.results import Results, index_or_none, saved_files
from gahbench.contracts.row_labels import base_label, choose_labels, is_chosen, number_of_images
from gahbench.evaluation.rates import MAX_PSNR, input_psnr
from gahbench.registry.spec import parse_spec
from gahbench.report.cells import data_url, file_stems, fold_label, number
from gahbench.report.drawing import WIDTH, draw_panels, figure_style, looks_of
from gahbench.store.store import StoredArrays, stored_arrays

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.sampling import Samples

#: The folder of the sheets in a results folder.
FOLDER = "pictures"
#: The largest number of values of all sheets of a kind, whose files then have about 200 kB.
MAX_VALUES = 400_000
#: What a sheet shows; also the key of the descriptions of sheets in ``results.json``.
Kind = Literal["pictures", "eigenvectors"]
#: The metric that keeps the arrays of each kind of sheet.
METRICS: Mapping[Kind, str] = {"pictures": "psnr", "eigenvectors": "spectrum"}
#: The values of each kind of sheet in ``results.json``, and their decimals.
_VALUES: Mapping[Kind, tuple[str, int]] = {"pictures": ("psnr", 2), "eigenvectors": ("eigenvalues", 4)}
_COUNT, _MIN_SIDE = 2, 16  # of images
_MAX_FILE_BYTES = 20_000_000  # since published folders may be forged
#: Errors of this many standard deviations of the noise, or more, are black or white; an error of 0 is grey.
_ERROR_RANGE = 2.0
_SCREEN_SIDES: Mapping[Kind, int] = {"pictures": 96, "eigenvectors": 64}  # pixels of the screen
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_DPI, _FONT_POINTS, _CAPTION_WIDTH = 200, 8.0, 100
# Lengths in device pixels.
_DRAWN_SIDE, _MAX_SIDE, _GAP, _MARGIN = 240, 512, 14, 24
_LINE_HEIGHT = 1.35 * _FONT_POINTS * _DPI / 72
_COLUMNS, _MAX_SAMPLES = 8, 64
#: Rows of a comparison of samples: name, array of images, and array of the values that are written above them.
_ROWS = (
    ("N = {images}\nsamples", "samples", ""),
    ("closest", "closest", "closest_cosine"),
    ("samples of B", "partner_samples", "pair_cosine"),
    ("closest in B", "partner_closest", "partner_closest_cosine"),
    ("predicted by\n{reference}", "predicted", "r2"),
)

Floats = NDArray[np.float32]
#: Arrays of samples by number of training images, which is ``None`` for all images of the split, and by reference.
SampleSets: TypeAlias = dict[int | None, dict[str, dict[str, "NDArray[Any]"]]]


class Cell(NamedTuple):
    """A picture of a sheet, (H, W) or (H, W, 3) with values in [0, 1], and its title."""

    picture: Floats
    title: str = ""


def format_psnr(error: float) -> str:
    """Format a mean squared error per pixel as PSNR; errors at the level of rounding become ``> 140 dB``."""
    return f"{number(-10 * math.log10(error), 1)} dB" if error > 10 ** (-MAX_PSNR / 10) else f"> {MAX_PSNR} dB"


def lay_out(rows: Sequence[Sequence[Cell]], names: Sequence[str], captions: Sequence[str]) -> Figure:
    """Lay out rows of pictures, all of the same size."""
    with figure_style():
        shape = rows[0][0].picture.shape[:2]
        height, width = (max(1, math.ceil(_DRAWN_SIDE / max(shape))) * side for side in shape)
        pitch = _GAP + max(width, *(_text_size(cell.title)[0] for row in rows for cell in row))
        left = _MARGIN + max(_text_size(name)[0] + _GAP if name else 0 for name in names)
        caption = "\n".join(fold_label(text, _CAPTION_WIDTH) for text in captions)
        caption_width, caption_height = _text_size(caption)
        right = max(left + max(map(len, rows)) * pitch - _GAP, _MARGIN + caption_width) + _MARGIN
        heads = [max(_text_size(cell.title)[1] for cell in row) for row in rows]
        # A picture may be lower than the text of its row's name.
        steps = [head + max(height, math.ceil(_LINE_HEIGHT)) + _GAP for head in heads]
        *ends, bottom = itertools.accumulate(steps, initial=_MARGIN + caption_height + _GAP)
        bottom += _MARGIN - _GAP
        # The backend truncates fractions of a pixel, so half a device pixel is added.
        figure = Figure(figsize=((right + 0.5) / _DPI, (bottom + 0.5) / _DPI), dpi=_DPI)
        axes = figure.add_axes((0, 0, right / (right + 0.5), bottom / (bottom + 0.5)))
        axes.axis("off")
        font: dict[str, Any] = {"fontsize": _FONT_POINTS, "linespacing": 1.2}
        axes.text(_MARGIN, _MARGIN, caption, va="top", **font)
        for row, name, top in zip(rows, names, map(sum, zip(ends, heads, strict=True)), strict=True):
            axes.text(left - _GAP, top + height / 2, name, ha="right", va="center", color="0.45", **font)
            for column, cell in enumerate(row):
                x = left + column * pitch
                # A frame of one device pixel separates white pixels from the background.
                axes.add_patch(Rectangle((x - 1, top - 1), width + 2, height + 2, color="0.75", linewidth=0, zorder=1))
                # A colour map would round grey values twice.
                pixels = np.round(255 * np.broadcast_to(np.atleast_3d(cell.picture), (*shape, 3))).astype(np.uint8)
                extent = (x, x + width, top + height, top)
                axes.imshow(pixels, extent=extent, interpolation="nearest", aspect="auto", zorder=2)
                axes.text(x, top - _GAP / 2, cell.title, va="bottom", **font)
        axes.set(xlim=(0, right), ylim=(bottom, 0))
    return figure


def _text_size(text: str) -> tuple[int, int]:
    """Return the width of the widest line, and the height of a text, in device pixels."""
    lines, font = text.split("\n"), FontProperties(size=_FONT_POINTS)
    widths = [TextPath((0, 0), line, prop=font).get_extents().x1 for line in lines if line.strip()]
    return math.ceil(max(widths, default=0) * _DPI / 72), math.ceil(_LINE_HEIGHT * len(lines) if text else 0)


def crop(images: Any, side: int) -> Any:
    """Return the centre of images (…, C, H, W) with at most ``side`` pixels per side."""
    top, left = (max(0, (length - side) // 2) for length in images.shape[-2:])
    return images[..., top : top + side, left : left + side]


def to_picture(image: Tensor | NDArray[Any]) -> Floats:
    """Return the centre of an image (C, H, W) as a picture: (H, W, 3) for three channels, else their mean (H, W).

    Values are bytes, or floats in [0, 1].
    """
    pixels = crop(np.asarray(image), _MAX_SIDE)
    scaled = pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels.astype(np.float32)
    picture: Floats = np.moveaxis(scaled, 0, -1) if len(scaled) == 3 else scaled.mean(axis=0)
    return picture.clip(0, 1)


def cropping_note(shape: Shape) -> str:
    """Return a note if pictures of images (C, H, W) average channels or are cropped, else an empty string."""
    channels, *size = shape
    note = "" if channels in (1, 3) else f", mean of {channels} channels"
    shown, full = ("×".join(str(min(length, most)) for length in size) for most in (_MAX_SIDE, math.inf))
    return note if shown == full else f"{note}, central {shown} of {full} pixels"


#: For each dataset, its name, the noise level, and rows of pictures with the names of entrants; images have no name.
Gallery: TypeAlias = list[tuple[str, str, list[tuple[str, list[dict[str, Any]]]]]]


@dataclass(frozen=True, eq=False)
class Sheet:
    """Rows of N images of a dataset with K pictures for each: bytes of shape (R, N, K, C, H, W).

    The first rows of denoised images (K = 1) are the clean and the noisy images. The first row of eigenvectors has the
    clean image, then the noisy image. A row for each entrant follows, whose ``values`` have shape (N, K): the PSNR, or
    the eigenvalue of each of the ``ranks``.
    """

    kind: Kind
    dataset: str
    name: str
    sigma: float
    entrants: list[str]
    ranks: list[int]
    values: NDArray[np.float64]
    rows: NDArray[np.uint8]

    @property
    def content(self) -> bytes:
        """The PNG file of the sheet; images have fewer grey values, and eigenvectors fewer colours, for small files."""
        step, first = (4, 0) if self.kind == "pictures" else (16, 1)
        own = np.round(self.rows[first:] / step) * step
        rows = np.concatenate([self.rows[:first], own.clip(0, 255)]).astype(np.uint8)
        count, images, pictures, channels, height, width = rows.shape
        tiled = rows.transpose(0, 4, 1, 2, 5, 3).reshape(count * height, images * pictures * width, channels)
        return _encode(Image.fromarray(tiled if channels == 3 else tiled[:, :, 0]))

    @property
    def record(self) -> dict[str, Any]:
        """The description of the sheet in ``results.json``; JSON accepts no values that are not finite."""
        key, digits = _VALUES[self.kind]
        values = self.values.swapaxes(1, 2) if self.kind == "pictures" else self.values
        return {
            "dataset": self.dataset,
            "file": self.name,
            "shape": [self.rows.shape[1], *self.rows.shape[3:]],
            "sigmas": [self.sigma],
            **({"ranks": self.ranks} if self.ranks else {}),
            "entrants": self.entrants,
            key: np.where(np.isfinite(values), values.round(digits), np.array(None)).tolist(),
        }

    def table(self, names: Mapping[str, str]) -> list[tuple[str, list[Cell]]]:
        """Return rows of pictures with their names, for entrants with display names; images have an empty name.

        All denoised images of an entrant, each with its error, are one row; eigenvectors have a row for each image.
        """
        images = range(self.rows.shape[1])
        rows = [("", -1), *((name, self.entrants.index(label)) for label, name in names.items())]
        return [
            (name, [cell for image in shown for cell in self._cells(image, entrant)])
            for shown in ([images] if self.kind == "pictures" else [[image] for image in images])
            for name, entrant in rows
        ]

    def _cells(self, image: int, entrant: int) -> list[Cell]:
        """Return the pictures of an entrant at an image, or the clean and the noisy image for entrant -1."""
        images = self.rows[:2, image, 0] if self.kind == "pictures" else self.rows[0, image, :2]
        clean, noisy = map(to_picture, images)
        if entrant < 0:
            return [Cell(clean, "clean"), Cell(noisy, f"noisy {number(float(input_psnr(self.sigma)), 1)} dB")]
        own = list(map(to_picture, self.rows[entrant - len(self.entrants), image]))
        values = self.values[entrant, image].tolist()
        if self.kind == "pictures":
            error = 0.5 + (own[0] - clean) / (2 * _ERROR_RANGE * self.sigma)
            return [Cell(own[0], f"{number(values[0], 1)} dB"), Cell(error.clip(0, 1), "error")]
        # Eigenvectors of one channel are drawn from blue through white, which is zero, to red.
        colours: Any = [each if each.ndim == 3 else mpl.colormaps["RdBu_r"](each)[:, :, :3] for each in own]
        titles = zip((str(rank).translate(_SUBSCRIPTS) for rank in self.ranks), map(number, values), strict=True)
        return [Cell(colour, f"λ{rank} = {value}") for colour, (rank, value) in zip(colours, titles, strict=True)]


def first_seeds(stored: Iterable[StoredArrays]) -> dict[str, list[StoredArrays]]:
    """Return the arrays that are not empty by dataset, for the first training seed of each entrant."""
    kept: dict[str, dict[str, StoredArrays]] = {}
    for item in stored:
        if item.arrays:
            kept.setdefault(item.dataset, {}).setdefault(item.entrant, item)
    return {dataset: list(by_entrant.values()) for dataset, by_entrant in kept.items()}


def make_sheets(
    kind: Kind, kept: Mapping[str, Sequence[StoredArrays]], limit: int = MAX_VALUES, sigma: float | None = None
) -> list[Sheet]:
    """Return the sheets of what entrants kept, by dataset, at the noise level nearest to ``sigma`` or the middle one.

    Images are cropped to their centre, so that all sheets have at most ``limit`` values if possible.
    """
    prefix = f"{FOLDER}/" if kind == "pictures" else f"{FOLDER}/{kind}-"
    names = {label: f"{prefix}{stem}.png" for label, stem in file_stems(list(kept)).items()}
    sheets = [_make(kind, names[label], stored, sigma) for label, stored in kept.items()]
    side = math.isqrt(limit // max(1, sum(math.prod(sheet.rows.shape[:4]) for sheet in sheets)))
    return [replace(sheet, rows=crop(sheet.rows, max(_MIN_SIDE, side // 8 * 8))) for sheet in sheets]


def _make(kind: Kind, name: str, kept: Sequence[StoredArrays], sigma: float | None) -> Sheet:
    first = kept[0].arrays
    sigmas = first["sigmas"].tolist()
    level = sigmas[len(sigmas) // 2] if sigma is None else min(sigmas, key=lambda each: abs(each - sigma))
    # All entrants have the same images, but an entrant may lack a noise level that other entrants have.
    levels = {item: item.arrays["sigmas"].tolist().index(level) for item in kept if level in item.arrays["sigmas"]}
    if kind == "pictures":
        head = np.stack([first["clean"], first["noisy"][levels[kept[0]]]])[:, :, None]
        kinds = ("denoised", "psnr")
        own, values = (np.stack([item.arrays[key][level][:, None] for item, level in levels.items()]) for key in kinds)
    else:
        own, values = (np.stack([item.arrays[key] for item in levels]) for key in ("eigenvectors", "eigenvalues"))
        head = np.zeros_like(own[:1])
        head[0, :, 0], head[0, :, 1:2] = first["clean"], first["noisy"][:, None]
    rows = np.concatenate([head, own])[:, :_COUNT]
    if rows.shape[3] not in (1, 3):
        rows = rows.mean(axis=3, keepdims=True).round().astype(np.uint8)
    labels, ranks = [item.entrant for item in levels], first["ranks"].tolist() if "ranks" in first else []
    return Sheet(kind, kept[0].dataset, name, level, labels, ranks, values[:, :_COUNT].astype(np.float64), rows)


def find_sheets(folder: Path, kind: Kind, limit: int = MAX_VALUES, sigma: float | None = None) -> list[Sheet]:
    """Return the sheets of what the units of a folder keep, or else those that ``results.json`` describes.

    Published files that were changed are left out with a warning.
    """
    if (folder / "units").is_dir():
        return make_sheets(kind, first_seeds(stored_arrays(folder, METRICS[kind], required=False)), limit, sigma)
    index = index_or_none(folder) or {}
    records, checksums, sheets = index.get(kind, []), saved_files(index), []
    for record in records if isinstance(records, list) else []:
        try:
            sheets.append(_read_sheet(folder, kind, record, checksums))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, Image.DecompressionBombError) as error:
            warnings.warn(f"{folder}: {kind} are left out: {error}", stacklevel=3)
    return sheets


def _read_sheet(folder: Path, kind: Kind, record: Mapping[str, Any], checksums: Mapping[str, str]) -> Sheet:
    """Return a sheet; raise an error if its file does not match its description."""
    name, labels, (sigma,) = record["file"], list(map(str, record["entrants"])), record["sigmas"]
    count, channels, height, width = map(int, record["shape"])
    ranks, values = list(map(int, record.get("ranks", []))), np.asarray(record[_VALUES[kind][0]], np.float64)
    pictures, first = (1, 2) if kind == "pictures" else (len(ranks), 1)
    values = values.swapaxes(1, 2) if kind == "pictures" else values
    is_valid = isinstance(record["dataset"], str) and values.size and values.shape == (len(labels), count, pictures)
    if not is_valid or not is_inside(name) or not name.startswith(f"{FOLDER}/"):
        raise ValueError(f"{name}: its description in results.json is not valid")
    content = read_regular(folder / name, _MAX_FILE_BYTES)
    if hashlib.sha256(content).hexdigest() != checksums.get(name):
        raise ValueError(f"{name}: its checksum differs from that in results.json")
    down, across = (first + len(labels)) * height, count * pictures * width
    with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
        if picture.size != (across, down) or picture.mode != {1: "L", 3: "RGB"}.get(channels):
            raise ValueError(f"{name}: is not an image of {down} by {across} pixels")
        pixels = np.asarray(picture).reshape(-1, height, count, pictures, width, channels)
    rows = pixels.transpose(0, 2, 3, 5, 1, 4)
    return Sheet(kind, record["dataset"], name, float(sigma), labels, ranks, values, rows)


def denoised_figures(
    results: Results, folder: Path, sigma: float | None, datasets: Sequence[str], entrants: Sequence[str]
) -> Iterator[Figure]:
    """Draw a sheet for each dataset: the images that the metric ``psnr`` kept, as each entrant denoised them."""
    sheets = {sheet.dataset: sheet for sheet in find_sheets(folder, "pictures", 10**9, sigma)}
    if not sheets:
        raise ResultsError(f"{folder}: holds no pictures; expected a results folder with images of the metric psnr")
    chosen = [sheets[label] for label in choose_labels(datasets, sheets, "dataset", ResultsError)]
    labels = dict.fromkeys(label for sheet in chosen for label in sheet.entrants)
    shown = choose_labels(entrants, labels, "entrant", ResultsError)
    note = f"PSNR is of whole images, of which the centre is shown; errors: grey 0, white or black {_ERROR_RANGE:g} σ"
    for sheet in chosen:
        if sigma is not None and not np.isclose(sheet.sigma, sigma):
            nearest = level_name(sheet.sigma)
            raise ParameterError(f"no images at sigma {level_name(sigma)}; accepted: the nearest, {nearest}")
        if drawn := {label: fold_label(results.names.entrant(label), 22) for label in shown if label in sheet.entrants}:
            heads, rows = zip(*sheet.table(drawn), strict=True)
            yield lay_out(rows, heads, [f"{results.names.dataset(sheet.dataset)}, σ = {level_name(sheet.sigma)}", note])


def gallery(results: Results, folder: Path, kind: Kind = "pictures") -> Gallery:
    """Return the sheets of a kind that a folder keeps, with the entrants of each dataset in the order of the board."""
    sheets, drawn = {sheet.dataset: sheet for sheet in find_sheets(folder, kind)}, []
    for board in results.board.datasets:
        sheet = sheets.get(board.dataset)
        entrants = [entry.entrant for entry in board.entries if sheet and entry.entrant in sheet.entrants]
        if sheet and entrants:
            table = sheet.table({label: results.names.entrant(label) for label in entrants})
            rows = [(name, [_picture(cell, name, _SCREEN_SIDES[kind]) for cell in cells]) for name, cells in table]
            drawn.append((results.names.dataset(board.dataset), f"σ = {level_name(sheet.sigma)}", rows))
    return drawn


def gallery_note(results: Results, pictures: Gallery) -> str:
    """Return a note on a gallery of denoised images, and on the datasets without images."""
    if not pictures:
        return "This folder holds no pictures: they are written with the PSNR, of images that may be redistributed."
    shown = {dataset for dataset, *_ in pictures}
    missing = [name for board in results.board.datasets if (name := results.names.dataset(board.dataset)) not in shown]
    return (
        f"The same test images and noise for every entrant, best first. In the errors, grey is 0; white and black are "
        f"{_ERROR_RANGE:g} σ. Large images are cropped to their centre; the PSNR is of whole images. 'gahbench draw "
        "denoised[sigma=…]' draws other noise levels of a folder that has its units."
    ) + (f" There are no pictures of {listing(missing)}: boards publish only images that are free." if missing else "")


def _picture(cell: Cell, name: str, side: int) -> dict[str, Any]:
    """Return the attributes of a picture on pages, with at least ``side`` pixels along its longer side."""
    image = Image.fromarray(np.round(255 * cell.picture).astype(np.uint8))
    width, height = (max(1, -(-side // max(image.size))) * length for length in image.size)
    text = f"{name}: {cell.title}" if name else f"{cell.title} image"
    return {"src": png_data_url(image, 64), "width": width, "height": height, "alt": text, "caption": cell.title}


def png_data_url(picture: Image.Image, colours: int) -> str:
    """Return a picture as a ``data:`` URL of a PNG."""
    small = picture if picture.mode in ("P", "L") else picture.convert("RGB").quantize(colours)
    return data_url(_encode(small))


def _encode(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def sample_sheet(samples: Samples) -> Figure:
    """Draw the first 64 samples; samples that did not converge have their status as title."""
    images = samples.images[:_MAX_SAMPLES].nan_to_num(nan=0, posinf=0, neginf=0)
    titles = ["" if status == "converged" else status for status in samples.status]
    cells = [Cell(to_picture(image), title) for image, title in zip(images, titles, strict=False)]
    firsts = range(0, len(cells), _COLUMNS)
    prefix = "" if len(cells) == len(samples) else f"the first {len(cells)} of "
    caption = f"{prefix}{samples}, seed {samples.settings.seed}{cropping_note(image_shape(samples.images))}"
    names, captions = [str(samples.first + first) for first in firsts], [*samples.source.splitlines(), caption]
    return lay_out([cells[first : first + _COLUMNS] for first in firsts], names, captions)


def stored_samples(
    folder: str | Path, metric: str, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> dict[tuple[str, str], SampleSets]:
    """Return the arrays of samples by dataset and entrant, number of training images, and reference.

    Those of the metric ``pair-cosine`` have no reference, which is empty; others are of ``sample-prediction``.
    """
    arrays: dict[tuple[str, str], SampleSets] = {}
    for stored in stored_arrays(folder, metric, required=metric == "pair-cosine"):
        pair = (stored.dataset, base_label(stored.entrant))
        if is_chosen(pair[0], datasets) and is_chosen(pair[1], entrants):
            by_images = arrays.setdefault(pair, {}).setdefault(number_of_images(stored.entrant), {})
            spec = parse_spec(stored.metric)
            by_images.setdefault(str(spec.keywords.get("to", "".join(map(str, spec.positional[:1])))), stored.arrays)
    if not arrays and metric == "pair-cosine":
        raise ResultsError(f"{folder}: has no samples of this dataset and entrant; without -d and -e all are drawn")
    return arrays


def comparison_sheet(sets: SampleSets, caption: str, count: int = 8) -> Figure:
    """Draw samples of two denoisers from the same noise with the closest training images, or predictions of samples.

    The layout follows figure 2 of Kadkhodaie et al. 2024. For each number of training images there are four rows:
    samples of denoiser A, the closest image in the training set of A, and the same two rows for B. The title of a
    closest image is its cosine with the sample, and the title of a sample of B is its cosine with the sample of A. Both
    cosines are computed after subtraction of the means. Predictions, from the noise of a sample, have two rows for each
    reference: the samples for which they converged, and the predictions, each with its r^2.
    """
    rows, names = [], []
    for images, by_reference in sets.items():
        for reference, arrays in by_reference.items():
            for name, pictures, values in (row for row in _ROWS if row[1] in arrays):
                titles = [f"{value:.2f}" for value in arrays[values]] if values else [""] * len(arrays[pictures])
                rows.append(list(map(Cell, map(to_picture, arrays[pictures][:count]), titles)))
                names.append(name.format(images=images or "all", reference=fold_label(reference, 18)))
    measure = "cosine with its own sample, or of B with the samples" if "" in by_reference else "r² of the prediction"
    return lay_out(rows, names, [caption, f"above an image: {measure}"])


def cosines_figure(sets: SampleSets, caption: str) -> Figure:
    """Draw the distributions of cosines, a panel for each number of training images."""
    shown = {"A and B": ["pair_cosine"], "sample and closest": ["closest_cosine", "partner_closest_cosine"]}
    frames = [
        pd.DataFrame({"x": np.concatenate([by_reference[""][key] for key in keys])}).assign(
            panel=f"N = {images or 'all'}", label=label
        )
        for images, by_reference in sets.items()
        for label, keys in shown.items()
    ]
    frame = pd.concat(frames, ignore_index=True)
    shares = so.Hist("proportion", bins=40, binrange=(-1, 1), common_norm=False)
    plot = so.Plot(frame, x="x", color="label").add(so.Bars(edgewidth=0, alpha=0.6), shares, legend=False)
    looks = looks_of([*shown], markers=[""])
    return draw_panels(plot, frame["panel"], looks, f"cosine, {caption}", "share", width=WIDTH, panel=(1.6, 1.85))
