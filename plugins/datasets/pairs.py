"""Pairs of clean and noisy images; the base class of datasets whose noise is recorded."""

from __future__ import annotations

import functools
import hashlib
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Captured, DataError, Split, generator
from gahbench_plugins.datasets import reading
from gahbench_plugins.datasets.photos import TestImages

#: How the noise level of an image is found: estimated from the difference from its reference, or a given number.
NoiseLevel = Annotated[float, Field(gt=0, le=1)] | Literal["rms", "robust"]
#: Median absolute deviation of a standard normal variable.
_MAD = 0.6744897501960817
#: Squares with less noise than this are left out: a quarter of a grey level of 8 bits.
_MIN_SIGMA = 0.25 / 255
#: Largest share of the pixels of a reference outside of [0, 1], and by how much a pixel may be outside.
_SHARE_OUTSIDE, _OUTSIDE = 0.05, 0.05


@dataclass(frozen=True, eq=False)
class Pair:
    """A reference and a noisy image, shape (C, H, W), float32; or a noisy image alone, which is also its reference.

    Parameters
    ----------
    clean, noisy
        The images, in units where black is 0 and white is 1.
    variance
        Variance of the noise that is left in each pixel of a reference that is a mean of captures.
    sigma
        Noise level of a noisy image alone.
    source
        Index of the pair that a square was cut from.
    """

    clean: Tensor
    noisy: Tensor
    variance: Tensor | None = None
    sigma: float | None = None
    source: int = 0

    @property
    def reference_variance(self) -> float:
        """The mean variance of the noise that is left in the reference."""
        return 0.0 if self.variance is None else float(self.variance.double().mean())

    def noise_level(self, rule: float | str = "rms") -> float:
        """Return the noise level by a rule; 0 if the images differ by no more than the noise of the reference."""
        if self.sigma is not None:
            return self.sigma
        if isinstance(rule, int | float):
            return float(rule)
        difference = (self.noisy - self.clean).double()
        if rule == "robust":
            variance = float((difference - difference.median()).abs().median() / _MAD) ** 2
        else:
            variance = float(difference.square().mean())
        return math.sqrt(max(variance - self.reference_variance, 0.0))

    def square(self, top: int, left: int, size: int) -> Pair:
        """Return a square of the pair."""
        rows, columns = slice(top, top + size), slice(left, left + size)
        variance = None if self.variance is None else self.variance[:, rows, columns]
        return replace(self, clean=self.clean[:, rows, columns], noisy=self.noisy[:, rows, columns], variance=variance)

    def find_fault(self) -> str | None:
        """Return why the pair cannot be used; ``None`` if it can be used."""
        images = {"clean": self.clean, "noisy": self.noisy} if self.sigma is None else {"noisy": self.noisy}
        if self.clean.shape != self.noisy.shape:
            clean, noisy = ("x".join(map(str, image.shape[1:])) for image in (self.clean, self.noisy))
            return f"the clean image has {clean} pixels and the noisy image {noisy}"
        if not all(bool(image.isfinite().all()) for image in images.values()):
            return "pixels that are infinite or NaN"
        for name, image in images.items():
            if image.min() == image.max():
                return f"the {name} image is constant"
        name, image = next(iter(images.items()))
        sigma = self.noise_level()
        # Values of noisy images may be outside of [0, 1] by four standard deviations of the noise.
        margin = _OUTSIDE if self.sigma is None else _OUTSIDE + 4 * min(sigma, 1.0)
        advice = "set 'black' and 'white' to the grey levels of black and white in the files"
        if ((image < -margin) | (image > 1 + margin)).double().mean() > _SHARE_OUTSIDE:
            low, high = float(image.min()), float(image.max())
            return f"the {name} image has values from {low:.3g} to {high:.3g}, outside of [0, 1]; {advice}"
        if sigma > 1:
            return f"its noise level is {sigma:.3g}, above 1, but images lie in [0, 1]; {advice}"
        if sigma < 1e-6:
            return "the noisy image equals the clean image"
        if self.variance is None and self.sigma is None and self._is_exchanged(sigma):
            return "the clean image is noisier than the noisy image; exchange them"
        return None

    def _is_exchanged(self, sigma: float) -> bool:
        """Return whether the variance falls from the clean to the noisy image, both of pixels and of differences.

        Independent noise adds its variance to both. Clipping reduces the variance of pixels, and compression that of
        differences, but not both.
        """
        clean, noisy = self.clean.double(), self.noisy.double()
        falls = float(noisy.var() - clean.var()) < -(sigma**2) / 2
        return falls and float(noisy.diff(dim=-1).var()) < float(clean.diff(dim=-1).var())


class Pairs(TestImages):
    """Base class of test images with recorded noise.

    Parameters
    ----------
    size
        Side of the squares into which pairs are cut; ``None`` for whole images.
    sigma
        Rule of the noise level.
    where
        Name of the source in errors.
    on_error
        Whether pairs that cannot be used ``raise`` an error, or are left out (``skip``).
    """

    kind = "recorded pairs"
    advice = "set a 'size', which cuts them into squares"

    def __init__(self, size: int | None, sigma: NoiseLevel, where: str, on_error: reading.OnError = "raise") -> None:
        self.size = size
        self.sigma = sigma
        self.where = where
        self.on_error: reading.OnError = on_error

    @abstractmethod
    def read(self) -> Mapping[str, Pair | str]:
        """Return the pairs by name, or the reason why a pair cannot be read."""

    @property
    def pairs(self) -> list[Pair]:
        """The usable pairs; ``DataError`` is raised if some are not, and they may not be left out."""
        return self._usable[0]

    @staticmethod
    def clean(test: Pair) -> Tensor:
        """Return the reference of a pair, shape (C, H, W), float32."""
        return test.clean

    def captured(self, count: int) -> Captured:
        """Return the noisy images of the first ``count`` images."""
        reading.check_count(self.where, "noisy", count, len(self._tests))
        chosen = self._tests[:count]
        return Captured(
            torch.stack([pair.noisy for pair in chosen]),
            torch.tensor([pair.noise_level(self.sigma) for pair in chosen], dtype=torch.float64),
            torch.tensor([pair.reference_variance for pair in chosen], dtype=torch.float64),
        )

    def sources(self, split: Split, count: int) -> list[int] | None:
        """Return the index of the pair that each square was cut from."""
        return None if self.size is None or split != "test" else [pair.source for pair in self._tests[:count]]

    def fingerprint(self) -> str:
        """Return the SHA-256 of the clean and noisy pixels, as float32, of all usable pairs."""
        digest = hashlib.sha256()
        for pair in self.pairs:
            digest.update(f"{tuple(pair.clean.shape)}".encode())
            for image in (pair.clean, pair.noisy):
                digest.update(image.contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on pairs and squares that are left out."""
        pairs, notes = self._usable
        if self.size is not None:
            cut = sum(math.prod(side // self.size for side in pair.clean.shape[1:]) for pair in pairs)
            if omitted := cut - len(self._tests):
                notes += (f"{omitted} of {cut} squares are left out, since they are constant or without noise",)
        return notes

    @functools.cached_property
    def _usable(self) -> tuple[list[Pair], tuple[str, ...]]:
        """The usable pairs, and a note on the others."""
        named, pairs, faults = self.read(), list[Pair](), dict[str, str]()
        if not named:
            raise DataError(f"{self.where}: no images; accepted: at least one")
        for name, pair in named.items():
            fault = pair if isinstance(pair, str) else pair.find_fault()
            if isinstance(pair, Pair) and fault is None:
                pairs.append(replace(pair, source=len(pairs)))
            else:
                faults[name] = str(fault)
        return pairs, reading.unusable_notes(faults, len(pairs), self.on_error, self.where)

    def load_tests(self) -> list[Pair]:
        """Return the pairs, or squares of them in random order, so that the first of them come from many pairs."""
        if self.size is None:
            return self.pairs
        squares = []
        for pair in self.pairs:
            height, width = pair.clean.shape[1:]
            for top in range(0, height - self.size + 1, self.size):
                for left in range(0, width - self.size + 1, self.size):
                    square = pair.square(top, left, self.size)
                    is_constant = square.clean.min() == square.clean.max()
                    if not is_constant and square.noise_level() >= _MIN_SIGMA:
                        squares.append(square)
        if not squares:
            raise DataError(
                f"{self.where}: no square of {self.size}x{self.size} pixels with noise; set a smaller 'size'"
            )
        order = torch.randperm(len(squares), generator=generator("data", "pairs")).tolist()
        return [squares[index] for index in order]
