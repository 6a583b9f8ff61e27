"""Denoisers with weights from the Hugging Face hub."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from gahbench import ArchitectureFactory, Names, ParameterError, Reference, Shape, Truth
from gahbench._util.readable import brief
from gahbench.jacobian import LinearMaps

from .._extras import import_optional
from ._checkpoints.fitting import Keys
from .diffusers import CONFIG, SCHEDULER, WEIGHTS, Diffusers, find_files
from .pretrained import Pretrained

#: Files of a diffusion model that are downloaded in addition to its weights.
CONFIGS = (CONFIG, f"unet/{CONFIG}", SCHEDULER, f"scheduler/{SCHEDULER}")


class HuggingFace(Reference):
    """A denoiser with weights from the Hugging Face hub; needs the extra ``hub``.

    Without ``file`` the repository must contain a diffusion model of the package diffusers, which is loaded like
    ``diffusers`` and needs the extra ``diffusers``. With ``file`` and ``architecture`` the weights are loaded like
    ``pretrained``. The weights are not trained further. Only ``gahbench prepare`` downloads them, into the cache of the
    hub.

    Parameters
    ----------
    repo
        The repository, such as ``google/ddpm-cifar10-32``.
    revision
        The commit, 40 hexadecimal digits. A name such as ``main`` is refused, since its weights may change; ``gahbench
        prepare`` then reports the current commit of this name.
    file
        The file of weights in the repository, in safetensors or torch format.
    architecture
        The network to which the weights in ``file`` belong.
    keys
        Naming scheme of the weights in ``file``: ``same`` as the architecture, the scheme of a published program, or
        ``auto`` to detect it; ``gahbench describe pretrained`` lists the programs.
    output
        Output of the architecture's ``forward`` with these weights: the denoised ``image``, the noise (``residual``),
        or ``auto`` for the output of the detected program.
    scale
        The grey value of white, 1 or 255, in training.
    interpolate
        Whether a diffusion model gets fractional timesteps, interpolated linearly in log sigma, instead of the nearest
        timestep.
    clip
        Whether the output is clipped to [0, 1].
    part
        Name of the state dict in a file that contains several, as for ``pretrained``.

    Raises
    ------
    ValueError
        If a file is given without an architecture, or an architecture without a file.
    """

    display_name = "{repo}"
    kind = "trained"

    def __init__(
        self,
        repo: str,
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
            raise ValueError("set both 'file' and 'architecture', or neither for a diffusion model of diffusers")
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repo):
            raise ValueError(
                f"repo={brief(repo)}; accepted: a repository name of the hub, such as google/ddpm-cifar10-32"
            )
        self.repo, self.revision, self.file = repo, revision, file
        self._build: Callable[[str], Reference]
        if architecture is None:
            self._build = functools.partial(Diffusers, interpolate=interpolate, clip=clip)
        else:
            self._build = functools.partial(
                Pretrained, architecture, keys=keys, output=output, scale=scale, clip=clip, part=part
            )

    def missing(self) -> tuple[str, ...]:
        """Return a description of the weights if they are not in the cache of the hub."""
        try:
            _ = self._folder
        except ParameterError:
            return (f"weights of {self.repo} at {self.revision}, from the Hugging Face hub into its cache",)
        return ()

    def prepare(self) -> None:
        """Download the weights into the cache of the hub."""
        if self._is_pinned and not self.missing():
            return
        library = hub()
        try:
            if self._is_pinned:
                self._download(library)
            else:
                commit = library.model_info(self.repo, revision=self.revision).sha
        except Exception as error:  # The exceptions of the hub client are not documented.
            raise ParameterError(f"{self.repo} at {self.revision}: cannot be downloaded: {brief(error)}") from error
        if not self._is_pinned:
            raise ParameterError(f"revision={self.revision}: its current commit is {commit}; write revision={commit}")
        # Check that the downloaded files belong to a supported model.
        _ = self._folder

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ParameterError`` if weights are absent, or fit neither the architecture nor images of the shape."""
        self._denoiser.check_shape(shape)

    def move(self, device: torch.device) -> None:
        """Compute on the given device from now on."""
        self._denoiser.move(device)

    def as_network(self, shape: Shape) -> nn.Module | None:
        """Return the network for images of shape (C, H, W)."""
        return self._denoiser.as_network(shape)

    @property
    def num_parameters(self) -> int | None:
        """Number of parameters, or ``None`` before the network is loaded."""
        return self._denoiser.num_parameters

    @property
    def notes(self) -> tuple[str, ...]:
        """The repository and commit, and the notes of the denoiser."""
        return (f"{self.repo} of the Hugging Face hub, commit {self.revision[:12]}", *self._denoiser.notes)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        return self._denoiser.denoise(noisy, sigma, truth)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the Jacobians at the noisy images."""
        return self._denoiser.jacobian(noisy, sigma, truth)

    @property
    def _is_pinned(self) -> bool:
        return re.fullmatch("[0-9a-f]{40}", self.revision) is not None

    @functools.cached_property
    def _denoiser(self) -> Reference:
        """The denoiser built from the weights in the cache."""
        return self._build(str(self._folder / (self.file or "")))

    @property
    def _folder(self) -> Path:
        """The folder of the commit in the cache of the hub."""
        if not self._is_pinned:
            raise ParameterError(
                f"revision={brief(self.revision)}: weights under a name may change; accepted: a commit, 40 "
                "hexadecimal digits; 'gahbench prepare' reports the current commit"
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
        # The second format is downloaded only if the preferred format is absent, since both may be large.
        for names in WEIGHTS.values():
            patterns = [*CONFIGS, *names, *(f"unet/{name}" for name in names)]
            library.snapshot_download(self.repo, revision=self.revision, allow_patterns=patterns)
            if not self.missing():
                return


def hub() -> Any:
    """Return the package huggingface_hub."""
    # huggingface_hub does not import its module ``constants`` by itself.
    import_optional("huggingface_hub.constants", "hub")
    return import_optional("huggingface_hub", "hub")
