"""The nouns: what a dataset, a reference, a basis, a metric and an engine must offer.

An architecture needs no base class: it is any ``torch.nn.Module`` whose ``forward(noisy, sigma)`` returns the
denoised image. Everywhere, images are float32 tensors of shape (N, C, H, W) in units where an image lies in
[0, 1], and ``sigma`` is the standard deviation of the noise in the same units.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gahbench.evaluation import Evaluation
    from gahbench.jobs import Job

Split = Literal["train", "validation", "test"]
Shape = tuple[int, int, int]
DenoiserKind = Literal["trained", "classical", "oracle", "optimal"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Optimum:
    """What is known about the best possible denoiser of a dataset.

    Parameters
    ----------
    kind
        ``exact``: the posterior mean can be computed; ``bracket``: a lower and an upper bound on its error;
        ``rate``: only the slope; ``none``: nothing.
    slope
        Optimal slope of output PSNR against input PSNR as sigma tends to 0, in dB per dB: alpha/(alpha+1) where
        coefficients decay as k^-(alpha+1) (Kadkhodaie 2024, equation 13).
    """

    kind: Literal["exact", "bracket", "rate", "none"] = "none"
    slope: float | None = None


class Dataset(ABC):
    """An image family with its parameters.

    The images are deterministic and prefix-stable: the first k of n are the k.
    """

    #: Parameters that the label of this dataset always shows, default or not.
    always_shown: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Shape (C, H, W) of one image."""

    @abstractmethod
    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images ``start`` to ``start + count`` of a split.

        Returns
        -------
        Tensor
            Float32 of shape (count, C, H, W), on the CPU; values in [0, 1] (Gaussian families may leave it, rarely).

        Raises
        ------
        DataError
            If the split holds fewer images.
        """

    def available(self, split: Split) -> int | None:
        """Return how many images a split holds; ``None`` where a generator never ends."""
        return None

    @property
    def optimum(self) -> Optimum:
        """What is known about the best possible denoiser on this family."""
        return Optimum()

    def fingerprint(self) -> str | None:
        """Return the SHA-256 of the pixels for images that come from files; it becomes part of every key."""
        return None


class Denoiser(Protocol):
    """What a metric measures: a trained network or a reference, seen alike."""

    kind: DenoiserKind

    def denoise(self, noisy: Tensor, sigma: float, clean: Tensor) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); only an oracle may look at ``clean``."""
        ...

    def risk(self, clean: Tensor, sigma: float) -> Tensor | None:
        """Return the expected mean squared error per pixel of each image, shape (N,), where it has a closed form."""
        ...


class Reference(ABC):
    """A denoiser that is not trained: classical, oracle (sees the clean image) or optimal."""

    kind: DenoiserKind = "classical"
    always_shown: ClassVar[tuple[str, ...]] = ()

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError``, saying what is accepted, for images (C, H, W) that it cannot denoise."""

    @abstractmethod
    def denoise(self, noisy: Tensor, sigma: float, clean: Tensor) -> Tensor:
        """Return the denoised images.

        Parameters
        ----------
        noisy
            Shape (N, C, H, W).
        sigma
            Standard deviation of the noise.
        clean
            The clean images, which only a reference of kind ``oracle`` may use.
        """

    def risk(self, clean: Tensor, sigma: float) -> Tensor | None:
        """Return the expected mean squared error per pixel of each image, shape (N,), where it has a closed form."""
        return None


class Basis(ABC):
    """Analysis and synthesis of a batch of images."""

    #: Whether analysis is an orthonormal change of basis, so that coefficients carry white noise to white noise.
    orthonormal: ClassVar[bool] = True
    always_shown: ClassVar[tuple[str, ...]] = ()

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError``, saying what is accepted, for images (C, H, W) that it cannot analyse."""

    @abstractmethod
    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, ...), (N, C, H, W) when orthonormal, of images (N, C, H, W)."""

    @abstractmethod
    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images (N, C, H, W) whose analysis the coefficients are."""

    def bands(self, shape: Shape) -> Tensor:
        """Return an integer label per coefficient, broadcastable to one image's coefficients.

        Coefficients of one label share their statistics; label 0 is the coarse scale, which practical thresholding
        leaves alone. The default is a single band, labelled 1.
        """
        import torch

        return torch.ones(shape[1:], dtype=torch.long)


@dataclass(frozen=True)
class Scores:
    """Values of one metric, as columns of equal length.

    Parameters
    ----------
    value
        The values, shape (R,).
    sigma, image
        Noise level and image index of each value, shape (R,); ``None`` where a value belongs to none in particular.
    """

    value: Sequence[float]
    sigma: Sequence[float] | None = None
    image: Sequence[int] | None = None

    @classmethod
    def grid(cls, values: Tensor, sigmas: Sequence[float]) -> Scores:
        """Lay out values of shape (S, N): one for every noise level and image."""
        levels, count = values.shape
        return cls(
            value=values.double().flatten().tolist(),
            sigma=[sigma for sigma in sigmas for _ in range(count)],
            image=list(range(count)) * levels,
        )

    @classmethod
    def per_image(cls, values: Tensor) -> Scores:
        """Lay out values of shape (N,): one for every image, over all noise levels."""
        return cls(value=values.double().tolist(), image=list(range(len(values))))


class Metric(ABC):
    """A measurement of a denoiser on images at noise levels."""

    #: Unit of the values, as figures and tables print it.
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True
    always_shown: ClassVar[tuple[str, ...]] = ()

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError``, saying what is accepted, for images (C, H, W) or noise levels it cannot measure at."""

    @abstractmethod
    def score(self, evaluation: Evaluation) -> Scores:
        """Measure the denoiser of an evaluation: its clean, noisy and denoised images at every noise level."""


class Engine(ABC):
    """Where work units run."""

    always_shown: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def run(self, job: Job) -> None:
        """Run the units of a job, in an order that respects what each requires, reporting events as they come.

        The engine need not be believed: afterwards the state of every unit is read from the store.
        """


class Architecture(Protocol):
    """A trainable denoiser: any ``torch.nn.Module`` with this ``forward``.

    Its constructor may ask for ``channels: int`` or ``shape: tuple[int, int, int]``; both come from the dataset. All
    other parameters are the plugin's own. ``forward`` raises ``ValueError`` for an image size it cannot take.
    """

    def forward(self, noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Return the denoised images (never a residual) for ``noisy`` (N, C, H, W) and ``sigma`` (N,)."""
        ...
