"""Commands about folders: ``work status why collect leaderboard report site compare cite adopt merge``, and checks."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from gahbench._util.readable import counted
from gahbench.cli import suite_options
from gahbench.contracts.jobs import check_device

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.registry.registry import Registry
    from gahbench.runs.work import Worked


class Form(StrEnum):
    """Forms of a table for elsewhere."""

    markdown = "markdown"
    csv = "csv"
    latex = "latex"


Planned = Annotated[Path, typer.Argument(help="A results folder with a plan: by 'gahbench plan --out', or of a run.")]
Device = Annotated[
    str,
    typer.Option(callback=check_device, help="Where networks compute: cpu, cuda, or auto for GPUs if there are any."),
]
Labels = typer.Option("--entrant", "-e", help="Entrants: label, name or pattern, such as unet*. May be repeated.")
Reuse = Annotated[
    list[Path] | None,
    typer.Option(help="Another results folder, whose finished units of equal keys are taken first. Repeatable."),
]
Replace = Annotated[bool, typer.Option("--replace", help="With --out: change the plan of a folder that holds a board.")]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, help="Threads of each worker; rounding depends on them. [default: as recorded, or by the fits]"
    ),
]
Again = Annotated[
    list[str] | None,
    typer.Option(help="Entrants to be done anew: label, name or pattern; what is done moves to replaced/. Repeatable."),
]


def work(
    folder: Planned,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes. [default: by --workers-per-gpu, or one to the plan's threads]"),
    ] = None,
    workers_per_gpu: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes that share a GPU. [default: by memory and networks]"),
    ] = None,
    device: Device = "auto",
    retry: Annotated[bool, typer.Option("--retry", help="Try units again that have failed.")] = False,
) -> None:
    """Do what is left in a planned folder, beside any number of others, on any machines that see it.

    Ends when nothing is left. SIGTERM, SIGINT and SIGUSR2 have it write checkpoints and end; no unit fails by that.

    Exit status: 0 all units done, 1 some failed, 2 bad input or other code, 74 the file system failed, 130 ended with
    units left.
    """
    from gahbench import api
    from gahbench.cli.working import WorkReport

    outcome = api.work(
        folder,
        workers=workers,
        workers_per_gpu=workers_per_gpu,
        device=device,
        retry=retry,
        report=WorkReport(Console(stderr=True)),
    )
    _conclude_work(folder, outcome)


def status(
    folder: Planned,
    watch: Annotated[bool, typer.Option("--watch", help="Print every two seconds, until nothing is left.")] = False,
) -> None:
    """Show what is done in a results folder, what runs where and since when, what failed and why, and the time left."""
    from gahbench.cli.working import print_status

    print_status(folder, watch, Console())


def why(
    folder: Planned,
    entrant: Annotated[
        list[str] | None,
        typer.Argument(help="Only entrants of this label, name or pattern. [default: all that failed]"),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Keep the frames of gahbench, of installed packages and of Python.")
    ] = False,
) -> None:
    """Print why units of a results folder failed: each traceback once, down to the last line of your own code."""
    from gahbench.cli.working import print_failures

    print_failures(folder, entrant or (), full, Console())


def collect(folder: Planned) -> None:
    """Write the board of a results folder from what is done in it so far, and print it."""
    from gahbench import api

    api.collect(folder)
    print_board(folder)


def leaderboard(
    folders: Annotated[list[Path], typer.Argument(help="A results folder, or several on one board.")],
    entrant: Annotated[
        list[str] | None, typer.Option("--entrant", "-e", help="Only entrants of this label, name or pattern.")
    ] = None,
    dataset: suite_options.Dataset = None,
    metric: suite_options.Metric = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns by their headings or names, with commas between: PSNR,gain@0.1,ssim."),
    ] = None,
    form: Annotated[
        Form | None, typer.Option("--format", help="A table for elsewhere: markdown, csv or latex.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File for that table.")] = None,
    legend: Annotated[bool, typer.Option("--legend", help="Explain every column.")] = False,
) -> None:
    """Print the leaderboard of a results folder, or of several that share images and noise.

    While units are left, it is the board of what is scored so far.

    The files of the board are compared with their checksums. 'gahbench collect' compares the units too, and writes the
    board anew if they differ; a published board comes without its units, so that its values cannot be compared.
    """
    from gahbench.cli.comparing import results_of, shown_columns, write_or_print
    from gahbench.report.export import exported
    from gahbench.report.tables import print_board as print_results
    from gahbench.runs.collect import results_so_far

    if len(folders) > 1 or entrant or dataset or metric or columns or form or out or legend:
        found, left = results_of(folders, entrant or (), dataset or (), metric or ())
        if columns or form or out:
            write_or_print(exported(found, form.value if form else "markdown", shown_columns(columns)), out)
        else:
            print_results(found, Console(), full_legend=legend)
        _print_left(left, found)
        return
    (folder,) = folders
    if (so_far := results_so_far(folder)) is not None:
        results, count = so_far
        if not results.scores.empty:
            print_results(results, Console())
        _print_left({folder: count}, results)
        return
    print_board(folder)
    if not (folder / "units").is_dir():
        typer.echo("the units are not in this folder: these values cannot be compared with them", err=True)


def report(
    folder: Annotated[Path, typer.Argument(help="A results folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file. [default: report.html in the folder]")
    ] = None,
    plugins_dir: suite_options.Plugins = None,
) -> None:
    """Write all of a results folder as one HTML file: tables, figures, images, and where they came from.

    The file needs no other and no network. With scripts, tables are sorted and filtered, and curves show their values.
    """
    from gahbench.registry.registry import open_registry

    print_report(folder, open_registry(plugins_dir or (), trust=False), out)


def site(
    folder: Annotated[Path, typer.Argument(help="A folder of results folders.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The site's folder: new, empty, or of an earlier site.")],
    title: Annotated[str, typer.Option(help="The title of the site.")] = "gahbench",
    base_url: Annotated[str, typer.Option(help="The address of the site, for a sitemap.")] = "",
    source_url: Annotated[
        str, typer.Option(help="The address of the folder elsewhere, for links of its README.md that lead out of it.")
    ] = "",
    plugins_dir: suite_options.Plugins = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Build plugins whose parameters name code, files or downloads.")
    ] = False,
) -> None:
    """Write a site of results folders: an index, and a page for each run, entrant, dataset and README.md.

    It works from files and any server, and makes no requests. Plugins whose parameters name code, files or downloads
    are not built without --trust, and pages say so.
    """
    from gahbench.registry.registry import open_registry
    from gahbench.site.pages import write_site

    registry = open_registry(plugins_dir or (), trust)
    written = write_site(folder, out, registry, title=title, base_url=base_url, source_url=source_url)
    typer.echo(f"site: {out / 'index.html'} ({len(written)} files)", err=True)


def compare(
    one: Annotated[Path, typer.Argument(help="A results folder.")],
    other: Annotated[Path, typer.Argument(help="Another, whose differences from the first are printed.")],
) -> None:
    """Compare two results folders: paired differences in PSNR, and what differs in protocol, code and environment."""
    from gahbench.cli.comparing import print_comparison
    from gahbench.runs.comparison import compare as compare_folders

    print_comparison(compare_folders(one, other), Console())


def cite(
    targets: Annotated[list[str], typer.Argument(help="Results folders, and plugins: bf-cnn, oracle-threshold[sym4].")],
    plugins_dir: suite_options.Plugins = None,
) -> None:
    """Print BibTeX of the works that plugins follow: of those on the board of a results folder, or by their names."""
    from gahbench import api

    typer.echo(api.cite(*targets, plugins=tuple(plugins_dir or ())), nl=False)


def adopt(
    folder: Annotated[Path, typer.Argument(help="A results folder with its units.")],
    plugins_dir: suite_options.Plugins = None,
) -> None:
    """Accept finished units of earlier code, where only code differs; the board notes it.

    Exit status: 0 no unit was left, 1 some were, since more than their code differs or they cannot be compared.
    """
    from gahbench.cli.adopting import print_adoption

    if not print_adoption(folder, plugins_dir or (), Console()):
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
    from gahbench import api
    from gahbench.cli.growing import print_merged

    print_merged(api.merge(folders, out), Console(stderr=True))
    print_board(out)


def remove(folder: Planned, entrant: Annotated[list[str], Labels]) -> None:
    """Remove entrants from a results folder: rows, units, failures and attempts; units that others need stay.

    A row of a sweep may be named with its number of images, 'unet[width=16] N=100'. The board is written anew. An
    entrant of the suite's file comes back with the next run of the suite.
    """
    from gahbench import api
    from gahbench.cli.growing import print_removed

    print_removed(api.remove(folder, entrant), Console(stderr=True))
    print_board(folder)


def weights(
    folder: Planned,
    entrant: Annotated[str, typer.Option("--entrant", "-e", help="Entrants: label, name or pattern, such as unet*.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the snapshots.")] = False,
) -> None:
    """Print where the finished networks of entrants are: dataset, seed, weights, history and entrant, with tabs."""
    from gahbench import api
    from gahbench.cli.growing import print_weights

    print_weights(api.weights(folder, entrant), as_json)


def verify(
    folder: Planned,
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
    plugins_dir: suite_options.Plugins = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the files of a results folder, score a sample of its networks again, and train a sample of them again.

    Scores must be equal to the last bit in the same environment, and within a thousandth of their mean size elsewhere.
    Weights must be equal to the last bit in the same environment; elsewhere the PSNR of the new network may differ by
    as much as seeds do. Nothing in the folder is changed. Its plugins are code, and run here.

    Exit status: 0 all repeat, 1 some do not, or could not be computed here, 2 bad input, 130 interrupted.
    """
    from gahbench import api
    from gahbench.cli.verifying import print_verification
    from gahbench.cli.working import WorkReport

    found = api.verify(
        folder,
        units=units,
        fits=fits,
        seed=seed,
        workers=workers,
        device=device if device is None else check_device(device),
        plugins=plugins_dir or (),
        report=WorkReport(Console(stderr=True)),
    )
    print_verification(found, Console(), as_json)
    if not found.repeats:
        raise typer.Exit(130 if found.stopped else 1)


def print_board(folder: Path) -> None:
    """Print the board of a results folder, as it was written."""
    from gahbench.board.results import load_results, saved_board
    from gahbench.report.tables import print_board

    console = Console()
    if not console.is_terminal and (text := saved_board(folder)) is not None:
        # The same text was written with the results: no need to render it again.
        typer.echo(text, nl=False)
        return
    print_board(load_results(folder), console)


def _print_left(left: Mapping[Path, int], results: Results) -> None:
    """Say of which folders the board shows what is scored so far."""
    so_far = "nothing is scored yet" if results.scores.empty else "the board so far"
    for folder, count in left.items():
        if count:
            status = f"'gahbench status {shlex.quote(str(folder))}'"
            typer.echo(f"{folder}: {so_far}, {counted(count, 'unit')} left; {status} shows them", err=True)


def print_report(folder: Path, registry: Registry, out: Path | None = None) -> None:
    """Write the report of a results folder, by default into it, and print where it is."""
    from gahbench.report.page.report import write_report

    file = folder / "report.html" if out is None else out
    text = f"report: {file} ({write_report(folder, file, registry) / 1e6:.2f} MB)"
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def _conclude_work(folder: Path, outcome: Worked) -> None:
    """Print the state of a folder after working in it, and exit with its status."""
    from gahbench.cli.working import why_command

    typer.echo(f"{outcome.done} done, {outcome.failed} failed, {outcome.left} left in {folder}", err=True)
    if outcome.left:
        raise typer.Exit(130)
    typer.echo(f"'gahbench collect {shlex.quote(str(folder))}' writes the board", err=True)
    if outcome.failed:
        typer.echo(f"'{why_command(folder)}' prints why units failed", err=True)
        raise typer.Exit(1)


#: In the order of the help.
COMMANDS = (
    work,
    status,
    why,
    collect,
    leaderboard,
    report,
    site,
    compare,
    cite,
    adopt,
    merge,
    remove,
    weights,
    verify,
)
