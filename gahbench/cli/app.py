"""The commands ``run plan prepare list describe preview inspect sample draw check new``, and those about folders."""

from __future__ import annotations

import contextlib
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from gahbench._util.readable import counted
from gahbench.cli import claims, drawing, folder_commands, inspect_options, sample_options, suite_options

if TYPE_CHECKING:
    from gahbench.testing import Report

app = typer.Typer(
    help="How good is an image denoiser really, and why: train, score, and rank denoisers against optimal rates, "
    "oracles and optimal denoisers.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    # Rich's own markup would swallow [key=value] and [default: ...].
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

app.add_typer(drawing.app, name="draw")

OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="Results folder. [default: runs/ and the suite's name]")
]


class NewKind(StrEnum):
    """Kinds of plugin, all of which have a template."""

    architecture = "architecture"
    dataset = "dataset"
    reference = "reference"
    basis = "basis"
    metric = "metric"
    engine = "engine"
    tracker = "tracker"
    claim = "claim"


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        import gahbench

        typer.echo(f"gahbench {gahbench.__version__}")
        raise typer.Exit


@app.command()
def run(
    suite: suite_options.Suite = "quick",
    out: OutOption = None,
    entrant: suite_options.Entrant = None,
    settings: suite_options.Set = None,
    seed: suite_options.Seed = None,
    dataset: suite_options.Dataset = None,
    metric: suite_options.Metric = None,
    only: suite_options.Only = None,
    plugins_dir: suite_options.Plugins = None,
    engine: Annotated[
        str, typer.Option(help="Engine for units: processes, inline, slurm[...], dask[...], ...")
    ] = "processes",
    workers: Annotated[int | None, typer.Option(min=1, help="Number of workers. [default: the engine chooses]")] = None,
    threads: folder_commands.Threads = None,
    device: folder_commands.Device = "auto",
    reuse: folder_commands.Reuse = None,
    again: folder_commands.Again = None,
    secret_noise: Annotated[
        bool, typer.Option("--secret-noise", help="Draw the seed of the noise when all fits have ended, and record it.")
    ] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(help="Follow the run in tensorboard, wandb[...], mlflow[...], trackio[...]. May be repeated."),
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Also write report.html into the folder.")] = False,
) -> None:
    """Run a suite and print its leaderboard. What is done already is not done again.

    Exit status: 0 all units done, 1 some failed, 2 bad input, 130 interrupted, or units are left to others.
    """
    from gahbench import api
    from gahbench.cli.adopting import print_superseded
    from gahbench.cli.concluding import conclude
    from gahbench.cli.growing import print_begun
    from gahbench.cli.listing import print_problems
    from gahbench.runs.hooks import Trackings
    from gahbench.runs.progress import progress_of
    from gahbench.runs.runner import run_opened

    console = Console(stderr=True)
    changes = suite_options.changes(entrant, settings, seed, dataset, metric, only)
    request = api.request(
        suite, out, changes, plugins_dir or (), reuse or (), again or (), engine, workers, threads, secret_noise
    )
    with contextlib.closing(Trackings(track or ())) as trackings:
        for place, (opened, registry) in enumerate(api.openings(request, engine, track or ())):
            if not place:
                print_problems(opened.problems, console)
                print_begun(opened, again or (), console)
            print_superseded(opened.superseded, opened.folder, plugins_dir or (), console)
            with progress_of(opened, console) as progress:
                outcome = run_opened(opened, registry, engine, workers, progress, device, trackings)
    if outcome.done:
        folder_commands.print_board(opened.folder)
        if report:
            folder_commands.print_report(opened.folder, registry)
    conclude(outcome, console)


@app.command()
def plan(
    suite: suite_options.Suite = "quick",
    out: OutOption = None,
    entrant: suite_options.Entrant = None,
    settings: suite_options.Set = None,
    seed: suite_options.Seed = None,
    dataset: suite_options.Dataset = None,
    metric: suite_options.Metric = None,
    only: suite_options.Only = None,
    plugins_dir: suite_options.Plugins = None,
    threads: folder_commands.Threads = None,
    reuse: folder_commands.Reuse = None,
    replace: folder_commands.Replace = False,
) -> None:
    """Show the units of a suite, which are finished, and an estimate of the work; run nothing.

    With ``--out``, also write the plan into that folder, which any number of 'gahbench work' then finish.
    """
    from gahbench import api
    from gahbench.cli.adopting import print_superseded
    from gahbench.cli.concluding import print_not_shown
    from gahbench.cli.growing import print_reused
    from gahbench.cli.listing import print_problems
    from gahbench.cli.planned import print_plan
    from gahbench.cli.preparing import print_missing
    from gahbench.planning.suite_plugins import plugin_sources
    from gahbench.registry.registry import open_registry
    from gahbench.runs.adoption import superseded
    from gahbench.runs.opening import plan_with, results_folder
    from gahbench.runs.preparation import find_missing

    for option, value in (("--reuse", reuse), ("--threads", threads), ("--replace", replace)):
        if value and out is None:
            raise typer.BadParameter(
                "is of a plan that is written: give the results folder too, --out", param_hint=option
            )
    registry = open_registry(plugin_sources(plugins_dir or (), suite))
    print_problems(registry.problems, Console(stderr=True))
    changes = suite_options.changes(entrant, settings, seed, dataset, metric, only)
    missing = find_missing(registry, suite, changes)
    missing.require_datasets()
    planned = plan_with(registry, suite, out, changes)
    folder = results_folder(planned.suite, out)
    if out is not None:
        opened, reused = api.write_plan(planned, folder, registry, threads, reuse or (), replace)
        print_not_shown(opened, Console(stderr=True))
        if reused is not None:
            print_reused(reused, Console())
    print_plan(planned, folder, Console())
    print_missing(missing, suite, entrant or (), plugins_dir or (), settings or (), Console())
    print_superseded(superseded(planned, folder), folder, plugins_dir or (), Console())
    if out is not None:
        typer.echo(f"planned; 'gahbench work {shlex.quote(str(folder))}' does it, on any machine that sees this folder")


@app.command()
def prepare(
    suite: suite_options.Suite = "quick",
    entrant: suite_options.Entrant = None,
    settings: suite_options.Set = None,
    plugins_dir: suite_options.Plugins = None,
) -> None:
    """Get what a suite needs from elsewhere: downloads, and images that take long to decode; run nothing.

    Exit status: 0 all is here, 1 something could not be had, 2 bad input.
    """
    from gahbench.cli.preparing import print_preparation

    if not print_preparation(suite, entrant or (), plugins_dir or (), settings or (), Console()):
        raise typer.Exit(1)


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Argument(help="Only one kind: architectures, datasets, ..., suites.")] = None,
    plugins_dir: suite_options.Plugins = None,
) -> None:
    """List the plugins and suites that can be used, and plugins that failed to load."""
    from gahbench.cli.listing import print_list

    print_list(kind, tuple(plugins_dir or ()), Console())


@app.command()
def describe(
    name: Annotated[str, typer.Argument(help="A plugin, optionally with parameters, or a suite.")],
    plugins_dir: suite_options.Plugins = None,
    shape: Annotated[
        str | None,
        typer.Option(help="channels,height,width: images to count a network's multiply-adds for. [default: 1,64,64]"),
    ] = None,
) -> None:
    """Describe a plugin: its summary, parameters, origin, and measured facts.

    Of a network: parameters, multiply-adds, receptive field, whether it is homogeneous, blind, differentiable; of a
    reference: what it uses, where it is defined; of a metric: unit, direction, needs. Facts that cannot be measured are
    listed as unknown, with the reason.
    """
    from gahbench.cli.describing import print_description

    print_description(name, tuple(plugins_dir or ()), shape, Console())


@app.command()
def preview(
    dataset: Annotated[str, typer.Argument(help="A dataset, optionally with parameters: name[key=value,...].")],
    sigma: Annotated[
        list[str] | None,
        typer.Option("--sigma", "-s", help="Noise levels. May be repeated. [default: 0.05,0.15,0.4]"),
    ] = None,
    count: Annotated[int | None, typer.Option(help="Number of images. [default: 4, or all there are]")] = None,
    split: Annotated[str, typer.Option(help="train, validation, test, A or B.")] = "test",
    start: Annotated[int, typer.Option(help="Number of the first image.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Contact sheet: .png, .svg or .pdf. [default: preview-DATASET.png]"),
    ] = None,
    true_basis: Annotated[
        bool, typer.Option("--true-basis", help="Also a sheet of the first image's true basis, if known.")
    ] = False,
    plugins_dir: suite_options.Plugins = None,
) -> None:
    """Preview a dataset: a contact sheet of images under noise, and a card of its properties."""
    from gahbench.cli.previewing import print_preview

    print_preview(
        dataset, sigma or (), count, split, start, out, true_basis, sources=tuple(plugins_dir or ()), console=Console()
    )


@app.command()
def inspect(
    entrant: inspect_options.Entrant,
    checkpoint: inspect_options.Checkpoint = None,
    dataset: inspect_options.Dataset = "faces[size=24]",
    index: inspect_options.Index = 0,
    image: inspect_options.Image = None,
    size: inspect_options.Size = None,
    colour: inspect_options.Colour = False,
    sigma: inspect_options.Sigma = None,
    basis: inspect_options.Basis = None,
    others: inspect_options.Others = 23,
    out: inspect_options.Out = None,
    plugins_dir: suite_options.Plugins = None,
) -> None:
    """Inspect the basis that a denoiser learned: eigenvectors of its Jacobian at an image, and bases it agrees with."""
    from gahbench.cli.inspecting import print_inspection

    print_inspection(
        entrant,
        sigma or (),
        out,
        Console(),
        checkpoint=checkpoint,
        dataset=dataset,
        index=index,
        image=image,
        size=size,
        colour=colour,
        bases=basis or (),
        others=others,
        plugins=plugins_dir or (),
    )


@app.command()
def sample(
    entrant: sample_options.Entrant,
    checkpoint: sample_options.Checkpoint = None,
    dataset: sample_options.Dataset = "faces[size=24]",
    count: sample_options.Count = 16,
    seed: sample_options.Seed = 0,
    sampler: sample_options.Sampler = "stochastic",
    mean: sample_options.Mean = 0.5,
    sigma_start: sample_options.SigmaStart = None,
    sigma_end: sample_options.SigmaEnd = None,
    final_step: sample_options.FinalStep = True,
    step: sample_options.Step = 0.01,
    beta: sample_options.Beta = 0.1,
    growth: sample_options.Growth = "growing",
    max_steps: sample_options.MaxSteps = None,
    levels: sample_options.Levels = "50",
    solver: sample_options.Solver = "heun",
    batch: sample_options.Batch = None,
    device: sample_options.Device = "auto",
    out: sample_options.Out = None,
    plugins_dir: suite_options.Plugins = None,
) -> None:
    """Sample images from a denoiser: a sheet of them, the arrays, and the status of each.

    Exit status: 0 samples were written, 1 all of them diverged, 2 bad input.
    """
    from gahbench.cli.sampling import print_samples

    settings = {
        "count": count,
        "seed": seed,
        "sampler": sampler,
        "mean": mean,
        "sigma_start": sigma_start,
        "sigma_end": sigma_end,
        "final_step": final_step,
        "step": step,
        "beta": beta,
        "growth": growth,
        "max_steps": max_steps,
        "solver": solver,
    }
    converged = print_samples(
        entrant,
        levels,
        settings,
        out,
        Console(),
        checkpoint=checkpoint,
        dataset=dataset,
        batch=batch,
        device=device,
        plugins=plugins_dir or (),
    )
    if not converged:
        raise typer.Exit(1)


for command in (*folder_commands.COMMANDS, claims.claims):
    app.command()(command)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A plugin file, or a folder of them.")],
) -> None:
    """Put the plugins of a file through the contract checks.

    Exit status: 0 all passed, 1 some failed, 2 the file cannot be loaded.
    """
    from gahbench import api
    from gahbench.cli.progress import Progress

    with Progress("checking") as shown:

        def progress(report: Report) -> None:
            last = f", last: {report.findings[-1].check}" if report.findings else ""
            shown(f"{report.kind} {report.label}: {counted(len(report.findings), 'check')} done{last}")

        reports = api.check(file, progress=progress)
    for report in reports:
        typer.echo(str(report))
    failed = sum(not report.passed for report in reports)
    typer.echo(f"{len(reports) - failed} of {len(reports)} plugins passed")
    if failed:
        raise typer.Exit(1)


@app.command()
def new(
    kind: Annotated[NewKind, typer.Argument(help="Kind of the plugin.")],
    name: Annotated[str, typer.Argument(help="Name of the plugin, such as my-denoiser.")],
    folder: Annotated[Path, typer.Option("--folder", help="Folder to write it to.")] = Path(),
) -> None:
    """Write a commented one-file plugin that runs as it is."""
    from gahbench.registry.scaffold import next_commands, write_plugin

    file = write_plugin(kind.value, name, folder)
    typer.echo(f"wrote {file}; now try")
    for command in next_commands(kind.value, name, file):
        typer.echo(f"  {command}")
