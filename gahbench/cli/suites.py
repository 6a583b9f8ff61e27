"""The commands ``run``, ``plan`` and ``prepare``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gahbench._util.readable import pluralize
from gahbench.cli import options
from gahbench.cli.printing import say

if TYPE_CHECKING:
    from gahbench.runs.preparation import Prepared
    from gahbench.runs.running import Outcome


def run(
    suite: options.Suite = "quick",
    out: options.Out = None,
    entrant: options.Entrant = None,
    settings: options.Set = None,
    seed: options.Seed = None,
    dataset: options.Dataset = None,
    metric: options.Metric = None,
    only: options.Only = None,
    plugins_dir: options.Plugins = None,
    engine: Annotated[
        str, typer.Option(help="Engine that runs rows: local, inline, slurm[...], dask[...], ...")
    ] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of rows that run at the same time. [default: the engine chooses]")
    ] = None,
    threads: options.Threads = None,
    device: options.Device = "auto",
    reuse: options.Reuse = None,
    track: options.Track = None,
    shard: options.Shard = "",
    report: Annotated[bool, typer.Option("--report", help="Also write report.html to the folder.")] = False,
) -> None:
    """Run a suite and print its leaderboard. Finished units are not run again.

    Exit status: 0 all units done, 1 some failed, 2 bad input, 130 interrupted, or units are left to submitted jobs.
    """
    from gahbench.cli.boards import print_board, print_report
    from gahbench.runs.running import run as run_suite

    outcome = run_suite(
        suite,
        out,
        entrants=entrant or (),
        settings=settings or (),
        datasets=dataset or (),
        metrics=metric or (),
        only=only or (),
        seeds=seed or (),
        plugins=plugins_dir or (),
        reuse=reuse or (),
        engine=engine,
        workers=workers,
        threads=threads,
        device=device,
        track=track or (),
        shard=shard,
    )
    if outcome.done and not shard:
        print_board(outcome.folder, outcome.registry)
        if report:
            print_report(outcome.folder, outcome.registry)
    _conclude(outcome, shard)


def plan(
    suite: options.Suite = "quick",
    out: options.Out = None,
    entrant: options.Entrant = None,
    settings: options.Set = None,
    seed: options.Seed = None,
    dataset: options.Dataset = None,
    metric: options.Metric = None,
    only: options.Only = None,
    plugins_dir: options.Plugins = None,
) -> None:
    """Show the units of a suite, how many are finished, and an estimate of the time; run nothing."""
    from gahbench.cli.planned import print_plan
    from gahbench.cli.plugins import print_problems
    from gahbench.planning.plan import make_plan
    from gahbench.planning.suite import SuiteChanges, load_suite
    from gahbench.registry.registry import open_registry
    from gahbench.runs.preparation import find_missing
    from gahbench.runs.running import results_folder

    changes = SuiteChanges(entrant or (), settings or (), dataset or (), metric or (), only or (), seed or ())
    registry = open_registry(plugins_dir or ())
    print_problems(registry.problems, Console(stderr=True))
    loaded = load_suite(suite, registry, changes)
    missing = find_missing(loaded)
    folder = results_folder(loaded, out)
    planned = make_plan(loaded)
    print_plan(planned, folder)
    _print_missing(
        missing, suite, {"-p": map(str, plugins_dir or ()), "-e": changes.entrants, "--set": changes.settings}
    )


def prepare(
    suite: options.Suite = "quick",
    entrant: options.Entrant = None,
    settings: options.Set = None,
    plugins_dir: options.Plugins = None,
) -> None:
    """Download the files that a suite needs, and decode large images; run nothing.

    Exit status: 0 everything is available, 1 something could not be obtained, 2 bad input.
    """
    from gahbench.planning.suite import SuiteChanges, load_suite
    from gahbench.registry.registry import open_registry
    from gahbench.runs.preparation import prepare as prepare_suite

    changes = SuiteChanges(entrant or (), settings or ())
    prepared = []
    for outcome in prepare_suite(load_suite(suite, open_registry(plugins_dir or ()), changes)):
        _print_prepared(outcome)
        prepared.append(outcome.error)
    failed = len(prepared) - prepared.count(None)
    if failed:
        say(f"suite {suite}: {failed} of {len(prepared)} could not be obtained", "red")
        raise typer.Exit(1)
    say(f"suite {suite}: {'everything is available' if prepared else 'nothing to prepare'}")


def _print_prepared(prepared: Prepared) -> None:
    for text in prepared.fetched:
        say(f"{prepared.plugin}: got {text}")
    if prepared.error is not None:
        say(f"{prepared.plugin}: could not be obtained: {prepared.error}", "red")
    elif not prepared.fetched:
        say(f"{prepared.plugin}: already available")


def _print_missing(missing: Sequence[tuple[str, str]], suite: str, options: Mapping[str, Any]) -> None:
    """Print a line for each missing item, with the command that obtains it."""
    arguments = [part for option, values in options.items() for value in values for part in (option, value)]
    command = shlex.join(["gahbench", "prepare", suite, *arguments])
    for plugin, item in missing:
        say(f"missing: {plugin}: {item}; to get it: {command}", "yellow")


def _conclude(outcome: Outcome, shard: str) -> None:
    """Print the path of the board and any problems, and exit with the status of the outcome."""
    from gahbench.board.results import saved_flags, saved_optimum_violations

    folder = shlex.quote(str(outcome.folder))
    if shard:
        say(f"shard {shard} has ended; 'gahbench leaderboard {folder}' writes the board of all shards", err=True)
    elif outcome.done:
        say(f"board, scores and figures: {outcome.folder}", err=True)
    if violations := saved_optimum_violations(outcome.folder):
        rows = ", ".join(dict.fromkeys(f"{row['entrant']} on {row['dataset']}" for row in violations))
        text = f"better than the optimum, which is impossible: {rows}; the entrant or the optimum is wrong"
        say(text, "red", err=True)
    for row in saved_flags(outcome.folder):
        say(f"flagged: {row['entrant']} on {row['dataset']}: {row['flag']}", "red", err=True)
    unfinished = f"{pluralize(outcome.waiting, 'unit')} to do"
    if outcome.stopped:
        say(f"stopped with {unfinished}; run the same command again to resume", "yellow", err=True)
        raise typer.Exit(130)
    if outcome.waiting:
        say(f"{unfinished}: see 'gahbench status {folder}'; then 'gahbench leaderboard' writes the board", err=True)
    if outcome.failed:
        text = f"{pluralize(outcome.failed - outcome.blocked, 'unit')} failed"
        if outcome.blocked:
            text += f"; {pluralize(outcome.blocked, 'score')} not started, since the network is missing"
        say(f"{text}; 'gahbench why {folder}' prints the tracebacks", "red", err=True)
        raise typer.Exit(1)
    if outcome.waiting:
        raise typer.Exit(130)
