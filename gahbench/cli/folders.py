"""Commands on results folders: ``work status why collect adopt merge remove weights verify``."""

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
from gahbench._util.readable import format_duration, pluralize
from gahbench.cli import options
from gahbench.cli.printing import say, say_names, say_not_taken
from gahbench.contracts.engines import Event, check_device

if TYPE_CHECKING:
    from gahbench.runs.agreement import Repetition
    from gahbench.runs.reuse import Merged
    from gahbench.runs.status import Failure, Status
    from gahbench.runs.verification import Verification

#: Maximum number of failed units that are printed.
_MAX_FAILURES = 20
#: Maximum number of refused units that `adopt` prints.
_MAX_REFUSED = 12


def work(
    folder: options.Planned,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of worker processes. [default: by --workers-per-gpu; on a CPU, cores / threads of the plan]",
        ),
    ] = None,
    workers_per_gpu: Annotated[
        int | None,
        typer.Option(min=1, help="Number of worker processes per GPU. [default: by GPU memory and networks]"),
    ] = None,
    device: options.Device = "auto",
    retry: Annotated[bool, typer.Option("--retry", help="Retry failed units.")] = False,
) -> None:
    """Run the unfinished units of a planned folder; any number of machines that share the folder can work together.

    The command ends when no unit is left. On SIGTERM, SIGINT or SIGUSR2 it writes checkpoints and ends; no unit fails.

    Exit status: 0 all units done, 1 some failed, 2 bad input or different code, 74 the file system failed, 130 stopped
    with units left.
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
    """Print a log line when a unit starts, finishes or fails."""
    if event.kind == "progress":
        return
    message: str = event.kind
    if event.kind == "finished":
        message = f"done in {format_duration(event.details['seconds'])}"
    elif event.kind == "failed":
        message = f"failed: {event.details['error']}"
    elif event.kind == "note":
        message = str(event.details["text"])
    label = f"{event.unit.label}: " if event.unit is not None else ""
    say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {label}{message}", err=True)


def status(
    folder: options.Planned,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every two seconds until no unit is left.")] = False,
) -> None:
    """Show the finished, running and failed units of a results folder, and the estimated time left."""
    from gahbench.runs import status as statuses

    console = Console()
    for snapshot in statuses.watch(folder) if watch else (statuses.status(folder),):
        if watch and console.is_terminal:
            console.clear()
        for line in _status_lines(snapshot, folder):
            say(line)


def _status_lines(status: Status, folder: Path) -> Iterator[str]:
    total = status.done + status.failed + status.blocked + status.waiting
    if status.is_published:
        note = "which are not in this folder; 'gahbench leaderboard' prints it"
        yield f"suite {status.suite}: a board of {total} units, {note}"
        return
    active = [unit for unit in status.running if not unit.is_lost]
    lost = [unit for unit in status.running if unit.is_lost]
    yield f"suite {status.suite}: {status.done} of {total} units done, {len(active)} running, {status.failed} failed"
    if status.noise:
        yield status.noise
    if status.damaged:
        yield f"{pluralize(status.damaged, 'unit')} moved to damaged/, since a checksum did not match"
    if status.blocked:
        yield f"{status.blocked} units wait for failed units"
    if status.waiting and status.remaining is not None:
        workers = f"{len(active)} workers" if len(active) > 1 else "one worker"
        yield f"about {format_duration(status.remaining)} left with {workers}, estimated from finished units"
    for title, units in (("running", active), ("lost, to be taken over", lost)):
        if not units:
            continue
        yield ""
        yield title
        for running in units:
            job = f", job {running.job}" if running.job else ""
            losses = f", lost {running.losses} times before" if running.losses else ""
            worker = f"{running.host}, process {running.process}{job}"
            yield f"  {running.unit.label}: for {format_duration(running.seconds)} on {worker}{losses}"
    if status.failures:
        yield ""
        yield "failed"
        for label, reason in status.failures[:_MAX_FAILURES]:
            yield f"  {label}: {reason}"
        if len(status.failures) > _MAX_FAILURES:
            yield f"  and {len(status.failures) - _MAX_FAILURES} more"
        yield f"'gahbench why {shlex.quote(str(folder))}' prints the tracebacks"


def why(
    folder: options.Planned,
    entrant: Annotated[
        list[str] | None,
        typer.Argument(help="Show only entrants of this label, name or pattern. [default: all that failed]"),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Also show stack frames of gahbench, installed packages and Python.")
    ] = False,
) -> None:
    """Print why units of a results folder failed: each distinct traceback once, ending at your own code."""
    from gahbench._util.readable import printable
    from gahbench.runs.status import failures

    distinct_failures = failures(folder, entrant or (), full)
    for failure in distinct_failures:
        for line in _failure_lines(failure):
            say(printable(line, "\t"))
    if not distinct_failures:
        say(f"no unit{f' of {listing(entrant)}' if entrant else ''} has failed")


def _failure_lines(failure: Failure) -> Iterator[str]:
    yield from failure.units[:_MAX_FAILURES]
    if len(failure.units) > _MAX_FAILURES:
        yield f"and {len(failure.units) - _MAX_FAILURES} more"
    if failure.blocked:
        yield f"{pluralize(failure.blocked, 'score')} not started, since the network is missing"
    yield ""
    yield from (f"  {line}" for line in failure.traceback.splitlines())
    if " ".join(failure.error.split()) not in " ".join(failure.traceback.split()):
        # If the worker process died, there is an error without a traceback.
        yield f"  {failure.error}"
    yield ""


def collect(
    folder: options.Planned,
    all_pictures: Annotated[
        bool,
        typer.Option(
            "--all-pictures", help="Publish all kept images and eigenvectors. [default: 2 images of each entrant]"
        ),
    ] = False,
) -> None:
    """Write the board of a results folder from its finished units, and print it."""
    from gahbench.cli.boards import print_board
    from gahbench.runs.collect import collect as write_board

    write_board(folder, all_pictures=all_pictures)
    print_board(folder)


def adopt(
    folder: Annotated[Path, typer.Argument(help="A results folder with its units.")],
    plugins_dir: options.Plugins = None,
) -> None:
    """Accept finished units of earlier code if only the code differs; the board notes this.

    Exit status: 0 all units accepted, 1 some refused, since more than code differs or they cannot be compared.
    """
    from gahbench.runs.adoption import adopt as adopt_units

    adoption = adopt_units(folder, plugins=plugins_dir or ())
    adopted = pluralize(len(adoption.adopted), "unit")
    say(f"{adopted} adopted, {adoption.current} already up to date, {len(adoption.refused)} refused")
    if adoption.superseded:
        say(f"{adoption.superseded} units of earlier code are left as they are, since newer units replace them")
    for part, count in Counter(part for unit in adoption.adopted for part in unit.differs).most_common():
        say(f"  differs in {part}: {pluralize(count, 'unit')}")
    for label, reason in adoption.refused[:_MAX_REFUSED]:
        say(f"  refused: {label}: {reason}")
    if len(adoption.refused) > _MAX_REFUSED:
        say(f"  and {len(adoption.refused) - _MAX_REFUSED} more")
    if adoption.adopted:
        say("the next run of the suite in this folder keeps the adopted units, and its board notes them")
    if adoption.refused:
        raise typer.Exit(1)


def merge(
    folders: Annotated[list[Path], typer.Argument(help="Results folders of the same suite, with their units.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder to write to: new, or with results of the suite, whose units take precedence."
        ),
    ],
) -> None:
    """Merge several results folders into one, and print its board. Units are linked or copied.

    If several folders hold the same unit, the first folder counts. Folders that differ in images, scoring or training
    are refused.
    """
    from gahbench.cli.boards import print_board
    from gahbench.runs.reuse import merge as merge_folders

    _print_merged(merge_folders(folders, out))
    print_board(out)


def _print_merged(merged: Merged) -> None:
    """Print how many units each folder contributed, and how the folders differ."""
    for path, count in merged.taken.items():
        say(f"{path}: {pluralize(count, 'unit')} taken", err=True)
    for note in merged.notes:
        say(note, "yellow", err=True)
    if merged.failures:
        say(f"{pluralize(merged.failures, 'unit')} failed, and finished in no folder", "yellow", err=True)
    title = "with different weights or scores in another folder; those of the first folder are kept"
    say_names(title, (unit.label for unit in merged.differing), err=True)
    say_not_taken(merged, err=True)


def remove(
    folder: options.Planned,
    entrant: Annotated[
        list[str],
        typer.Option("--entrant", "-e", help="Entrants of this label, name or pattern, such as unet*. Repeatable."),
    ],
) -> None:
    """Remove entrants from a results folder: their rows, units, failures and attempts.

    Units that other entrants need are kept. To remove a single row of a sweep, add its number of images:
    'unet[width=16] N=100'. The board is rewritten. An entrant of the suite's file returns with the next run of the
    suite.
    """
    from gahbench.cli.boards import print_board
    from gahbench.runs.removal import remove as remove_entrants

    removal = remove_entrants(folder, entrant)
    kept = f"; {pluralize(removal.kept, 'unit')} kept, which other entrants need" if removal.kept else ""
    say(f"removed {listing(removal.rows)}: {pluralize(removal.units, 'unit')}{kept}", err=True)
    print_board(folder)


def weights(
    folder: options.Planned,
    entrant: Annotated[
        str, typer.Option("--entrant", "-e", help="Entrants of this label, name or pattern, such as unet*.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, including snapshots.")] = False,
) -> None:
    """Print the files of trained networks, tab-separated: dataset, seed, weights, history and entrant."""
    from gahbench.runs.removal import weights as trained_weights

    networks = trained_weights(folder, entrant)
    if as_json:
        typer.echo(json.dumps([asdict(network) for network in networks], indent=1, default=str))
        return
    for network in networks:
        seed = f"{network.seed} {network.split}" if network.split else str(network.seed)
        typer.echo("\t".join((network.dataset, seed, str(network.weights), str(network.history), network.entrant)))
    if not networks:
        typer.echo("no network is finished", err=True)


def verify(
    folder: Annotated[Path, typer.Argument(help="A results folder with its units, or an archive of one.")],
    units: options.Units = 10,
    fits: options.Fits = None,
    seed: options.SampleSeed = None,
    workers: options.SampleWorkers = None,
    device: options.SampleDevice = None,
    plugins_dir: options.Plugins = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the files of a results folder, and repeat a random sample of its scores and fits.

    In the same environment, scores and weights must be equal bit for bit. Elsewhere, scores must agree within a
    thousandth of their mean absolute value, and the PSNR of a network may differ by as much as it differs between
    seeds. The folder is not changed. The plugins of the folder are code, and are executed.

    Exit status: 0 all results reproduced, 1 some not reproduced or not computable here, 2 bad input, 130 interrupted.
    """
    from gahbench.runs.submitted_rows import open_folder
    from gahbench.runs.verification import verify as verify_folder

    with open_folder(folder) as source:
        verification = verify_folder(
            source,
            units=units,
            fits=fits,
            seed=seed,
            workers=workers,
            device=device if device is None else check_device(device),
            plugins=plugins_dir or (),
            report=_print_event,
        )
    if as_json:
        typer.echo(json.dumps(_verification_record(verification), indent=1))
    else:
        print_verification(verification)
    if not verification.repeats:
        raise typer.Exit(130 if verification.stopped else 1)


def print_verification(verification: Verification) -> None:
    """Print a line for each unit that was computed again and for each damaged file."""
    for repetition in (*verification.rescored, *verification.refitted):
        detail = f": {repetition.detail}" if repetition.detail else ""
        say(f"{repetition.agreement:<9}  {repetition.unit.label}{detail}", None if repetition.repeats else "red")
    for text in verification.damaged:
        say(f"damaged    {text}", "red")
    if verification.sample.trained:
        say(_summarize_fits(verification))
    repeating = sum(repetition.repeats for repetition in verification.rescored)
    say(
        f"{repeating} of {pluralize(len(verification.rescored), 'score')} reproduced; files match their checksums in "
        f"{verification.checked - len(verification.damaged)} of {pluralize(verification.checked, 'unit')}"
    )


def _summarize_fits(verification: Verification) -> str:
    """Return how many fits were reproduced, and the probability that a forged fit is in the sample."""
    eligible, trained = verification.sample.eligible, verification.sample.trained
    left = f"; {trained - eligible} could not be chosen (ten minutes or more, or no PSNR)" if eligible < trained else ""
    if not verification.refitted:
        return f"none of {pluralize(trained, 'fit')} was trained again{left}"
    repeating, count = sum(fit.repeats for fit in verification.refitted), len(verification.refitted)
    return (
        f"{repeating} of {pluralize(count, 'fit')} reproduced; a single forged fit would be in this sample with "
        f"probability {count}/{eligible}{left}"
    )


def _verification_record(verification: Verification) -> dict[str, object]:
    def records(repetitions: tuple[Repetition, ...]) -> list[dict[str, str]]:
        return [
            {"unit": repetition.unit.label, "agreement": repetition.agreement, "detail": repetition.detail}
            for repetition in repetitions
        ]

    return {
        "repeats": verification.repeats,
        "stopped": verification.stopped,
        "checked": verification.checked,
        "damaged": list(verification.damaged),
        "scores": records(verification.rescored),
        "fits": records(verification.refitted),
        "chance": verification.chance,
    }
