"""Commands on submissions: ``submit accept``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gahbench._util.errors import ResultsError, listing
from gahbench._util.readable import pluralize
from gahbench.cli import options
from gahbench.cli.folders import print_verification
from gahbench.cli.printing import say
from gahbench.contracts.engines import check_device


def submit(
    folder: Annotated[
        Path, typer.Argument(help="A results folder of a frozen suite with added entrants, or an archive.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Archive to write. [default: FOLDER.zip in the current folder]")
    ] = None,
    secret_noise: Annotated[
        Path | None,
        typer.Option("--secret-noise", help="Folder of a run of the same rows with 'gahbench run --secret-noise'."),
    ] = None,
    units: options.Units = 10,
    fits: options.Fits = None,
    seed: options.SampleSeed = None,
    workers: options.SampleWorkers = None,
    device: options.SampleDevice = None,
) -> None:
    """Check the rows that a run added to a frozen suite, and write them to an archive.

    The archive holds the rows and the baseline, their units, the plugin files and a summary. The plugins must pass
    'gahbench check', and a sample of scores and fits must repeat, as for 'gahbench verify'. The plugins of the folder
    are code, and are executed.

    Exit status: 0 the archive is written, 1 a check failed or a sample does not repeat, 2 the folder is refused.
    """
    from gahbench.runs import submission
    from gahbench.runs.submitted_rows import open_folder, require_name
    from gahbench.store.archive import SUFFIX
    from gahbench.store.plan_file import require_plan

    archive = out or Path((folder.stem if folder.suffix == SUFFIX else folder.resolve().name) + SUFFIX)
    if archive.suffix != SUFFIX:
        raise ResultsError(f"{archive}: is not named like an archive; accepted: a name that ends in {SUFFIX}")
    require_name(archive.stem)
    with open_folder(folder) as source:
        plan = require_plan(source)
        version = submission.require_frozen(source, plan)
        say(f"frozen     {plan.suite}, {version}")
        _check_plugins([source / name for name in plan.plugins])
        submitted = submission.submit(
            source,
            archive,
            secret=secret_noise,
            units=units,
            fits=fits,
            seed=seed,
            workers=workers,
            device=device if device is None else check_device(device),
        )
    print_verification(submitted.verification)
    if submitted.archive is None:
        say("no archive is written, since not all results repeat", "red", err=True)
        raise typer.Exit(1)
    say(f"wrote {submitted.archive} ({submitted.size / 1e6:.2f} MB): {listing(submitted.rows)}")


def _check_plugins(files: list[Path]) -> None:
    """Print the outcome of the contract checks of plugin files; exit if one of them fails."""
    from gahbench.testing import check_file

    reports = [report for file in files for report in check_file(file)]
    for report in reports:
        if not report.passed:
            typer.echo(str(report))
        say(f"{'checked' if report.passed else 'failed':<9}  {report.kind} {report.label}")
    if failed := sum(not report.passed for report in reports):
        say(f"{pluralize(failed, 'plugin')} failed; 'gahbench check FILE' shows why", "red", err=True)
        raise typer.Exit(1)


def accept(
    archive: Annotated[
        Path, typer.Argument(help="An archive from 'gahbench submit', whose name names the submission.")
    ],
    into: Annotated[Path, typer.Option("--into", help="Folder of submissions.")] = Path("results/submissions"),
    verified: Annotated[
        str, typer.Option("--verified", help="How the rows were verified. [default: the rows are marked 'submitted']")
    ] = "",
) -> None:
    """Publish the rows of an archive in a folder of submissions; for maintainers.

    No code of the archive is executed, and its board is computed again from its units. Boards mark the rows as
    verified if --verified says how they were verified, and as submitted otherwise.
    """
    from gahbench.runs.submission import accept as accept_archive

    folder = accept_archive(archive, into, verified)
    say(f"{'verified' if verified else 'submitted'}  {folder}")
