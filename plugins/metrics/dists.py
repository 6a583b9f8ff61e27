"""DISTS: similarity of structure and texture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .._extras import require
from .._papers import DING_2020
from ._perceptual import HUB, VGG16, File, Perceptual


class Dists(Perceptual):
    """DISTS between denoised and clean images: 0 for equal images, lower is better; needs the extra ``pyiqa``.

    DISTS is 1 minus a weighted mean of the similarities of means (texture) and covariances (structure) of features of
    VGG16 trained on ImageNet (Ding, Ma, Wang & Simoncelli, TPAMI 2020). It is computed by pyiqa. Images are clipped to
    [0, 1], and grey images expanded to three equal channels.
    """

    citation = DING_2020
    titles: ClassVar[Mapping[str, str]] = {"": "DISTS, vgg"}
    min_side = 16

    def __init__(self) -> None:
        require("metric 'dists'", "pyiqa", "pyiqa")

    @property
    def files(self) -> tuple[File, File]:
        """Files of the weights of VGG16, and of the weights that DISTS gives to its channels."""
        name = "DISTS_weights-f5e65c96.pth"
        return VGG16, File("DISTS, 20 kB", f"{HUB}/{name}", f"pyiqa/{name}")

    def network(self) -> Any:
        """Return the network of pyiqa with the backbone of torchvision."""
        from pyiqa.archs.dists_arch import DISTS

        return DISTS(pretrained=False)
