"""Denoisers with weights from the Hugging Face hub."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Annotated, Any

from torch import nn

from gahbench import ArchitectureFactory, Names, ParameterError, Shape
from gahbench_plugins.references.diffusers import CONFIG, SCHEDULER, WEIGHTS, Diffusers, find_files
from gahbench_plugins.references.network import NetworkReference
from gahbench_plugins.references.pretrained import Pretrained
from gahbench_plugins.references.weights import brief

#: Files of a diffusion model that are downloaded in addition to its weights.
CONFIGS = (CONFIG, f"unet/{CONFIG}", SCHEDULER, f"scheduler/{SCHEDULER}")


class HuggingFace(NetworkReference):
    """A denoiser with weights from the Hugging Face hub; needs the extra ``hub``.

    Without ``file`` the repository must contain a diffusion model of the package diffusers, which is loaded like
    ``diffusers`` and needs the extra ``diffusers``. With ``file`` and ``architecture`` the weights are loaded like
    ``pretrained``; for its other parameters, give ``pretrained`` a file of the cache. The weights are not trained
    further. Only ``gahbench prepare`` downloads them, into the cache of the hub.

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

    Raises
    ------
    ValueError
        If a file is given without an architecture, or an architecture without a file.
    """

    display_name = "{repo}"
    depends_on_shape = True

    def __init__(
        self,
        repo: str,
        revision: str = "main",
        file: str | None = None,
        architecture: Annotated[ArchitectureFactory | None, Names("architecture")] = None,
    ) -> None:
        super().__init__()
        if (file is None) != (architecture is None):
            raise ValueError("set both 'file' and 'architecture', or neither for a diffusion model of diffusers")
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repo):
            raise ValueError(
                f"repo={brief(repo)}; accepted: a repository name of the hub, such as google/ddpm-cifar10-32"
            )
        self.repo, self.revision, self.file = repo, revision, file
        self.architecture = architecture

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
        library, commit = _hub(), None
        try:
            if not self._is_pinned:
                commit = library.model_info(self.repo, revision=self.revision).sha
            elif self.file is not None:
                library.hf_hub_download(self.repo, self.file, revision=self.revision)
            else:
                # The second format is downloaded only if the preferred format is absent, since both may be large.
                for names in WEIGHTS.values():
                    patterns = [*CONFIGS, *names, *(f"unet/{name}" for name in names)]
                    library.snapshot_download(self.repo, revision=self.revision, allow_patterns=patterns)
                    if not self.missing():
                        break
        except Exception as error:  # The exceptions of the hub client are not documented.
            raise ParameterError(f"{self.repo} at {self.revision}: cannot be downloaded: {brief(error)}") from error
        if commit is not None:
            raise ParameterError(f"revision={self.revision}: its current commit is {commit}; write revision={commit}")
        # Check that the downloaded files belong to a supported model.
        _ = self._folder

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ParameterError`` if weights are absent, or fit neither the architecture nor images of the shape."""
        self._denoiser.check_shape(shape)

    def load(self, shape: Shape) -> nn.Module:
        """Return the network for images of shape (C, H, W) in [0, 1]."""
        return self._denoiser.load(shape)

    @property
    def notes(self) -> tuple[str, ...]:
        """The repository and commit, and the notes of the denoiser."""
        return (f"{self.repo} of the Hugging Face hub, commit {self.revision[:12]}", *self._denoiser.notes)

    @property
    def _is_pinned(self) -> bool:
        return re.fullmatch("[0-9a-f]{40}", self.revision) is not None

    @functools.cached_property
    def _denoiser(self) -> NetworkReference:
        """The denoiser built from the weights in the cache."""
        if self.architecture is None or self.file is None:
            return Diffusers(str(self._folder))
        return Pretrained(self.architecture, str(self._folder / self.file))

    @property
    def _folder(self) -> Path:
        """The folder of the commit in the cache of the hub."""
        if not self._is_pinned:
            raise ParameterError(
                f"revision={brief(self.revision)}: weights under a name may change; accepted: a commit, 40 "
                "hexadecimal digits; 'gahbench prepare' reports the current commit"
            )
        cache = Path(_hub().constants.HF_HUB_CACHE)
        folder = cache / f"models--{self.repo.replace('/', '--')}" / "snapshots" / self.revision
        if self.file is None and folder.is_dir():
            find_files(folder)
        elif self.file is None or not (folder / self.file).is_file():
            raise ParameterError(
                f"{self.repo} at {self.revision}: not in the hub's cache, {cache}; 'gahbench prepare' downloads it"
            )
        return folder


def _hub() -> Any:
    try:
        # huggingface_hub does not import its module ``constants`` by itself.
        import huggingface_hub.constants
    except ImportError as error:
        raise ParameterError(f"an optional package is missing: pip install 'gahbench[hub]' ({error})") from error
    return huggingface_hub
