"""Checked access to datasets, since a plugin may raise any error or return any value."""

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

#: Maximum number of images, and approximate maximum number of pixels, for statistics of pixels.
MAX_SAMPLE_IMAGES = 256
MAX_SAMPLE_PIXELS = 1 << 24
#: Largest number of pixels for which the true basis is computed by default. A dense basis of this size takes a second;
#: larger bases may take minutes.
BASIS_PIXELS = 1024
#: Number of vectors of the true basis that are kept.
KEPT_VECTORS = 15
#: Default noise seed of suites.
NOISE_SEED = 0
_KINDS = get_args(OptimumKind)


@dataclass(frozen=True)
class Pixels:
    """Statistics of the pixels of `count` images; `outside` is the share of pixels outside [0, 1]."""

    count: int
    mean: float
    std: float
    outside: float


@dataclass(frozen=True, eq=False)
class Best:
    """Images denoised by the optimal denoiser or by a genie, with expected and measured mean squared errors.

    ``ess_fraction`` is the smallest effective sample size of the images, as a share of the drawn samples; ``None`` if
    the optimal denoiser is not computed by sampling.
    """

    denoised: Tensor
    expected: float
    measured: float
    ess_fraction: float | None = None


@dataclass(frozen=True, eq=False)
class Vectors:
    """The first vectors of the true basis of an image, as images; `count` is the total number of vectors."""

    images: Tensor
    energies: Tensor | None
    count: int


class DatasetProbe:
    """A dataset whose return values are checked on every call."""

    def __init__(self, configured: Configured) -> None:
        self.configured = configured
        with self._catch_errors("it cannot be built"):
            dataset = configured.build()
        if not isinstance(dataset, Dataset):
            raise self._error(f"it is a {type(dataset).__name__}, not a gahbench.Dataset")
        self.dataset = dataset
        with self._catch_errors("shape"):
            channels, height, width = (int(side) for side in dataset.shape)
        if min(channels, height, width) < 1:
            raise self._error(f"its shape is {(channels, height, width)}")
        self.shape: Shape = (channels, height, width)

    @property
    def has_cheap_basis(self) -> bool:
        """Whether the true basis takes at most seconds to compute, or the dataset defines none."""
        return type(self.dataset).true_basis is Dataset.true_basis or math.prod(self.shape) <= BASIS_PIXELS

    def available(self) -> dict[Split, int | None]:
        """Return the number of images in each split; ``None`` for endless splits."""
        with self._catch_errors("available"):
            counts = {split: self.dataset.available(split) for split in SPLITS}
            return {split: None if count is None else int(count) for split, count in counts.items()}

    def splits_overlap(self) -> bool:
        """Return whether splits share images."""
        with self._catch_errors("splits_overlap"):
            return bool(self.dataset.splits_overlap)

    def card(self) -> Card:
        """Return the origin and licence of the images."""
        with self._catch_errors("card"):
            card = self.dataset.card
        if not isinstance(card, Card):
            raise self._error(f"card is {card!r}; accepted: a gahbench.Card")
        return card

    def notes(self) -> tuple[str, ...]:
        """Return notes on how the images were changed."""
        with self._catch_errors("notes"):
            return tuple(" ".join(str(note).split()) for note in self.dataset.notes)

    def optimum(self) -> Optimum:
        """Return the description of the optimal denoiser, as far as it is known."""
        with self._catch_errors("optimum"):
            optimum = self.dataset.optimum
        if not isinstance(optimum, Optimum) or optimum.kind not in _KINDS:
            raise self._error(f"optimum is {optimum!r}; accepted: a gahbench.Optimum of kind {listing(_KINDS)}")
        return optimum

    def fingerprint(self) -> str | None:
        """Return the SHA-256 of images that come from files, otherwise ``None``."""
        with self._catch_errors("fingerprint"):
            fingerprint = self.dataset.fingerprint()
            return None if fingerprint is None else str(fingerprint)

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images, shape (count, C, H, W), float32."""
        with self._catch_errors("images"):
            images = self.dataset.images(split, count, start)
        return self._check_tensor("images", images, (count, *self.shape)).float()

    def pixels(self, split: Split, available: int | None) -> Pixels:
        """Return statistics of the pixels of the first images of a split."""
        count = min(MAX_SAMPLE_IMAGES, max(1, MAX_SAMPLE_PIXELS // math.prod(self.shape)))
        sample = self.images(split, count if available is None else min(count, available)).double()
        outside = ((sample < 0) | (sample > 1)).double().mean()
        std = sample.std(correction=0)
        return Pixels(len(sample), float(sample.mean()), float(std), float(outside))

    def best(self, clean: Tensor, noisy: Tensor, sigma: float, split: Split, start: int) -> Best | None:
        """Denoise by the optimal denoiser or a genie; return ``None`` if neither is known."""
        kind = self.optimum().kind
        count = len(clean)
        ess_fraction = None
        if kind == "exact":
            with self._catch_errors("posterior", sigma):
                posterior = self.dataset.posterior(noisy, sigma)
                mean, trace, shares = posterior.mean, posterior.trace, posterior.ess_fraction
            denoised = self._check_tensor("the posterior mean", mean, tuple(noisy.shape))
            errors = self._check_tensor("the posterior trace", trace, (count,)).double() / math.prod(self.shape)
            if shares is not None:
                ess_fraction = float(self._check_tensor("the effective sample size", shares, (count,)).min())
        elif kind == "bracket":
            with self._catch_errors("lower_bound", sigma):
                bound = self.dataset.lower_bound(split, count, sigma, start)
            errors = self._check_tensor("the lower bound", bound, (count,)).double()
            with self._catch_errors("genie", sigma):
                mean = self.dataset.genie(noisy, sigma, split, start)
            denoised = self._check_tensor("the genie's result", mean, tuple(noisy.shape))
        else:
            return None
        if bool((errors < 0).any()):
            raise self._error(f"an expected error is negative at sigma={sigma:g}")
        measured = float((denoised.double() - clean.double()).square().mean())
        return Best(denoised.float(), float(errors.mean()), measured, ess_fraction)

    def vectors(self, split: Split, start: int, required: bool) -> Vectors | None:
        """Return the first vectors of an image's true basis; ``None`` if unknown and not `required`."""
        with self._catch_errors("true_basis"):
            basis = self.dataset.true_basis(split, 1, start)
            count = 0 if basis is None else int(basis.vectors.shape[-1])
        if basis is None:
            if required:
                raise OptimumError(f"{self.configured.where}: no true basis is known")
            return None
        vectors = self._check_tensor("the true basis", basis.vectors, (1, math.prod(self.shape), count))[
            0, :, :KEPT_VECTORS
        ]
        energies = basis.energies
        if energies is not None:
            energies = self._check_tensor("the energies of the true basis", energies, (1, count))[0, :KEPT_VECTORS]
        return Vectors(vectors.float().T.reshape(-1, *self.shape), energies, count)

    @contextmanager
    def _catch_errors(self, name: str, sigma: float | None = None) -> Iterator[None]:
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                # Fix the seed, so that a dataset that uses the default generator gives the same preview every time.
                torch.manual_seed(derive_seed("noise", NOISE_SEED, name))
                yield
        except GahbenchError:
            raise
        except (Exception, SystemExit) as error:
            at = "" if sigma is None else f" at sigma={sigma:g}"
            raise self._error(f"{name}{at}: {type(error).__name__}: {error}") from error

    def _check_tensor(self, name: str, value: object, shape: tuple[int, ...]) -> Tensor:
        if not isinstance(value, Tensor):
            raise self._error(f"{name} must be a tensor, not {type(value).__name__}")
        if value.is_nested or value.layout != torch.strided or value.is_meta or value.is_quantized:
            raise self._error(f"{name} must be an ordinary tensor, not a nested, sparse, meta or quantized tensor")
        if tuple(value.shape) != shape:
            raise self._error(f"{name} must have shape {shape}, not {tuple(value.shape)}")
        if not bool(value.isfinite().all()):
            raise self._error(f"{name} must be finite")
        return value.detach().cpu()

    def _error(self, problem: str) -> PluginError:
        return PluginError(f"{self.configured.where} cannot be previewed: {problem}")
