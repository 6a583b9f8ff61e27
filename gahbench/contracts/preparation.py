"""Downloads and other preparation that a plugin may need before it can compute."""

from __future__ import annotations


class Preparable:
    """A plugin that may need preparation; by default it needs none."""

    def missing(self) -> tuple[str, ...]:
        """Return a description of each download or computation that is still to be done on this machine."""
        return ()

    def prepare(self) -> None:
        """Obtain all items that :meth:`missing` returns; do not use the network if nothing is missing."""
