"""Attributes and methods that plugins of several kinds share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    # The annotation of a field, which is part of keys, keeps its text.
    from gahbench.contracts.citation import Work as Citation


class Preparable:
    """A plugin that may need preparation, such as downloads; by default it needs none."""

    #: The name on boards (:mod:`gahbench.board.display_names`); if empty, it follows from the registered name.
    display_name = ""
    #: The publications that the plugin implements; a string is a key of ``plugins/papers.bib``.
    citation: ClassVar[Citation | tuple[Citation, ...] | None] = None
    #: Parameters that labels always show, default or not.
    label_parameters: ClassVar[tuple[str, ...]] = ()

    def missing(self) -> tuple[str, ...]:
        """Return a description of each download or computation that is still to be done on this machine."""
        return ()

    def prepare(self) -> None:
        """Obtain all items that :meth:`missing` returns; do not use the network if nothing is missing."""
