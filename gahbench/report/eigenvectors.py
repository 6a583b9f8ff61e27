"""Figures of a learned basis: eigenvectors of the Jacobian, eigenvalues, coefficients of the image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from gahbench._util.errors import ParameterError, listing
from gahbench._util.readable import level_name
from gahbench.report.cells import folded
from gahbench.report.contact_sheet import decibels
from gahbench.report.drawing import GREY, caption_above, context, grid_shape, legend_beside, looks

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]

#: Blue and red of equal lightness over white: the colour-blind can distinguish them too.
DIVERGING = "RdBu_r"
#: Ranks go on until an eigenvalue is below this: one vector that the denoiser hardly keeps is shown.
SMALL = 0.1
#: The name of the coefficients in the denoiser's own eigenvectors.
LEARNED = "learned"
_PANEL = 1.3  # inches
_ABREAST = 8
_LABEL = 28
#: The smallest value that a panel of coefficients shows, in units of the smallest variance of the noise.
_FLOOR = 1e-3


def level_names(sigmas: Iterable[float]) -> dict[float, str]:
    """Return noise levels in four digits, for titles and files; in all of theirs where two would be alike in four."""
    short = {sigma: f"{sigma:.4g}" for sigma in sigmas}
    clash = len(set(short.values())) < len(short)
    return {sigma: level_name(sigma) for sigma in short} if clash else short


def folded_caption(caption: str, width: int) -> str:
    """Break each line of a caption into lines of about ``width`` characters."""
    lines = (line.strip() for text in caption.split("\n") for line in folded(text, width).split("\n"))
    return "\n".join(lines)


def geometric_ranks(eigenvalues: Tensor, small: float = SMALL) -> list[int]:
    """Return ranks 1, 2, 3, 5, 9, 17, ..., up to the first whose eigenvalue is below ``small``."""
    ranks = []
    for rank in (1, 2, *(2**power + 1 for power in range(1, 32))):
        if rank > len(eigenvalues):
            break
        ranks.append(rank)
        if float(eigenvalues[rank - 1]) < small:
            break
    return ranks


def gallery_figure(
    images: Mapping[str, Tensor],
    eigenvalues: Tensor,
    eigenvectors: Tensor,
    ranks: Sequence[int] | None = None,
    caption: str = "",
) -> Figure:
    """Draw an image, clean, noisy and denoised, and eigenvectors of the denoiser's Jacobian there.

    As figures 3 to 5 of Kadkhodaie et al. 2024. Each eigenvector is divided by its largest absolute value; white is
    zero, and the sign means nothing. Of colour images the eigenvectors are drawn in colour, grey for zero.
    """
    chosen = geometric_ranks(eigenvalues) if ranks is None else list(ranks)
    if wrong := [rank for rank in chosen if not 1 <= rank <= len(eigenvalues)]:
        raise ParameterError(f"ranks {listing(map(str, wrong))}: accepted are 1 to {len(eigenvalues)}")
    channels, height, width = next(iter(images.values())).shape
    count = len(images) + len(chosen)
    rows, abreast = grid_shape(count, _ABREAST)
    with context():
        tall = _PANEL * height / width
        caption = folded_caption(caption, 14 * abreast)
        head = 0.17 * (caption.count("\n") + 1) if caption else 0.0
        drawing = Figure(figsize=(_PANEL * abreast + 0.9, (tall + 0.42) * rows + head + 0.1), layout="constrained")
        axes = drawing.subplots(rows, abreast, squeeze=False)
        flat = list(axes.flat)
        for ax in flat:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(True)
        _show_images(flat, images)
        shown = None
        for ax, rank in zip(flat[len(images) :], chosen, strict=False):
            shown = _show_eigenvector(ax, eigenvectors[rank - 1].reshape(channels, height, width))
            ax.set_title(f"$k={rank}$\n$\\lambda_k={float(eigenvalues[rank - 1]):.3f}$")
        for ax in flat[count:]:
            ax.set_visible(False)
        if shown is not None and channels != 3:
            bar = drawing.colorbar(shown, ax=axes[:, -1], shrink=0.8 if rows == 1 else 0.5, ticks=[-1, 0, 1])
            bar.set_label("$e_k$ / max $|e_k|$")
        caption_above(drawing, caption)
    return drawing


def _show_images(axes: Sequence[Axes], images: Mapping[str, Tensor]) -> None:
    """Show images (C, H, W), clipped to [0, 1], with the PSNR of all but the first above them."""
    clean = next(iter(images.values()))
    for ax, (name, image) in zip(axes, images.items(), strict=False):
        ax.imshow(_picture(image.clamp(0, 1)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        error = float((image.double() - clean.double()).square().mean())
        ax.set_title(name if image is clean else f"{name}\n{decibels(error)}")


def _show_eigenvector(ax: Axes, vector: Tensor) -> AxesImage:
    """Show an eigenvector (C, H, W), divided by its largest absolute value."""
    vector = vector.double().cpu()
    vector = vector / vector.abs().max().clamp_min(1e-300)
    if len(vector) == 3:
        return ax.imshow(_picture((vector + 1) / 2), interpolation="nearest")
    return ax.imshow(_picture(vector), interpolation="nearest", cmap=DIVERGING, vmin=-1, vmax=1)


def spectra_figure(spectra: Mapping[float, Tensor], caption: str = "") -> Figure:
    """Draw the eigenvalues against their rank, a curve for each noise level, with lines at 1 and 1/2."""
    names = {sigma: f"σ = {name}" for sigma, name in level_names(sorted(spectra)).items()}
    with context():
        styles = looks(list(names.values()), dict.fromkeys(names.values(), "classical"))
        drawing = Figure(figsize=(5.6, 3.5), layout="constrained")
        ax = drawing.subplots()
        for sigma, name in names.items():
            values = spectra[sigma].double().cpu().numpy()
            ranks = np.arange(1, len(values) + 1)
            ax.plot(ranks, values, label=name, markevery=_marks(len(values)), **styles[name])
        for height, text in ((1.0, "1"), (0.5, "½")):
            ax.axhline(height, color=GREY, linewidth=0.9, linestyle="--" if height == 1 else ":", zorder=1)
            # Spectra have fallen on the right, so that there the line is free.
            place: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "bottom"}
            ax.text(0.99, height, text, color=GREY, fontsize=8, **place)
        ax.axhline(0, color=GREY, linewidth=0.6, zorder=1)
        _ranks_axis(ax)
        ax.set_xlabel("rank $k$")
        ax.set_ylabel("eigenvalue $\\lambda_k$ (per unit of input)")
        ax.set_title(folded_caption(caption, 46), loc="left")
        legend_beside(drawing, [ax])
    return drawing


def decay_figure(panels: Mapping[float, Mapping[str, Tensor]], caption: str = "") -> Figure:
    """Draw the sorted squared coefficients of a clean image against rank, log-log, a panel for each noise level.

    The learned basis is that of the noisy image at this noise level, as are bases that depend on a threshold. What lies
    above the line at sigma^2 an oracle would keep.
    """
    names = list(dict.fromkeys(name for bases in panels.values() for name in bases))
    with context():
        styles = looks(names, dict.fromkeys(names, "classical"))
        caption = folded_caption(caption, 40 * len(panels) + 6)
        drawing = Figure(figsize=(2.9 * len(panels) + 1.9, 3.4 + 0.17 * caption.count("\n")), layout="constrained")
        axes = drawing.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for ax, (sigma, level) in zip(axes, level_names(sorted(panels)).items(), strict=True):
            for place, (name, found) in enumerate(panels[sigma].items()):
                energy = np.sort(found.double().cpu().numpy().ravel() ** 2)[::-1]
                look = styles[name] | ({"linewidth": 2.0} if name == LEARNED else {})
                # Values that are zero but for rounding have no place on a logarithmic axis.
                energy = np.where(energy > 1e-12 * energy[0], energy, np.nan)
                ranks = np.arange(1, len(energy) + 1)
                order = 4 - 0.01 * place
                every = _marks(len(energy))
                ax.plot(ranks, energy, label=folded(name, _LABEL), markevery=every, zorder=order, **look)
            ax.axhline(sigma**2, color=GREY, linewidth=0.9, linestyle="--", zorder=1)
            place_of: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "bottom"}
            ax.text(0.99, sigma**2, "$\\sigma^2$", color=GREY, fontsize=8, **place_of)
            _ranks_axis(ax)
            ax.set_yscale("log")
            ax.set_xlabel("rank of the coefficient")
            ax.set_title(f"σ = {level}", loc="left")
        _cut(axes[0], panels)
        axes[0].set_ylabel("squared coefficient $c_{(k)}^2$ (grey scale$^2$)")
        caption_above(drawing, caption)
        legend_beside(drawing, list(axes))
    return drawing


def _cut(ax: Axes, panels: Mapping[float, Mapping[str, Tensor]]) -> None:
    """Leave out coefficients far below all noise, which would fill decades of the axis."""
    largest = max(float(found.abs().max()) ** 2 for bases in panels.values() for found in bases.values())
    floor = _FLOOR * min(panels) ** 2
    if largest > floor:
        ax.set_ylim(floor, 3 * largest)


def _ranks_axis(ax: Axes) -> None:
    ax.set_xscale("log")
    ax.set_xlim(left=0.9)


def _marks(count: int) -> list[int]:
    """Return the places of markers on a curve, equally spaced in the logarithm of the rank."""
    return sorted({round(place) - 1 for place in np.geomspace(1, count, num=9).tolist()})


def _picture(image: Tensor) -> Array:
    """Return an image (C, H, W) as it is drawn: (H, W, 3) if it has three channels, else their mean (H, W)."""
    values = image.detach().double().cpu()
    return np.asarray((values.movedim(0, -1) if len(values) == 3 else values.mean(0)).numpy())
