"""Recorded noisy images without clean references: their noise levels, and what they show of their noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gahbench import DataError
from gahbench.noise import NoiseExamination, Stabilisation, estimate_from_image, examine_noise

from ._pairs import Pair, find_wrong_scale

#: By how much pixels may be outside of [0, 1], beyond four standard deviations of the noise.
_MARGIN = 0.05


@dataclass(frozen=True, eq=False)
class NoisyAlone(Pair):
    """A noisy image in place of a pair: its clean image is the noisy image itself, and its noise level is given."""

    sigma: float = 0.0

    def noise_level(self, rule: float | str = "rms") -> float:
        """Return the given noise level; rules that compare with a reference do not apply."""
        return self.sigma

    def square(self, top: int, left: int, size: int) -> Pair:
        """Return a square of the image, with the noise level of the image."""
        noisy = super().square(top, left, size).noisy
        return replace(self, clean=noisy, noisy=noisy)

    def find_fault(self) -> str | None:
        """Return why the image cannot be used; ``None`` if it can be used."""
        if not bool(self.noisy.isfinite().all()):
            return "pixels that are infinite or NaN"
        if self.noisy.min() == self.noisy.max():
            return "the noisy image is constant"
        try:
            examination = examine_noise([self.noisy])
        except DataError as error:
            return str(error)
        if examination.is_noise_free:
            level = float(examination.sigma)
            return f"the image shows no noise: its noise level is {level:.2g}, less than half a grey level of 8 bits"
        return find_wrong_scale("noisy", self.noisy, self.sigma, _MARGIN + 4 * min(self.sigma, 1.0))


def read_alone(images: Mapping[str, Tensor | str], level: float | str) -> dict[str, Pair | str]:
    """Return the image of each name, shape (1, H, W), with its noise level, or the reason why it cannot be read."""
    named: dict[str, Pair | str] = {}
    for name, image in images.items():
        if isinstance(image, str):
            named[name] = image
            continue
        sigma = level if isinstance(level, float) else 0.0
        if not sigma:
            try:
                sigma = float(examine_noise([image]).sigma)
            except DataError:
                # The fault of the image has the reason.
                sigma = 0.0
        named[name] = NoisyAlone(image, image, None, sigma)
    return named


def stabilise(images: Mapping[str, Tensor | str]) -> tuple[dict[str, Tensor | str], Stabilisation]:
    """Stabilise the noise of images by the Poisson-Gaussian noise that is estimated from all of them."""
    tensors = [image for image in images.values() if not isinstance(image, str)]
    if not tensors:
        raise DataError("no image can be read, so no noise can be estimated")
    height, width = (min(image.shape[axis] for image in tensors) for axis in (1, 2))
    same_size = torch.stack([image[:, :height, :width] for image in tensors])
    stabilisation = Stabilisation(estimate_from_image(same_size).noise)
    return {
        name: image if isinstance(image, str) else stabilisation.forward(image.double()).float()
        for name, image in images.items()
    }, stabilisation


def describe_noise(examination: NoiseExamination) -> str:
    """Return what noisy images show of their noise, and which metrics follow, on one line."""
    if examination.is_white_gaussian:
        verdict = "It is white and Gaussian within the limits, so sure and masked-error are defined"
    elif examination.is_uncorrelated:
        verdict = (
            "It is not shown to be Gaussian of equal strength everywhere, so only masked-error is defined; "
            "stabilise=true removes the dependence of photon noise on the intensity"
        )
    else:
        verdict = (
            "It is not shown to be uncorrelated, so no error can be estimated without clean images; clean images, "
            "bursts, or more images without compression can help"
        )
    results = str(examination)
    return (
        f"no clean images: the noise is estimated from the noisy images. {verdict}. {results[0].upper()}{results[1:]}"
    )


def examine(pairs: Sequence[Pair]) -> NoiseExamination | None:
    """Return what noisy images show of their noise; ``None`` for pairs."""
    if not pairs or not isinstance(pairs[0], NoisyAlone):
        return None
    return examine_noise([pair.noisy for pair in pairs])
