"""LPIPS: a perceptual distance calibrated by human judgments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from .._extras import require
from .._papers import ZHANG_2018_LPIPS
from ._perceptual import ALEXNET, HUB, VGG16, File, Perceptual

#: SHA-256 prefixes of the files of pyiqa, by version and network.
_DIGESTS = {"0.0_alex": "18720f55", "0.0_vgg": "b9e42362", "0.1_alex": "df73285e", "0.1_vgg": "a78928a0"}


class Lpips(Perceptual):
    """LPIPS between denoised and clean images: 0 for equal images, lower is better; needs the extra ``pyiqa``.

    LPIPS is a weighted distance between unit-normalised features of a network trained on ImageNet, with weights of
    channels fitted to human judgments (Zhang, Isola, Efros, Shechtman & Wang, CVPR 2018). It is computed by pyiqa.
    Images are clipped to [0, 1], and grey images expanded to three equal channels.

    Parameters
    ----------
    net
        ``alex`` for features of AlexNet, ``vgg`` for VGG16.
    version
        Version of the fitted weights: ``0.1``, or ``0.0`` for the first release, which does not scale its input.
    """

    citation = ZHANG_2018_LPIPS
    titles: ClassVar[Mapping[str, str]] = {"": "LPIPS {version}, {net}"}
    label_parameters = ("net", "version")

    def __init__(self, net: Literal["alex", "vgg"] = "alex", version: float = 0.1) -> None:
        require("metric 'lpips'", "pyiqa", "pyiqa")
        if version not in (0.1, 0.0):
            raise ValueError(f"version={version}; accepted: 0.1 and 0.0")
        self.net, self.version = net, f"{version:.1f}"
        # Smaller images become empty after the strides and poolings of the network.
        self.min_side = {"alex": 31, "vgg": 16}[net]

    @property
    def files(self) -> tuple[File, File]:
        """Files of the weights of the network, and of the weights that LPIPS gives to its channels."""
        name = f"LPIPS_v{self.version}_{self.net}-{_DIGESTS[f'{self.version}_{self.net}']}.pth"
        top = File(f"LPIPS {self.version} of {self.net}, 10 kB", f"{HUB}/{name}", f"pyiqa/{name}")
        return {"alex": ALEXNET, "vgg": VGG16}[self.net], top

    def network(self) -> Any:
        """Return the network of pyiqa with the backbone of torchvision."""
        from pyiqa.archs.lpips_arch import LPIPS

        return LPIPS(pretrained=False, net=self.net, version=self.version)
