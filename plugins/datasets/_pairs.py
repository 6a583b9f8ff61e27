"""Pairs of clean and noisy images, as datasets whose noise is recorded."""

from __future__ import annotations

import copy
import functools
import hashlib
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Captured, DataError, Dataset, Shape, Split, generator

from ._reading.files import Source

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
    """A reference and a noisy image, shape (C, H, W), float32.

    ``variance`` holds the variance of the noise that is left in each pixel of a reference that is a mean of captures.
    """

    clean: Tensor
    noisy: Tensor
    variance: Tensor | None = None

    @property
    def reference_variance(self) -> float:
        """The mean variance of the noise that is left in the reference."""
        return 0.0 if self.variance is None else float(self.variance.double().mean())

    def noise_level(self, rule: float | str = "rms") -> float:
        """Return the noise level by a rule; 0 if the images differ by no more than the noise of the reference."""
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
        return Pair(self.clean[:, rows, columns], self.noisy[:, rows, columns], variance)

    def find_fault(self) -> str | None:
        """Return why the pair cannot be used; ``None`` if it can be used."""
        if self.clean.shape != self.noisy.shape:
            clean, noisy = (_size(image) for image in (self.clean, self.noisy))
            return f"the clean image has {clean} pixels and the noisy image {noisy}"
        if not bool(self.clean.isfinite().all() and self.noisy.isfinite().all()):
            return "pixels that are infinite or NaN"
        for name, image in (("clean", self.clean), ("noisy", self.noisy)):
            if image.min() == image.max():
                return f"the {name} image is constant"
        if (fault := find_wrong_scale("clean", self.clean, sigma := self.noise_level())) is not None:
            return fault
        if sigma < 1e-6:
            return "the noisy image equals the clean image"
        if self.variance is None and _is_exchanged(self.clean.double(), self.noisy.double(), sigma):
            return "the clean image is noisier than the noisy image; exchange them"
        return None


def find_wrong_scale(name: str, image: Tensor, sigma: float, margin: float = _OUTSIDE) -> str | None:
    """Return why the noise level or the values of an image are not those of images in [0, 1]; ``None`` if they are."""
    advice = "set 'black' and 'white' to the grey levels of black and white in the files"
    outside = ((image < -margin) | (image > 1 + margin)).double().mean()
    if outside > _SHARE_OUTSIDE:
        low, high = float(image.min()), float(image.max())
        return f"the {name} image has values from {low:.3g} to {high:.3g}, outside of [0, 1]; {advice}"
    if sigma > 1:
        return f"its noise level is {sigma:.3g}, above 1, but images lie in [0, 1]; {advice}"
    return None


def _size(image: Tensor) -> str:
    return "x".join(map(str, image.shape[1:])) + (f"x{len(image)}" if len(image) > 1 else "")


def _is_exchanged(clean: Tensor, noisy: Tensor, sigma: float) -> bool:
    """Return whether the variance falls from the clean to the noisy image, both of pixels and of their differences.

    Independent noise adds its variance to both. Clipping reduces the variance of pixels, and compression that of
    differences, but not both.
    """
    falls = float(noisy.var() - clean.var()) < -(sigma**2) / 2
    return falls and float(noisy.diff(dim=-1).var()) < float(clean.diff(dim=-1).var())


@dataclass(frozen=True, eq=False, kw_only=True)
class Pairs(Source):
    """The usable pairs of a source, and reasons why other pairs are not usable."""

    pairs: Sequence[Pair]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    @classmethod
    def collect(
        cls, named: Mapping[str, Pair | str], *, had_colours: bool = False, notes: tuple[str, ...] = ()
    ) -> Pairs:
        """Return the pairs without fault among named pairs; a name may have the reason why its pair cannot be read."""
        usable, unusable, digest = [], {}, hashlib.sha256()
        for name, pair in named.items():
            fault = pair if isinstance(pair, str) else pair.find_fault()
            if isinstance(pair, str) or fault is not None:
                unusable[name] = str(fault)
                continue
            usable.append(pair)
            digest.update(f"{tuple(pair.clean.shape)}".encode())
            for image in (pair.clean, pair.noisy):
                digest.update(image.contiguous().numpy().tobytes())
        return cls(pairs=usable, digest=digest.hexdigest(), had_colours=had_colours, unusable=unusable, notes=notes)


@dataclass(frozen=True, eq=False)
class _Test:
    """A test image: its pair, its noise level, and the index of the pair that it was cut from."""

    pair: Pair
    sigma: float
    source: int


class PairSet(Dataset):
    """Base class of test images with recorded noise.

    Parameters
    ----------
    size
        Side of the squares into which pairs are cut; ``None`` for whole images.
    sigma
        Rule of the noise level.
    """

    def __init__(self, size: int | None, sigma: float | Literal["rms", "robust"]) -> None:
        self.size = size
        self.sigma = sigma
        self._last: Captured | None = None

    @property
    @abstractmethod
    def _where(self) -> str:
        """Name of the source in errors."""

    @property
    @abstractmethod
    def _all(self) -> Pairs:
        """The pairs of the source."""

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of the first image."""
        channels, height, width = self._tests[0].pair.clean.shape
        return channels, height, width

    def shapes(self, count: int) -> list[Shape] | None:
        """Return the shapes of the first ``count`` images; ``None`` if all images have the same shape."""
        shapes: list[Shape] = [(len(test.pair.clean), *test.pair.clean.shape[1:]) for test in self._tests]
        return None if len(set(shapes)) == 1 else shapes[:count]

    def of_shape(self, shape: Shape) -> PairSet:
        """Return the dataset of the images of the given shape."""
        subset = copy.copy(self)
        subset._last = None
        # A cached property is replaced by an entry of this name.
        vars(subset)["_tests"] = [test for test in self._tests if tuple(test.pair.clean.shape) == tuple(shape)]
        if not subset._tests:
            raise DataError(f"{self._where}: no image of shape {shape}")
        return subset

    def available(self, split: Split) -> int:
        """Return the number of images of a split; 0 except for ``test``."""
        return len(self._tests) if split == "test" else 0

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return the clean images ``start`` to ``start + count``, shape (count, C, H, W), float32."""
        if start + count > self.available(split):
            raise DataError(
                f"{self._where}: {start + count} {split} images requested, but the split holds {self.available(split)}"
                + ("" if split == "test" else "; recorded pairs are for testing only")
            )
        if self.shapes(1) is not None and count:
            raise DataError(f"{self._where}: images of different sizes; set a 'size', which cuts them into squares")
        chosen = self._tests[start : start + count]
        return torch.stack([test.pair.clean for test in chosen]) if chosen else torch.empty(0, *self.shape)

    def captured(self, count: int) -> Captured:
        """Return the noisy images of the first ``count`` images."""
        # Plans and measurements ask for the same images several times.
        if self._last is None or len(self._last.noisy) != count:
            chosen = self._tests[:count]
            if count > len(self._tests):
                raise DataError(f"{self._where}: {count} noisy images requested, but there are {len(self._tests)}")
            self._last = Captured(
                torch.stack([test.pair.noisy for test in chosen]),
                torch.tensor([test.sigma for test in chosen], dtype=torch.float64),
                torch.tensor([test.pair.reference_variance for test in chosen], dtype=torch.float64),
            )
        return self._last

    def sources(self, split: Split, count: int) -> list[int] | None:
        """Return the index of the pair that each square was cut from."""
        return None if self.size is None or split != "test" else [test.source for test in self._tests[:count]]

    def fingerprint(self) -> str:
        """Return the SHA-256 of the clean and noisy pixels, as float32, of all usable pairs."""
        return self._all.digest

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on pairs and squares that are left out."""
        notes = [*self._all.unusable_notes(), *self._all.notes]
        if self.size is not None:
            cut = sum(math.prod(side // self.size for side in pair.clean.shape[1:]) for pair in self._all.pairs)
            if omitted := cut - len(self._tests):
                notes.append(f"{omitted} of {cut} squares are left out, since they are constant or without noise")
        return tuple(notes)

    @functools.cached_property
    def _tests(self) -> list[_Test]:
        """The test images; squares are in random order, so that the first of them come from many pairs."""
        pairs = self._all.pairs
        if self.size is None:
            return [_Test(pair, pair.noise_level(self.sigma), index) for index, pair in enumerate(pairs)]
        tests = []
        for index, pair in enumerate(pairs):
            height, width = pair.clean.shape[1:]
            for top in range(0, height - self.size + 1, self.size):
                for left in range(0, width - self.size + 1, self.size):
                    square = pair.square(top, left, self.size)
                    is_constant = square.clean.min() == square.clean.max()
                    if not is_constant and square.noise_level() >= _MIN_SIGMA:
                        tests.append(_Test(square, square.noise_level(self.sigma), index))
        if not tests:
            raise DataError(
                f"{self._where}: no square of {self.size}x{self.size} pixels with noise; set a smaller 'size'"
            )
        order = torch.randperm(len(tests), generator=generator("data", "pairs")).tolist()
        return [tests[index] for index in order]
