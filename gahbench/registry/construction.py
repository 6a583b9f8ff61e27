"""Reports which plugin from outside is being imported or built, so that another process can limit its time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from gahbench._util.errors import PluginError


class _Watch:
    """Reports imports and constructor calls of plugins from outside."""

    def __init__(self) -> None:
        self.report: Callable[[str], None] = lambda name: None
        self.broken: dict[str, str] = {}
        self._stack: list[str] = [""]

    @contextlib.contextmanager
    def __call__(self, name: str, is_outside: bool = True) -> Iterator[None]:
        """Report that a plugin is imported or built meanwhile; a built-in plugin is not reported."""
        if not is_outside:
            yield
            return
        if name in self.broken:
            raise PluginError(f"{name} {self.broken[name]}")
        self._stack.append(name)
        self.report(name)
        try:
            yield
        finally:
            self._stack.pop()
            self.report(self._stack[-1])


#: The watch of this process.
watch = _Watch()
