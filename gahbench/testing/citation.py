"""The check of the works that a plugin follows."""

from __future__ import annotations

from collections.abc import Iterator

from gahbench._util.errors import PluginError
from gahbench.registry.configured import Configured, citations
from gahbench.testing.findings import Finding


def check_citation(configured: Configured) -> Iterator[Finding]:
    """Check that a plugin's ``citation``, if it has one, is what bibliographies are made of."""
    check = "the works that it follows can be cited"
    try:
        found = citations(configured.plugin)
    except PluginError as error:
        yield Finding(check, False, str(error))
        return
    if found:
        yield Finding(check, True, "; ".join(map(str, found)))
