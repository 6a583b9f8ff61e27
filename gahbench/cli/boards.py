"""Commands that print or publish results: ``leaderboard report site compare cite claims``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from gahbench._util.readable import level_name, pluralize
from gahbench.cli import options
from gahbench.cli.printing import say, write_or_print
from gahbench.cli.progress import Progress

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.registry.registry import Registry


def leaderboard(
    folders: Annotated[
        list[Path],
        typer.Argument(help="One or more results folders or archives of them, shown on one board."),
    ],
    entrant: options.OnlyEntrant = None,
    dataset: options.Dataset = None,
    metric: options.Metric = None,
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
    legend: Annotated[bool, typer.Option("--legend", help="Explain all columns.")] = False,
) -> None:
    """Print the leaderboard of a results folder, or of several folders that share images and noise.

    The board of one folder is first written from its finished units, if it differs from them; while a run is at work in
    the folder, the scores so far are printed. A published board comes without units, so its values cannot be verified.
    """
    from gahbench.board.selection import select
    from gahbench.report.export import export_board
    from gahbench.report.tables import print_board as print_results
    from gahbench.runs.collect import load_rows, update_board

    if len(folders) == 1:
        update_board(folders[0])
    results, left = load_rows(folders)
    results = select(results, entrant or (), dataset or (), metric or ())
    is_whole = len(folders) == 1 and (folders[0] / "results.json").is_file() and not (entrant or dataset or metric)
    if columns or form or out:
        write_or_print(export_board(results, form or "markdown", _split_columns(columns or "")), out)
    elif is_whole and not legend and not left[folders[0]]:
        print_board(folders[0])
        if not (folders[0] / "units").is_dir():
            typer.echo("this folder has no units, so the values of its board cannot be verified", err=True)
    elif not results.scores.empty:
        print_results(results, Console(), full_legend=legend)
    for folder, count in left.items():
        _print_unfinished(folder, count, results)


def _split_columns(text: str) -> list[str]:
    """Split names of columns at commas, except at commas within brackets."""
    columns, depth = [""], 0
    for char in text:
        depth += (char == "[") - (char == "]")
        if char == "," and depth == 0:
            columns.append("")
        else:
            columns[-1] += char
    return [name for column in columns if (name := column.strip())]


def _print_unfinished(folder: Path, count: int, results: Results) -> None:
    """Print how many units are unfinished, if any."""
    if count:
        so_far = "no scores yet" if results.scores.empty else "the board so far"
        status = f"'gahbench status {shlex.quote(str(folder))}'"
        typer.echo(f"{folder}: {so_far}, {pluralize(count, 'unit')} left; see {status}", err=True)


def print_board(folder: Path, registry: Registry | None = None) -> None:
    """Print the saved board of a results folder, with names of the plugins of a registry."""
    from gahbench.board.results import load_results, saved_board
    from gahbench.report.tables import print_board

    console = Console()
    if not console.is_terminal and (text := saved_board(folder)) is not None:
        # The saved text equals the text that would be rendered.
        typer.echo(text, nl=False)
        return
    print_board(load_results(folder, registry), console)


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

    The file is self-contained and works offline. With JavaScript, tables can be sorted and filtered, and curves show
    their values.
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


def site(
    folder: Annotated[Path, typer.Argument(help="A folder that contains results folders.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to: new, empty, or an earlier site.")],
    title: Annotated[str, typer.Option(help="Title of the site.")] = "gahbench",
    base_url: Annotated[str, typer.Option(help="URL of the site, for its sitemap.")] = "",
    source_url: Annotated[
        str,
        typer.Option(
            help="URL of the folder's source, for links in its README.md files that point outside the folder."
        ),
    ] = "",
    documentation: Annotated[
        str,
        typer.Option(
            help="Folder in the site of the documentation that Sphinx builds from the folder above: pages link to it."
        ),
    ] = "",
    plugins_dir: options.Plugins = None,
) -> None:
    """Write a website of results folders: an index, and a page for each run and README.md.

    The site works from disk and from any server, and loads nothing from other servers.
    """
    from gahbench.registry.registry import open_registry
    from gahbench.site.pages import write_site

    registry = open_registry(plugins_dir or ())
    with Progress("building the site") as progress:
        written = write_site(
            folder,
            out,
            registry,
            title=title,
            base_url=base_url,
            source_url=source_url,
            documentation=documentation,
            progress=progress,
        )
    typer.echo(f"site: {out / 'index.html'} ({len(written)} files)", err=True)


def compare(
    first: options.Folder,
    second: Annotated[Path, typer.Argument(help="The results folder to compare with the first.")],
) -> None:
    """Compare two results folders: paired differences in PSNR on the images and noise that they share."""
    from gahbench.board.statistics import Interval
    from gahbench.report import cells
    from gahbench.report.tables import markdown_table, table_of_rows
    from gahbench.runs.comparison import compare as compare_folders
    from gahbench.store.plan_file import short_names

    console, names = Console(), short_names([first, second])
    for dataset, rows in compare_folders(first, second).groupby("dataset", sort=False):
        body, levels = [], rows["sigma"].dropna().unique()
        for entrant, differences in rows.groupby("entrant", sort=False):
            # The first row has the mean over all noise levels.
            psnr = [cells.number(differences.iloc[0][name]) for name in ("first", "second")]
            intervals = map(Interval, *(differences[name] for name in ("difference", "low", "high")))
            body.append([str(entrant), *psnr, *(cells.format_interval(interval, sign=True) for interval in intervals)])
        header = ["entrant", *names, "difference", *(f"σ {level_name(sigma)}" for sigma in levels)]
        console.out(
            f"\n## {dataset}\n\nMean PSNR in dB; differences are {names[1]} minus {names[0]}, paired by images and "
            "noise,\n± half the width of their 95 % intervals.\n",
            highlight=False,
        )
        console.out(markdown_table(table_of_rows(str(dataset), header, body, 1)), highlight=False)


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
    from gahbench.report.claims import export_claims, print_claims

    verdicts = gahbench.claims(*(folders or ()), only=claim or (), plugins=plugins_dir or ())
    shown = [verdict for verdict in verdicts if show_all or not folders or verdict.outcome != "not measured"]
    if form or out:
        write_or_print(export_claims(shown, form or "markdown", cases), out)
    else:
        print_claims(shown, Console(), cases)
    if len(shown) < len(verdicts):
        hidden = len(verdicts) - len(shown)
        typer.echo(f"{pluralize(hidden, 'claim')} not measured by these results; --all shows them", err=True)
