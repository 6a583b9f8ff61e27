"""Diffusion models saved by the package diffusers."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator
from torch import Tensor, nn

from gahbench import ParameterError, Shape, Truth, as_denoiser, file_digest
from gahbench._util.errors import suggestion
from gahbench._util.files import read_regular
from gahbench._util.readable import brief

from .._extras import import_optional
from .._papers import HO_2020, KARRAS_2022
from .._torch_files import check_weights_file
from ..architectures._arguments import as_mapping, as_text
from ._network import Clipped, NetworkReference

#: Maximum size of a configuration file in bytes.
MAX_BYTES = 1 << 20
CONFIG, SCHEDULER, STEM = "config.json", "scheduler_config.json", "diffusion_pytorch_model"
#: File names of weights by format, in order of preference; ``*`` matches weights that are split into several files.
WEIGHTS = {kind: (f"{STEM}.{kind}", f"{STEM}.{kind}.index.json", f"{STEM}-*.{kind}") for kind in ("safetensors", "bin")}
#: Names of the lists in which diffusers returns weights that do not fit the model.
FAULTS = ("missing_keys", "unexpected_keys", "mismatched_keys")
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
    the timesteps use the nearest timestep; a note lists them.

    Parameters
    ----------
    path
        A folder that ``UNet2DModel.save_pretrained`` wrote, or the folder of a pipeline, with ``unet`` and
        ``scheduler``. Results depend on the content of the files, not on the path.
    scheduler
        Class name of a diffusers scheduler, such as ``DDPMScheduler``, which replaces the saved scheduler.
    arguments
        Arguments of the scheduler, which override saved arguments, such as ``{prediction_type: v_prediction}``.
    interpolate
        Whether the model gets fractional timesteps, interpolated linearly in log sigma, instead of the nearest
        timestep.
    clip
        Whether the output is clipped to [0, 1], as in many samplers.
    """

    display_name = "diffusers model, {path}"
    citation = (HO_2020, KARRAS_2022)

    def __init__(
        self,
        path: str,
        scheduler: str | None = None,
        arguments: Annotated[str, BeforeValidator(as_text)] = "{}",
        interpolate: bool = False,
        clip: bool = False,
    ) -> None:
        super().__init__()
        self.path = Path(path).expanduser()
        self.scheduler = scheduler
        self.arguments = as_mapping(arguments)
        self.interpolate = interpolate
        self.clip = clip
        self._facts = ""
        self._noise_levels: tuple[float, float] | None = None
        self._noise_levels_seen: set[float] = set()
        self._sizes_seen: set[tuple[int, ...]] = set()

    def fingerprint(self) -> str:
        """Return the SHA-256 of the model's files."""
        return self._files.digest

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ParameterError`` if the model cannot be read, or refuses images of shape (C, H, W)."""
        # Loading the network checks its weights before a run starts.
        self.as_network(shape)
        config = self._files.config
        size, multiple = "x".join(map(str, shape)), 2 ** (len(config.get("block_out_channels", range(4))) - 1)
        if (channels := config.get("in_channels", 3)) != shape[0]:
            raise ParameterError(f"{self.path.name} takes images with {channels} channels, not {shape[0]}")
        try:
            with torch.device("meta"), torch.no_grad():
                diffusers().UNet2DModel.from_config(dict(config))(torch.empty(1, *shape), torch.ones(1))
        except RuntimeError as error:
            raise ParameterError(
                f"{self.path.name} does not take images of {size}; accepted: sides that are multiples of {multiple} "
                f"({brief(error)})"
            ) from error

    def load(self, shape: Shape) -> nn.Module:
        """Return the model as a denoiser of images in [0, 1]."""
        scheduler, config = self._build_scheduler(), self._files.config
        learned = str(scheduler.config.get("variance_type")).startswith("learned")
        channels, returned = config.get("in_channels", 3), config.get("out_channels", 3)
        if returned != (2 if learned else 1) * channels:
            raise ParameterError(
                f"{self.path.name}: the model has {channels} input and {returned} output channels; accepted: equal "
                "numbers, or twice as many output channels if the scheduler has 'variance_type: learned' or "
                "'learned_range'"
            )
        network = as_denoiser(load_unet(self._files), scheduler=scheduler, interpolate=self.interpolate)
        self._noise_levels = network.noise_levels
        self._facts = f"with {type(scheduler).__name__}, {scheduler.config.prediction_type}"
        return Clipped(network).eval() if self.clip else network

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        self._noise_levels_seen.add(sigma)
        self._sizes_seen.add(tuple(noisy.shape[-2:]))
        return super().denoise(noisy, sigma, truth)

    @property
    def notes(self) -> tuple[str, ...]:
        """The model, its SHA-256 prefix, its scheduler, and noise levels and sizes for which it was not trained."""
        if not self._facts:
            return ()
        notes = [f"a UNet2DModel in {self.path.name} (SHA-256 {self._files.digest[:8]}), {self._facts}"]
        low, high = self._noise_levels or (0.0, math.inf)
        # The noise levels of timesteps are rounded to float32.
        outside = [
            f"{level:g}" for level in sorted(self._noise_levels_seen) if not 0.999 * low <= level <= 1.001 * high
        ]
        if outside:
            notes.append(f"σ = {', '.join(outside)}: outside {low:.3g} to {high:.3g}, the noise of its timesteps")
        sample_size = self._files.config.get("sample_size")
        size = (sample_size, sample_size) if isinstance(sample_size, int) else tuple(sample_size or ())
        other_sizes = sorted("x".join(map(str, seen)) for seen in self._sizes_seen if size and seen != size)
        if other_sizes:
            notes.append(f"a model of images of {'x'.join(map(str, size))}, not of {', '.join(other_sizes)}")
        return tuple(notes)

    @functools.cached_property
    def _files(self) -> Files:
        return find_files(self.path)

    def _build_scheduler(self) -> Any:
        if self.scheduler is not None:
            return make_scheduler(self.scheduler, {}, self.arguments, "scheduler")
        path = self._files.scheduler
        if path is None:
            raise ParameterError(
                f"{self.path.name}: the folder contains no scheduler; set 'scheduler', such as DDPMScheduler, and its "
                "'arguments'"
            )
        saved = read_config(path)
        return make_scheduler(saved.get("_class_name"), saved, self.arguments, str(path))


@dataclass(frozen=True)
class Files:
    """The files of a saved model."""

    unet: Path
    weights: tuple[Path, ...]
    config: Mapping[str, Any]
    scheduler: Path | None

    @property
    def digest(self) -> str:
        """SHA-256 of the files that determine the output of the model."""
        paths = (self.unet / CONFIG, *self.weights, *((self.scheduler,) if self.scheduler else ()))
        names = "\n".join(f"{path.name} {file_digest(str(path))}" for path in paths)
        return hashlib.sha256(names.encode()).hexdigest()


def find_files(folder: Path) -> Files:
    """Return the files of the model in a folder."""
    unet = next((path for path in (folder / "unet", folder) if (path / CONFIG).is_file()), None)
    if unet is None:
        reason = f"has no {CONFIG} and no unet/{CONFIG}" if folder.is_dir() else "no such folder"
        raise ParameterError(f"{folder}: {reason}; {ACCEPTED}")
    config = read_config(unet / CONFIG)
    if (name := config.get("_class_name")) != "UNet2DModel":
        raise ParameterError(f"{unet / CONFIG}: the class is {brief(name)}, not UNet2DModel; {ACCEPTED}")
    if config.get("class_embed_type") is not None or config.get("num_class_embeds") is not None:
        raise ParameterError(f"{unet / CONFIG}: the model needs class labels; accepted: models without class labels")
    formats = (tuple(path for name in names for path in sorted(unet.glob(name))) for names in WEIGHTS.values())
    weights = next((paths for paths in formats if paths), ())
    if not weights:
        raise ParameterError(f"{unet}: no weights; accepted: {', '.join(names[0] for names in WEIGHTS.values())}")
    schedulers = (folder / "scheduler" / SCHEDULER, folder / SCHEDULER)
    return Files(unet, weights, config, next((path for path in schedulers if path.is_file()), None))


def read_config(path: Path) -> Mapping[str, Any]:
    """Read a JSON configuration."""
    try:
        config = json.loads(read_regular(path, MAX_BYTES))
        if not isinstance(config, Mapping):
            raise ValueError(f"it is a {type(config).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise ParameterError(f"{path}: cannot be read as a JSON object: {brief(error)}") from error
    return config


def load_unet(files: Files) -> nn.Module:
    """Load the network in float32 on the CPU; only tensors are unpickled from torch files."""
    file_format, library = files.weights[0].name.split(".")[1], diffusers()
    try:
        for path in files.weights:
            check_weights_file(path)
        with _quiet():
            network, info = library.UNet2DModel.from_pretrained(
                str(files.unet),
                local_files_only=True,
                use_safetensors=file_format == "safetensors",
                low_cpu_mem_usage=False,
                torch_dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise ParameterError(f"{files.unet}: cannot be read by diffusers: {brief(error)}") from error
    # diffusers initialises missing weights at random.
    faults = [
        f"{name.replace('_', ' ')}: {brief(', '.join(map(str, info[name])))}" for name in FAULTS if info.get(name)
    ]
    if faults:
        raise ParameterError(f"{files.unet}: the weights do not fit the configuration: {'; '.join(faults)}")
    module: nn.Module = network
    return module


def make_scheduler(name: Any, saved: Mapping[str, Any], arguments: Mapping[str, Any], where: str) -> Any:
    """Build a scheduler of diffusers."""
    library = diffusers()
    factory = getattr(library, name, None) if isinstance(name, str) and name.endswith("Scheduler") else None
    if not (isinstance(factory, type) and issubclass(factory, library.SchedulerMixin)):
        raise ParameterError(f"{where}: {brief(name)} is not a scheduler of diffusers, such as DDPMScheduler")
    known = [parameter for parameter in inspect.signature(factory).parameters if parameter != "self"]
    for argument in arguments:
        if argument not in known:
            advice = suggestion(argument, known) or ";"
            raise ParameterError(
                f"arguments: {name} has no '{brief(argument)}'{advice} accepted: {', '.join(known) or 'none'}"
            )
    try:
        with _quiet():
            return factory.from_config({**saved, **arguments})  # type: ignore[attr-defined]
    except Exception as error:
        raise ParameterError(f"{where}: {name} refuses its arguments: {brief(error)}") from error


def diffusers() -> Any:
    """Return the package diffusers."""
    return import_optional("diffusers", "diffusers")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings of diffusers, which are usual for unused configuration entries."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
