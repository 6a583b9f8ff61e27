"""The evaluation that a metric receives: a denoiser, clean images, and noise that is the same for all entrants."""

from __future__ import annotations

import contextlib
import copy
import functools
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
from gahbench.jacobian import DenseMaps
from gahbench.networks.precision import Choice, Choices
from gahbench.sampling.settings import Sampling

if TYPE_CHECKING:
    from gahbench.jacobian import LinearMaps
    from gahbench.sampling import Samples

#: Cache of optimal images by dataset: they are the same for all entrants, and may take a minute to compute.
_KNOWN: WeakKeyDictionary[Dataset, LRUCache[OptimalImages]] = WeakKeyDictionary()
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
    choices
        Precisions that were chosen earlier, which ``auto`` reuses.
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
    choices: Choices = field(default_factory=Choices, repr=False)
    captured: Captured | None = None
    #: Additional seed of the noise, for images of one shape in a dataset with several shapes.
    _noise_parts: tuple[str, ...] = field(default=(), repr=False)
    #: The evaluation of all images and the index of the image, for the evaluation of a single image.
    _whole: tuple[Evaluation, int] | None = field(default=None, repr=False)
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
        fresh = (*self._noise_parts, *(() if draw == 0 else (f"draw {draw}",)))
        end = self.start + len(self.clean)
        # Blocks of one image suit large photographs, each of which may have a different shape.
        block = 1 if self._noise_parts else BLOCK
        render_size = None if self.dataset is None else self.dataset.render_size
        parts = (self.noise_seed, self.split, *fresh)
        noise = evaluation_noise(end, self.shape, sigma, *parts, block=block, render_size=render_size)
        noise = noise[self.start :]
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
        return self._check_output_shape(denoised, noisy)

    def denoised(self, sigma: float) -> Tensor:
        """Return the denoised images at a noise level, shape (N, C, H, W), float32; computed once."""
        if self._whole is not None:
            whole, index = self._whole
            return whole.denoised(sigma)[index : index + 1]
        if sigma not in self._denoised:
            self._denoised[sigma] = self.denoise(self.noisy(sigma), sigma)
        return self._denoised[sigma]

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        """Return denoised images, shape (N, C, H, W), float32, of any noisy version of all images at a noise level."""
        return self.batches.run(functools.partial(self._denoise, noisy, sigma))

    def levels(self, sigma: float) -> Tensor:
        """Return the noise level of each image, shape (N,), float64."""
        if self.captured is not None:
            return self.captured.sigma
        return torch.full((len(self.clean),), sigma, dtype=torch.float64)

    def _denoise(self, noisy: Tensor, sigma: float, size: int) -> Tensor:
        """Return the denoised images, computed in batches of ``size`` images."""
        with torch.no_grad(), torch.random.fork_rng():
            # Seed the denoisers that draw random numbers.
            torch.manual_seed(derive_seed("noise", self.noise_seed, self.split, float(sigma), "denoiser"))
            batches = [
                self.apply(batch, sigma, truth, slice(first, first + size))
                for first, batch, truth in zip(
                    range(0, len(noisy), size), torch.split(noisy, size), self._visible().batches(size), strict=True
                )
            ]
        return torch.cat(batches).float()

    def risk(self, sigma: float) -> Tensor | None:
        """Return the closed-form expected mean squared error per pixel of each image, shape (N,).

        The error is computed once for each noise level. It is ``None`` if the denoiser has no closed form, and for
        recorded noise.
        """
        if self.captured is not None:
            return None
        if self._whole is not None:
            whole, index = self._whole
            risks = whole.risk(sigma)
            return None if risks is None else risks[index : index + 1]
        if sigma not in self._risks:
            # The risk may use the clean images, which a classical denoiser must not remember.
            informed = copy.deepcopy(self.denoiser) if self.denoiser.kind == "classical" else self.denoiser
            batch_risks = self.batches.run(functools.partial(self._risks_of, informed, sigma))
            known_risks = [risk for risk in batch_risks if risk is not None]
            self._risks[sigma] = torch.cat(known_risks) if len(known_risks) == len(batch_risks) else None
        return self._risks[sigma]

    def _risks_of(self, denoiser: Denoiser, sigma: float, size: int) -> list[Tensor | None]:
        """Return the expected errors of the images of each batch of ``size`` images."""
        risks = []
        for truth in self.truth.batches(size):
            risk = denoiser.risk(truth, sigma)
            if risk is not None and risk.shape != (len(truth),):
                raise ValueError(f"risk returned shape {tuple(risk.shape)} for {len(truth)} images")
            risks.append(risk)
        return risks

    def optimum(self, sigma: float) -> OptimalImages | None:
        """Return the outputs of the dataset's best denoiser, or of its genie, for the noisy images.

        The result is ``None`` if the optimum is unknown.

        Raises
        ------
        OptimumError
            If the optimum is known, but cannot be computed accurately for an image.
        """
        return _optimal_images(self, sigma)

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
            from gahbench.sampling import draw_samples, images_device, wrap_denoiser

            denoise = wrap_denoiser(self.denoiser, self.shape, self.dataset, self.device)
            device = images_device(self.denoiser, self.shape, self.device)
            self._samples = draw_samples(denoise, self.shape, self.sampling, device=device)
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
        """Return the evaluation of a single image, which shares results with the evaluation of all images."""
        clean, partner = self.clean[index : index + 1], self.partner and self.partner.select(index)
        captured = self.captured and self.captured[index : index + 1]
        start = self.start + index
        return replace(self, clean=clean, start=start, partner=partner, captured=captured, _whole=(self, index))

    def with_denoiser(self, denoiser: Denoiser) -> Evaluation:
        """Return the evaluation of another denoiser, such as a snapshot, on the same noisy images."""
        return replace(self, denoiser=denoiser, partner=None, snapshots=(), _whole=None)

    @property
    @needed("jacobian")
    def local_filters(self) -> LocalFilters:
        """The Jacobians of the denoiser at the noisy images, each computed once."""
        if self._local is None:
            self._local = LocalFilters(self)
        return self._local

    @property
    def jacobian_error(self) -> float:
        """The largest error of the Jacobian matrices so far, relative to float32, in the Frobenius norm."""
        return 0.0 if self._local is None else self._local.error

    @property
    def jacobian_choice(self) -> Choice | None:
        """The precision of the Jacobians, and the reason for it; ``None`` if no precision was chosen."""
        return None if self._local is None else self._local.choice

    @needed("jacobian")
    def jacobian(self, sigma: float, draw: int = 0) -> LinearMaps | None:
        """Return the Jacobians of the denoiser at the noisy images; :attr:`local_filters` caches them.

        The result is ``None`` if the denoiser has no Jacobians, or if ``draw`` is not 0 and ``redraws`` is false.
        """
        if draw and not self.redraws:
            return None
        if self._whole is None:
            return self.denoiser.jacobian(self.noisy(sigma, draw), sigma, self._visible())
        whole, index = self._whole
        maps = whole.local_filters.maps(sigma, draw)
        if maps is None or not maps.is_small:
            return None if maps is None else maps.select(index)
        matrices = whole.local_filters.matrices(sigma, draw)
        assert matrices is not None
        return DenseMaps(matrices[index : index + 1], self.shape)

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

    @staticmethod
    def _check_output_shape(denoised: Tensor, noisy: Tensor) -> Tensor:
        if denoised.shape != noisy.shape:
            # Broadcasting would hide a wrong shape.
            raise ValueError(f"the denoiser returned shape {tuple(denoised.shape)} for images of {tuple(noisy.shape)}")
        return denoised


def _optimal_images(evaluation: Evaluation, sigma: float) -> OptimalImages | None:
    """Return the outputs of the best denoiser at a noise level; ``None`` if the optimum is unknown."""
    dataset = evaluation.dataset
    if dataset is None or dataset.optimum.kind not in ("exact", "bracket"):
        return None
    noisy = evaluation.noisy(sigma)
    cache: LRUCache[OptimalImages] = LRUCache(_MEMORY, lambda images: images.mean.nbytes)
    # Some datasets are not hashable, such as dataclasses that compare by value.
    with contextlib.suppress(TypeError):
        cache = _KNOWN.setdefault(dataset, cache)

    def compute(size: int) -> OptimalImages:
        batches, start = [], evaluation.start
        for batch in torch.split(noisy, size):
            batches.append(_optimal_batch(dataset, batch, sigma, evaluation, start))
            start += len(batch)
        means, errors = zip(*batches, strict=True)
        return OptimalImages(torch.cat(means).double(), torch.cat(errors).double())

    request = (hashlib.sha256(noisy.numpy().tobytes()).digest(), sigma, evaluation.split, evaluation.start)
    return cache.get(request, lambda: evaluation.batches.run(compute))


def _optimal_batch(
    dataset: Dataset, noisy: Tensor, sigma: float, evaluation: Evaluation, start: int
) -> tuple[Tensor, Tensor]:
    if dataset.optimum.kind == "exact":
        posterior = dataset.posterior(noisy, sigma)
        return posterior.mean, posterior.trace / noisy[0].numel()
    bound = dataset.lower_bound(evaluation.split, len(noisy), sigma, start)
    return dataset.genie(noisy, sigma, evaluation.split, start), bound
