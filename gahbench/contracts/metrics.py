"""Metrics: measurements of a denoiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from gahbench._util.shapes import Shape
from gahbench.contracts.needs import Need
from gahbench.contracts.preparation import Preparable
from gahbench.contracts.scoring import Scores

if TYPE_CHECKING:
    from gahbench.contracts.citation import Citations
    from gahbench.evaluation.evaluation import Evaluation


class Metric(Preparable, ABC):
    """A measurement of a denoiser on images at noise levels."""

    #: Unit of the values, such as ``dB``; empty for plain numbers.
    unit: ClassVar[str] = ""
    #: The direction in which values are better; ``None`` where neither is.
    higher_is_better: ClassVar[bool | None] = True
    #: How axes of figures call the value (``""``) and its parts, unit included, such as ``{"": "distance from {to}"}``,
    #: where ``{to}`` stands for the value of a parameter. Figures of all metrics show those with a title.
    titles: ClassVar[Mapping[str, str]] = {}
    #: Parts that hold the value by chance alone, by the part to compare them with (``""`` for the value).
    nulls: ClassVar[Mapping[str, str]] = {}
    #: Values that boards compute as the ratio of the means of two parts, with its interval: by name of the value
    #: (``""`` for the headline), numerator and denominator. The mean of single images' ratios is another number.
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {}
    #: How many images it needs at least; a suite with fewer is refused.
    min_images: ClassVar[int] = 1
    #: Its needs beside images and the denoiser (:data:`gahbench.contracts.needs.Need`); an entrant
    #: without it is not measured.
    needs: ClassVar[frozenset[Need]] = frozenset()
    #: Parameters that labels always show, default or not.
    label_parameters: ClassVar[tuple[str, ...]] = ()
    #: The works that it follows.
    citation: ClassVar[Citations] = None

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError``, naming accepted ones, for images (C, H, W) or noise levels it cannot measure at."""

    @abstractmethod
    def score(self, evaluation: Evaluation) -> Scores:
        """Measure the denoiser of an evaluation: its clean, noisy and denoised images at every noise level."""
