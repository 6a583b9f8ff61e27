"""Print a plan, for ``gahbench plan``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gahbench._util.errors import listing
from gahbench._util.readable import format_duration, format_number, pluralize
from gahbench._util.resources import cpu_count
from gahbench.cli.printing import print_table, say
from gahbench.contracts.unit import Unit
from gahbench.devices.hardware import hardware
from gahbench.planning.plan import Plan
from gahbench.planning.units import rows
from gahbench.runs.status import OVERHEAD, estimate_durations
from gahbench.store.plan_file import read_plan
from gahbench.store.store import Store

#: Fewest and most assumed seconds of a score if no score by the metric has finished: from the PSNR of a few dozen small
#: images to their Jacobians.
SCORE_SECONDS = (0.05, 10.0)


def print_plan(plan: Plan, folder: Path, notes: Iterable[str] = ()) -> None:
    """Print the entrants of a plan and how many units are finished, faults, notes, and an estimate of the time left."""
    # Raise an error if the folder holds results of another suite.
    recorded, store = read_plan(folder, plan.suite.name), Store(folder)
    done = store.examine(plan.units).undamaged
    table, refusals = [], dict[tuple[str, str], list[str]]()
    for row in rows(plan.suite):
        pairs = {dataset["dataset"]: plan.pairs[dataset["dataset"], row.entrant.label] for dataset in plan.datasets}
        units = [unit for unit in plan.units if unit.entrant == row.label]
        groups = [[unit.folder in done for unit in units if unit.kind == kind] for kind in ("fit", "score")]
        numbers = max(pair.parameters for pair in pairs.values()), sum(unit.work for unit in units)
        parameters, work = (format_number(number) if number else "–" for number in numbers)
        seeds = {unit.seed for unit in units if unit.kind == "fit"}
        counts = [f"{sum(states)} of {len(states)}" if states else "–" for states in groups]
        scored = f"{sum(pair.refusal is None for pair in pairs.values())} of {len(pairs)}"
        table.append([row.label, scored, parameters, str(len(seeds) or "–"), *counts, work])
        for dataset, pair in pairs.items():
            if pair.is_defined and pair.refusal is not None:
                refusals.setdefault((row.label, pair.refusal), []).append(dataset)
    headings = ("entrant", "data-\nsets", "para-\nmeters", "seeds", "fits\ndone", "scores\ndone", "multiply-\nadds")
    print_table(table, headings, texts=1)
    refused = (f"{label} cannot run on {listing(datasets)}: {reason}" for (label, reason), datasets in refusals.items())
    for text in (*refused, *notes):
        say(text, "yellow")
    left = [unit for unit in plan.units if unit.folder not in done]
    estimate = estimate_durations(recorded.units if recorded else (), store)
    time = f"about {_estimate(left, plan, estimate)}" if left else "nothing is left to do"
    say(f"to do: {len(left)} of {pluralize(len(plan.units), 'unit')} in {folder}; {time}")


def _estimate(left: Sequence[Unit], plan: Plan, estimate: Callable[[Unit], float | None]) -> str:
    """Estimate the time that unfinished units take from the durations of finished units.

    Without such durations, a fit is assumed to take its multiply-adds divided by the rate of a matrix product, and a
    score to take a time in a range. The estimate includes the time to start workers and to write the board.
    """
    from gahbench.training.hardware import eager_rate

    machine, threads = hardware(), plan.suggested_threads()
    rate = eager_rate(machine.device, threads)
    workers = len(machine.devices()) if machine.is_accelerator else max(1, cpu_count() // threads)
    known = {kind: [(estimate(unit), unit.work) for unit in left if unit.kind == kind] for kind in ("fit", "score")}
    untimed_work = sum(work for seconds, work in known["fit"] if seconds is None)
    untimed_scores = sum(seconds is None for seconds, _ in known["score"])
    totals = []
    for score_seconds in SCORE_SECONDS:
        fits = [work / rate if seconds is None else seconds for seconds, work in known["fit"]]
        scores = [score_seconds if seconds is None else seconds for seconds, _ in known["score"]]
        # Scores wait for fits. Parallel workers take at least as long as the longest unit.
        totals.append(OVERHEAD + sum(max(sum(times) / workers, *times) for times in (fits, scores) if times))
    text = " to ".join(dict.fromkeys(map(format_duration, totals))) + f" with {pluralize(workers, 'worker')}"
    if untimed_work:
        text += f", for {format_number(untimed_work)} multiply-adds of training at {format_number(rate)} a second"
    if untimed_scores:
        low, high = SCORE_SECONDS
        text += f"; {pluralize(untimed_scores, 'score')} not timed yet, at {low:g} to {high:g} s each"
    return text
