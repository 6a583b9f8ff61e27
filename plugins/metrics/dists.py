"""DISTS: likeness of structure and texture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .._extras import require
from .._papers import DING_2020
from ._perceptual import HUB, VGG16, File, Perceptual


class Dists(Perceptual):
    """DISTS of the denoised and the clean image: 0 for equal ones, lower is better; needs the extra ``pyiqa``.

    1 minus a weighted mean of the likeness of the means (texture) and of the covariances (structure) of features of
    VGG16, trained on ImageNet, of Ding, Ma, Wang & Simoncelli, TPAMI 2020. There is one version. It is that of pyiqa,
    with images in [0, 1], which are clipped to it; grey ones are given three equal channels.
    """

    citation = DING_2020
    titles: ClassVar[Mapping[str, str]] = {"": "DISTS, vgg"}
    min_side = 16

    def __init__(self) -> None:
        require("metric 'dists'", "pyiqa", "pyiqa")

    @property
    def files(self) -> tuple[File, File]:
        """The network, and the weights of its channels."""
        name = "DISTS_weights-f5e65c96.pth"
        return VGG16, File("DISTS, 20 kB", f"{HUB}/{name}", f"pyiqa/{name}")

    def network(self) -> Any:
        """Return pyiqa's, with the backbone of torchvision."""
        from pyiqa.archs.dists_arch import DISTS

        return DISTS(pretrained=False)
