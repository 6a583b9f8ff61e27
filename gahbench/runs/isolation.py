"""Which outside plugins a unit needs, and which units may be done by one process.

Code that a process has loaded can change all that is computed there. So a worker process loads the plugin files and
packages that its unit names, and no others, and then does units of the same outside entrant, dataset and metric only:
an outside entrant can spoil its row, an outside metric its column, an outside dataset its table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gahbench._util.origins import PluginFiles, packages_of
from gahbench.contracts.unit import Unit

#: Of units whose record does not say where their plugins come from: they are done with all plugins.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Code:
    """The code from outside gahbench that a process loads for a unit.

    Parameters
    ----------
    files
        Plugin files.
    packages
        Names of installed packages; ``None`` for all.
    """

    files: tuple[Path, ...]
    packages: tuple[str, ...] | None


class Isolation:
    """Finds the outside code that units need.

    Parameters
    ----------
    files
        All plugin files of the run.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = PluginFiles(files)

    def code(self, unit: Unit) -> Code:
        """Return the outside code that a unit names."""
        if unit.origins is None:
            return Code(self._files.all, None)
        return Code(self._files.of(unit.origins), packages_of(unit.origins))


def isolation_key(unit: Unit) -> str:
    """Return a text that is the same for units that may share a process: empty for those of built-in plugins alone."""
    return UNKNOWN if unit.origins is None else unit.outsiders
