"""LPIPS: a distance that was calibrated by what persons see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from .._extras import require
from .._papers import ZHANG_2018_LPIPS
from ._perceptual import ALEXNET, HUB, VGG16, File, Perceptual

#: Of the files of pyiqa, by version and network.
_DIGESTS = {"0.0_alex": "18720f55", "0.0_vgg": "b9e42362", "0.1_alex": "df73285e", "0.1_vgg": "a78928a0"}


class Lpips(Perceptual):
    """LPIPS of the denoised and the clean image: 0 for equal ones, lower is better; needs the extra ``pyiqa``.

    The distance of unit-normalised features of a network trained on ImageNet, with weights for its channels that were
    fitted to judgments of persons, of Zhang, Isola, Efros, Shechtman & Wang, CVPR 2018.
    It is that of pyiqa, with images in [0, 1], which are clipped to it; grey ones are given three equal channels.

    Parameters
    ----------
    net
        ``alex`` or ``vgg``: features of AlexNet, or of VGG16.
    version
        Version of the fitted weights: ``0.1``, or ``0.0``, the first release, without the scaling of the input.
    """

    citation = ZHANG_2018_LPIPS
    titles: ClassVar[Mapping[str, str]] = {"": "LPIPS {version}, {net}"}
    label_parameters = ("net", "version")

    def __init__(self, net: Literal["alex", "vgg"] = "alex", version: float = 0.1) -> None:
        require("metric 'lpips'", "pyiqa", "pyiqa")
        if version not in (0.1, 0.0):
            raise ValueError(f"version={version} of LPIPS is not there; accepted are 0.1 and 0.0")
        self.net, self.version = net, f"{version:.1f}"
        # What is left of it by the strides and poolings of AlexNet, and of VGG16.
        self.min_side = {"alex": 31, "vgg": 16}[net]

    @property
    def files(self) -> tuple[File, File]:
        """The network, and the weights of its channels."""
        name = f"LPIPS_v{self.version}_{self.net}-{_DIGESTS[f'{self.version}_{self.net}']}.pth"
        top = File(f"LPIPS {self.version} of {self.net}, 10 kB", f"{HUB}/{name}", f"pyiqa/{name}")
        return {"alex": ALEXNET, "vgg": VGG16}[self.net], top

    def network(self) -> Any:
        """Return pyiqa's, with the backbone of torchvision."""
        from pyiqa.archs.lpips_arch import LPIPS

        return LPIPS(pretrained=False, net=self.net, version=self.version)
