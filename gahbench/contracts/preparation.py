"""What a plugin needs from elsewhere before it can compute: files to download, long work to be done once."""

from __future__ import annotations


class Preparable:
    """A plugin that may need something from elsewhere; by default nothing.

    What it gets is kept in files outside of the object, so that any other object of these parameters finds it there.
    A plugin that one of its parameters names is asked for itself, before this one is built.
    """

    def missing(self) -> tuple[str, ...]:
        """Return what is not on this machine yet and takes a network or long work to get, each in words.

        It looks for files alone: it downloads nothing, and takes no time to speak of.
        """
        return ()

    def prepare(self) -> None:
        """Get what is :meth:`missing`; where nothing is, do nothing for which a network is needed.

        Raises
        ------
        DataError, ValueError
            If it cannot be had: says what could not be reached, and where to put which file by hand.
        """
