"""Contract checks of plugins of every kind: citations, and preparation."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any
from unittest import mock

from gahbench._util.errors import PluginError
from gahbench.registry.configured import Configured, citations
from gahbench.registry.preparation import preparation
from gahbench.testing.findings import Finding, attempt


def check_citation(configured: Configured) -> Iterator[Finding]:
    """Check that a plugin's ``citation``, if it has one, is a citation or a tuple of them."""
    check = "the works that it follows can be cited"
    try:
        found = citations(configured.plugin)
    except PluginError as error:
        yield Finding(check, False, str(error))
        return
    if found:
        yield Finding(check, True, "; ".join(map(str, found)))


def check_preparation(configured: Configured) -> Iterator[Finding]:
    """Check that a plugin says what is missing without a network, and that nothing is once it is prepared."""
    own = preparation(configured)
    if own is None:
        return
    with _without_network() as reached:
        missing = own.missing()
    detail = f"it asked for {reached[0]}; look for files alone" if reached else "; ".join(missing)
    yield Finding("says what is missing without a network", not reached, detail)

    def left() -> str | None:
        own.prepare()
        return "; ".join(own.missing()) or None

    yield attempt("prepare leaves nothing missing", left)


@contextlib.contextmanager
def _without_network() -> Iterator[list[str]]:
    """Refuse every connection, and yield a list of those that were asked for."""
    reached: list[str] = []

    def refuse(*arguments: Any, **keywords: Any) -> Any:
        reached.append(", ".join(str(one) for one in arguments if not isinstance(one, socket.socket)))
        raise OSError("missing() may not use a network")

    with mock.patch.object(socket.socket, "connect", refuse), mock.patch.object(socket, "getaddrinfo", refuse):
        yield reached
