"""The commands about results folders: ``work status why collect adopt merge remove weights verify``."""

from __future__ import annotations

import json
import shlex
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from gahbench._util.errors import listing
from gahbench._util.readable import counted, duration
from gahbench.cli import options
from gahbench.cli.printing import say, say_not_taken, say_several
from gahbench.contracts.engines import Event, check_device

if TYPE_CHECKING:
    from gahbench.runs.agreement import Repetition
    from gahbench.runs.reuse import Merged
    from gahbench.runs.status import Failure, Status
    from gahbench.runs.verification import Verification

#: Failures that are printed with their reason.
_FAILURES = 20
#: Units that were not adopted, printed with the reason.
_REFUSED = 12


def work(
    folder: options.Planned,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes. [default: by --workers-per-gpu, or one to the plan's threads]"),
    ] = None,
    workers_per_gpu: Annotated[
        int | None, typer.Option(min=1, help="Worker processes that share a GPU. [default: by memory and networks]")
    ] = None,
    device: options.Device = "auto",
    retry: Annotated[bool, typer.Option("--retry", help="Try units again that have failed.")] = False,
) -> None:
    """Do what is left in a planned folder, beside any number of others, on any machines that see it.

    Ends when nothing is left. SIGTERM, SIGINT and SIGUSR2 have it write checkpoints and end; no unit fails by that.

    Exit status: 0 all units done, 1 some failed, 2 bad input or other code, 74 the file system failed, 130 ended with
    units left.
    """
    from gahbench.runs.work import work as work_on

    outcome = work_on(
        folder, workers=workers, workers_per_gpu=workers_per_gpu, device=device, retry=retry, report=_print_event
    )
    typer.echo(f"{outcome.done} done, {outcome.failed} failed, {outcome.left} left in {folder}", err=True)
    if outcome.left:
        raise typer.Exit(130)
    quoted = shlex.quote(str(folder))
    typer.echo(f"'gahbench collect {quoted}' writes the board", err=True)
    if outcome.failed:
        typer.echo(f"'gahbench why {quoted}' prints why units failed", err=True)
        raise typer.Exit(1)


def _print_event(event: Event) -> None:
    """Print a line for a unit that begins, ends or fails, as a log of a job wants it."""
    if event.kind == "progress":
        return
    said: str = event.kind
    if event.kind == "finished":
        said = f"done in {duration(event.details['seconds'])}"
    elif event.kind == "failed":
        said = f"failed: {event.details['error']}"
    elif event.kind == "note":
        said = str(event.details["text"])
    label = f"{event.unit.label}: " if event.unit is not None else ""
    say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {label}{said}", err=True)


def status(
    folder: options.Planned,
    watch: Annotated[bool, typer.Option("--watch", help="Print every two seconds, until nothing is left.")] = False,
) -> None:
    """Show what is done in a results folder, what runs where and since when, what failed and why, and the time left."""
    from gahbench.runs import status as statuses

    console = Console()
    for found in statuses.watch(folder) if watch else (statuses.status(folder),):
        if watch and console.is_terminal:
            console.clear()
        for line in _status_lines(found, folder):
            say(line)


def _status_lines(found: Status, folder: Path) -> Iterator[str]:
    total = found.done + found.failed + found.blocked + found.waiting
    if found.is_board_alone:
        where = "which are not in this folder; 'gahbench leaderboard' prints it"
        yield f"suite {found.suite}: a board of {total} units, {where}"
        return
    active = [one for one in found.running if not one.is_lost]
    lost = [one for one in found.running if one.is_lost]
    yield f"suite {found.suite}: {found.done} of {total} units done, {len(active)} running, {found.failed} failed"
    if found.noise:
        yield found.noise
    if found.damaged:
        yield f"{counted(found.damaged, 'unit')} moved to damaged/ before, not as they were written"
    if found.blocked:
        yield f"{found.blocked} units wait for one that failed"
    if found.waiting and found.remaining is not None:
        workers = f"{len(active)} workers" if len(active) > 1 else "one worker"
        yield f"about {duration(found.remaining)} left with {workers}, by the time that units took so far"
    for title, units in (("running", active), ("lost, to be taken over", lost)):
        if not units:
            continue
        yield ""
        yield title
        for one in units:
            job = f", job {one.job}" if one.job else ""
            losses = f", lost {one.losses} times before" if one.losses else ""
            where = f"{one.host}, process {one.process}{job}"
            yield f"  {one.unit.label}: since {duration(one.seconds)} on {where}{losses}"
    if found.failures:
        yield ""
        yield "failed"
        for label, why in found.failures[:_FAILURES]:
            yield f"  {label}: {why}"
        if len(found.failures) > _FAILURES:
            yield f"  and {len(found.failures) - _FAILURES} more"
        yield f"'gahbench why {shlex.quote(str(folder))}' prints the tracebacks"


def why(
    folder: options.Planned,
    entrant: Annotated[
        list[str] | None,
        typer.Argument(help="Only entrants of this label, name or pattern. [default: all that failed]"),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Keep the frames of gahbench, of installed packages and of Python.")
    ] = False,
) -> None:
    """Print why units of a results folder failed: each traceback once, down to the last line of your own code."""
    from gahbench._util.error_text import printable
    from gahbench.runs.status import failures

    found = failures(folder, entrant or (), full)
    for one in found:
        for line in _failure_lines(one):
            say(printable(line))
    if not found:
        say(f"no unit{f' of {listing(entrant)}' if entrant else ''} has failed")


def _failure_lines(failure: Failure) -> Iterator[str]:
    yield from failure.units[:_FAILURES]
    if len(failure.units) > _FAILURES:
        yield f"and {len(failure.units) - _FAILURES} more"
    if failure.blocked:
        yield f"{counted(failure.blocked, 'score')} not started for lack of a network"
    yield ""
    yield from (f"  {line}" for line in failure.traceback.splitlines())
    if " ".join(failure.error.split()) not in " ".join(failure.traceback.split()):
        # The worker process died, or the error has no traceback.
        yield f"  {failure.error}"
    yield ""


def collect(folder: options.Planned) -> None:
    """Write the board of a results folder from what is done in it so far, and print it."""
    from gahbench.cli.boards import print_board
    from gahbench.runs.collect import collect as write_board

    write_board(folder)
    print_board(folder)


def adopt(
    folder: Annotated[Path, typer.Argument(help="A results folder with its units.")],
    plugins_dir: options.Plugins = None,
) -> None:
    """Accept finished units of earlier code, where only code differs; the board notes it.

    Exit status: 0 no unit was left, 1 some were, since more than their code differs or they cannot be compared.
    """
    from gahbench.runs.adoption import adopt as adopt_units

    found = adopt_units(folder, plugins=plugins_dir or ())
    adopted = counted(len(found.adopted), "unit")
    say(f"{adopted} adopted, {found.current} of today's code already, {len(found.refused)} left")
    if found.superseded:
        say(f"{found.superseded} units of earlier code were done again later, and stay as they are")
    for place, count in Counter(place for one in found.adopted for place in one.differs).most_common():
        say(f"  differs in {place}: {counted(count, 'unit')}")
    for label, reason in found.refused[:_REFUSED]:
        say(f"  left: {label}: {reason}")
    if len(found.refused) > _REFUSED:
        say(f"  and {len(found.refused) - _REFUSED} more")
    if found.adopted:
        say("the next run of the suite in this folder takes them as done, and its board says that they were adopted")
    if found.refused:
        raise typer.Exit(1)


def merge(
    folders: Annotated[list[Path], typer.Argument(help="Results folders of one suite, with their units.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="The folder of all: new, or with results of the suite, which come first."),
    ],
) -> None:
    """Make one results folder of several, and print its board: units of equal keys once, linked or copied.

    Where two folders hold a unit the first counts. Folders that differ in images, scoring or training are refused.
    """
    from gahbench.cli.boards import print_board
    from gahbench.runs.reuse import merge as merge_folders

    _print_merged(merge_folders(folders, out))
    print_board(out)


def _print_merged(found: Merged) -> None:
    """Print what came from where, and how the folders differ."""
    for path, count in found.taken.items():
        say(f"{path}: {counted(count, 'unit')} taken", err=True)
    for note in found.notes:
        say(note, "yellow", err=True)
    if found.failures:
        say(f"{counted(found.failures, 'unit')} failed, and done in no folder", "yellow", err=True)
    text = "with other weights or scores in another folder; the first is kept"
    say_several(text, (unit.label for unit in found.differing), err=True)
    say_not_taken(found, err=True)


def remove(
    folder: options.Planned,
    entrant: Annotated[
        list[str],
        typer.Option("--entrant", "-e", help="Entrants: label, name or pattern, such as unet*. May be repeated."),
    ],
) -> None:
    """Remove entrants from a results folder: rows, units, failures and attempts; units that others need stay.

    A row of a sweep may be named with its number of images, 'unet[width=16] N=100'. The board is written anew. An
    entrant of the suite's file comes back with the next run of the suite.
    """
    from gahbench.cli.boards import print_board
    from gahbench.runs.removal import remove as remove_entrants

    found = remove_entrants(folder, entrant)
    kept = f"; {counted(found.kept, 'unit')} kept, which others need" if found.kept else ""
    say(f"removed {listing(found.rows)}: {counted(found.units, 'unit')}{kept}", err=True)
    print_board(folder)


def weights(
    folder: options.Planned,
    entrant: Annotated[str, typer.Option("--entrant", "-e", help="Entrants: label, name or pattern, such as unet*.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the snapshots.")] = False,
) -> None:
    """Print where the finished networks of entrants are: dataset, seed, weights, history and entrant, with tabs."""
    from gahbench.runs.removal import weights as trained_weights

    found = trained_weights(folder, entrant)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=1, default=str))
        return
    for one in found:
        seed = f"{one.seed} {one.split}" if one.split else str(one.seed)
        typer.echo("\t".join((one.dataset, seed, str(one.weights), str(one.history), one.entrant)))
    if not found:
        typer.echo("none is finished", err=True)


def verify(
    folder: options.Planned,
    units: Annotated[int, typer.Option(min=1, help="How many scores are computed again.")] = 10,
    fits: Annotated[
        int | None,
        typer.Option(min=0, help="How many fits are trained again. [default: 1 of those of less than ten minutes]"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of their choice. [default: another one each time]")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes. [default: by the threads]")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or auto. [default: the kind that each unit was computed on]")
    ] = None,
    plugins_dir: options.Plugins = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the files of a results folder, score a sample of its networks again, and train a sample of them again.

    Scores must be equal to the last bit in the same environment, and within a thousandth of their mean size elsewhere.
    Weights must be equal to the last bit in the same environment; elsewhere the PSNR of the new network may differ by
    as much as seeds do. Nothing in the folder is changed. Its plugins are code, and run here.

    Exit status: 0 all repeat, 1 some do not, or could not be computed here, 2 bad input, 130 interrupted.
    """
    from gahbench.runs.verification import verify as verify_folder

    found = verify_folder(
        folder,
        units=units,
        fits=fits,
        seed=seed,
        workers=workers,
        device=device if device is None else check_device(device),
        plugins=plugins_dir or (),
        report=_print_event,
    )
    if as_json:
        typer.echo(json.dumps(_verification_record(found), indent=1))
    else:
        _print_verification(found)
    if not found.repeats:
        raise typer.Exit(130 if found.stopped else 1)


def _print_verification(found: Verification) -> None:
    """Print a line for each unit that was computed again, and what is damaged."""
    for one in (*found.rescored, *found.refitted):
        detail = f": {one.detail}" if one.detail else ""
        say(f"{one.ending:<9}  {one.unit.label}{detail}", None if one.repeats else "red")
    for text in found.damaged:
        say(f"damaged    {text}", "red")
    if found.sample.trained:
        say(_about_fits(found))
    repeating = sum(one.repeats for one in found.rescored)
    say(
        f"{repeating} of {counted(len(found.rescored), 'score')} repeat; the files of "
        f"{found.checked - len(found.damaged)} of {counted(found.checked, 'unit')} are as they were written"
    )


def _about_fits(found: Verification) -> str:
    """Return how many fits repeat, and the chance that a forged one is among those that were trained again."""
    among, trained = found.sample.among, found.sample.trained
    left = f"; {trained - among} could not be chosen (ten minutes or more, or no PSNR)" if among < trained else ""
    if not found.refitted:
        return f"none of {counted(trained, 'fit')} was trained again{left}"
    repeating, count = sum(one.repeats for one in found.refitted), len(found.refitted)
    verb = "repeats" if count == 1 else "repeat"
    return (
        f"{repeating} of {counted(count, 'fit')} {verb}; a single forged fit would be among them with a chance "
        f"of {count} in {among}{left}"
    )


def _verification_record(found: Verification) -> dict[str, object]:
    def listed(units: tuple[Repetition, ...]) -> list[dict[str, str]]:
        return [{"unit": one.unit.label, "ending": one.ending, "detail": one.detail} for one in units]

    return {
        "repeats": found.repeats,
        "stopped": found.stopped,
        "checked": found.checked,
        "damaged": list(found.damaged),
        "scores": listed(found.rescored),
        "fits": listed(found.refitted),
        "chance": found.chance,
    }
