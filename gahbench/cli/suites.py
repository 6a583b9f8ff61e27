"""The commands ``run plan prepare``."""

from __future__ import annotations

import functools
import inspect
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gahbench._util.errors import listing
from gahbench._util.readable import counted
from gahbench.cli import options
from gahbench.cli.printing import say, say_not_taken
from gahbench.planning.suite_changes import SuiteChanges

if TYPE_CHECKING:
    from gahbench.runs.opening import OpenedRun
    from gahbench.runs.preparation import Missing, Prepared
    from gahbench.runs.progress import ProgressReport
    from gahbench.runs.reuse import Reused
    from gahbench.runs.running import Outcome
    from gahbench.store.kept_units import NotShown


def suite_changes(
    entrant: options.Entrant = None,
    settings: options.Set = None,
    seed: options.Seed = None,
    dataset: options.Dataset = None,
    metric: options.Metric = None,
    only: options.Only = None,
) -> SuiteChanges:
    """Return the changes to a suite that some options ask for."""
    return SuiteChanges.of(entrant or (), settings or (), dataset or (), metric or (), only or (), seed or ())


def with_suite_changes(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of :func:`suite_changes` after ``--out``, in place of its argument ``changes``."""
    shared = inspect.signature(suite_changes, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def called(**given: Any) -> None:
        command(suite_changes(**{name: given.pop(name) for name in shared}), **given)

    _, suite, out, *others = own.parameters.values()
    parameters = [suite, out, *shared.values(), *others]
    called.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


@with_suite_changes
def run(
    changes: SuiteChanges,
    suite: options.Suite = "quick",
    out: options.Out = None,
    plugins_dir: options.Plugins = None,
    engine: Annotated[
        str, typer.Option(help="Engine for units: processes, inline, slurm[...], dask[...], ...")
    ] = "processes",
    workers: Annotated[int | None, typer.Option(min=1, help="Number of workers. [default: the engine chooses]")] = None,
    threads: options.Threads = None,
    device: options.Device = "auto",
    reuse: options.Reuse = None,
    again: Annotated[
        list[str] | None,
        typer.Option(
            help="Entrants to be done anew: label, name or pattern; what is done moves to replaced/. Repeatable."
        ),
    ] = None,
    secret_noise: Annotated[
        bool, typer.Option("--secret-noise", help="Draw the seed of the noise when all fits have ended, and record it.")
    ] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(help="Follow the run in tensorboard, wandb[...], mlflow[...], trackio[...]. May be repeated."),
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Also write report.html into the folder.")] = False,
) -> None:
    """Run a suite and print its leaderboard. Finished units are not run again.

    Exit status: 0 all units done, 1 some failed, 2 bad input, 130 interrupted, or units are left to others.
    """
    from gahbench.cli.boards import print_board, print_report
    from gahbench.planning.suite_files import plugin_sources
    from gahbench.runs.opening import RunRequest
    from gahbench.runs.running import run_request

    plugins, folders, anew, trackers = plugins_dir or (), tuple(reuse or ()), tuple(again or ()), tuple(track or ())
    sources = plugin_sources(plugins, suite)
    request = RunRequest(
        suite, out, changes, sources, engine, workers, threads, device, folders, anew, secret_noise, trackers
    )
    outcome, registry = run_request(request, _Beginning(plugins, anew))
    if outcome.done:
        print_board(outcome.folder)
        if report:
            print_report(outcome.folder, registry)
    _conclude(outcome)


class _Beginning:
    """Prints what is known before a run, and returns its progress; after the fits again if the noise is secret."""

    def __init__(self, plugins: Sequence[Path], again: Sequence[str]) -> None:
        self._plugins, self._again = plugins, again
        self._is_first = True

    def __call__(self, opened: OpenedRun) -> ProgressReport:
        """Print it."""
        from gahbench.cli.plugins import print_problems
        from gahbench.runs.progress import progress_of

        if self._is_first:
            print_problems(opened.problems, Console(stderr=True))
            if opened.reused is not None:
                _print_reused(opened.reused, err=True)
            if self._again:
                moved = f"{counted(opened.replaced, 'unit')} moved to {opened.folder}/replaced, to be done anew"
                say(moved, err=True)
        self._is_first = False
        _print_superseded(opened.superseded, opened.folder, self._plugins, err=True)
        return progress_of(opened, Console(stderr=True))


@with_suite_changes
def plan(
    changes: SuiteChanges,
    suite: options.Suite = "quick",
    out: options.Out = None,
    plugins_dir: options.Plugins = None,
    threads: options.Threads = None,
    reuse: options.Reuse = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="With --out: change the plan of a folder that holds a board.")
    ] = False,
) -> None:
    """Show the units of a suite, which are finished, and an estimate of the work; run nothing.

    With ``--out``, also write the plan into that folder, which any number of 'gahbench work' then finish.
    """
    from gahbench.cli.planned import print_plan
    from gahbench.cli.plugins import print_problems
    from gahbench.planning.suite_files import plugin_sources
    from gahbench.registry.registry import open_registry
    from gahbench.runs.adoption import superseded
    from gahbench.runs.opening import plan_with, results_folder
    from gahbench.runs.preparation import find_missing
    from gahbench.runs.running import write_plan

    for option, value in (("--reuse", reuse), ("--threads", threads), ("--replace", replace)):
        if value and out is None:
            raise typer.BadParameter(
                "is of a plan that is written: give the results folder too, --out", param_hint=option
            )
    registry = open_registry(plugin_sources(plugins_dir or (), suite))
    print_problems(registry.problems, Console(stderr=True))
    missing = find_missing(registry, suite, changes)
    missing.require_datasets()
    planned = plan_with(registry, suite, out, changes)
    folder = results_folder(planned.suite, out)
    if out is not None:
        opened = write_plan(planned, folder, registry, threads, reuse or (), replace)
        _print_not_shown(opened.not_shown)
        if opened.reused is not None:
            _print_reused(opened.reused)
    print_plan(planned, folder)
    _print_missing(
        missing, suite, {"-p": map(str, plugins_dir or ()), "-e": changes.entrants, "--set": changes.settings}
    )
    _print_superseded(superseded(planned, folder), folder, plugins_dir or ())
    if out is not None:
        typer.echo(f"planned; 'gahbench work {shlex.quote(str(folder))}' does it, on any machine that sees this folder")


def prepare(
    suite: options.Suite = "quick",
    entrant: options.Entrant = None,
    settings: options.Set = None,
    plugins_dir: options.Plugins = None,
) -> None:
    """Get what a suite needs from elsewhere: downloads, and images that take long to decode; run nothing.

    Exit status: 0 all is here, 1 something could not be had, 2 bad input.
    """
    from gahbench.runs.preparation import prepare as prepare_suite

    prepared = prepare_suite(
        suite, entrants=entrant or (), settings=settings or (), plugins=plugins_dir or (), report=_print_prepared
    )
    failed = sum(one.error is not None for one in prepared)
    if failed:
        say(f"suite {suite}: {failed} of {len(prepared)} could not be had", "red")
        raise typer.Exit(1)
    say(f"suite {suite}: {'all that it needs is here' if prepared else 'needs nothing from elsewhere'}")


def _print_prepared(one: Prepared) -> None:
    for text in one.got:
        say(f"{one.plugin}: got {text}")
    if one.error is not None:
        say(f"{one.plugin}: could not be had: {one.error}", "red")
    elif not one.got:
        say(f"{one.plugin}: here already")


def _print_missing(missing: Missing, suite: str, named: Mapping[str, Any]) -> None:
    """Print a line for each thing that is missing, with the command that gets it."""
    given = [part for option, values in named.items() for value in values for part in (option, value)]
    command = shlex.join(["gahbench", "prepare", suite, *given])
    for plugin, what in missing.things:
        say(f"missing here: {plugin}: {what}; '{command}' gets it", "yellow")


def _print_superseded(count: int, folder: Path, plugins: Sequence[Path], *, err: bool = False) -> None:
    """Say, before they are done again, that some units were done with other code or settings."""
    if count:
        given = [part for plugin in plugins for part in ("-p", str(plugin))]
        command = shlex.join(["gahbench", "adopt", str(folder), *given])
        text = (
            f"{counted(count, 'unit')} in {folder} {'was' if count == 1 else 'were'} done with other code or settings"
        )
        accepts = f"'{command}' accepts those in which nothing but code differs"
        say(f"{text}, to be done again; {accepts}", "yellow", err=err)


def _print_reused(found: Reused, *, err: bool = False) -> None:
    """Print how many units were taken from other folders, and which were left."""
    fits = sum(unit.kind == "fit" for unit in found.taken)
    taken = f"{counted(len(found.taken), 'unit')} taken from other folders, {counted(fits, 'fit')} among them"
    say(taken, err=err)
    say_not_taken(found, err=err)


def _conclude(outcome: Outcome) -> None:
    """Print where the board is, and exit with the status of the outcome."""
    from gahbench.board.results import saved_beyond_optimum, saved_marks

    folder = shlex.quote(str(outcome.folder))
    if outcome.done:
        say(f"board, scores and figures: {outcome.folder}", err=True)
    if beyond := saved_beyond_optimum(outcome.folder):
        places = ", ".join(dict.fromkeys(f"{one['entrant']} on {one['dataset']}" for one in beyond))
        text = f"better than the optimum, which is impossible: {places}; that entrant or the optimum is wrong"
        say(text, "red", err=True)
    for one in saved_marks(outcome.folder):
        say(f"flagged: {one['entrant']} on {one['dataset']}: {one['mark']}", "red", err=True)
    _print_not_shown(outcome)
    left = f"{counted(outcome.waiting, 'unit')} to do"
    if outcome.stopped:
        say(f"stopped with {left}; the same command goes on from here", "yellow", err=True)
        raise typer.Exit(130)
    if outcome.waiting:
        # They were left to others.
        say(f"{left}: 'gahbench status {folder}' shows them, 'gahbench collect' then writes the board", err=True)
    if outcome.failed:
        scores = outcome.failed - outcome.blocked - outcome.failed_fits
        kinds = [counted(number, kind) for number, kind in ((outcome.failed_fits, "fit"), (scores, "score")) if number]
        blocked = f"; {counted(outcome.blocked, 'score')} not started for lack of a network" if outcome.blocked else ""
        why = f"'gahbench why {folder}' prints the tracebacks"
        say(f"{' and '.join(kinds)} failed{blocked}; {why}", "red", err=True)
        raise typer.Exit(1)
    if outcome.waiting:
        raise typer.Exit(130)


def _print_not_shown(found: Outcome | NotShown) -> None:
    """Print what a board does not show of what its folder holds, and how to have it back, a line for each reason."""
    again = "add them again with --entrant, or 'gahbench remove' them"
    for names, text in (
        (found.unfinished, f"added by an earlier run, and not finished: %s; {again}"),
        (found.left_out, f"not shown, since measured otherwise before: %s; {again}"),
        (found.outdated, f"not shown, since measured with earlier code: %s; {again}"),
        (
            found.stale,
            "not shown, since done with other code or settings: %s; a run of the whole suite does them again",
        ),
        (found.dropped, "no longer shown, since not in the suite: %s; put back into the suite, nothing is done again"),
    ):
        if names:
            say(text % listing(names), "yellow", err=True)
