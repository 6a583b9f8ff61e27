"""The nouns: what a dataset, a reference, a basis, a metric and an engine must offer.

An architecture needs no base class: it is any ``torch.nn.Module`` whose ``forward(noisy, sigma)`` returns the
denoised image. Everywhere, images are float32 tensors of shape (N, C, H, W) in units where an image lies in
[0, 1], and ``sigma`` is the standard deviation of the noise in the same units.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from gahbench.errors import OptimumError, ParameterError, listing, suggestion

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from gahbench.evaluation import Evaluation
    from gahbench.examples import Examples
    from gahbench.jacobian import LinearMaps
    from gahbench.jobs import Job
    from gahbench.optima import Posterior, TrueBasis

Split = Literal["train", "validation", "test", "A", "B"]
Shape = tuple[int, int, int]
OptimumKind = Literal["exact", "bracket", "rate", "none"]
DenoiserKind = Literal["trained", "classical", "oracle", "optimal", "bound"]

#: Oracles and figures work on about so many values at once, which stay in a processor's cache: thrice as fast.
CACHED = 1 << 18

#: The splits; no two of them share an image, but that A and B are disjoint halves of ``train`` where that ends, and but
#: for families whose ``splits_overlap``.
SPLITS: tuple[Split, ...] = ("train", "validation", "test", "A", "B")


def checked_split(name: str) -> Split:
    """Return the name of a split.

    Raises
    ------
    ParameterError
        If there is no such split.
    """
    for known in SPLITS:
        if known == name:
            return known
    raise ParameterError(f"unknown split '{name}'{suggestion(name, SPLITS) or ';'} accepted: {listing(SPLITS)}")


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

    kind: OptimumKind = "none"
    slope: float | None = None


@dataclass(frozen=True)
class Card:
    """Where images come from, and what one may do with them, a sentence each."""

    origin: str = "not stated"
    licence: str = "not stated"


class Dataset(ABC):
    """An image family with its parameters.

    The images are deterministic and prefix-stable: the first k of n are the k. A family whose optimum is ``exact``
    has a :meth:`posterior`; one whose optimum is a ``bracket`` has a :meth:`lower_bound` and its :meth:`genie`.
    """

    #: Parameters that the label of this dataset always shows, default or not.
    always_shown: ClassVar[tuple[str, ...]] = ()
    #: Whether splits share images because the density is a finite set of them, which every split draws from.
    splits_overlap: bool = False

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

    @property
    def card(self) -> Card:
        """Origin and licence of the images."""
        return Card()

    def posterior(self, noisy: Tensor, sigma: float) -> Posterior:
        """Return mean and spread of the clean images given the noisy ones; only where the optimum is ``exact``.

        Parameters
        ----------
        noisy
            Shape (N, C, H, W).
        sigma
            Standard deviation of the noise, greater than 0.

        Raises
        ------
        OptimumError
            If the optimum is not exact, or cannot be computed accurately for one of these images.
        """
        raise OptimumError(f"{type(self).__name__}: no posterior is known; its optimum is '{self.optimum.kind}'")

    def lower_bound(self, split: Split, count: int, sigma: float, start: int = 0) -> Tensor:
        """Return what no denoiser's expected error can be below; only where the optimum is a ``bracket``.

        It is the expected error of a genie that is told part of what an image was drawn from.

        Returns
        -------
        Tensor
            Mean squared error per pixel, shape (count,), float64, for images ``start`` to ``start + count`` of a split:
            expected over the noise and over what the genie is not told.

        Raises
        ------
        OptimumError
            If no bound is known.
        """
        raise OptimumError(f"{type(self).__name__}: no lower bound is known; its optimum is '{self.optimum.kind}'")

    def genie(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> Tensor:
        """Return what the genie of :meth:`lower_bound` makes of the noisy images ``start`` and on of a split.

        Parameters
        ----------
        noisy
            Shape (N, C, H, W).
        sigma
            Standard deviation of the noise, greater than 0.

        Raises
        ------
        OptimumError
            If no bound is known.
        """
        raise OptimumError(f"{type(self).__name__}: no genie is known; its optimum is '{self.optimum.kind}'")

    @property
    def knows_true_basis(self) -> bool:
        """Whether :meth:`true_basis` gives a basis with energies, told without computing it; not so for tangents."""
        return False

    def true_basis(self, split: Split, count: int, start: int = 0) -> TrueBasis | None:
        """Return the basis in which the best denoiser shrinks each image; ``None`` where it is not known."""
        return None

    def optimal_filters(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> LinearMaps | None:
        """Return the Jacobians of the best denoiser that is known; ``None`` where they are not.

        That is the posterior mean, whose Jacobian is the posterior covariance over sigma^2 (Kadkhodaie 2024, equation
        9), or the genie of :meth:`lower_bound`. They are symmetric.

        Parameters
        ----------
        noisy
            The noisy images ``start`` and on of a split, shape (N, C, H, W).
        sigma
            Standard deviation of the noise, greater than 0.

        Raises
        ------
        OptimumError
            If they are known, but cannot be computed accurately for one of these images.
        """
        return None

    def fingerprint(self) -> str | None:
        """Return the SHA-256 of the pixels for images that come from files; it becomes part of every key."""
        return None


def image_shape(images: Tensor) -> Shape:
    """Return the shape (C, H, W) of one of the images (N, C, H, W)."""
    channels, height, width = images.shape[1:]
    return (channels, height, width)


@dataclass(frozen=True, eq=False)
class Truth:
    """What noisy images were made from.

    Parameters
    ----------
    clean
        The clean images, shape (N, C, H, W).
    dataset
        The dataset that they are from.
    split, start
        Which of its images they are: ``start`` to ``start + N`` of a split.
    """

    clean: Tensor
    dataset: Dataset | None = None
    split: Split = "test"
    start: int = 0

    def __len__(self) -> int:
        return len(self.clean)

    def double(self) -> Truth:
        """Return it with the clean images in float64."""
        return replace(self, clean=self.clean.double())

    def batches(self, size: int) -> Iterator[Truth]:
        """Yield the truth of at most ``size`` images at a time."""
        for first in range(0, len(self), size):
            yield replace(self, clean=self.clean[first : first + size], start=self.start + first)


class Denoiser(Protocol):
    """What a metric measures: a trained network or a reference, seen alike."""

    kind: DenoiserKind

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        ...

    def risk(self, truth: Truth, sigma: float) -> Tensor | None:
        """Return the expected mean squared error per pixel of each image, shape (N,), where it has a closed form."""
        ...

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the Jacobians at the noisy images, ``None`` where it has none or they cannot be had."""
        ...


def by_noise_level(denoiser: Denoiser, noisy: Tensor, sigmas: Tensor, truth: Truth) -> Tensor:
    """Return the denoised images, shape (N, C, H, W), with one call for each noise level of ``sigmas``, shape (N,)."""
    denoised = noisy.clone()
    for sigma in sorted(set(sigmas.tolist())):
        places = (sigmas == sigma).nonzero()[:, 0]
        told = replace(truth, clean=truth.clean[places.to(truth.clean.device)])
        denoised[places] = denoiser.denoise(noisy[places], sigma, told).to(denoised)
    return denoised


class Reference(ABC):
    """A denoiser that is not trained here.

    Its ``kind`` says what it may know of the truth: ``classical`` and ``trained`` nothing (a ``trained`` one brings
    weights along), ``optimal`` the dataset, ``oracle`` and ``bound`` all: an oracle shows what could be done, a bound
    what others cannot do. Whatever its kind, it may learn from training and validation images (:meth:`fit`).
    """

    kind: DenoiserKind = "classical"
    #: Whether it learns from the very images that networks are trained on, and so has a row for each number of them
    #: where a suite sweeps it, and a partner on the other half.
    learns_alike: ClassVar[bool] = False
    always_shown: ClassVar[tuple[str, ...]] = ()

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError``, saying what is accepted, for images (C, H, W) that it cannot denoise."""

    def is_known_on(self, dataset: Dataset) -> bool:
        """Return whether it exists on this dataset; where it does not, a suite leaves its row out."""
        return True

    def fit(self, examples: Examples) -> None:
        """Learn from training and validation images of the dataset, before anything is denoised.

        It is called once. What depends on the noise level may be learned later, when :meth:`denoise` first meets it.
        """

    def move(self, device: torch.device) -> None:
        """Compute on a device, if it can; images come from the CPU and go there. By default it stays on the CPU."""

    def as_network(self, shape: Shape) -> nn.Module | None:
        """Return the network that it is on images (C, H, W), its ``forward(noisy, sigma)`` that of an architecture.

        By default ``None``, as for all that is no network. A sampler tells a network the noise level of each image.
        """
        return None

    @property
    def parameters(self) -> int | None:
        """Number of trained numbers, for the board; asked for after scoring."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the board must say of its row, such as what was tuned on which images; asked for after scoring."""
        return ()

    @abstractmethod
    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images.

        Parameters
        ----------
        noisy
            Shape (N, C, H, W).
        sigma
            Standard deviation of the noise.
        truth
            What the images were made from: only as much as the ``kind`` allows may be used.
        """

    def denoise_each(self, noisy: Tensor, sigmas: Tensor, truth: Truth) -> Tensor:
        """Return the denoised images, each of a noise level of its own, as samplers have them.

        By default those of one noise level are denoised together, others apart. A reference that can take them all at
        once may do so: it is many times faster then.

        Parameters
        ----------
        noisy
            Shape (N, C, H, W).
        sigmas
            Standard deviations of the noise, shape (N,).
        truth
            As of :meth:`denoise`.
        """
        return by_noise_level(self, noisy, sigmas, truth)

    def risk(self, truth: Truth, sigma: float) -> Tensor | None:
        """Return the expected mean squared error per pixel of each image, shape (N,), where it has a closed form."""
        return None

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the Jacobians of :meth:`denoise` at the noisy images; ``None`` where they cannot be had.

        By default by automatic differentiation of :meth:`denoise`, if its code can be differentiated: what it gives is
        compared with differences, so that code which leaves torch on the way has no Jacobian rather than a wrong one.
        """
        from gahbench.jacobian import differentiated

        return differentiated(self.denoise, noisy, sigma, truth)


class Basis(ABC):
    """Analysis and synthesis of a batch of images.

    A basis may be fixed, fitted to the training images of a dataset (:meth:`fit`), or adapted to images
    (:meth:`adapt`), which gives each image of a batch a basis of its own.
    """

    #: Whether analysis is an orthonormal change of basis, so that coefficients carry white noise to white noise.
    orthonormal: bool = True
    #: Whether every image has a basis of its own: then what :meth:`adapt` returns is used in its place.
    adaptive: ClassVar[bool] = False
    #: Whether it is made from what only an oracle knows, so that no practical denoiser can use it.
    oracle: ClassVar[bool] = False
    always_shown: ClassVar[tuple[str, ...]] = ()

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError``, saying what is accepted, for images (C, H, W) that it cannot analyse."""

    def is_known_on(self, dataset: Dataset) -> bool:
        """Return whether it exists on this dataset."""
        return True

    def is_orthonormal(self, shape: Shape) -> bool:
        """Return whether it is orthonormal on images (C, H, W), which may depend on their size."""
        return self.orthonormal

    def most_images(self, shape: Shape) -> int | None:
        """Return how many images (C, H, W) it can be adapted to at once, for memory; ``None`` for any number."""
        return None

    def notes(self, shape: Shape) -> tuple[str, ...]:
        """Return what the board must say of rows in this basis on images (C, H, W)."""
        return ()

    def fit(self, examples: Examples) -> None:
        """Learn from the training images of a dataset; by default there is nothing to learn."""

    def adapt(self, images: Tensor, threshold: float, noisy: bool = False) -> Basis:
        """Return the basis adapted to each of the images; by default the basis itself.

        Parameters
        ----------
        images
            Shape (N, C, H, W). What is returned analyses N images, the i-th in the basis of the i-th.
        threshold
            Coefficients below it, in absolute value, will be killed: a best basis has the least sum of
            min(c^2, threshold^2).
        noisy
            Whether the images are noisy, so that a choice among many bases fits the noise and must be charged for.
        """
        return self

    def parts(self, truth: Truth) -> Iterator[Truth]:
        """Yield the truth of as many images at a time as it can be adapted to, or as are quick."""
        shape = image_shape(truth.clean)
        return truth.batches(self.most_images(shape) or max(1, CACHED // math.prod(shape)))

    def adapt_to(self, truth: Truth, threshold: float) -> Basis:
        """Return the basis that an oracle uses: adapted to the clean images, unless it knows better."""
        return self.adapt(truth.clean, threshold)

    def check_filters(self, shape: Shape) -> None:
        """Raise ``ValueError``, saying what is accepted, for images (C, H, W) of which it has no :meth:`filters`."""
        self.check_shape(shape)

    def filters(self, truth: Truth, sigma: float, traces: Tensor) -> LinearMaps:
        """Return the linear denoiser of each image that shrinks in this basis, as an oracle would.

        By default oracle shrinkage: weights c_k^2 / (c_k^2 + sigma^2), c_k the clean coefficients (Kadkhodaie 2024,
        equation 12), in a frame with the noise level of each. A basis may have a filter that is more its own.

        Parameters
        ----------
        truth
            What the images were made from.
        sigma
            Standard deviation of the noise, greater than 0.
        traces
            Traces that filters should have, shape (N,), if they have a strength to choose: those of what they are
            compared with.
        """
        from gahbench.shrinkage import oracle_filters

        return oracle_filters(self, truth, sigma)

    @abstractmethod
    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, ...), (N, C, H, W) when orthonormal, of images (N, C, H, W)."""

    @abstractmethod
    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images (N, C, H, W) whose analysis the coefficients are."""

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviation of each coefficient of white noise of standard deviation 1.

        Returns
        -------
        Tensor
            Float64, broadcastable to one image's coefficients (C, ...); by default 1, as in any orthonormal basis.
        """
        import torch

        return torch.ones((), dtype=torch.float64)

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
    part
        Which of the metric's measurements each value is, shape (R,), for a metric that makes several at once: the
        table of scores calls ``trace`` of metric ``spectrum`` ``spectrum.trace``, and the empty part, which is the
        headline, by the metric's name alone. ``None`` where all are the headline.
    arrays
        What figures need beside the values, such as samples, by name; kept with the unit, in no table.
    """

    value: Sequence[float]
    sigma: Sequence[float] | None = None
    image: Sequence[int] | None = None
    part: Sequence[str] | None = None
    arrays: Mapping[str, Tensor] | None = None

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

    @classmethod
    def parts(cls, values: Mapping[tuple[str, float], Tensor]) -> Scores:
        """Lay out the values, shape (N,), of parts at noise levels; an image whose value is not a number has none."""
        rows = [
            (value, sigma, image, part)
            for (part, sigma), found in values.items()
            for image, value in enumerate(found.double().tolist())
            if not math.isnan(value)
        ]
        if not rows:
            return cls([])
        value, sigma, image, part = zip(*rows, strict=True)
        return cls(value, sigma, image, part)

    @classmethod
    def of_samples(cls, values: Mapping[str, Tensor], arrays: Mapping[str, Tensor] | None = None) -> Scores:
        """Lay out the values, shape (N,), of parts at samples, or (), of all together, at no noise level.

        A sample whose value is not finite has none.
        """
        rows = [
            (value, image if found.ndim else None, part)
            for part, found in values.items()
            for image, value in enumerate(found.double().reshape(-1).tolist())
            if math.isfinite(value)
        ]
        value, image, part = zip(*rows, strict=True) if rows else ((), (), ())
        whole = all(place is None for place in image)
        if not whole and any(place is None for place in image):
            raise ValueError("values of each sample and of all together do not mix: give them in two metrics")
        return cls(value, None, None if whole else image, part, arrays)


class Metric(ABC):
    """A measurement of a denoiser on images at noise levels."""

    #: Unit of the values, as figures and tables print it.
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True
    #: How many images it needs at least; a suite with fewer is refused.
    fewest_images: ClassVar[int] = 1
    #: Whether it compares with the images that the denoiser learned from (:attr:`Evaluation.learned_from`).
    training: ClassVar[bool] = False
    #: Whether it compares with the same learned from other images (:attr:`Evaluation.partner`), where there is one.
    pairs: ClassVar[bool] = False
    #: Whether it measures what is sampled from the denoiser (:attr:`Evaluation.samples`).
    samples: ClassVar[bool] = False
    #: Whether it measures a network along its training (:attr:`Evaluation.snapshots`): only where weights were kept.
    snapshots: ClassVar[bool] = False
    #: Whether the split plays no part: then it is measured once, along with the test images.
    any_split: ClassVar[bool] = False
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
        """Run the units of a job, in an order that respects what each needs, reporting events as they come.

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
