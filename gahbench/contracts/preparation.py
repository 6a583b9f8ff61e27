"""Downloads, and long work to be done once, that a plugin may need before it can compute."""

from __future__ import annotations


class Preparable:
    """A plugin that may need preparation; by default it needs none."""

    def missing(self) -> tuple[str, ...]:
        """Return in words each thing that this machine lacks, and that takes a download or long work to get."""
        return ()

    def prepare(self) -> None:
        """Get the things that are :meth:`missing`; if nothing is missing, do not use a network."""
