"""Perceptual distances, computed by the package pyiqa."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

import gahbench
from gahbench import DataError, Metric, Scores, Shape
from gahbench.evaluation import Evaluation

#: By pyiqa's name of a metric: files of weights of the network trained on ImageNet, and of its channels, below the
#: folder of torch.hub; their names end with the first digits of their SHA-256.
FILES = {
    "lpips": ("checkpoints/alexnet-owt-7be5be79.pth", "pyiqa/LPIPS_v0.1_alex-df73285e.pth"),
    "dists": ("checkpoints/vgg16-397923af.pth", "pyiqa/DISTS_weights-f5e65c96.pth"),
}
#: Number of images that are compared at a time.
BATCH = 8


class Dists(Metric):
    """DISTS between denoised and clean images: 0 for equal images, lower is better; needs the extra ``pyiqa``.

    DISTS is 1 minus a weighted mean of the similarities of means (texture) and covariances (structure) of features of
    VGG16 trained on ImageNet (Ding, Ma, Wang & Simoncelli, TPAMI 2020). It is computed by pyiqa. Images are clipped to
    [0, 1], and grey images expanded to three equal channels.
    """

    citation = "ding-2020"
    titles: ClassVar[dict[str, str]] = {"": "DISTS, vgg"}
    higher_is_better = False
    any_noise = True
    #: Name in pyiqa, and smallest image side that the network accepts, in pixels.
    network, min_side = "dists", 16

    def __init__(self) -> None:
        try:
            self._version = importlib.metadata.version("pyiqa")
        except importlib.metadata.PackageNotFoundError as error:
            raise gahbench.GahbenchError(
                f"{self.network} needs the package pyiqa: pip install 'gahbench[pyiqa]'"
            ) from error
        #: The files of weights.
        self.files = [Path(torch.hub.get_dir()) / file for file in FILES[self.network]]

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for image shapes that the network does not accept."""
        channels, height, width = shape
        if min(height, width) < self.min_side or channels not in (1, 3):
            accepted = f"1 or 3 channels and sides of at least {self.min_side} pixels"
            raise ValueError(f"needs images of {accepted}, not {channels}x{height}x{width}")

    def missing(self) -> tuple[str, ...]:
        """Return the missing files of weights, up to 528 MB."""
        return tuple(f"weights, downloaded to {file}" for file in self.files if not file.is_file())

    def prepare(self) -> None:
        """Download the missing files of weights."""
        try:
            self._create()
        except OSError as error:
            raise DataError(f"weights of {self.network} cannot be downloaded to {self.files}: {error}") from error

    def fingerprint(self) -> str:
        """Return the digests of the weights, and the version of pyiqa."""
        if missing := self.missing():
            raise DataError(f"missing {', '.join(missing)}; run 'gahbench prepare' with the suite")
        digests = {file: gahbench.file_digest(str(file)) for file in self.files}
        for file, digest in digests.items():
            if not digest.startswith(file.stem.rpartition("-")[2]):
                raise DataError(f"{file}: the SHA-256 begins with {digest[:8]}; remove it, and run 'gahbench prepare'")
        return " ".join([*digests.values(), self._version])

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the distance of every image at every noise level."""
        self.check(evaluation.shape, evaluation.sigmas)
        # pyiqa unpickles the weights, so their digests are compared first.
        self.fingerprint()
        network, values = self._create().to(evaluation.device), []
        for sigma in evaluation.sigmas:
            images = torch.stack([evaluation.denoised(sigma), evaluation.clean], dim=1)
            pairs = torch.split(images.clamp(0, 1).expand(-1, -1, 3, -1, -1), BATCH)
            with torch.inference_mode():
                values.append(torch.cat([network(*pair.unbind(1)).flatten().cpu() for pair in pairs]))
        return Scores.grid(torch.stack(values).double(), evaluation.sigmas)

    def _create(self) -> Any:
        import pyiqa

        # pyiqa prints the names of files that it loads.
        with contextlib.redirect_stdout(io.StringIO()):
            return pyiqa.create_metric(self.network, device=torch.device("cpu"))


class Lpips(Dists):
    """LPIPS between denoised and clean images: 0 for equal images, lower is better; needs the extra ``pyiqa``.

    LPIPS is a weighted distance between unit-normalised features of AlexNet trained on ImageNet, with weights of
    channels fitted to human judgments (Zhang, Isola, Efros, Shechtman & Wang, CVPR 2018). It is computed by pyiqa, with
    version 0.1 of the fitted weights. Images are clipped to [0, 1], and grey images expanded to three equal channels.
    """

    citation = "zhang-2018-lpips"
    titles: ClassVar[dict[str, str]] = {"": "LPIPS 0.1, alex"}
    # Smaller images become empty after the strides and poolings of the network.
    network, min_side = "lpips", 31
