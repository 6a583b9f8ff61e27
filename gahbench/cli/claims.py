"""The command ``claims``: what results say of what publications say."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gahbench.cli import suite_options


class Form(StrEnum):
    """Forms of a table for elsewhere."""

    markdown = "markdown"
    csv = "csv"
    json = "json"


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
    form: Annotated[Form | None, typer.Option("--format", help="A table for elsewhere.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File for that table.")] = None,
    plugins_dir: suite_options.Plugins = None,
) -> None:
    """Hold results against what publications say: each claim holds, fails, is undecided or not measured.

    A claim holds where the whole 95 % interval lies in its region, and fails where none of it does; over noise levels,
    bases, datasets and entrants all intervals count at once. Claims come with gahbench, in plugins, and in YAML files:
    -p mine.yaml.
    """
    from gahbench import api
    from gahbench.cli.comparing import write_or_print
    from gahbench.report.claims import exported, print_claims

    found = api.claims(*(folders or ()), only=claim or (), plugins=plugins_dir or ())
    if form or out:
        write_or_print(exported(found, form.value if form else "markdown", cases), out)
    else:
        print_claims(found, Console(), cases)
    if suite is not None:
        for file, names in api.write_claim_suites(found, suite):
            typer.echo(f"wrote {file}, for {', '.join(names)}", err=True)
