"""Trackers, which log runs to tools for tracking experiments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from gahbench.board.results import Results


class Tracker(ABC):
    """A tool for tracking experiments.

    Its methods are called in the main process of a run, from one thread. If a method raises an error, the run continues
    with a warning and does not call the tracker again. The constructor writes nothing, and raises
    :class:`gahbench.GahbenchError` if a required package is not installed.

    Rows are named as in progress lines: ``unet[width=16] on discs[size=32] (seed 1)``.

    Examples
    --------
    >>> import gahbench
    >>> class Printer(gahbench.Tracker):
    ...     # Prints scores.
    ...     def start(self, folder, suite):
    ...         print(f"{suite['suite']} in {folder}")
    ...     def log_training(self, row, step, values):
    ...         pass
    ...     def log_scores(self, row, values):
    ...         print(row, values)
    ...     def finish(self, results):
    ...         print(results)
    """

    #: Parameters that labels always show, default or not.
    label_parameters: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def start(self, folder: Path, suite: Mapping[str, Any]) -> None:
        """Start tracking a run.

        Parameters
        ----------
        folder
            The results folder. Trackers that write files should write them here.
        suite
            The run as plain JSON: ``suite`` (its name), ``units`` (the number of units), ``todo`` (the number of
            unfinished units), ``datasets``, ``entrants``, ``metrics``, ``splits``, ``sigmas``, ``seeds`` (lists), and
            ``training`` (the recipe of each trained row).
        """

    @abstractmethod
    def log_training(self, row: str, step: int, values: Mapping[str, float]) -> None:
        """Log values of a fit after a step: ``loss``, and ``validation_psnr`` in dB if it was measured at this step."""

    @abstractmethod
    def log_scores(self, row: str, values: Mapping[str, float]) -> None:
        """Log means over images by metric and noise level (``psnr/0.1``), as soon as they are measured."""

    @abstractmethod
    def finish(self, results: Results | None) -> None:
        """Finish with the results of the run; ``None`` if an error ended it."""
