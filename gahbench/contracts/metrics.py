"""Metrics: measurements of a denoiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from gahbench._util.shapes import Shape
from gahbench.contracts.scoring import Scores

if TYPE_CHECKING:
    from gahbench.evaluation.evaluation import Evaluation


#: ``training``: the images that the denoiser learned from (:attr:`Evaluation.learned_from`); ``partner``: the same
#: architecture or reference, learned from other images (:attr:`Evaluation.partner`); ``samples``: images sampled from
#: the denoiser (:attr:`Evaluation.samples`); ``snapshots``: networks along the training
#: (:attr:`Evaluation.snapshots`); ``test``: the test split alone, since the split plays no part: it is measured once.
Need = Literal["training", "partner", "samples", "snapshots", "test"]
NEEDS: tuple[Need, ...] = get_args(Need)


class Metric(ABC):
    """A measurement of a denoiser on images at noise levels."""

    #: Unit of the values, as figures and tables print it.
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True
    #: How many images it needs at least; a suite with fewer is refused.
    min_images: ClassVar[int] = 1
    #: What of an evaluation it needs beside images and the denoiser; where an entrant has none, it is not measured.
    needs: ClassVar[frozenset[Need]] = frozenset()
    label_parameters: ClassVar[tuple[str, ...]] = ()

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError``, saying what is accepted, for images (C, H, W) or noise levels it cannot measure at."""

    @abstractmethod
    def score(self, evaluation: Evaluation) -> Scores:
        """Measure the denoiser of an evaluation: its clean, noisy and denoised images at every noise level."""
