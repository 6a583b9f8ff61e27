"""New plugin files from templates, for ``gahbench new``, and commands to try them."""

from __future__ import annotations

import importlib.resources
import re
import shlex
from pathlib import Path

from gahbench._util.errors import ParameterError, PluginError
from gahbench.registry.plugin import KINDS, Kind
from gahbench.registry.registry import Registry

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
#: Commands that use a new plugin, by kind.
_COMMANDS: dict[Kind, str] = {
    "architecture": 'gahbench run quick --plugins-dir {file} --entrant "{name}[width=16]"',
    "dataset": "gahbench preview {name} --plugins-dir {file}",
    "reference": "gahbench run quick --plugins-dir {file} --entrant {name}",
    "basis": 'gahbench run quick --plugins-dir {file} --entrant "oracle-threshold[{name}]"',
    "metric": 'gahbench run quick --plugins-dir {file} --set "scoring.metrics=[psnr,{name}]"',
    "engine": "gahbench run quick --plugins-dir {file} --engine {name}",
    "tracker": "gahbench run quick --plugins-dir {file} --track {name}",
    "claim": "gahbench claims --plugins-dir {file} --claim {name}",
}


def next_commands(kind: Kind, name: str, file: Path) -> tuple[str, str]:
    """Return two shell commands: the first checks a new plugin file, the second uses the plugin."""
    path = shlex.quote(str(file))
    return f"gahbench check {path}", _COMMANDS[kind].format(name=name, file=path)


def write_plugin(kind: Kind, name: str, folder: Path) -> Path:
    """Write a plugin file from the template of a kind; the file runs unchanged."""
    if not _NAME.fullmatch(name):
        raise ParameterError(f"'{name}': a plugin's name is lower-case words joined by hyphens, such as my-denoiser")
    registry = Registry()
    for existing_kind in KINDS:
        if name in registry.names(existing_kind):
            raise PluginError(f"'{name}' is already the name of a {existing_kind}; choose another name")
    suffix = "yaml" if kind == "claim" else "py"
    file = folder / f"{name.replace('-', '_')}.{suffix}"
    if file.exists():
        raise PluginError(f"{file} already exists; choose another name or folder")
    template = importlib.resources.files("gahbench.registry").joinpath("templates", f"{kind}.{suffix}.txt")
    text = template.read_text(encoding="utf-8")
    class_name = "".join(word.capitalize() for word in name.split("-"))
    folder.mkdir(parents=True, exist_ok=True)
    for placeholder, value in (("PLUGIN_NAME", name), ("CLASS_NAME", class_name), ("THIS_FILE", file.name)):
        text = text.replace(placeholder, value)
    file.write_text(text, encoding="utf-8")
    return file
