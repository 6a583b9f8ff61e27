"""Pairs, bursts or noisy images alone, as the user recorded them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from gahbench import Card, DataError

from ._noisy_alone import Noise, NoisyAlone, examine, read_alone
from ._pairs import NoiseLevel, Pair, Pairs, PairSet
from ._reading.files import OnError, source_path
from ._reading.preprocess import Colour, channels_first, colour_notes, has_colours
from ._reading.recordings import CLEAN, MIN_CAPTURES, NOISY, Levels, looks_dark, read_recorded


class Captures(PairSet):
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
        the noise level is 0 or above 1, or if the clean image is noisier than the noisy image. Noisy images alone
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
        colour: Colour = "mean",
        on_error: OnError = "raise",
    ) -> None:
        if white is not None and white <= (black or 0.0):
            raise ValueError(f"white={white:g}; accepted: greater than black={black or 0.0:g}")
        super().__init__(size, sigma)
        self.path = path
        self.black = black
        self.white = white
        self.colour: Colour = colour
        self.on_error: OnError = on_error

    @property
    def card(self) -> Card:
        """Origin and licence of the images."""
        return Card(f"user's recorded images from {Path(self.path).name}", "not known; ask their owners")

    @property
    def _where(self) -> str:
        return self.path

    @functools.cached_property
    def _all(self) -> Pairs:
        recorded = read_recorded(source_path(self.path))
        reader = _Reader(Levels(self.black, self.white, self.colour))
        named: dict[str, Pair | str] = {name: reader.burst(scene) for name, scene in recorded.bursts.items()}
        if recorded.clean is None:
            if self.colour == "rgb":
                raise DataError(f"{self._where}: colour=rgb without clean references; accepted: mean and luma")
            named = read_alone({name: reader.image(pixels) for name, pixels in recorded.noisy.items()}, self.sigma)
        else:
            for name in sorted({*recorded.clean, *recorded.noisy}):
                images = {CLEAN: recorded.clean.get(name), NOISY: recorded.noisy.get(name)}
                named[name] = reader.pair(images)
        if not named:
            raise DataError(f"{self._where}: no images")
        pairs = Pairs.collect(named, had_colours=reader.had_colours, notes=reader.notes(self.colour))
        pairs.check_usable(self, self.on_error, self._where)
        return pairs

    @functools.cached_property
    def _noise(self) -> Noise | None:
        pairs = self._all.pairs
        return examine([pair.noisy for pair in pairs]) if pairs and isinstance(pairs[0], NoisyAlone) else None

    @property
    def noise_kind(self) -> Literal["white", "independent", "unknown"] | None:
        """What noisy images without references show of their noise; ``None`` with references."""
        return None if self._noise is None else self._noise.kind

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on images that are left out, and on the noise of noisy images alone."""
        return (*super().notes, *(() if self._noise is None else (str(self._noise),)))


class _Reader:
    """Converts recorded pixels to pairs, and remembers what notes report."""

    def __init__(self, levels: Levels) -> None:
        self._levels = levels
        self._is_dark = True
        self.had_colours = False

    def pair(self, images: dict[str, NDArray[Any] | str | None]) -> Pair | str:
        """Return the pair of a clean and a noisy image, or the reason why it cannot be used."""
        tensors = {}
        for kind, pixels in images.items():
            if pixels is None:
                return f"no {kind} image of this name"
            if isinstance(image := self.image(pixels), str):
                return f"the {kind} image: {image}"
            tensors[kind] = image
        return Pair(tensors[CLEAN], tensors[NOISY])

    def burst(self, scene: list[NDArray[Any]] | str) -> Pair | str:
        """Return the pair of the first capture and the mean of the others, or the reason why it cannot be used."""
        if isinstance(scene, str):
            return scene
        if len(scene) < MIN_CAPTURES:
            return f"{len(scene)} captures; accepted: {MIN_CAPTURES} or more"
        if len({capture.shape for capture in scene}) > 1:
            return "captures of several sizes"
        try:
            noisy, *others = map(self._read, scene)
        except DataError as error:
            return str(error)
        # Sums in float64 need one capture at a time.
        total, squares = (torch.zeros(noisy.shape, dtype=torch.float64) for _ in range(2))
        for capture in others:
            total += capture
            squares += capture.double().square()
        count = len(others)
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0) * count / (count - 1)
        return Pair(mean.float(), noisy, (variance / count).float())

    def image(self, pixels: NDArray[Any] | str) -> Tensor | str:
        """Return an image, shape (C, H, W), or the reason why it cannot be used."""
        if isinstance(pixels, str):
            return pixels
        try:
            return self._read(pixels)
        except DataError as error:
            return str(error)

    def _read(self, pixels: NDArray[Any]) -> Tensor:
        self._is_dark &= looks_dark(pixels, self._levels)
        self.had_colours |= pixels.ndim == 3 and has_colours(channels_first(pixels[..., :3]))
        return self._levels.apply(pixels)

    def notes(self, colour: Colour) -> tuple[str, ...]:
        """Return notes on dropped colours and on dark images."""
        dark = "files of 16 bits hold values up to 4095 only, so images are dark; white=4095 is usual for 12 bits"
        return (*colour_notes(colour, self.had_colours), *((dark,) if self._is_dark else ()))
