"""The commands that print and write what results folders hold: ``leaderboard report site compare cite claims``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from gahbench._util.readable import counted, level_name
from gahbench.cli import options
from gahbench.cli.printing import say, write_or_print

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.registry.registry import Registry
    from gahbench.runs.comparison import Comparison


def leaderboard(
    folders: Annotated[list[Path], typer.Argument(help="A results folder, or several on one board.")],
    entrant: options.OnlyEntrant = None,
    dataset: options.Dataset = None,
    metric: options.Metric = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns by their headings or names, with commas between: PSNR,gain@0.1,ssim.")
    ] = None,
    form: Annotated[
        Literal["markdown", "csv", "latex"] | None,
        typer.Option("--format", help="A table for elsewhere: markdown, csv or latex."),
    ] = None,
    out: options.TableOut = None,
    legend: Annotated[bool, typer.Option("--legend", help="Explain every column.")] = False,
) -> None:
    """Print the leaderboard of a results folder, or of several that share images and noise.

    While units are left, it is the board of what is scored so far.

    The files of the board are compared with their checksums. 'gahbench collect' compares the units too, and writes the
    board anew if they differ; a published board comes without its units, so that its values cannot be compared.
    """
    from gahbench.report.tables import export_board
    from gahbench.report.tables import print_board as print_results

    if len(folders) == 1 and not (entrant or dataset or metric or columns or form or out or legend):
        _print_one(folders[0])
        return
    found, left = _results_of(folders, entrant or (), dataset or (), metric or ())
    if columns or form or out:
        write_or_print(export_board(found, form or "markdown", _columns(columns or "")), out)
    else:
        print_results(found, Console(), full_legend=legend)
    for folder, count in left.items():
        _say_left(folder, count, found)


def _print_one(folder: Path) -> None:
    from gahbench.report.tables import print_board as print_results
    from gahbench.runs.collect import results_so_far

    if (so_far := results_so_far(folder)) is not None:
        results, count = so_far
        if not results.scores.empty:
            print_results(results, Console())
        _say_left(folder, count, results)
        return
    print_board(folder)
    if not (folder / "units").is_dir():
        typer.echo("the units are not in this folder: these values cannot be compared with them", err=True)


def _results_of(
    folders: Sequence[Path], entrants: Sequence[str], datasets: Sequence[str], metrics: Sequence[str]
) -> tuple[Results, dict[Path, int]]:
    """Return the chosen results of one or several folders, and how many units are left in each."""
    from gahbench.board.combined import combined
    from gahbench.board.results import load_results
    from gahbench.board.selection import selected
    from gahbench.runs.collect import results_so_far
    from gahbench.store.plan_file import short_names

    parts, left = {}, {}
    for name, folder in zip(short_names(folders), folders, strict=True):
        parts[name], left[folder] = results_so_far(folder) or (load_results(folder), 0)
    found = next(iter(parts.values())) if len(parts) == 1 else combined(parts)
    return selected(found, entrants, datasets, metrics), left


def _columns(text: str) -> list[str]:
    """Return the names of columns in a text with commas between them, but for those within brackets."""
    columns, depth = [""], 0
    for char in text:
        depth += (char == "[") - (char == "]")
        if char == "," and depth == 0:
            columns.append("")
        else:
            columns[-1] += char
    return [name for column in columns if (name := column.strip())]


def _say_left(folder: Path, count: int, results: Results) -> None:
    """Say that the board of a folder shows what is scored so far, if units are left."""
    if count:
        so_far = "nothing is scored yet" if results.scores.empty else "the board so far"
        status = f"'gahbench status {shlex.quote(str(folder))}'"
        typer.echo(f"{folder}: {so_far}, {counted(count, 'unit')} left; {status} shows them", err=True)


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


def report(
    folder: options.Folder,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file. [default: report.html in the folder]")
    ] = None,
    plugins_dir: options.Plugins = None,
) -> None:
    """Write all of a results folder as one HTML file: tables, figures, images, and where they came from.

    The file needs no other and no network. With scripts, tables are sorted and filtered, and curves show their values.
    """
    from gahbench.registry.registry import open_registry

    print_report(folder, open_registry(plugins_dir or (), trust=False), out)


def print_report(folder: Path, registry: Registry, out: Path | None = None) -> None:
    """Write the report of a results folder, and print where it is."""
    from gahbench.report.page.report import write_report

    file = out or folder / "report.html"
    size = write_report(folder, file, registry)
    say(f"report: {file} ({size / 1e6:.2f} MB)", err=True)


def site(
    folder: Annotated[Path, typer.Argument(help="A folder of results folders.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The site's folder: new, empty, or of an earlier site.")],
    title: Annotated[str, typer.Option(help="The title of the site.")] = "gahbench",
    base_url: Annotated[str, typer.Option(help="The address of the site, for a sitemap.")] = "",
    source_url: Annotated[
        str, typer.Option(help="The address of the folder elsewhere, for links of its README.md that lead out of it.")
    ] = "",
    plugins_dir: options.Plugins = None,
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
    one: options.Folder,
    other: Annotated[Path, typer.Argument(help="Another, whose differences from the first are printed.")],
) -> None:
    """Compare two results folders: paired differences in PSNR, and what differs in protocol, code and environment."""
    from gahbench.runs.comparison import compare as compare_folders

    _print_comparison(compare_folders(one, other), Console())


def _print_comparison(found: Comparison, console: Console) -> None:
    """Print the differences of two runs: of PSNR, then of all that they come from."""
    from gahbench.report import cells
    from gahbench.report.tables import markdown_table, table_of_rows

    one, other = found.names
    for dataset in dict.fromkeys(row.dataset for row in found.rows):
        rows = [row for row in found.rows if row.dataset == dataset]
        levels = list(dict.fromkeys(row.sigma for row in rows if row.sigma is not None))
        gaps = {(row.entrant, row.sigma): cells.with_half_width(row.difference, sign=True) for row in rows}
        body = [
            [row.entrant, cells.number(row.one), cells.number(row.other)]
            + [gaps[row.entrant, level] for level in (None, *levels)]
            for row in rows
            if row.sigma is None
        ]
        head = ["entrant", one, other, "difference", *(f"σ {level_name(sigma)}" for sigma in levels)]
        console.out(
            f"\n## {dataset}\n\nMean PSNR in dB; differences are {other} minus {one}, paired by images and noise,"
        )
        console.out("± half of their 95 % intervals.\n", highlight=False)
        console.out(markdown_table(table_of_rows(dataset, head, body, 1)), highlight=False)
    for title, lines in (
        ("Entrants", found.only),
        ("Protocol", found.protocol),
        ("Code", found.code),
        ("Environment", found.environment),
    ):
        console.out(f"\n{title}: " + ("no difference" if not lines else ""), highlight=False)
        for line in lines:
            console.out(f"- {line}", highlight=False)


def cite(
    targets: Annotated[list[str], typer.Argument(help="Results folders, and plugins: bf-cnn, oracle-threshold[sym4].")],
    plugins_dir: options.Plugins = None,
) -> None:
    """Print BibTeX of the works that plugins follow: of those on the board of a results folder, or by their names."""
    from gahbench.explore.bibliography import cite as bibliography

    typer.echo(bibliography(*targets, plugins=plugins_dir or ()), nl=False)


def claims(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Results folders, or folders of them; without any nothing is measured.")
    ] = None,
    claim: Annotated[
        list[str] | None,
        typer.Option("--claim", "-c", help="Only claims of this paper, id, paper/id or pattern. May be repeated."),
    ] = None,
    cases: Annotated[bool, typer.Option("--cases", help="Also each dataset and entrant of every claim.")] = False,
    suite: Annotated[
        Path | None,
        typer.Option("--suite", help="Write the suite that would decide those that are not decided; or several."),
    ] = None,
    form: Annotated[
        Literal["markdown", "csv", "json"] | None, typer.Option("--format", help="A table for elsewhere.")
    ] = None,
    out: options.TableOut = None,
    plugins_dir: options.Plugins = None,
) -> None:
    """Hold results against what publications say: each claim holds, fails, is undecided or not measured.

    A claim holds where the whole 95 % interval lies in its region, and fails where none of it does; over noise levels,
    bases, datasets and entrants all intervals count at once. Claims come with gahbench, in plugins, and in YAML files:
    -p mine.yaml.
    """
    import gahbench
    from gahbench.board.claim_suites import write_claim_suites
    from gahbench.report.claims import export_claims, print_claims

    found = gahbench.claims(*(folders or ()), only=claim or (), plugins=plugins_dir or ())
    if form or out:
        write_or_print(export_claims(found, form or "markdown", cases), out)
    else:
        print_claims(found, Console(), cases)
    if suite is not None:
        for file, names in write_claim_suites(found, suite):
            typer.echo(f"wrote {file}, for {', '.join(names)}", err=True)
