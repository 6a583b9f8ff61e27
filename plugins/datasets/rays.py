"""Rays: an image times a random scale, a manifold of dimension 1."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from gahbench import DataError, Dataset, Names, get_spec
from gahbench_plugins.datasets.generated import Derived
from gahbench_plugins.datasets.manifold import Manifold


class Rays(Derived, Manifold):
    """A fixed image times a scale that is uniform in [0, 1].

    The images form a ray from black, a manifold of dimension 1. The best denoiser returns the fixed image times the
    posterior mean of the scale, which depends only on the projection of the noisy image on the fixed image. The
    posterior of the scale is a Gaussian truncated to [0, 1]. As sigma tends to 0, the minimum squared error, summed
    over pixels, tends to sigma^2.

    Parameters
    ----------
    image
        Dataset of the image, such as ``discs[size=32]``. Values outside [0, 1], which Gaussian families may have, are
        clipped.
    index
        Index of the image among the training images of the dataset.
    seed
        Seed of the scales.

    Raises
    ------
    DataError
        If the image is black.
    """

    display_name = "rays of {image}"
    recipe = "multiples of a single image, with scales drawn by gahbench; origin of the image"
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
            raise DataError(f"image {index} of '{get_spec(image)}' is black; accepted: images with a pixel above 0")

    def prior_transform(self, uniform: Tensor) -> Tensor:
        """Return the non-linear parameters, shape (N, 0), since the family has only an intensity."""
        return uniform

    def render(self, parameters: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W), of scales (N, 1)."""
        return parameters[:, :, None, None] * self.image.to(parameters)
