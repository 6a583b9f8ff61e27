"""How a plan is shown."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from gahbench.folder import Folder
from gahbench.plan import Plan, Unit
from gahbench.store import Store
from gahbench.units import duration, number


def print_plan(plan: Plan, folder: Path, console: Console) -> None:
    """Print the fits and scores of a plan, which are done, and what is left to do."""
    store = Store(folder)
    Folder(folder).check(plan)
    table = Table(title=f"suite {plan.suite.name}: {len(plan.units)} units", title_justify="left", box=None)
    table.add_column("dataset", overflow="fold")
    table.add_column("entrant", overflow="fold")
    for name in ("parameters", "seeds", "fits done", "scores done", "multiply-adds"):
        table.add_column(name, justify="right")
    for dataset in plan.datasets:
        for entrant in plan.suite.entrants:
            units = [u for u in plan.units if u.dataset == dataset.label and u.entrant == entrant.label]
            fits = [unit for unit in units if unit.kind == "fit"]
            scores = [unit for unit in units if unit.kind == "score"]
            count = plan.parameters[dataset.label, entrant.label]
            work = sum(unit.work for unit in units)
            table.add_row(
                dataset.label,
                entrant.label,
                number(count) if count else "–",
                str(len({unit.seed for unit in units if unit.seed is not None}) or "–"),
                f"{sum(map(store.is_done, fits))}/{len(fits)}" if fits else "–",
                f"{sum(map(store.is_done, scores))}/{len(scores)}",
                number(work) if work else "–",
            )
    console.print(table)
    left = [unit for unit in plan.units if not store.is_done(unit)]
    console.print(f"to do: {len(left)} of {len(plan.units)} units; about {_estimate(left, plan)}", highlight=False)
    console.print(f"results folder: {folder}", highlight=False, soft_wrap=True)


def _estimate(left: list[Unit], plan: Plan) -> str:
    """Return a rough time for the units that are left, from nominal rates of this hardware."""
    import torch

    from gahbench.resources import cpu_count
    from gahbench.training.hardware import has_bfloat16, nominal_rate

    work = sum(unit.work for unit in left)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cores = torch.cuda.device_count() if device.type == "cuda" else cpu_count()
    rate = nominal_rate(device, has_bfloat16(device), cores)
    seconds = work / rate
    budget = plan.suite.training.seconds
    if budget is not None:
        fits = sum(unit.kind == "fit" for unit in left)
        seconds = fits * budget / cores
        return f"{duration(seconds)} by its time budget"
    return f"{number(work)} multiply-adds, {duration(seconds)} at a nominal {number(rate)} a second here"
