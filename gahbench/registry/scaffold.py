"""``gahbench new``: a plugin file to start from."""

from __future__ import annotations

import importlib.resources
import re
from pathlib import Path

from gahbench._util.errors import ParameterError, PluginError
from gahbench.registry.plugin import KINDS
from gahbench.registry.registry import Registry

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def write_plugin(kind: str, name: str, folder: Path) -> Path:
    """Write a one-file plugin that runs as it is.

    Parameters
    ----------
    kind
        What it brings; there must be a template of it.
    name
        Lower-case words joined by hyphens; the file has underscores for them.
    folder
        Where to write it.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ParameterError
        If the name is not of that form.
    PluginError
        If the name is taken, or the file exists.
    """
    if not _NAME.fullmatch(name):
        raise ParameterError(f"'{name}': a plugin's name is lower-case words joined by hyphens, such as my-denoiser")
    registry = Registry()
    for other in KINDS:
        if name in registry.names(other):
            raise PluginError(f"'{name}' is the name of a {other} already; choose another")
    file = folder / f"{name.replace('-', '_')}.py"
    if file.exists():
        raise PluginError(f"{file} exists; choose another name or folder")
    template = importlib.resources.files("gahbench.registry").joinpath("templates", f"{kind}.py.txt")
    text = template.read_text(encoding="utf-8")
    class_name = "".join(word.capitalize() for word in name.split("-"))
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text.replace("PLUGIN_NAME", name).replace("CLASS_NAME", class_name), encoding="utf-8")
    return file
