"""Curves of training: the loss and the validation PSNR against steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gahbench._util.errors import ResultsError
from gahbench.board.selection import is_chosen
from gahbench.report.figures import PALETTE, context
from gahbench.store.plan_file import recorded_plan
from gahbench.store.stored_weights import StoredWeights, stored_weights

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_DASHES = ("-", "--", ":", "-.")


def histories(
    folder: str | Path, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> dict[str, list[tuple[StoredWeights, pd.DataFrame]]]:
    """Return the histories of the finished fits of a folder, by dataset.

    Parameters
    ----------
    folder
        A results folder with its units.
    datasets, entrants
        Labels, names or patterns; all by default.

    Raises
    ------
    ResultsError
        If there are none.
    """
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
        from matplotlib.figure import Figure as New

        figure = New(figsize=(9.0, 3.4), layout="constrained")
        loss, psnr = figure.subplots(1, 2)
        labels = list(dict.fromkeys(fit.entrant for fit, _ in fits))
        seeds = list(dict.fromkeys((fit.seed, fit.split) for fit, _ in fits))
        for fit, history in fits:
            colour = PALETTE[labels.index(fit.entrant) % len(PALETTE)]
            dash = _DASHES[seeds.index((fit.seed, fit.split)) % len(_DASHES)]
            label = fit.entrant if all(line.get_label() != fit.entrant for line in loss.lines) else None
            loss.plot(history["step"], history["loss"], dash, color=colour, marker=".", label=label)
            levels = history[[name for name in history if str(name).startswith("psnr@")]]
            psnr.plot(history["step"], levels.mean(axis=1), dash, color=colour, marker=".")
        loss.set_yscale("log")
        loss.set(xlabel="step", ylabel="training loss", title="lower is better")
        psnr.set(xlabel="step", ylabel="validation PSNR (dB), mean over σ", title="higher is better")
        figure.suptitle(dataset, fontsize=9)
        figure.legend(loc="outside lower center", ncols=min(3, len(labels)))
    return figure
