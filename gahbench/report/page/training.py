"""How the networks of a board were trained: histories, time, device, precision, and failures with their tracebacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gahbench._util.errors import ResultsError
from gahbench.board.facts import NOT_RUN
from gahbench.report import cells
from gahbench.report.page.charts import drawn
from gahbench.report.page.provenance import recorded_plan_of
from gahbench.report.page.source import Source
from gahbench.report.page.svg import Chart, Series
from gahbench.report.training_curves import draw_loss, draw_validation, histories, validation_psnr
from gahbench.store.store import Store

if TYPE_CHECKING:
    from gahbench.store.stored_files import StoredWeights

    Fits = Sequence[tuple[StoredWeights, pd.DataFrame]]


@dataclass(frozen=True)
class Failure:
    """A unit that failed: which, why in a line, and its traceback, empty where the folder does not hold it."""

    unit: str
    error: str
    traceback: str


@dataclass(frozen=True, eq=False)
class Trained:
    """The networks that were trained on a dataset: their entrants, and figures of their training."""

    dataset: str
    entrants: Sequence[str]
    charts: Sequence[Chart]


def trainings(source: Source) -> list[Trained]:
    """Return the loss and the validation PSNR against steps, by dataset; nothing where the folder has no units."""
    try:
        stored = histories(source.folder)
    except ResultsError:
        return []
    found = {
        name: own for name, fits in stored.items() if (own := [fit for fit in fits if source.has(name, fit[0].entrant)])
    }
    return [
        Trained(
            dataset,
            list(dict.fromkeys(fit.entrant for fit, _ in fits)),
            [_chart(source, fits, "loss"), _chart(source, fits, "psnr")],
        )
        for dataset, fits in found.items()
    ]


def _chart(source: Source, fits: Fits, what: str) -> Chart:
    draw = draw_loss if what == "loss" else draw_validation
    # As everywhere on the page.
    colours = {label: style["color"] for label, style in source.styles.items()}
    figure, _ = drawn(lambda ax: draw(ax, fits, colours))
    seeds = len({(fit.seed, fit.split) for fit, _ in fits}) > 1
    series = {}
    for place, (fit, history) in enumerate(fits):
        values = history["loss"] if what == "loss" else validation_psnr(history)
        half = f", half {fit.split}" if fit.split else ""
        name = f"{fit.entrant}, seed {fit.seed}{half}" if seeds else fit.entrant
        known = np.isfinite(values)
        steps = history["step"][known]
        texts = [f"{value:.4g}" if what == "loss" else cells.number(value) for value in values[known]]
        points = [f"step {step}" for step in steps]
        series[f"{what}-{place}"] = Series(name, steps.tolist(), texts, source.places.get(fit.entrant), points)
    if what == "loss":
        return Chart(figure, "training loss", series, note="lower is better")
    return Chart(figure, "validation PSNR, mean over σ", series, note="higher is better", unit="dB")


def fits_table(source: Source) -> list[dict[str, Any]]:
    """Return the fits of the board, a row each, with texts for time and number of parameters."""
    return [
        {
            **{str(name): "–" if pd.isna(value) or value == "" else value for name, value in row.items()},
            "parameters": cells.count(None if pd.isna(row["parameters"]) else int(row["parameters"])),
            "time": cells.duration(float(row["train_seconds"])),
        }
        for row in source.results.fits.to_dict("records")
    ]


def failures(source: Source) -> list[Failure]:
    """Return what failed on the board, with tracebacks where the folder has them."""
    plan, store = recorded_plan_of(source.folder), Store(source.folder)
    # Units of two splits have one name.
    tracebacks: dict[str, list[str]] = {}
    if plan is not None:
        names = store.failed()
        for unit in plan.shown:
            if unit.folder in names:
                details = store.failure_record(unit.folder).get("traceback")
                name = _named(unit.kind, unit.entrant, unit.dataset, unit.seed, unit.metric)
                tracebacks.setdefault(name, []).append(details if isinstance(details, str) else "")
    found = []
    for row in source.results.failures.to_dict("records"):
        if row["error"] == NOT_RUN:
            continue
        seed = None if pd.isna(row["seed"]) else int(row["seed"])
        name = _named(row["stage"], row["entrant"], row["dataset"], seed, row["metric"])
        found.append(Failure(name, row["error"], tracebacks[name].pop(0) if tracebacks.get(name) else ""))
    return found


def _named(stage: str, entrant: str, dataset: str, seed: int | None, metric: str | None) -> str:
    parts = [f"{stage} of {entrant} on {dataset}"]
    parts += [f"seed {seed}"] if seed is not None else []
    return ", ".join([*parts, metric] if metric else parts)
