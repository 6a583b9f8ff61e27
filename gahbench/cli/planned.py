"""Print a plan, for ``gahbench plan``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from gahbench._util.readable import format_duration, format_number, pluralize
from gahbench.cli.printing import say
from gahbench.contracts.unit import Unit
from gahbench.devices.hardware import Cuda, hardware
from gahbench.planning.plan import Plan
from gahbench.planning.units import rows
from gahbench.runs.status import OVERHEAD, estimate_durations
from gahbench.store.plan_file import read_plan
from gahbench.store.store import Store

#: Kinds of units in the order in which they run: scores wait for fits.
_KINDS = ("fit", "score")
#: Seconds of training on a CPU above which the time on a GPU is printed too.
_LONG_TRAINING = 12 * 3600.0
#: Assumed seconds of a score if no score by the metric has finished: about the PSNR of a few dozen small images.
NOMINAL_SCORE = 0.5
_COLUMNS = ("parameters", "seeds", "fits done", "scores done", "multiply-adds")


def print_plan(plan: Plan, folder: Path) -> None:
    """Print the fits and scores of a plan, how many are finished, and an estimate of the time left."""
    # Raise an error if the folder holds results of another suite.
    recorded = read_plan(folder, plan.suite.name)
    estimate = estimate_durations(recorded.units if recorded else (), Store(folder))
    for line in _lines(plan, Store(folder), estimate):
        say(line)
    say(f"results folder: {folder}")


def _lines(plan: Plan, store: Store, estimate: Callable[[Unit], float | None]) -> Iterator[str]:
    all_rows, done = list(rows(plan.suite)), store.examine(plan.units).undamaged
    width = 2 + max(len(row.label) for row in all_rows)
    units_of: dict[tuple[str, str], list[Unit]] = defaultdict(list)
    for unit in plan.units:
        units_of[unit.dataset, unit.entrant].append(unit)
    yield f"suite {plan.suite.name}: {pluralize(len(plan.units), 'unit')}"
    for dataset in plan.datasets:
        yield ""
        yield dataset["dataset"]
        yield " " * width + "".join(f"  {name:>13}" for name in _COLUMNS)
        for row in all_rows:
            pair = plan.pairs[dataset["dataset"], row.entrant.label]
            if pair.refusal is not None:
                reason = f"cannot run on this dataset: {pair.refusal}" if pair.is_defined else pair.refusal
                yield f"  {row.label:<{width - 2}}  {reason}"
                continue
            cells = _cells(units_of[dataset["dataset"], row.label], pair.parameters, done)
            yield f"  {row.label:<{width - 2}}" + "".join(f"  {cell:>13}" for cell in cells)
    left = [unit for unit in plan.units if unit.folder not in done]
    yield ""
    yield f"to do: {len(left)} of {len(plan.units)} units; {_estimate(left, plan, estimate)}"


def _cells(units: list[Unit], parameters: int, done: Collection[str]) -> list[str]:
    fits = [unit for unit in units if unit.kind == "fit"]
    scores = [unit for unit in units if unit.kind == "score"]
    work = sum(unit.work for unit in units)
    return [
        format_number(parameters) if parameters else "–",
        str(len({unit.seed for unit in fits}) or "–"),
        f"{sum(unit.folder in done for unit in fits)} of {len(fits)}" if fits else "–",
        f"{sum(unit.folder in done for unit in scores)} of {len(scores)}",
        format_number(work) if work else "–",
    ]


def _estimate(left: list[Unit], plan: Plan, estimate: Callable[[Unit], float | None]) -> str:
    """Estimate the time that unfinished units take from the durations of finished units.

    Without such durations, a fit is assumed to take its multiply-adds divided by the rate of a matrix product, and a
    score to take a nominal time. The estimate includes the time to start workers and to write the board.
    """
    if not left:
        return "nothing is left to do"
    from gahbench._util.resources import cpu_count
    from gahbench.training.hardware import eager_rate

    machine = hardware()
    device = machine.device
    threads = plan.suggested_threads()
    rate = eager_rate(device, threads)
    times = {unit.key: estimate(unit) for unit in left}
    untimed_fits = [unit for unit in left if times[unit.key] is None and unit.kind == "fit"]
    untimed_scores = [unit for unit in left if times[unit.key] is None and unit.kind == "score"]
    workers = len(machine.devices()) if machine.is_accelerator else max(1, cpu_count() // threads)
    times |= {unit.key: unit.work / rate for unit in untimed_fits} | {
        unit.key: NOMINAL_SCORE for unit in untimed_scores
    }
    by_kind = [[times[unit.key] or 0.0 for unit in left if unit.kind == kind] for kind in _KINDS]
    seconds = OVERHEAD + sum(_makespan(durations_of_kind, workers) for durations_of_kind in by_kind)
    notes = []
    if untimed_fits:
        work = sum(unit.work for unit in untimed_fits)
        notes.append(f"{format_number(work)} multiply-adds of training at about {format_number(rate)} a second")
        if not machine.is_accelerator and work / rate > _LONG_TRAINING and Cuda.nominal_rate is not None:
            notes.append(
                f"that training takes about {format_duration(work / Cuda.nominal_rate)} on one GPU, at a nominal "
                f"{format_number(Cuda.nominal_rate)} a second"
            )
    if untimed_scores:
        untimed = f"{pluralize(len(untimed_scores), 'score')} by metrics that have not been timed"
        notes.append(f"{untimed}, assumed to take {NOMINAL_SCORE:g} s each: scores with Jacobians take longer")
    overhead = f"including {OVERHEAD:g} s to start and to write the board"
    return "; ".join([f"about {format_duration(seconds)} with {pluralize(workers, 'worker')}, {overhead}", *notes])


def _makespan(times: list[float], workers: int) -> float:
    """Return the time in seconds that parallel workers take, which is at least the time of the longest unit."""
    return max(sum(times) / workers, max(times, default=0.0))
