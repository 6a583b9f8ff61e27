"""Execution of tutorials: the build of the site writes their files and runs their commands in an empty folder.

Bash runs each ``console`` block, and its output is shown below the block. A block whose first line is a comment with a
file name, such as ``# suite.yaml``, is written to that file. Figures are read from the folder. Other blocks are only
shown.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(r"^```([\w{}-]+)(?: (\S+))?\n(.*?)^```\n", flags=re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# ([\w.-]+\.\w+)\n")
#: The time limit of a block in seconds, several times the time that it takes on two processor cores.
TIMEOUT = 600
#: The name of the folder in the shown output.
SHOWN_FOLDER = "~/tutorial"


def execute(page: str, folder: Path, figures: Path | None = None) -> str:
    """Run the commands of a page, and return the page with their output.

    Parameters
    ----------
    page
        The Markdown of the page.
    folder
        An empty folder, in which the commands run.
    figures
        The folder to which figures are copied, below the root of the sources of the site. ``None`` copies no figures.

    Raises
    ------
    RuntimeError
        If a command fails, with its output in the message, or if no command wrote a figure.
    """

    def add_output(block: re.Match[str]) -> str:
        language, argument, code = block.groups()
        if language == "console":
            return f"{block[0]}\n```{{code-block}} text\n:class: output\n\n{run(code, folder)}```\n"
        if language == "{figure}":
            return block[0].replace(argument, copy_figure(folder / argument, figures)) if figures else block[0]
        if name := FILE.match(code):
            (folder / name[1]).write_text(code, encoding="utf-8")
        return block[0]

    return BLOCK.sub(add_output, page)


def run(commands: str, folder: Path) -> str:
    """Run commands in a folder, and return their output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GAHBENCH_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    environment |= {"PATH": path, "COLUMNS": "100", "NO_COLOR": "1"}
    completed = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    if completed.returncode:
        raise RuntimeError(
            f"exit status {completed.returncode} of the commands of a tutorial:\n{commands}\n{completed.stdout}"
        )
    lines = [line.rstrip() for line in completed.stdout.replace(str(folder), SHOWN_FOLDER).splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def copy_figure(figure: Path, figures: Path) -> str:
    """Copy a figure that a command wrote, and return its path for the page."""
    if not figure.is_file():
        raise RuntimeError(f"no command of the tutorial has written the figure {figure.name}")
    figures.mkdir(parents=True, exist_ok=True)
    shutil.copy(figure, figures / figure.name)
    return f"/{figures.relative_to(Path(__file__).parents[1])}/{figure.name}"
