"""Curves of training: the loss and the validation PSNR against steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gahbench._util.errors import ResultsError
from gahbench.board.selection import is_chosen
from gahbench.report.drawing import PALETTE, context
from gahbench.store.plan_file import recorded_plan
from gahbench.store.stored_files import StoredWeights, stored_weights

if TYPE_CHECKING:
    import pandas as pd

_DASHES = ("-", "--", ":", "-.")


def histories(
    folder: str | Path, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> dict[str, list[tuple[StoredWeights, pd.DataFrame]]]:
    """Return the histories of the finished fits of a folder, by dataset."""
    import pandas as pd

    plan = recorded_plan(Path(folder))
    trained = {one.unit.entrant for one in plan.units if one.unit.kind == "fit"}
    chosen = {label for label in trained if is_chosen(label, entrants)}
    found: dict[str, list[tuple[StoredWeights, pd.DataFrame]]] = {}
    for fit in stored_weights(Path(folder), plan, chosen):
        if is_chosen(fit.dataset, datasets):
            found.setdefault(fit.dataset, []).append((fit, pd.read_csv(fit.history)))
    if not found:
        raise ResultsError(f"{folder}: no finished fits of that dataset and entrant; expected the folder of a run")
    return found


def training_figure(dataset: str, fits: Sequence[tuple[StoredWeights, pd.DataFrame]]) -> Figure:
    """Draw the loss and the mean PSNR on validation images against steps: entrants by colour, seeds by dashes."""
    with context():
        figure = Figure(figsize=(9.0, 3.4), layout="constrained")
        loss, psnr = figure.subplots(1, 2)
        labels = list(dict.fromkeys(fit.entrant for fit, _ in fits))
        draw_loss(loss, fits)
        draw_validation(psnr, fits)
        loss.set_title("lower is better")
        psnr.set_title("higher is better")
        figure.suptitle(dataset, fontsize=9)
        figure.legend(loc="outside lower center", ncols=min(3, len(labels)))
    return figure


def draw_loss(
    ax: Axes, fits: Sequence[tuple[StoredWeights, pd.DataFrame]], colours: Mapping[str, str] | None = None
) -> None:
    """Draw the loss against steps; in an SVG the curve of each fit has the ``id`` ``loss-`` and its place."""
    for place, ((_, history), look) in enumerate(zip(fits, _looks(fits, colours), strict=True)):
        ax.plot(history["step"], history["loss"], gid=f"loss-{place}", **look)
    ax.set_yscale("log")
    ax.set(xlabel="step", ylabel="training loss")


def draw_validation(
    ax: Axes, fits: Sequence[tuple[StoredWeights, pd.DataFrame]], colours: Mapping[str, str] | None = None
) -> None:
    """Draw the validation PSNR against steps, as :func:`draw_loss`; the ``id`` of a curve begins with ``psnr-``."""
    for place, ((_, history), look) in enumerate(zip(fits, _looks(fits, colours), strict=True)):
        # The legend is that of the loss.
        ax.plot(history["step"], validation_psnr(history), gid=f"psnr-{place}", **{**look, "label": None})
    ax.set(xlabel="step", ylabel="validation PSNR (dB), mean over σ")


def validation_psnr(history: pd.DataFrame) -> pd.Series[float]:
    """Return the PSNR on validation images at each step, the mean over noise levels."""
    return history[[name for name in history if str(name).startswith("psnr@")]].mean(axis=1)


def _looks(
    fits: Sequence[tuple[StoredWeights, pd.DataFrame]], colours: Mapping[str, str] | None
) -> list[dict[str, Any]]:
    """Return how to draw each fit; the first of each entrant is in the legend."""
    labels = list(dict.fromkeys(fit.entrant for fit, _ in fits))
    seeds = list(dict.fromkeys((fit.seed, fit.split) for fit, _ in fits))
    looks: list[dict[str, Any]] = []
    named: set[str] = set()
    for fit, _ in fits:
        own = PALETTE[labels.index(fit.entrant) % len(PALETTE)]
        colour = own if colours is None else colours.get(fit.entrant, own)
        dash = _DASHES[seeds.index((fit.seed, fit.split)) % len(_DASHES)]
        label = None if fit.entrant in named else fit.entrant
        looks.append({"color": colour, "linestyle": dash, "marker": ".", "label": label})
        named.add(fit.entrant)
    return looks
