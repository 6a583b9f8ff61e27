"""Engines: where work units run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from gahbench.contracts.jobs import Job


class Engine(ABC):
    """A way to run work units."""

    #: Parameters that labels always show, default or not.
    label_parameters: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def run(self, job: Job) -> None:
        """Run the units of a job, in an order that respects what each needs, reporting events as they come.

        The engine need not be believed: afterwards the state of every unit is read from the store.
        """
