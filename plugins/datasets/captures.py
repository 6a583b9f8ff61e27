"""Pairs, bursts or noisy images alone, as the user recorded them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from gahbench import Card, DataError
from gahbench_plugins.datasets import reading
from gahbench_plugins.datasets.estimated_noise import Noise, examine, white_noise_level
from gahbench_plugins.datasets.pairs import NoiseLevel, Pair, Pairs

#: Names of the folders, or of the arrays of an .npz file.
CLEAN, NOISY, BURSTS = "clean", "noisy", "bursts"
ACCEPTED = (
    f"accepted: a folder with the folders {CLEAN} and {NOISY}, which hold images of equal names, or {NOISY} alone; a "
    f"folder with a folder of repeated captures for each scene; or an .npz file with the arrays {CLEAN} and {NOISY}, "
    f"{NOISY} alone, or {BURSTS}"
)
#: Fewest captures in a burst: one noisy image, and at least two others for the mean and its variance.
MIN_CAPTURES = 3
#: Images with less noise count as noise-free: half a grey level of 8 bits.
LEAST_SIGMA = 0.5 / 255


class Captures(Pairs):
    """Your own noisy images, with or without clean references, as cameras and microscopes record them.

    With ``sigmas: measured`` in a suite, denoisers are scored on the recorded noise; with numbers, on white Gaussian
    noise that is added to the references. There are four forms of data:

    - a folder with the folders ``clean`` and ``noisy``, which hold images of equal names (their suffixes may differ);
    - a folder of bursts, a folder of three or more repeated captures for each scene. The first capture is the noisy
      image, and the mean of the other captures is its reference. The variance that is left in the reference is
      estimated from these captures; the PSNR and the noise level do not count it;
    - a folder with the folder ``noisy`` alone. The noise level of each image is estimated from the image, and the noise
      is tested: the correlation of neighbours, and how the noise level depends on the intensity. If it is white and
      Gaussian, the metrics ``sure`` and ``masked-error`` are defined, and if it is only uncorrelated, ``masked-error``.
      Other metrics need clean images. A note has the results of the test, and its limits;
    - an .npz file with the arrays ``clean`` and ``noisy``, or ``noisy`` alone, of shape (N, H, W), or ``bursts`` of
      shape (N, captures, H, W), each with or without an axis of channels.

    Files may have 8 or 16 bits per channel or be in floating point (PNG, JPEG, TIFF and other formats; 16-bit colours
    only as TIFF). Noisy values below black or above white are kept. There are only test images, so entrants that are
    trained, fitted or tuned on a dataset have no row. The best possible denoiser is unknown.

    Parameters
    ----------
    path
        The folder or .npz file.
    size
        Side in pixels of the squares into which all pairs are cut. The noise level is estimated for each square. By
        default images are whole, of any sizes.
    black, white
        Grey levels of black and white in the files. By default 0 and 255, 65535, or 1 in floating point. Sensors of 12
        bits have white=4095.
    sigma
        The noise level of each image. ``rms``: the root mean square of its difference from the reference, so that drawn
        noise of this level has the same PSNR; ``robust``: the median absolute deviation of the difference divided by
        0.6745, which ignores outliers such as hot pixels, and the noise of dark or bright regions; or a number
        above 0, up to 1. Noisy images alone have one estimate for both rules.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, 0.299 R + 0.587 G + 0.114 B; ``rgb``, with
        clean references.
    on_error
        ``raise``: pairs that cannot be used raise an error that names all of them. ``skip``: such pairs are left out,
        and named in a note. Pairs cannot be used if an image is missing, unreadable or constant, if sizes differ, if
        the noise level is 0 or above 1. Noisy images alone
        cannot be used if they show no noise, or if black or white pixels are everywhere.

    Raises
    ------
    ValueError
        If ``white`` is not above ``black``.
    """

    display_name = "captures, {path}"

    def __init__(
        self,
        path: str,
        size: Annotated[int, Field(ge=8)] | None = None,
        black: float | None = None,
        white: float | None = None,
        sigma: NoiseLevel = "rms",
        colour: reading.Colour = "mean",
        on_error: reading.OnError = "raise",
    ) -> None:
        if white is not None and white <= (black or 0.0):
            raise ValueError(f"white={white:g}; accepted: greater than black={black or 0.0:g}")
        super().__init__(size, sigma, path, on_error)
        self.black = black or 0.0
        self.white = white
        self.colour: reading.Colour = colour
        # Whether images of 16 bits seem to hold 12 bits or fewer, and whether any image is in colour.
        self._is_dark, self._had_colours = white is None, False

    @property
    def card(self) -> Card:
        """Origin and licence of the images."""
        return Card(f"user's recorded images from {Path(self.where).name}", "not known; ask their owners")

    @property
    def noise_kind(self) -> Literal["white", "independent", "unknown"] | None:
        """What noisy images without references show of their noise; ``None`` with references."""
        return None if self._noise is None else self._noise.kind

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on images that are left out, on colours and dark images, and on the noise of noisy images alone."""
        dark = "files of 16 bits hold values up to 4095 only, so images are dark; white=4095 is usual for 12 bits"
        return (
            *super().notes,
            *reading.colour_notes(self.colour, self._had_colours),
            *[dark] * self._is_dark,
            *[str(noise) for noise in (self._noise,) if noise is not None],
        )

    @functools.cached_property
    def _noise(self) -> Noise | None:
        is_alone = self.pairs[0].sigma is not None
        return examine([pair.noisy for pair in self.pairs]) if is_alone else None

    def read(self) -> Mapping[str, Pair | str]:
        """Return the pairs by name, or the reason why a pair cannot be read."""
        recorded = _find(reading.user_path(self.where, ACCEPTED))
        if CLEAN not in recorded and NOISY in recorded and self.colour == "rgb":
            raise DataError(f"{self.where}: colour=rgb without clean references; accepted: mean and luma")
        named: dict[str, Pair | str] = {}
        for name in dict.fromkeys(name for images in recorded.values() for name in images):
            try:
                if BURSTS in recorded:
                    named[name] = self._burst(recorded[BURSTS][name])
                    continue
                images = {}
                for kind in recorded:
                    if name not in recorded[kind]:
                        raise DataError(f"no {kind} image of this name")
                    images[kind] = self._image(recorded[kind][name], f"the {kind} image: ")
                named[name] = Pair(images[CLEAN], images[NOISY]) if CLEAN in images else self._alone(images[NOISY])
            except DataError as error:
                named[name] = str(error)
        return named

    def _burst(self, captures: list[Any]) -> Pair:
        """Return the pair of the first capture and the mean of the others."""
        if len(captures) < MIN_CAPTURES:
            raise DataError(f"{len(captures)} captures; accepted: {MIN_CAPTURES} or more")
        images = (self._image(capture, f"{getattr(capture, 'name', 'a capture')}: ") for capture in captures)
        noisy = next(images)
        # Sums in float64 need one capture at a time.
        total, squares, count = noisy.double() * 0, noisy.double() * 0, len(captures) - 1
        for image in images:
            if image.shape != noisy.shape:
                raise DataError("captures of several sizes")
            total += image
            squares += image.double().square()
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0) * count / (count - 1)
        return Pair(mean.float(), noisy, (variance / count).float())

    def _alone(self, image: Tensor) -> Pair:
        """Return a noisy image with its estimated noise level in place of a pair."""
        if not bool(image.isfinite().all()):
            raise DataError("pixels that are infinite or NaN")
        if image.min() == image.max():
            raise DataError("the noisy image is constant")
        sigma = white_noise_level(image)
        if sigma < LEAST_SIGMA:
            raise DataError(
                f"the image shows no noise: its noise level is {sigma:.2g}, less than half a grey level of 8 bits"
            )
        # Images that cannot be examined are refused one by one.
        examine([image])
        return Pair(image, image, sigma=self.sigma if isinstance(self.sigma, float) else sigma)

    def _image(self, source: Path | NDArray[Any], prefix: str) -> Tensor:
        """Return an image in units where black is 0 and white is 1, shape (C, H, W), float32."""
        try:
            pixels = reading.read_image(source) if isinstance(source, Path) else source
            reading.check_size(*pixels.shape[:2])
            if pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
                white = float(np.iinfo(pixels.dtype).max)
            elif pixels.dtype.kind == "f" or (pixels.dtype.kind in "iu" and self.white is not None):
                white = 1.0
            else:
                raise DataError(f"pixels of type {pixels.dtype}; accepted: 8 or 16 bits, floating point, or a 'white'")
        except DataError as error:
            raise DataError(f"{prefix}{error}") from error
        self._is_dark &= pixels.dtype == np.uint16 and int(pixels.max(initial=0)) <= 4095
        channels = reading.channels_first(pixels)
        self._had_colours |= reading.has_colours(channels)
        white = white if self.white is None else self.white
        image = (torch.from_numpy(channels.astype(np.float64)) - self.black) / (white - self.black)
        return reading.mix(image.expand(3, -1, -1) if self.colour == "rgb" else image, self.colour).float()


def _find(path: Path) -> dict[str, dict[str, Any]]:
    """Return the files or pixels by name: ``clean`` and ``noisy``, ``noisy`` alone, or lists of them in ``bursts``."""
    if not path.is_dir():
        return _split_arrays(path)
    present = [name for name in (CLEAN, NOISY) if (path / name).is_dir()]
    if NOISY in present:
        return {name: _files_by_stem(path / name) for name in present}
    if present:
        raise DataError(f"{path}: has the folder '{CLEAN}', but no folder '{NOISY}'; {ACCEPTED}")
    scenes: dict[str, Any] = {}
    for name, file in _files_by_stem(path).items():
        scene = str(PurePosixPath(name).parent)
        if scene == ".":
            raise DataError(f"{path}: has the image {name} outside of a folder; {ACCEPTED}")
        scenes.setdefault(scene, []).append(file)
    return {BURSTS: scenes}


def _files_by_stem(folder: Path) -> dict[str, Path]:
    """Return the image files of a folder by their names without suffix."""
    stems: dict[str, Path] = {}
    for name, file in reading.image_files(folder).items():
        if (other := stems.setdefault(str(PurePosixPath(name).with_suffix("")), file)) is not file:
            raise DataError(f"{folder}: {other.name} and {file.name} have one name; accepted: distinct names")
    return stems


def _split_arrays(path: Path) -> dict[str, dict[str, Any]]:
    """Return the images of arrays (N, H, W), or (N, captures, H, W) of bursts, with or without an axis of channels."""
    arrays = reading.read_arrays(path)
    kinds = [kind for kind in (CLEAN, NOISY) if kind in arrays] if NOISY in arrays else [BURSTS]
    if kinds[0] not in arrays:
        raise DataError(f"{path}: has the arrays {ascii(', '.join(arrays))[1:-1] or 'none'}; {ACCEPTED}")
    result: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        array, dimensions = arrays[kind], 4 if kind == BURSTS else 3
        if array.ndim == dimensions + 1 and array.shape[-1] not in (1, 3) and array.shape[-3] in (1, 3):
            array = np.moveaxis(array, -3, -1)
        if array.ndim != dimensions and not (array.ndim == dimensions + 1 and array.shape[-1] in (1, 3)):
            axes = "N, captures, H, W" if kind == BURSTS else "N, H, W"
            raise DataError(
                f"{path}: '{kind}' has the shape {array.shape}; accepted: ({axes}), or with an axis of 1 or 3 channels"
            )
        result[kind] = {f"{'burst' if kind == BURSTS else 'image'} {index}": image for index, image in enumerate(array)}
    return result
