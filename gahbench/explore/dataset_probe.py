"""Checked access to a dataset and its optimum: a plugin's dataset may raise any error, or return anything."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from gahbench._util.errors import GahbenchError, OptimumError, PluginError, listing
from gahbench._util.noise import derive_seed
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import SPLITS, Card, Dataset, Optimum, OptimumKind, Split
from gahbench.registry.configured import Configured

#: Statistics of pixels are over at most this many images, and about this many pixels.
SAMPLE = 256
SAMPLE_PIXELS = 1 << 24
#: Pixels up to which the true basis is computed by default: a dense one takes a second there, minutes soon after.
BASIS_PIXELS = 1024
#: How many vectors of the true basis are kept.
VECTORS = 15
#: The seed of the noise in every suite that does not say otherwise.
NOISE_SEED = 0
_KINDS = get_args(OptimumKind)


@dataclass(frozen=True)
class Pixels:
    """Statistics of the pixels of a sample."""

    count: int
    mean: float
    std: float
    outside: float


@dataclass(frozen=True, eq=False)
class Best:
    """The images of a preview, denoised by the best denoiser or by the genie of a bound."""

    denoised: Tensor
    expected: float
    measured: float
    ess_fraction: float | None = None


@dataclass(frozen=True, eq=False)
class Vectors:
    """The first vectors of the true basis of the first image of a preview."""

    images: Tensor
    energies: Tensor | None
    count: int


class DatasetProbe:
    """A dataset whose results are checked on every call."""

    def __init__(self, configured: Configured) -> None:
        self.configured = configured
        with self._asking("it cannot be built"):
            dataset = configured.build()
        if not isinstance(dataset, Dataset):
            raise self._fault(f"it is a {type(dataset).__name__}, not a gahbench.Dataset")
        self.dataset = dataset
        with self._asking("shape"):
            channels, height, width = (int(side) for side in dataset.shape)
        if min(channels, height, width) < 1:
            raise self._fault(f"its shape is {(channels, height, width)}")
        self.shape: Shape = (channels, height, width)

    @property
    def has_cheap_basis(self) -> bool:
        """Whether to learn the true basis, or that there is none, takes at most seconds."""
        return type(self.dataset).true_basis is Dataset.true_basis or math.prod(self.shape) <= BASIS_PIXELS

    def available(self) -> dict[Split, int | None]:
        """Return how many images each split holds; ``None`` where they never end."""
        with self._asking("available"):
            found = {split: self.dataset.available(split) for split in SPLITS}
            return {split: None if held is None else int(held) for split, held in found.items()}

    def splits_overlap(self) -> bool:
        """Return whether splits share images."""
        with self._asking("splits_overlap"):
            return bool(self.dataset.splits_overlap)

    def card(self) -> Card:
        """Return origin and licence."""
        with self._asking("card"):
            card = self.dataset.card
        if not isinstance(card, Card):
            raise self._fault(f"card is {card!r}; accepted: a gahbench.Card")
        return card

    def notes(self) -> tuple[str, ...]:
        """Return what was done to the images that may not be meant."""
        with self._asking("notes"):
            return tuple(" ".join(str(note).split()) for note in self.dataset.notes)

    def optimum(self) -> Optimum:
        """Return the dataset's statement of its optimum."""
        with self._asking("optimum"):
            optimum = self.dataset.optimum
        if not isinstance(optimum, Optimum) or optimum.kind not in _KINDS:
            raise self._fault(f"optimum is {optimum!r}; accepted: a gahbench.Optimum of kind {listing(_KINDS)}")
        return optimum

    def fingerprint(self) -> str | None:
        """Return the SHA-256 of images from files."""
        with self._asking("fingerprint"):
            found = self.dataset.fingerprint()
            return None if found is None else str(found)

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images, shape (count, C, H, W), float32."""
        with self._asking("images"):
            images = self.dataset.images(split, count, start)
        return self._checked("images", images, (count, *self.shape)).float()

    def pixels(self, split: Split, available: int | None) -> Pixels:
        """Return statistics of the first images of a split that holds ``available``."""
        count = min(SAMPLE, max(1, SAMPLE_PIXELS // math.prod(self.shape)))
        sample = self.images(split, count if available is None else min(count, available)).double()
        outside = ((sample < 0) | (sample > 1)).double().mean()
        std = sample.std(correction=0)
        return Pixels(len(sample), float(sample.mean()), float(std), float(outside))

    def best(self, clean: Tensor, noisy: Tensor, sigma: float, split: Split, start: int) -> Best | None:
        """Return noisy images denoised by the best denoiser or a genie; ``None`` where neither is known."""
        kind = self.optimum().kind
        count = len(clean)
        ess_fraction = None
        if kind == "exact":
            with self._asking("posterior", sigma):
                posterior = self.dataset.posterior(noisy, sigma)
                mean, trace, shares = posterior.mean, posterior.trace, posterior.ess_fraction
            denoised = self._checked("the posterior mean", mean, tuple(noisy.shape))
            errors = self._checked("the posterior trace", trace, (count,)).double() / math.prod(self.shape)
            if shares is not None:
                ess_fraction = float(self._checked("the effective sample size", shares, (count,)).min())
        elif kind == "bracket":
            with self._asking("lower_bound", sigma):
                bound = self.dataset.lower_bound(split, count, sigma, start)
            errors = self._checked("the lower bound", bound, (count,)).double()
            with self._asking("genie", sigma):
                mean = self.dataset.genie(noisy, sigma, split, start)
            denoised = self._checked("what the genie returns", mean, tuple(noisy.shape))
        else:
            return None
        if bool((errors < 0).any()):
            raise self._fault(f"an expected error is negative at sigma={sigma:g}")
        measured = float((denoised.double() - clean.double()).square().mean())
        return Best(denoised.float(), float(errors.mean()), measured, ess_fraction)

    def vectors(self, split: Split, start: int, insisted: bool) -> Vectors | None:
        """Return the first vectors of one image's true basis; ``None`` where none is known."""
        with self._asking("true_basis"):
            basis = self.dataset.true_basis(split, 1, start)
            count = 0 if basis is None else int(basis.vectors.shape[-1])
        if basis is None:
            if insisted:
                raise OptimumError(f"{self.configured.where}: no true basis is known")
            return None
        vectors = self._checked("the true basis", basis.vectors, (1, math.prod(self.shape), count))[0, :, :VECTORS]
        energies = basis.energies
        if energies is not None:
            energies = self._checked("the energies of the true basis", energies, (1, count))[0, :VECTORS]
        return Vectors(vectors.float().T.reshape(-1, *self.shape), energies, count)

    @contextmanager
    def _asking(self, what: str, sigma: float | None = None) -> Iterator[None]:
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                # A preview is the same every time, even if the dataset draws from the default generator.
                torch.manual_seed(derive_seed("noise", NOISE_SEED, what))
                yield
        except GahbenchError:
            raise
        except (Exception, SystemExit) as error:
            at = "" if sigma is None else f" at sigma={sigma:g}"
            raise self._fault(f"{what}{at}: {type(error).__name__}: {error}") from error

    def _checked(self, what: str, found: object, shape: tuple[int, ...]) -> Tensor:
        if not isinstance(found, Tensor):
            raise self._fault(f"{what} must be a tensor, not {type(found).__name__}")
        if found.is_nested or found.layout != torch.strided or found.is_meta or found.is_quantized:
            raise self._fault(f"{what} must be an ordinary tensor, not a nested, sparse, meta or quantized one")
        if tuple(found.shape) != shape:
            raise self._fault(f"{what} must have shape {shape}, not {tuple(found.shape)}")
        if not bool(found.isfinite().all()):
            raise self._fault(f"{what} must be finite")
        return found.detach().cpu()

    def _fault(self, what: str) -> PluginError:
        return PluginError(f"{self.configured.where} cannot be previewed: {what}")
