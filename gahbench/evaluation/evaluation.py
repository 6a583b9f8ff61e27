"""The evaluation that a metric receives: a denoiser, clean images, and noise that is the same for all entrants."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gahbench._util.noise import BLOCK, derive_seed, evaluation_noise
from gahbench._util.resources import LRUCache
from gahbench._util.shapes import Shape, image_shape
from gahbench.contracts.datasets import Captured, Dataset, Split
from gahbench.contracts.truth import Denoiser as Denoiser  # Metrics import this type from here.
from gahbench.contracts.truth import Need, TrainingData, Truth, denoise_by_level, needed, validate_kind, visible_truth
from gahbench.devices.hardware import Batches
from gahbench.evaluation.local_filters import LocalFilters
from gahbench.sampling.settings import Sampling

if TYPE_CHECKING:
    from gahbench.jacobian import LinearMaps
    from gahbench.sampling import Samples

#: Cache of optimal images by dataset: they are the same for all entrants, and may take a minute to compute.
_KNOWN: WeakKeyDictionary[Dataset, LRUCache[OptimalImages | None]] = WeakKeyDictionary()
#: Maximum size in bytes of the cache of each dataset: enough for 256 images of 128 x 128 at 16 noise levels.
_MEMORY = 1 << 29


@dataclass(frozen=True, eq=False)
class OptimalImages:
    """Outputs of the best denoiser, or of a genie that sees more than the noisy images.

    Parameters
    ----------
    mean
        Denoised images, shape (N, C, H, W), float64.
    error
        Closed-form expected mean squared error per pixel, shape (N,), float64: conditional on the noisy image if the
        optimum is exact, averaged over the noise for a genie.

    Examples
    --------
    >>> import gahbench
    >>> from gahbench.evaluation import Evaluation
    >>> field = gahbench.create("dataset", "gaussian-field", size=8)
    >>> evaluation = Evaluation(gahbench.create("reference", "identity"), field.images("test", 3), [0.1], dataset=field)
    >>> optimum = evaluation.optimum(0.1)
    >>> optimum.mean.shape, bool((optimum.error < 0.1**2).all())
    (torch.Size([3, 1, 8, 8]), True)
    """

    mean: Tensor
    error: Tensor


@dataclass
class Evaluation:
    """A denoiser together with the clean images and noise levels on which it is evaluated.

    Parameters
    ----------
    denoiser
        A trained network or a reference.
    clean
        Shape (N, C, H, W).
    sigmas
        Noise levels, in the units of the images.
    noise_seed, split
        Seed and split that determine the noise, together with the noise level and the image; if the dataset has a
        ``render_size``, the noise of an image is the same pattern at all levels.
    dataset
        The dataset of the images.
    learned_from
        The images that the denoiser learned from, or the images of the ``train`` split if the denoiser did not learn.
        ``None`` for a denoiser that learned from a stream, in which it saw no image twice.
    partner
        The evaluation of the same entrant, trained on other images, on the same noisy images; ``None`` without a
        partner.
    sampling
        Settings with which :attr:`samples` are drawn.
    snapshots
        Networks saved during training, the last of which is the trained network: for each, the number of steps and a
        function that loads the network.
    device
        The device on which samples are drawn.
    granted
        The needs that the metric declared and so may use; ``None`` if the metric may use everything.
    start
        The index of the first image in its split.
    redraws
        Whether Jacobians are also computed under fresh noise (``draw`` other than 0), which doubles the time.
    jacobian_precision
        Precision of Jacobian matrices: ``float32``; ``bfloat16``, where it is accurate enough; or ``auto``, for the
        faster of the two on this device (see :class:`LocalFilters`).
    captured
        Recorded noisy versions of the images, which replace drawn noise. ``sigmas`` then holds only their common level,
        but each image is denoised at its own noise level. ``None`` for drawn noise.

    Examples
    --------
    >>> import gahbench
    >>> images = gahbench.create("dataset", "discs", size=16).images("test", 3)
    >>> evaluation = Evaluation(gahbench.create("reference", "low-pass"), images, [0.1, 0.5])
    >>> evaluation.denoised(0.1).shape
    torch.Size([3, 1, 16, 16])
    >>> evaluation.select(0).clean.shape
    torch.Size([1, 1, 16, 16])
    """

    denoiser: Denoiser
    clean: Tensor
    sigmas: Sequence[float]
    noise_seed: int = 0
    split: Split = "test"
    dataset: Dataset | None = None
    learned_from: TrainingData | None = None
    partner: Evaluation | None = None
    sampling: Sampling = field(default_factory=Sampling)
    snapshots: Sequence[tuple[int, Callable[[], Denoiser]]] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    granted: frozenset[Need] | None = None
    start: int = 0
    redraws: bool = True
    jacobian_precision: str = "float32"
    captured: Captured | None = None
    #: Additional seed of the noise, for images of one shape in a dataset with several shapes.
    _noise_parts: tuple[str, ...] = field(default=(), repr=False)
    _samples: Samples | None = field(default=None, init=False, repr=False)
    _denoised: dict[float, Tensor] = field(default_factory=dict, init=False, repr=False)
    _risks: dict[float, Tensor | None] = field(default_factory=dict, init=False, repr=False)
    _local: LocalFilters | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        validate_kind(self.denoiser.kind)
        #: Batch size for denoising, shared by all noise levels.
        self.batches = Batches.for_images(self.shape)

    def noisy(self, sigma: float, draw: int = 0) -> Tensor:
        """Return the noisy images at a noise level, shape (N, C, H, W); each ``draw`` has independent noise.

        If the noise was recorded, draw 0 is the recorded images. The noise of other draws is white and Gaussian, with
        the noise level of each image.
        """
        if self.captured is not None and draw == 0:
            return self.captured.noisy
        parts = (self.noise_seed, self.split, *self._noise_parts, *((f"draw {draw}",) if draw else ()))
        # Blocks of one image suit large photographs, each of which may have a different shape.
        block = 1 if self._noise_parts else BLOCK
        render_size = None if self.dataset is None else self.dataset.render_size
        end = self.start + len(self.clean)
        noise = evaluation_noise(end, self.shape, sigma, *parts, block=block, render_size=render_size)[self.start :]
        if self.captured is not None:
            noise = noise * (self.captured.sigma / sigma).float().view(-1, 1, 1, 1)
        return self.clean + noise

    def add_noise(self, clean: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
        """Return images (N, C, H, W) with fresh noise of a noise level."""
        return clean + sigma * torch.randn(clean.shape, generator=generator)

    def apply(self, noisy: Tensor, sigma: float, truth: Truth, chosen: slice = slice(None)) -> Tensor:
        """Return denoised images, shape (N, C, H, W), of any noisy images at a noise level.

        ``chosen`` selects the images, whose recorded noise may have several levels.
        """
        if self.captured is not None:
            levels = self.captured.sigma[chosen][: len(noisy)]
            denoised = denoise_by_level(self.denoiser, noisy, levels, truth)
        else:
            denoised = self.denoiser.denoise(noisy, sigma, truth)
        if denoised.shape != noisy.shape:
            # Broadcasting would hide a wrong shape.
            raise ValueError(f"the denoiser returned shape {tuple(denoised.shape)} for images of {tuple(noisy.shape)}")
        return denoised

    def denoised(self, sigma: float) -> Tensor:
        """Return the denoised images at a noise level, shape (N, C, H, W), float32; computed once."""
        if sigma not in self._denoised:
            self._denoised[sigma] = self.denoise(self.noisy(sigma), sigma)
        return self._denoised[sigma]

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        """Return denoised images, shape (N, C, H, W), float32, of any noisy version of all images at a noise level."""

        def compute(size: int) -> Tensor:
            with torch.no_grad(), torch.random.fork_rng():
                # Seed the denoisers that draw random numbers.
                torch.manual_seed(derive_seed("noise", self.noise_seed, self.split, float(sigma), "denoiser"))
                batches = zip(torch.split(noisy, size), self._visible().batches(size), strict=True)
                denoised = [
                    self.apply(batch, sigma, truth, slice(index * size, (index + 1) * size))
                    for index, (batch, truth) in enumerate(batches)
                ]
            return torch.cat(denoised).float()

        return self.batches.run(compute)

    def levels(self, sigma: float) -> Tensor:
        """Return the noise level of each image, shape (N,), float64."""
        if self.captured is not None:
            return self.captured.sigma
        return torch.full((len(self.clean),), sigma, dtype=torch.float64)

    def risk(self, sigma: float) -> Tensor | None:
        """Return the closed-form expected mean squared error per pixel of each image, shape (N,).

        The error is computed once for each noise level. It is ``None`` if the denoiser has no closed form, and for
        recorded noise.
        """
        if self.captured is not None:
            return None
        if sigma not in self._risks:
            # The risk may use the clean images, which a classical denoiser must not remember.
            informed = copy.deepcopy(self.denoiser) if self.denoiser.kind == "classical" else self.denoiser

            def compute(size: int) -> list[Tensor | None]:
                return [informed.risk(truth, sigma) for truth in self.truth.batches(size)]

            risks = self.batches.run(compute)
            known = [risk.reshape(-1) for risk in risks if risk is not None]
            risk = torch.cat(known) if len(known) == len(risks) else None
            if risk is not None and len(risk) != len(self.clean):
                raise ValueError(f"risk returned {len(risk)} values for {len(self.clean)} images")
            self._risks[sigma] = risk
        return self._risks[sigma]

    def optimum(self, sigma: float) -> OptimalImages | None:
        """Return the outputs of the dataset's best denoiser, or of its genie, for the noisy images.

        The result is ``None`` if the optimum is unknown.

        Raises
        ------
        OptimumError
            If the optimum is known, but cannot be computed accurately for an image.
        """
        noisy = self.noisy(sigma)
        cache: LRUCache[OptimalImages | None] = LRUCache(_MEMORY, lambda images: images.mean.nbytes if images else 0)
        # Some datasets are not hashable, such as dataclasses that compare by value.
        with contextlib.suppress(TypeError):
            cache = _KNOWN.setdefault(self.dataset, cache) if self.dataset is not None else cache
        key = (hashlib.sha256(noisy.numpy().tobytes()).digest(), sigma, self.split, self.start)
        return cache.get(key, lambda: optimal_images(self, noisy, sigma))

    @property
    @needed("samples")
    def samples(self) -> Samples:
        """Images sampled from the denoiser; drawn once.

        Raises
        ------
        ParameterError
            If the denoiser must see a clean image.
        """
        if self._samples is None:
            from gahbench.sampling import draw_samples, wrap_denoiser

            denoise = wrap_denoiser(self.denoiser, self.shape, self.dataset, self.device)
            self._samples = draw_samples(denoise, self.shape, self.sampling, device=self.device)
        return self._samples

    def on_training(self, max_images: int) -> Evaluation:
        """Return the evaluation on up to ``max_images`` images that the denoiser learned from.

        Raises
        ------
        DataError
            If there are no training images.
        ValueError
            If the training images are unknown.
        """
        if self.learned_from is None:
            raise ValueError("it is not known which images the denoiser learned from: give the evaluation learned_from")
        clean, split = self.learned_from.training(max_images), self.learned_from.split
        arguments = self.denoiser, clean, self.sigmas, self.noise_seed, split, self.dataset, self.learned_from
        return Evaluation(*arguments, granted=self.granted)

    def select(self, index: int) -> Evaluation:
        """Return the evaluation of a single image, with the denoised image of this evaluation."""
        chosen, partner = slice(index, index + 1), self.partner and self.partner.select(index)
        captured = self.captured and self.captured[chosen]
        one = replace(self, clean=self.clean[chosen], start=self.start + index, partner=partner, captured=captured)
        one._denoised = {sigma: self.denoised(sigma)[chosen] for sigma in self.sigmas}
        return one

    def with_denoiser(self, denoiser: Denoiser) -> Evaluation:
        """Return the evaluation of another denoiser, such as a snapshot, on the same noisy images."""
        return replace(self, denoiser=denoiser, partner=None, snapshots=())

    @property
    @needed("jacobian")
    def local_filters(self) -> LocalFilters:
        """The Jacobians of the denoiser at the noisy images, each computed once."""
        self._local = self._local or LocalFilters(self)
        return self._local

    @needed("jacobian")
    def jacobian(self, sigma: float, draw: int = 0) -> LinearMaps | None:
        """Return the Jacobians of the denoiser at the noisy images; :attr:`local_filters` caches them.

        The result is ``None`` if the denoiser has no Jacobians, or if ``draw`` is not 0 and ``redraws`` is false.
        """
        if draw and not self.redraws:
            return None
        return self.denoiser.jacobian(self.noisy(sigma, draw), sigma, self._visible())

    @property
    def truth(self) -> Truth:
        """The clean images, and their position in the dataset."""
        return Truth(self.clean, self.dataset, self.split, self.start)

    def _visible(self) -> Truth:
        """Return the part of the truth that the denoiser's kind may use."""
        return visible_truth(self.denoiser.kind, self.truth)

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of one image."""
        return image_shape(self.clean)


def optimal_images(evaluation: Evaluation, noisy: Tensor, sigma: float) -> OptimalImages | None:
    """Return the outputs of the best denoiser for noisy versions of the images; ``None`` if the optimum is unknown."""
    dataset, split, start = evaluation.dataset, evaluation.split, evaluation.start
    if dataset is None or dataset.optimum.kind not in ("exact", "bracket"):
        return None

    def compute(size: int) -> OptimalImages:
        means, errors = [], []
        for index, batch in enumerate(torch.split(noisy, size)):
            if dataset.optimum.kind == "exact":
                posterior = dataset.posterior(batch, sigma)
                means.append(posterior.mean)
                errors.append(posterior.trace / noisy[0].numel())
            else:
                errors.append(dataset.lower_bound(split, len(batch), sigma, start + index * size))
                means.append(dataset.genie(batch, sigma, split, start + index * size))
        return OptimalImages(torch.cat(means).double(), torch.cat(errors).double())

    return evaluation.batches.run(compute)
