"""Trained weights of the Hugging Face hub, as entrants."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from gahbench import ArchitectureFactory, External, Names, ParameterError, Reference, Shape, Truth
from gahbench._util.readable import brief
from gahbench.jacobian import LinearMaps

from .._extras import imported
from ._checkpoints.fitting import Keys
from .diffusers import CONFIG, SCHEDULER, WEIGHTS, Diffusers, find_files
from .pretrained import Pretrained

#: What is downloaded of a diffusion model, beside its weights.
CONFIGS = (CONFIG, f"unet/{CONFIG}", SCHEDULER, f"scheduler/{SCHEDULER}")


class HuggingFace(Reference):
    """Weights of the Hugging Face hub, scored as they are; needs the extra hub, and diffusers for diffusion models.

    Without a ``file`` the repository holds a diffusion model of the package diffusers, and is scored as ``diffusers``
    does; with one it has weights of an ``architecture`` here, as ``pretrained`` takes them. ``gahbench prepare``
    downloads it, into the hub's own cache, and nothing else does.

    Parameters
    ----------
    repo
        The repository, such as ``google/ddpm-cifar10-32``.
    revision
        The commit, 40 hexadecimal digits: weights under a name may change. For a name, such as ``main``,
        ``gahbench prepare`` says which commit it is today.
    file
        The file of weights in the repository, safetensors or of torch.
    architecture
        The network that the file holds the weights of.
    keys
        The names of the weights in the file: ``same`` as those of the architecture, those of a published program, or
        ``auto`` to find out; ``gahbench describe pretrained`` lists the programs.
    output
        The output of the architecture's ``forward`` with the weights of the file: the denoised ``image``, the noise
        (``residual``), or ``auto`` for what is known of the program whose names the weights have.
    scale
        The value of white, 1 or 255, for which the weights of the file were trained.
    interpolate
        Whether a diffusion model is given fractions of timesteps, linear in the logarithm of sigma; otherwise the
        nearest step.
    clip
        Whether the output is clipped to [0, 1].
    part
        The name of the weights in a file that holds several, as for ``pretrained``.

    Raises
    ------
    ValueError
        If a file is given without an architecture, or an architecture without a file.
    """

    kind = "trained"

    def __init__(
        self,
        repo: Annotated[str, External()],
        revision: str = "main",
        file: str | None = None,
        architecture: Annotated[ArchitectureFactory | None, Names("architecture")] = None,
        keys: Keys = "auto",
        output: Literal["auto", "image", "residual"] = "auto",
        scale: Literal[1, 255] = 1,
        interpolate: bool = False,
        clip: bool = False,
        part: str | None = None,
    ) -> None:
        if (file is None) != (architecture is None):
            raise ValueError("accepted are 'file' and 'architecture' together, or neither, for a model of diffusers")
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repo):
            raise ValueError(f"repo={brief(repo)}: accepted is a name of the hub, such as google/ddpm-cifar10-32")
        self.repo, self.revision, self.file = repo, revision, file
        self._build: Callable[[str], Reference]
        if architecture is None:
            self._build = functools.partial(Diffusers, interpolate=interpolate, clip=clip)
        else:
            self._build = functools.partial(
                Pretrained, architecture, keys=keys, output=output, scale=scale, clip=clip, part=part
            )

    def missing(self) -> tuple[str, ...]:
        """Return the weights, if they are not in the hub's cache."""
        try:
            _ = self._folder
        except ParameterError:
            return (f"weights of {self.repo} at {self.revision}, from the Hugging Face hub into its cache",)
        return ()

    def prepare(self) -> None:
        """Download the weights into the hub's cache."""
        if self._is_pinned and not self.missing():
            return
        library = hub()
        try:
            if self._is_pinned:
                self._download(library)
            else:
                commit = library.model_info(self.repo, revision=self.revision).sha
        except Exception as error:  # The exceptions of the hub's client are not listed anywhere.
            raise ParameterError(f"{self.repo} at {self.revision}: cannot be downloaded: {brief(error)}") from error
        if not self._is_pinned:
            raise ParameterError(f"revision={self.revision}: it is the commit {commit} today; write revision={commit}")
        # The files may be of another kind of model.
        _ = self._folder

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ParameterError`` if the weights are not here, or do not fit, or not these images."""
        self._inner.check_shape(shape)

    def move(self, device: torch.device) -> None:
        """Compute on a device."""
        self._inner.move(device)

    def as_network(self, shape: Shape) -> nn.Module | None:
        """Return the network for images (C, H, W)."""
        return self._inner.as_network(shape)

    @property
    def num_parameters(self) -> int | None:
        """Number of trained numbers, once it has denoised something."""
        return self._inner.num_parameters

    @property
    def notes(self) -> tuple[str, ...]:
        """The repository and its commit, and the notes of the denoiser."""
        return (f"{self.repo} of the Hugging Face hub, commit {self.revision[:12]}", *self._inner.notes)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        return self._inner.denoise(noisy, sigma, truth)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the Jacobians at the noisy images."""
        return self._inner.jacobian(noisy, sigma, truth)

    @property
    def _is_pinned(self) -> bool:
        return re.fullmatch("[0-9a-f]{40}", self.revision) is not None

    @functools.cached_property
    def _inner(self) -> Reference:
        """The denoiser, of the weights in the cache."""
        return self._build(str(self._folder / (self.file or "")))

    @property
    def _folder(self) -> Path:
        """The folder of the repository at its commit in the hub's cache."""
        if not self._is_pinned:
            raise ParameterError(
                f"revision={brief(self.revision)}: weights under a name may change; accepted is a commit, 40 "
                "hexadecimal digits: 'gahbench prepare' says which it is today"
            )
        library = hub()
        cache = Path(library.constants.HF_HUB_CACHE)
        folder = cache / f"models--{self.repo.replace('/', '--')}" / "snapshots" / self.revision
        if self.file is None and folder.is_dir():
            find_files(folder)
        elif self.file is None or not (folder / self.file).is_file():
            raise ParameterError(
                f"{self.repo} at {self.revision}: not in the hub's cache, {cache}; 'gahbench prepare' downloads it"
            )
        return folder

    def _download(self, library: Any) -> None:
        if self.file is not None:
            library.hf_hub_download(self.repo, self.file, revision=self.revision)
            return
        # The other format, which may be as large, only where the preferred one is not there.
        for names in WEIGHTS.values():
            patterns = [*CONFIGS, *names, *(f"unet/{name}" for name in names)]
            library.snapshot_download(self.repo, revision=self.revision, allow_patterns=patterns)
            if not self.missing():
                return


def hub() -> Any:
    """Return the package huggingface_hub."""
    # Not loaded with the package.
    imported("huggingface_hub.constants", "hub")
    return imported("huggingface_hub", "hub")
