"""Images of another dataset with permuted pixels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor

from gahbench import Dataset, Names, Optimum, Posterior, Split, TrueBasis, generator
from gahbench.jacobian import FunctionMaps, LinearMaps
from gahbench_plugins.datasets.generated import Derived


class Shuffled(Derived):
    """Images of another dataset with their pixels permuted.

    All images and channels have the same permutation. White noise is invariant under permutations, so the best denoiser
    is the permuted best denoiser of the plain images. However, neighbours are no longer adjacent, so networks find no
    harmonics. The loss of performance of a network compared with the plain images measures its inductive bias
    (Kadkhodaie 2024, on faces).

    Parameters
    ----------
    dataset
        The images to shuffle.
    seed
        Seed of the permutation.
    """

    display_name = "shuffled {dataset}"
    recipe = "pixels shuffled"
    citation = "kadkhodaie-2024"
    label_parameters = ("dataset",)

    def __init__(self, dataset: Annotated[Dataset, Names("dataset", default="faces")], seed: int = 0) -> None:
        self.dataset = dataset
        self.seed = seed
        self.splits_overlap = self.dataset.splits_overlap
        self.has_true_basis = self.dataset.has_true_basis

    @property
    def optimum(self) -> Optimum:
        """The optimum of the plain images, which permutations do not change."""
        return self.dataset.optimum

    @functools.cached_property
    def permutation(self) -> Tensor:
        """Index of the plain image's pixel that each pixel shows, shape (H W,), int64."""
        _, height, width = self.shape
        draw = generator("data", self.seed, "shuffled", height, width)
        return torch.randperm(height * width, generator=draw)

    def shuffle(self, images: Tensor) -> Tensor:
        """Shuffle the pixels of plain images (N, C, H, W)."""
        return _permute_pixels(images, self.permutation)

    def inverse(self, images: Tensor) -> Tensor:
        """Restore the order of the pixels of shuffled images (N, C, H, W)."""
        return _permute_pixels(images, self.permutation.argsort())

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images ``start`` to ``start + count`` of a split, shape (count, C, H, W), float32."""
        return self.shuffle(self.dataset.images(split, count, start))

    def available(self, split: Split) -> int | None:
        """Return the number of images of a split; ``None`` if the plain images are endless."""
        return self.dataset.available(split)

    def sources(self, split: Split, count: int) -> Sequence[int] | None:
        """Return the sources of the plain images."""
        return self.dataset.sources(split, count)

    def posterior(self, noisy: Tensor, sigma: float) -> Posterior:
        """Return the posterior of the plain images given the unshuffled noisy images, with its mean shuffled."""
        posterior = self.dataset.posterior(self.inverse(noisy), sigma)
        return replace(posterior, mean=self.shuffle(posterior.mean))

    def lower_bound(self, split: Split, count: int, sigma: float, start: int = 0) -> Tensor:
        """Return the bound on the mean squared error per pixel of the plain images, shape (count,)."""
        return self.dataset.lower_bound(split, count, sigma, start)

    def genie(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> Tensor:
        """Return the shuffled output of the genie of the plain images."""
        return self.shuffle(self.dataset.genie(self.inverse(noisy), sigma, split, start))

    def optimal_filters(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> LinearMaps | None:
        """Return the optimal filters of the plain images, conjugated by the permutation; ``None`` if unknown."""
        plain = self.dataset.optimal_filters(self.inverse(noisy), sigma, split, start)
        if plain is None:
            return None

        def apply_filters(vectors: Tensor, indices: Sequence[int]) -> Tensor:
            ordered = self.inverse(vectors.reshape(-1, *self.shape)).reshape(vectors.shape)
            if len(indices) == len(plain):
                products = plain.matvec(ordered)
            else:
                products = torch.cat(
                    [plain.select(index).matvec(rows[None]) for index, rows in zip(indices, ordered, strict=True)]
                )
            return self.shuffle(products.reshape(-1, *self.shape)).reshape(vectors.shape)

        return FunctionMaps(apply_filters, len(plain), self.shape, plain.like)

    def true_basis(self, split: Split, count: int, start: int = 0) -> TrueBasis | None:
        """Return the true basis of the plain images with its vectors shuffled; ``None`` if it is unknown."""
        basis = self.dataset.true_basis(split, count, start)
        if basis is None:
            return None
        count, _, vectors = basis.vectors.shape
        # Each vector is an image.
        as_images = basis.vectors.mT.reshape(count * vectors, *self.shape)
        return replace(basis, vectors=self.shuffle(as_images).reshape(count, vectors, -1).mT)


def _permute_pixels(images: Tensor, order: Tensor) -> Tensor:
    return images.flatten(2)[:, :, order.to(images.device)].view_as(images)
