"""Trackers: tools for tracking experiments, to which a run is logged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from gahbench.board.results import Results


class Tracker(ABC):
    """A tool for tracking experiments.

    Its methods are called in the process that leads the run, from one thread. If a method raises an error, the error
    becomes a warning and the tracker is not called again: the run goes on. The constructor writes nothing, and raises
    :class:`gahbench.GahbenchError` if a package is not installed.

    Rows have the names that lines of progress show: ``unet[width=16] on discs[size=32] (seed 1)``.
    """

    #: Parameters that labels always show, default or not.
    label_parameters: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def start(self, folder: Path, suite: Mapping[str, Any]) -> None:
        """Begin.

        Parameters
        ----------
        folder
            The results folder. Trackers that write on this machine should write here.
        suite
            The run as plain JSON: ``suite`` (its name), ``units`` (their number), ``todo`` (the number of unfinished
            units), ``datasets``, ``entrants``, ``metrics``, ``splits``, ``sigmas``, ``seeds`` (lists), and ``training``
            (the recipe of each trained row).
        """

    @abstractmethod
    def log_training(self, row: str, step: int, values: Mapping[str, float]) -> None:
        """Log values of a fit after a step: ``loss``, and ``validation_psnr`` in dB if it was measured again."""

    @abstractmethod
    def log_scores(self, row: str, values: Mapping[str, float]) -> None:
        """Log means over images of a metric by metric and noise level, ``psnr/0.1``, as soon as they are measured."""

    @abstractmethod
    def finish(self, results: Results | None) -> None:
        """End, with the results; ``None`` if the run was ended by an error."""
