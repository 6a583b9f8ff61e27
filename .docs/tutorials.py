"""Tutorials: pages whose files are written and whose commands are run in an empty folder when the site is built.

A block of ``console`` is run by bash, and what it prints is shown below it. A block whose first line is a comment with
a file name, such as ``# suite.yaml``, is written to that file. Figures are read from the folder. Other blocks are only
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
#: Seconds that the commands of one block may take: several times what they take on two processor cores.
TIMEOUT = 600
#: How the folder is called in what commands print.
HOME = "~/tutorial"


def execute(page: str, folder: Path, figures: Path | None = None) -> str:
    """Return the page with what its commands print.

    Parameters
    ----------
    page
        The text of the page, Markdown.
    folder
        An empty folder, in which the commands run.
    figures
        Where figures are copied to, a folder below the root of the site's sources; ``None`` to leave them.

    Raises
    ------
    RuntimeError
        If a command fails, or a figure was not written; the message has the command and what it printed.
    """

    def shown(block: re.Match[str]) -> str:
        language, argument, code = block.groups()
        if language == "console":
            return f"{block[0]}\n```{{code-block}} text\n:class: output\n\n{run(code, folder)}```\n"
        if language == "{figure}":
            return block[0].replace(argument, keep(folder / argument, figures)) if figures else block[0]
        if name := FILE.match(code):
            (folder / name[1]).write_text(code, encoding="utf-8")
        return block[0]

    return BLOCK.sub(shown, page)


def run(commands: str, folder: Path) -> str:
    """Run commands in a folder, and return what they print."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GAHBENCH_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    environment |= {"PATH": path, "COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run(
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
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode} of a tutorial's commands:\n{commands}\n{done.stdout}")
    lines = [line.rstrip() for line in done.stdout.replace(str(folder), HOME).splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def keep(figure: Path, figures: Path) -> str:
    """Copy a figure that a command has written, and return its name for the page."""
    if not figure.is_file():
        raise RuntimeError(f"no command of the tutorial has written the figure {figure.name}")
    figures.mkdir(parents=True, exist_ok=True)
    shutil.copy(figure, figures / figure.name)
    return f"/{figures.relative_to(Path(__file__).parents[1])}/{figure.name}"
