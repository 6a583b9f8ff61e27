"""Commands that print, draw or publish results: ``leaderboard report draw site compare cite claims``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markdown import Markdown

from gahbench._util.readable import level_name, pluralize
from gahbench.cli import options
from gahbench.cli.printing import say, say_next, write_or_print
from gahbench.cli.progress import Progress

if TYPE_CHECKING:
    from gahbench.registry.registry import Registry


def leaderboard(
    folders: Annotated[
        list[Path],
        typer.Argument(help="One or more results folders or archives of them, shown on one board."),
    ],
    entrant: options.OnlyEntrant = None,
    dataset: options.OnlyDataset = None,
    metric: options.OnlyMetric = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Show only these columns: headings or names separated by commas, such as PSNR,gain@0.1,ssim."
        ),
    ] = None,
    form: Annotated[
        Literal["markdown", "csv", "latex"] | None,
        typer.Option("--format", help="Print the table as markdown, csv or latex."),
    ] = None,
    out: options.TableOut = None,
    full: Annotated[
        bool, typer.Option("--full", help="Print all tables of each dataset, and explain the columns.")
    ] = False,
) -> None:
    """Print the leaderboard of a results folder, or of several folders that share images and noise.

    The best entrants are printed with the answer of the board; with -e, -d or -m, only the chosen rows and columns are.
    The board of one folder is first written from its finished units, if it differs from them; while a run is at work in
    the folder, the scores so far are printed. A published board comes without units, so its values cannot be verified.
    """
    from gahbench.contracts.row_labels import is_chosen
    from gahbench.registry.spec import parse_spec
    from gahbench.report import text
    from gahbench.runs.collect import load_rows, update_board

    if len(folders) == 1:
        update_board(folders[0])
    results, left = load_rows(folders)
    results = results.select(entrant or (), dataset or (), metric or ())
    if columns or form or out:
        # As in a spec, commas within brackets do not separate names.
        names = [str(name) for name in parse_spec(f"columns[{columns or ''}]").positional]
        write_or_print(text.export_board(results, form or "markdown", names), out)
    elif full or entrant or dataset or metric:
        # The selection has the baseline too, which is shown only if it was chosen.
        shown = [label for label in results.entrants if is_chosen(label, entrant)]
        text.print_tables(results, Console(), shown, is_full=full or bool(metric))
    elif not results.scores.empty:
        text.print_board(results, Console(), folders[0] if len(folders) == 1 else None)
    for folder, count in left.items():
        if count:
            so_far = "no scores yet" if results.scores.empty else "the board so far"
            status = f"'gahbench status {shlex.quote(str(folder))}'"
            say(f"{folder}: {so_far}, {pluralize(count, 'unit')} left; see {status}", err=True)
    if len(folders) == 1 and not (columns or form or out or results.scores.empty):
        say_next(folders[0])


def print_board(folder: Path, registry: Registry | None = None) -> None:
    """Print the saved board of a results folder, with names of the plugins of a registry."""
    from gahbench.board.results import load_results
    from gahbench.report.text import print_board

    print_board(load_results(folder, registry), Console(), folder)


def report(
    folder: options.Folder,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write. [default: report.html in the folder]")
    ] = None,
    rows: Annotated[
        list[Path] | None,
        typer.Option("--rows", help="Add the rows of a results folder or archive. Repeatable."),
    ] = None,
    plugins_dir: options.Plugins = None,
) -> None:
    """Write a results folder as one HTML file: tables, figures, images, and provenance.

    The file is self-contained and works offline. With JavaScript, tables can be sorted and filtered.
    """
    from gahbench.registry.registry import open_registry

    print_report(folder, open_registry(plugins_dir or ()), out, rows or ())


def print_report(folder: Path, registry: Registry, out: Path | None = None, rows: Sequence[Path] = ()) -> None:
    """Write the report of a results folder, and print its path and size."""
    from gahbench.report.page.report import write_report
    from gahbench.runs.collect import load_rows
    from gahbench.store.store import is_archive, open_folder

    file = out or (folder.with_suffix(".html") if is_archive(folder) else folder / "report.html")
    with open_folder(folder) as source:
        results = load_rows([folder, *rows], registry)[0] if rows or is_archive(folder) else None
        size = write_report(source, file, registry, results)
    say(f"report: {file} ({size / 1e6:.2f} MB)", err=True)


def draw(
    figure: Annotated[
        str, typer.Argument(help="A figure, optionally with parameters name[key=value,...], or a metric.")
    ],
    targets: Annotated[
        list[str], typer.Argument(help="A results folder; for approximation and geometry, datasets.", metavar="TARGET")
    ],
    entrant: options.OnlyEntrant = None,
    dataset: options.OnlyDataset = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File of the figure: .png, .svg or .pdf. [default: FIGURE.png]"),
    ] = None,
    plugins_dir: options.Plugins = None,
) -> None:
    """Draw a figure, such as `gahbench draw psnr runs/quick -e unet -o psnr.pdf`; further figures get numbers.

    - psnr, or any other metric; gains, heat-map, distances from the optimum: a panel for each dataset
    - cost: gains against cost; transfer: PSNR under recorded and under drawn noise
    - rates[rate=...]: local slopes of output against input PSNR, against theory
    - optimality: distance from the bound against noise level over image side
    - bases: agreement with every basis, for each entrant
    - generalization, transitions: PSNR and metrics for each number of training images
    - training: loss and validation PSNR against steps
    - samples, cosines, predictions: samples of two networks, and their nearest training images
    - denoised[sigma=...]: test images clean, noisy and denoised, with errors
    - approximation[BASIS,...,images=...] of datasets: error against the number of terms
    - geometry[basis=...,threshold=...,index=...] of datasets: squares and directions of a bandlet basis
    """
    from gahbench.cli.drawing import draw_figure
    from gahbench.registry.registry import open_registry
    from gahbench.report.cells import file_stems
    from gahbench.report.drawing import check_suffix, save_figure

    file = out or Path(f"{file_stems([figure])[figure]}.png")
    # Check the argument before the slow loading of results.
    check_suffix(file)
    figures = draw_figure(figure, targets, dataset or (), entrant or (), open_registry(plugins_dir or ()))
    for index, drawing in enumerate(figures):
        numbered = file.with_stem(f"{file.stem}-{index + 1}") if index else file
        save_figure(drawing, numbered)
        say(f"wrote {numbered}")


@options.parameters_of("gahbench.site.pages:write_site")
def site(plugins_dir: options.Plugins = None, **arguments: Any) -> None:
    """Write a website of results folders: an index, and the report of each folder.

    The site works from disk and from any server, and loads nothing from other servers.
    """
    from gahbench.registry.registry import open_registry
    from gahbench.site.pages import write_site

    with Progress("building the site") as progress:
        written = write_site(registry=open_registry(plugins_dir or ()), progress=progress, **arguments)
    typer.echo(f"site: {arguments['out'] / 'index.html'} ({len(written)} files)", err=True)


@options.parameters_of("gahbench.runs.comparison:compare")
def compare(**folders: Any) -> None:
    """Compare two results folders: paired differences in PSNR on the images and noise that they share."""
    from gahbench.board.statistics import Interval
    from gahbench.report import cells
    from gahbench.report.columns import table_of_rows
    from gahbench.report.text import markdown_table
    from gahbench.runs.comparison import compare as compare_folders
    from gahbench.store.plan_file import short_names

    names = short_names([folders["first"], folders["second"]])
    for dataset, rows in compare_folders(**folders).groupby("dataset", sort=False):
        body, levels = [], rows["sigma"].dropna().unique()
        for entrant, differences in rows.groupby("entrant", sort=False):
            # The first row has the mean over all noise levels.
            psnr = [cells.number(differences.iloc[0][name]) for name in ("first", "second")]
            intervals = map(Interval, *(differences[name] for name in ("difference", "low", "high")))
            body.append([str(entrant), *psnr, *(cells.format_interval(interval, sign=True) for interval in intervals)])
        header = ["entrant", *names, "difference", *(f"σ {level_name(sigma)}" for sigma in levels)]
        text = (
            f"Mean PSNR in dB; differences are {names[1]} minus {names[0]}, paired by images and noise,\n"
            "± half the width of their 95 % intervals."
        )
        table = markdown_table(table_of_rows(str(dataset), header, body, 1))
        typer.echo(f"\n## {dataset}\n\n{text}\n\n{table}")


def cite(
    targets: Annotated[
        list[str], typer.Argument(help="Results folders, or plugins such as bf-cnn or oracle-threshold[sym4].")
    ],
    plugins_dir: options.Plugins = None,
) -> None:
    """Print BibTeX entries of the publications behind plugins: the plugins of a board, or the named plugins."""
    from gahbench.explore.bibliography import cite as bibliography

    typer.echo(bibliography(*targets, plugins=plugins_dir or ()), nl=False)


def claims(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Results folders, or folders that contain them. [default: list the claims, measure none]"),
    ] = None,
    claim: Annotated[
        list[str] | None,
        typer.Option("--claim", "-c", help="Show only claims of this paper, id, paper/id or pattern. Repeatable."),
    ] = None,
    cases: Annotated[bool, typer.Option("--cases", help="Show each dataset and entrant of every claim.")] = False,
    show_all: Annotated[
        bool, typer.Option("--all", help="Show also the claims that the results do not measure, and why.")
    ] = False,
    form: Annotated[
        Literal["markdown", "csv", "json"] | None,
        typer.Option("--format", help="Print the table as markdown, csv or json."),
    ] = None,
    out: options.TableOut = None,
    plugins_dir: options.Plugins = None,
) -> None:
    """Test claims of publications against results: each claim holds, fails, is undecided or is not measured.

    A claim holds if its 95 % interval lies inside the claimed region, and fails if the interval lies outside. A claim
    about several noise levels, bases, datasets or entrants is tested with simultaneous intervals. Claims come with
    gahbench, in plugins, and in YAML files: -p mine.yaml.
    """
    import gahbench
    from gahbench.report.claims import export_claims

    verdicts = gahbench.claims(*(folders or ()), only=claim or (), plugins=plugins_dir or ())
    shown = [verdict for verdict in verdicts if show_all or not folders or verdict.outcome != "not measured"]
    console = Console()
    if console.is_terminal and not (form or out):
        console.print(Markdown(export_claims(shown, "lists", cases)))
    else:
        write_or_print(export_claims(shown, form or "markdown", cases), out)
    if len(shown) < len(verdicts):
        hidden = len(verdicts) - len(shown)
        typer.echo(f"{pluralize(hidden, 'claim')} not measured by these results; --all shows them", err=True)
