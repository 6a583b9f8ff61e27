"""What a plugin needs from elsewhere before it can compute: files to download, long work to be done once."""

from __future__ import annotations


class Preparable:
    """A plugin that may need something from elsewhere; by default nothing."""

    def missing(self) -> tuple[str, ...]:
        """Return what is not on this machine yet and takes a network or long work to get, each in words."""
        return ()

    def prepare(self) -> None:
        """Get what is :meth:`missing`; where nothing is, do nothing for which a network is needed."""
