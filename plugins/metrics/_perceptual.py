"""Distances between features of a network that was trained on photographs, computed by the package pyiqa."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
import re
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gahbench import Batches, DataError, Metric, Scores, Shape, file_digest
from gahbench.evaluation import Evaluation

from .._torch_files import load_torch

#: The end of a file's name where it has its digest.
_DIGEST = re.compile(r"-([0-9a-f]{8,})\.\w+$")


class File(NamedTuple):
    """A file of weights: what it is, its address, and where it is kept below the folder of torch.hub."""

    what: str
    address: str
    place: str

    @property
    def path(self) -> Path:
        """Where it is on this machine, once it is there."""
        return Path(torch.hub.get_dir()) / self.place

    @property
    def digest(self) -> str:
        """The beginning of its SHA-256, which is in its name as torch.hub has it; empty if it is not."""
        found = _DIGEST.search(self.place)
        return found[1] if found else ""

    def check(self) -> None:
        """Compare its content with the digest in its name."""
        digest = file_digest(str(self.path))
        if not digest.startswith(self.digest):
            raise DataError(
                f"{self.path}: not {self.what}: its SHA-256 begins with {digest[: len(self.digest)]}, and its name "
                f"says {self.digest}; remove it, and 'gahbench prepare' gets it again"
            )


#: Where torchvision keeps the networks that were trained on ImageNet.
ALEXNET = File(
    "AlexNet of torchvision, 233 MB",
    "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    "checkpoints/alexnet-owt-7be5be79.pth",
)
VGG16 = File(
    "VGG16 of torchvision, 528 MB",
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    "checkpoints/vgg16-397923af.pth",
)
HUB = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main"


class Perceptual(Metric):
    """A distance of the denoised from the clean image; both clipped to [0, 1], grey ones in three channels."""

    higher_is_better = False
    #: Smallest side of an image that the network takes.
    min_side: int

    @property
    @abstractmethod
    def files(self) -> tuple[File, File]:
        """The backbone, and what is on top of it."""

    @abstractmethod
    def network(self) -> Any:
        """Return the network of pyiqa, its backbone loaded and not what is on top."""

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images that the network cannot take."""
        channels, height, width = shape
        if min(height, width) < self.min_side:
            raise ValueError(f"needs image sides of at least {self.min_side} pixels, not {height}x{width}")
        if channels not in (1, 3):
            raise ValueError(f"needs images of 1 or 3 channels, not {channels}")

    def missing(self) -> tuple[str, ...]:
        """Return the files of weights that are not here."""
        return tuple(f"{file.what}, downloaded to {file.path}" for file in self.files if not file.path.is_file())

    def prepare(self) -> None:
        """Download the files of weights that are not here."""
        for file in self.files:
            if file.path.is_file():
                continue
            file.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(
                    file.address, str(file.path), hash_prefix=file.digest or None, progress=False
                )
            except (OSError, RuntimeError) as error:
                raise DataError(
                    f"{file.what}: cannot be downloaded from {file.address}: {error}; by hand: put it at {file.path}"
                ) from error

    def fingerprint(self) -> str:
        """Return the digests of the weights, and the version of pyiqa."""
        self._require_files()
        for file in self.files:
            file.check()
        digests = [file_digest(str(file.path)) for file in self.files]
        return " ".join([*digests, importlib.metadata.version("pyiqa")])

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the distance of every image at every noise level."""
        self.check(evaluation.shape, evaluation.sigmas)
        network = self._loaded.to(evaluation.device)
        clean, batches = _in_colour(evaluation.clean), Batches.of_images(evaluation.shape)
        rows = []
        for sigma in evaluation.sigmas:
            pair = _in_colour(evaluation.denoised(sigma)), clean
            rows.append(batches.run(functools.partial(_distances, network, pair, evaluation.device)))
        return Scores.grid(torch.stack(rows).double(), evaluation.sigmas)

    @functools.cached_property
    def _loaded(self) -> torch.nn.Module:
        self._require_files()
        # It prints what it loads.
        with contextlib.redirect_stdout(io.StringIO()):
            network: torch.nn.Module = self.network()
        try:
            top = load_torch(self.files[1].path)
        except ValueError as error:
            raise DataError(f"{self.files[1].path}: {error}; remove it, and prepare again") from error
        weights = {name.removeprefix("module."): one for name, one in top.items()}
        absent, unknown = network.load_state_dict(weights, strict=False)
        # The backbone, and other names of the same modules.
        absent = [name for name in absent if not name.startswith(("net.", "stage", "mean", "std", "scaling", "lins."))]
        if wrong := [*absent, *unknown]:
            raise DataError(f"{self.files[1].path}: not the weights on top of it; wrong are {', '.join(wrong[:4])}")
        return network.eval()

    def _require_files(self) -> None:
        if missing := self.missing():
            raise DataError(f"weights are not here: {', '.join(missing)}; 'gahbench prepare' with the suite gets them")


def _distances(network: torch.nn.Module, images: tuple[Tensor, Tensor], device: torch.device, size: int) -> Tensor:
    """Return the distances of pairs of images, shape (N,), computed in batches of a size."""
    pairs = zip(*(torch.split(each, size) for each in images), strict=True)
    with torch.inference_mode():
        found = [network(*(batch.to(device) for batch in pair)).flatten().cpu() for pair in pairs]
    return torch.cat(found)


def _in_colour(images: Tensor) -> Tensor:
    """Return images (N, 3, H, W) in [0, 1]."""
    return images.clamp(0, 1).expand(-1, 3, -1, -1)
