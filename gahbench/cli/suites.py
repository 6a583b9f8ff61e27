"""The commands ``run``, ``plan`` and ``prepare``."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from gahbench._util.readable import pluralize
from gahbench.cli import options
from gahbench.cli.printing import say, say_next

#: The parameters of :func:`gahbench.run` that change a suite or select parts of it.
_CHANGES = ("entrants", "settings", "datasets", "metrics", "only", "seeds")


@options.parameters_of(options.RUN)
def run(
    suite: options.Suite = "quick",
    report: Annotated[bool, typer.Option("--report", help="Also write report.html to the folder.")] = False,
    **arguments: Any,
) -> None:
    """Run a suite and print its leaderboard. Finished units are not run again.

    Exit status: 0 all units done, 1 some failed, 2 bad input, 130 interrupted, or units are left to submitted jobs.
    """
    import gahbench
    from gahbench.cli.boards import print_board, print_report

    outcome, shard = gahbench.run(suite, **arguments), arguments["shard"]
    folder = shlex.quote(str(outcome.folder))
    if shard:
        say(f"shard {shard} has ended; 'gahbench leaderboard {folder}' writes the board of all shards", err=True)
    elif outcome.done:
        print_board(outcome.folder, outcome.registry)
        if report:
            print_report(outcome.folder, outcome.registry)
        say(f"board, scores and figures: {outcome.folder}", err=True)
    unfinished = f"{pluralize(outcome.waiting, 'unit')} to do"
    if outcome.stopped:
        say(f"stopped with {unfinished}; run the same command again to resume", "yellow", err=True)
    elif outcome.waiting:
        say(f"{unfinished}: see 'gahbench status {folder}'; then 'gahbench leaderboard' writes the board", err=True)
    if outcome.failed and not outcome.stopped:
        text = f"{pluralize(outcome.failed - outcome.blocked, 'unit')} failed"
        if outcome.blocked:
            text += f"; {pluralize(outcome.blocked, 'score')} not started, since the network is missing"
        say(f"{text}; 'gahbench why {folder}' prints the tracebacks", "red", err=True)
        raise typer.Exit(1)
    if outcome.stopped or outcome.waiting:
        raise typer.Exit(130)
    if not shard:
        say_next(outcome.folder)


@options.parameters_of(options.RUN, "out", *_CHANGES, "plugins")
def plan(suite: options.Suite = "quick", **arguments: Any) -> None:
    """Show the entrants of a suite, how many units are finished, and an estimate of the time; run nothing."""
    from gahbench.cli.plugins import print_problems
    from gahbench.planning.suite import SuiteChanges, load_suite
    from gahbench.registry.registry import open_registry

    registry = open_registry(arguments["plugins"])
    print_problems(registry.problems)
    loaded = load_suite(suite, registry, SuiteChanges(*(arguments[name] for name in _CHANGES)))

    # These modules import torch, which takes longer than the errors of most suites.
    from gahbench.cli.planned import print_plan
    from gahbench.planning.plan import make_plan
    from gahbench.runs.preparation import find_missing
    from gahbench.runs.running import results_folder

    missing = find_missing(loaded)
    flags = {"-p": "plugins", "-e": "entrants", "--set": "settings"}
    given = [part for flag, name in flags.items() for value in arguments[name] for part in (flag, str(value))]
    command = shlex.join(["gahbench", "prepare", suite, *given])
    notes = [f"missing: {plugin}: {item}; to get it: {command}" for plugin, item in missing]
    print_plan(make_plan(loaded), results_folder(loaded, arguments["out"]), notes)


@options.parameters_of(options.RUN, "entrants", "settings", "plugins")
def prepare(suite: options.Suite = "quick", **arguments: Any) -> None:
    """Download the files that a suite needs, and decode large images; run nothing.

    Exit status: 0 everything is available, 1 something could not be obtained, 2 bad input.
    """
    from gahbench.planning.suite import SuiteChanges, load_suite
    from gahbench.registry.registry import open_registry
    from gahbench.runs.preparation import prepare as prepare_suite

    changes = SuiteChanges(arguments["entrants"], arguments["settings"])
    errors = []
    for prepared in prepare_suite(load_suite(suite, open_registry(arguments["plugins"]), changes)):
        for text in prepared.fetched:
            say(f"{prepared.plugin}: got {text}")
        if prepared.error is not None:
            say(f"{prepared.plugin}: could not be obtained: {prepared.error}", "red")
        elif not prepared.fetched:
            say(f"{prepared.plugin}: already available")
        errors.append(prepared.error)
    if failed := len(errors) - errors.count(None):
        say(f"suite {suite}: {failed} of {len(errors)} could not be obtained", "red")
        raise typer.Exit(1)
    say(f"suite {suite}: {'everything is available' if errors else 'nothing to prepare'}")
