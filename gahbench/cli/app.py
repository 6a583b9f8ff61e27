"""The command line: all commands, in the order in which the help lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from gahbench.cli import boards, drawing, folders, looking, plugins, suites

app = typer.Typer(
    help="Train, score and rank image denoisers against optimal rates, oracles and optimal denoisers.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    # Rich markup would swallow [key=value] and [default: ...].
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.add_typer(drawing.app, name="draw")
for command in (
    suites.run,
    suites.plan,
    suites.prepare,
    plugins.list_,
    plugins.describe,
    looking.preview,
    looking.inspect,
    looking.sample,
    folders.work,
    folders.status,
    folders.why,
    folders.collect,
    boards.leaderboard,
    boards.report,
    boards.site,
    boards.compare,
    boards.cite,
    folders.weights,
    folders.verify,
    boards.claims,
    plugins.check,
    plugins.new,
):
    app.command(command.__name__.rstrip("_"))(command)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        import gahbench

        typer.echo(f"gahbench {gahbench.__version__}")
        raise typer.Exit
