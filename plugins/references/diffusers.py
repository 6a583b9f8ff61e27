"""Diffusion models saved by the package diffusers."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from gahbench import ParameterError, Shape, as_denoiser, file_digest
from gahbench_plugins.references.network import Clipped, NetworkReference
from gahbench_plugins.references.weights import brief, check_weights_file

CONFIG, SCHEDULER, STEM = "config.json", "scheduler_config.json", "diffusion_pytorch_model"
#: File names of weights; ``*`` matches weights that are split into several files.
WEIGHTS = (f"{STEM}.safetensors", f"{STEM}.safetensors.index.json", f"{STEM}-*.safetensors")
ACCEPTED = (
    "accepted: a folder that UNet2DModel.save_pretrained wrote, or the folder of a pipeline, with unet/ and scheduler/ "
    "or with their files"
)


class Diffusers(NetworkReference):
    """A diffusion model (``UNet2DModel``) saved by diffusers, as a denoiser; needs the extra ``diffusers``.

    The model is not trained further, and nothing is downloaded. Its images are in [-1, 1], so the noise is twice as
    strong in units of the model's grey values. The scheduler determines how the model was trained: to estimate the
    noise, the image or the velocity v given a timestep (DDPM of Ho et al. 2020, DDIM, and other schedulers with the
    same kind of noise schedule), or with the preconditioning of Karras et al. 2022 (the EDM schedulers). For models
    with timesteps the noisy image is scaled to the diffused image of its noise level. Noise levels outside the range of
    the timesteps use the nearest timestep; a note states the range.

    Parameters
    ----------
    path
        A folder that ``UNet2DModel.save_pretrained`` wrote, in safetensors format, or the folder of a pipeline, with
        ``unet`` and ``scheduler``. Results depend on the content of the files, not on the path.
    interpolate
        Whether the model gets fractional timesteps, interpolated linearly in log sigma, instead of the nearest
        timestep.
    clip
        Whether the output is clipped to [0, 1], as in many samplers.
    """

    display_name = "diffusers model, {path}"
    citation = ("ho-2020", "karras-2022")

    def __init__(self, path: str, interpolate: bool = False, clip: bool = False) -> None:
        super().__init__()
        self.path = Path(path).expanduser()
        self.interpolate = interpolate
        self.clip = clip
        self._notes: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """Return the SHA-256 of the model's files."""
        return self._files.digest

    def load(self, shape: Shape) -> nn.Module:
        """Return the model as a denoiser of images in [0, 1]."""
        scheduler, unet = self._load_scheduler(), self._load_unet()
        channels, returned = unet.config.in_channels, unet.config.out_channels
        learned = str(scheduler.config.get("variance_type")).startswith("learned")
        if channels != shape[0] or returned != (2 if learned else 1) * channels:
            raise ParameterError(
                f"{self.path.name}: the model has {channels} input and {returned} output channels; accepted: "
                f"{shape[0]} each, or twice as many outputs if the scheduler has 'variance_type: learned' or "
                "'learned_range'"
            )
        network = as_denoiser(unet, scheduler=scheduler, interpolate=self.interpolate)
        low, high = network.noise_levels or (0.0, float("inf"))
        self._notes = (
            f"a UNet2DModel in {self.path.name} (SHA-256 {self._files.digest[:8]}), with {type(scheduler).__name__}, "
            f"{scheduler.config.prediction_type}, of images of size {unet.config.sample_size}, at σ from {low:.3g} to "
            f"{high:.3g}",
        )
        return Clipped(network) if self.clip else network

    @property
    def notes(self) -> tuple[str, ...]:
        """The model, its SHA-256 prefix, its scheduler, and the size and the noise levels of its training."""
        return self._notes

    @functools.cached_property
    def _files(self) -> Files:
        return find_files(self.path)

    def _load_unet(self) -> Any:
        """Load the network in float32."""
        library, folder = _diffusers(), self._files.unet
        try:
            for path in self._files.weights:
                check_weights_file(path)
            network, info = library.UNet2DModel.from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=True,
                low_cpu_mem_usage=False,
                torch_dtype=torch.float32,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise ParameterError(f"{folder}: cannot be read by diffusers: {brief(error)}") from error
        # diffusers initialises missing weights at random.
        kinds = ("missing_keys", "unexpected_keys", "mismatched_keys")
        faults = [f"{kind.replace('_', ' ')}: {', '.join(map(str, info[kind]))}" for kind in kinds if info.get(kind)]
        if faults:
            raise ParameterError(f"{folder}: the weights do not fit the configuration: {brief('; '.join(faults))}")
        return network

    def _load_scheduler(self) -> Any:
        path, library = self._files.scheduler, _diffusers()
        config = _read_config(path)
        factory = getattr(library, str(config.get("_class_name")), None)
        try:
            return factory.from_config(config)  # type: ignore[union-attr]
        except Exception as error:
            raise ParameterError(f"{path}: cannot be read by diffusers: {brief(error)}") from error


class Files(NamedTuple):
    """The files of a saved model."""

    unet: Path
    weights: tuple[Path, ...]
    scheduler: Path

    @property
    def digest(self) -> str:
        """SHA-256 of the files that determine the output of the model."""
        paths = (self.unet / CONFIG, *self.weights, self.scheduler)
        names = "\n".join(f"{path.name} {file_digest(str(path))}" for path in paths)
        return hashlib.sha256(names.encode()).hexdigest()


def find_files(folder: Path) -> Files:
    """Return the files of the model in a folder, or raise ``ParameterError`` if they are not of a supported model."""
    unet = next((path for path in (folder / "unet", folder) if (path / CONFIG).is_file()), None)
    if unet is None:
        reason = f"has no {CONFIG} and no unet/{CONFIG}" if folder.is_dir() else "no such folder"
        raise ParameterError(f"{folder}: {reason}; {ACCEPTED}")
    config = _read_config(unet / CONFIG)
    if (name := config.get("_class_name")) != "UNet2DModel":
        raise ParameterError(f"{unet / CONFIG}: the class is {brief(name)}, not UNet2DModel; {ACCEPTED}")
    if config.get("class_embed_type") is not None or config.get("num_class_embeds") is not None:
        raise ParameterError(f"{unet / CONFIG}: the model needs class labels; accepted: models without class labels")
    weights = tuple(path for name in WEIGHTS for path in sorted(unet.glob(name)))
    if not weights:
        raise ParameterError(f"{unet}: no weights; accepted: {', '.join(WEIGHTS)}")
    schedulers = (folder / "scheduler" / SCHEDULER, folder / SCHEDULER)
    scheduler = next((path for path in schedulers if path.is_file()), None)
    if scheduler is None:
        raise ParameterError(f"{folder}: has no {SCHEDULER}, which the scheduler's save_pretrained writes; {ACCEPTED}")
    return Files(unet, weights, scheduler)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ParameterError(f"{path}: cannot be read as a JSON object: {brief(error)}") from error


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise ValueError(f"an optional package is missing: pip install 'gahbench[diffusers]' ({error})") from error
    return diffusers
