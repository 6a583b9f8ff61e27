"""The command line: all commands, in the order in which the help lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from gahbench.cli import boards, folders, looking, plugins, suites

app = typer.Typer(
    help="Train, score and rank image denoisers against optimal rates, oracles and optimal denoisers.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    # Rich markup would swallow [key=value] and [default: ...].
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
#: The commands by the panel of the help in which they are listed.
_PANELS = {
    "Run": (suites.run, suites.plan, suites.prepare, folders.status, folders.why, folders.verify),
    "Look": (boards.leaderboard, boards.report, boards.draw, boards.compare, boards.claims, looking.preview,
             looking.inspect, looking.sample, folders.weights),
    "Share": (boards.site, boards.cite),
    "Extend": (plugins.list_, plugins.describe, plugins.check, plugins.new),
}  # fmt: skip
for panel, commands in _PANELS.items():
    for command in commands:
        app.command(command.__name__.rstrip("_"), rich_help_panel=panel)(command)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        import gahbench

        typer.echo(f"gahbench {gahbench.__version__}")
        raise typer.Exit
