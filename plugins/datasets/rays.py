"""Rays: one image times a scale, a manifold of dimension 1."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from gahbench import DataError, Dataset, Names

from .._messages import name_of
from ._derived import Derived
from ._manifold import Manifold


class Rays(Derived, Manifold):
    """One image times a scale that is uniform in [0, 1].

    The simplest manifold: a ray out of black, of dimension 1. The best denoiser projects on the image and keeps the
    scale within its prior. The posterior of the scale is exact, a Gaussian cut off at 0 and 1; as sigma tends to 0 the
    least squared error tends to sigma^2.

    Parameters
    ----------
    image
        The dataset that the one image is from, such as ``discs[size=32]``. Values outside [0, 1], which Gaussian
        families may have, are clipped.
    index
        Which of the dataset's training images it is.
    seed
        Seed of the scales.

    Raises
    ------
    DataError
        If the image is black.
    """

    intensities = 1
    label_parameters = ("image",)

    def __init__(
        self,
        image: Annotated[Dataset, Names("dataset", default="c-alpha")],
        index: Annotated[int, Field(ge=0)] = 0,
        seed: int = 0,
    ) -> None:
        super().__init__("rays", seed)
        self.dataset = image
        self.image = self.dataset.images("train", 1, start=index)[0].clamp(0, 1)
        if not self.image.any():
            raise DataError(f"image {index} of '{name_of(image)}' is black; accepted are images with a pixel above 0")

    @property
    def recipe(self) -> str:
        """Scales of one image."""
        return "one image times scales that gahbench drew; the image"

    def place(self, uniform: Tensor) -> Tensor:
        """Return the non-linear parameters, of which there are none: shape (N, 0)."""
        return uniform

    def render(self, parameters: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W), of scales (N, 1)."""
        return parameters[:, :, None, None] * self.image.to(parameters)
