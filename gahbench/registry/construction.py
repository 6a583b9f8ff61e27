"""Which plugin from outside is being imported or built, for a process that watches this one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from gahbench._util.errors import PluginError


class _Watch:
    """Reports imports and constructor calls of plugins from outside.

    Parameters
    ----------
    report
        Called with what begins, and with what goes on when that has ended; an empty text for nothing.
    broken
        Plugins that are not to be built, since they took too long or ended the process, and why.
    """

    def __init__(self) -> None:
        self.report: Callable[[str], None] = lambda text: None
        self.broken: dict[str, str] = {}
        self._stack: list[str] = [""]

    @contextlib.contextmanager
    def __call__(self, where: str) -> Iterator[None]:
        """Report that a plugin is imported or built meanwhile.

        Raises
        ------
        PluginError
            If it is one that is not to be built.
        """
        if where in self.broken:
            raise PluginError(f"{where} {self.broken[where]}")
        self._stack.append(where)
        self.report(where)
        try:
            yield
        finally:
            self._stack.pop()
            self.report(self._stack[-1])


#: Of this process.
watch = _Watch()
