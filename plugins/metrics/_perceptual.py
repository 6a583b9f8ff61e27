"""Base class of perceptual distances computed by the package pyiqa."""

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

#: Digest at the end of a file name.
_DIGEST = re.compile(r"-([0-9a-f]{8,})\.\w+$")


class File(NamedTuple):
    """A file of weights: its description, its URL, and its path below the folder of torch.hub."""

    description: str
    url: str
    relative_path: str

    @property
    def path(self) -> Path:
        """Local path of the file, whether or not the file exists."""
        return Path(torch.hub.get_dir()) / self.relative_path

    @property
    def digest(self) -> str:
        """SHA-256 prefix in the file name, as in names of torch.hub; empty if the name has no digest."""
        match = _DIGEST.search(self.relative_path)
        return match[1] if match else ""

    def check(self) -> None:
        """Raise ``DataError`` if the content does not have the digest in the file name."""
        digest = file_digest(str(self.path))
        if not digest.startswith(self.digest):
            raise DataError(
                f"{self.path}: not {self.description}: its SHA-256 begins with {digest[: len(self.digest)]}, expected "
                f"{self.digest}; remove it, and 'gahbench prepare' downloads it again"
            )


#: Weights of torchvision, trained on ImageNet.
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
    """A perceptual distance between denoised and clean images, clipped to [0, 1] and expanded to three channels."""

    higher_is_better = False
    any_noise = True
    #: Smallest image side that the network accepts, in pixels.
    min_side: int

    @property
    @abstractmethod
    def files(self) -> tuple[File, File]:
        """Files of weights of the backbone, and of the layers on top of it."""

    @abstractmethod
    def network(self) -> Any:
        """Return the network of pyiqa with a loaded backbone, without weights of the layers on top."""

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for image shapes that the network does not accept."""
        channels, height, width = shape
        if min(height, width) < self.min_side:
            raise ValueError(f"needs image sides of at least {self.min_side} pixels, not {height}x{width}")
        if channels not in (1, 3):
            raise ValueError(f"needs images of 1 or 3 channels, not {channels}")

    def missing(self) -> tuple[str, ...]:
        """Return descriptions of the missing files of weights."""
        return tuple(f"{file.description}, downloaded to {file.path}" for file in self.files if not file.path.is_file())

    def prepare(self) -> None:
        """Download the missing files of weights."""
        for file in self.files:
            if file.path.is_file():
                continue
            file.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(
                    file.url, str(file.path), hash_prefix=file.digest or None, progress=False
                )
            except (OSError, RuntimeError) as error:
                raise DataError(
                    f"{file.description}: cannot be downloaded from {file.url}: {error}; you may "
                    f"save it as {file.path} by hand"
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
        clean, batches = _in_colour(evaluation.clean), Batches.for_images(evaluation.shape)
        rows = []
        for sigma in evaluation.sigmas:
            pair = _in_colour(evaluation.denoised(sigma)), clean
            rows.append(batches.run(functools.partial(_distances, network, pair, evaluation.device)))
        return Scores.grid(torch.stack(rows).double(), evaluation.sigmas)

    @functools.cached_property
    def _loaded(self) -> torch.nn.Module:
        self._require_files()
        # pyiqa prints the names of files that it loads.
        with contextlib.redirect_stdout(io.StringIO()):
            network: torch.nn.Module = self.network()
        try:
            top = load_torch(self.files[1].path)
        except ValueError as error:
            raise DataError(f"{self.files[1].path}: {error}; remove it, and run 'gahbench prepare' again") from error
        weights = {name.removeprefix("module."): tensor for name, tensor in top.items()}
        absent, unknown = network.load_state_dict(weights, strict=False)
        # Ignore weights of the backbone, and other names of the same modules.
        absent = [name for name in absent if not name.startswith(("net.", "stage", "mean", "std", "scaling", "lins."))]
        if wrong := [*absent, *unknown]:
            raise DataError(
                f"{self.files[1].path}: not the expected weights; missing or unknown: {', '.join(wrong[:4])}"
            )
        return network.eval()

    def _require_files(self) -> None:
        if missing := self.missing():
            raise DataError(f"missing weights: {', '.join(missing)}; run 'gahbench prepare' with the suite")


def _distances(network: torch.nn.Module, images: tuple[Tensor, Tensor], device: torch.device, size: int) -> Tensor:
    """Return the distances between two batches of images, shape (N,), computed in batches of the given size."""
    pairs = zip(*(torch.split(batch, size) for batch in images), strict=True)
    with torch.inference_mode():
        distances = [network(*(batch.to(device) for batch in pair)).flatten().cpu() for pair in pairs]
    return torch.cat(distances)


def _in_colour(images: Tensor) -> Tensor:
    """Return images clipped to [0, 1] with three channels, shape (N, 3, H, W)."""
    return images.clamp(0, 1).expand(-1, 3, -1, -1)
