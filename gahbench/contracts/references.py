"""References: denoisers that gahbench does not train, and the architectures that some of them are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.preparation import Preparable
from gahbench.contracts.truth import Denoiser, TrainingData, TrainingSplit, Truth, needed, validate_kind

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from gahbench.jacobian import LinearMaps


@dataclass(frozen=True, eq=False)
class ArchitectureFactory:
    """An architecture with its parameters, which builds networks for images of any shape.

    A plugin's constructor receives this object for a parameter that names an architecture.

    Parameters
    ----------
    label
        The architecture's name and parameters, as shown in tables.
    build
        Returns a new network with fresh weights for images of shape (C, H, W).
    parameters
        The values of all parameters except those that the dataset fills in.
    with_parameters
        Returns a factory with new values of the named parameters; raises ``ParameterError`` for a wrong type.

    Examples
    --------
    >>> import gahbench
    >>> untrained = gahbench.create("reference", "untrained", architecture="dncnn[width=4,layers=3]")
    >>> untrained.architecture.label, untrained.architecture.parameters["width"]
    ('dncnn[width=4,layers=3]', 4)
    >>> untrained.architecture.with_parameters(width=8).label
    'dncnn[width=8,layers=3]'
    """

    label: str
    build: Callable[[Shape], nn.Module]
    parameters: Mapping[str, Any]
    with_parameters: Callable[..., ArchitectureFactory]

    def __deepcopy__(self, memo: object) -> ArchitectureFactory:
        """Return the factory itself, which is immutable, so that copies of a reference share it."""
        return self


class Reference(Denoiser, Preparable):
    """A denoiser that gahbench does not train.

    The ``kind`` decides which parts of the truth the reference may use: ``classical`` and ``trained`` (with published
    weights) no part, ``optimal`` the dataset, ``oracle`` and ``bound`` all parts. An oracle is a limit for a family of
    practical denoisers; a bound is a limit for all denoisers. References of all kinds may learn from training and
    validation images (:meth:`fit`).

    Examples
    --------
    >>> import gahbench
    >>> class Shrink(gahbench.Reference):
    ...     # Pulls pixels towards grey, the more the stronger the noise.
    ...     kind = "classical"
    ...     def denoise(self, noisy, sigma, truth):
    ...         return 0.5 + (noisy - 0.5) / (1 + sigma**2)
    """

    #: Whether the reference learns from the training images of networks; if so, it has a row for each number of images
    #: in a sweep, and a partner that learns from the other half.
    fits_training_subset: ClassVar[bool] = False
    #: Numbers of training images of published weights, if it is known that these are the first images of a half. With
    #: :meth:`select_weights`, the reference has a row for each number, and metrics compare it with these images.
    published_images: tuple[int, ...] = ()
    #: The half of the training images of published weights.
    published_half: TrainingSplit = "A"
    #: The other half, if there are published weights of its images too.
    published_partner: TrainingSplit | None = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Refuse a class whose ``kind`` is unknown, with a ``ValueError``."""
        super().__init_subclass__(**keywords)
        if isinstance(cls.kind, str):
            validate_kind(cls.kind)

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError``, naming accepted shapes, for images (C, H, W) that the reference cannot denoise."""

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the reference is defined on a dataset; suites leave out its row on other datasets."""
        return True

    def fit(self, examples: TrainingData) -> None:
        """Learn from training and validation images of the dataset, before anything is denoised.

        This method is called once. Parameters for a noise level may be learned later, at the first call of
        :meth:`denoise` with that noise level.
        """

    def move(self, device: torch.device) -> None:
        """Compute on a device from now on, with inputs and results on the CPU; by default, remain on the CPU."""

    def as_network(self, shape: Shape) -> nn.Module | None:
        """Return the reference as a network on images (C, H, W), with the ``forward(noisy, sigma)`` of an architecture.

        The result is ``None``, the default, if the reference is not a network. Samplers pass a network the noise level
        of each image, and otherwise denoise the images of each noise level together.
        """
        return None

    def select_weights(self, split: TrainingSplit, count: int) -> None:
        """Use the weights of ``count`` images of a half from now on, for :attr:`published_images`."""

    @property
    def num_parameters(self) -> int | None:
        """Number of trained parameters, for the board; read after scoring."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the board, such as which parameters were tuned on which images; read after scoring."""
        return ()

    @needed("jacobian")
    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the Jacobians of :meth:`denoise` at the noisy images; ``None`` if they cannot be computed.

        By default :meth:`denoise` is differentiated automatically, and the result is compared with finite differences,
        so that a denoiser which computes partly outside torch has no Jacobian rather than a wrong Jacobian.
        """
        from gahbench.jacobian.autograd import autograd_jacobians

        def forward(images: Tensor, first: int) -> Tensor:
            clean = truth.clean[first : first + len(images)]
            return self.denoise(images, sigma, replace(truth, clean=clean, start=truth.start + first))

        return autograd_jacobians(forward, noisy, sigma)
