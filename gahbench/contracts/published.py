"""References with published weights, whose training images are known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from gahbench.contracts.truth import TrainingSplit


@dataclass(frozen=True)
class PublishedTraining:
    """The training images of published weights, which have a row for each number of images.

    Parameters
    ----------
    train_images
        Numbers of training images: the first images of the half.
    half
        The half of the training images, ``A`` or ``B``, or ``train``.
    has_partner
        Whether there are weights of the other half too.

    Examples
    --------
    >>> import gahbench
    >>> gahbench.PublishedTraining((10, 100), "A", has_partner=True).partner
    'B'
    """

    train_images: tuple[int, ...]
    half: TrainingSplit = "A"
    has_partner: bool = False

    @property
    def partner(self) -> TrainingSplit | None:
        """The half of the partner; ``None`` without a partner."""
        if not self.has_partner:
            return None
        return "A" if self.half == "B" else "B"


class Published(ABC):
    """Base class, in addition to :class:`gahbench.Reference`, of published weights whose training images are known.

    Such a reference has a row for each number of training images, and metrics compare it with these images and with
    its partner, as they do for architectures.
    """

    @property
    @abstractmethod
    def published_training(self) -> PublishedTraining | None:
        """The training images; ``None`` if they are not known, as for other references."""

    @abstractmethod
    def select_weights(self, split: TrainingSplit, count: int) -> None:
        """Use the weights of ``count`` images of a half from now on; called before anything is denoised."""
