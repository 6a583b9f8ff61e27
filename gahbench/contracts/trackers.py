"""Trackers: tools for tracking experiments, which a run is written into while it goes on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from gahbench.board.results import Results


class Tracker(ABC):
    """A tool for tracking experiments.

    Its methods are called in the process that leads the run, from one thread. What one of them raises becomes a
    warning, and the tracker is not called again: no run fails by it. The constructor writes nothing, and raises
    :class:`gahbench.GahbenchError` where a package is not installed.

    A row is named as the board and lines of progress have it: ``unet[width=16] on discs[size=32] (seed 1)``.
    """

    #: Parameters that labels always show, default or not.
    label_parameters: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def start(self, folder: Path, suite: Mapping[str, Any]) -> None:
        """Begin.

        Parameters
        ----------
        folder
            The results folder. What is written on this machine is best kept in it.
        suite
            What is run, as plain JSON: ``suite`` (its name), ``units`` (how many), ``todo`` (how many of them are to be
            done), ``datasets``, ``entrants``, ``metrics``, ``splits``, ``sigmas``, ``seeds`` (lists), and ``training``
            (of each row that is trained, its recipe).
        """

    @abstractmethod
    def log_training(self, row: str, step: int, values: Mapping[str, float]) -> None:
        """Log values of a fit after a step: ``loss``, and ``validation_psnr`` in dB where it was measured again."""

    @abstractmethod
    def log_scores(self, row: str, values: Mapping[str, float]) -> None:
        """Log means over images of one metric, when it is measured, by metric and noise level: ``psnr/0.1``."""

    @abstractmethod
    def finish(self, results: Results | None) -> None:
        """End, with the results; ``None`` if the run was ended by an error."""
