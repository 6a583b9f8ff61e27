"""Plugins that had another name, by which suites and specs may still name them: with a warning."""

from __future__ import annotations

from typing import Any

from gahbench._util.deprecation import warn_deprecated

#: The names of today, by kind and old name; YAML reads ``true`` as a truth value.
PLUGINS = {("basis", "true"): "true-basis"}


def plugin_name(kind: str, given: Any) -> Any:
    """Return the current name of a plugin, given its name, or a list of names; anything else unchanged."""
    if isinstance(given, list | tuple):
        return [plugin_name(kind, one) for one in given]
    old = str(given).lower() if isinstance(given, bool) else given
    new = PLUGINS.get((kind, old)) if isinstance(old, str) else None
    if new is None:
        return given
    warn_deprecated(f"the {kind} '{old}'", since="0.1", use_instead=f"'{new}'")
    return new
