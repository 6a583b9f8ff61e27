"""Diffusion models that were saved by the package diffusers."""

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

from .._extras import imported
from .._papers import HO_2020, KARRAS_2022
from .._torch_files import check_weights_file
from ..architectures._arguments import as_mapping, as_text
from ._network import Clipped, NetworkReference

#: The most bytes of a configuration.
MAX_BYTES = 1 << 20
CONFIG, SCHEDULER, STEM = "config.json", "scheduler_config.json", "diffusion_pytorch_model"
#: Files of weights, the format to prefer first; ``*`` of those that are cut into several.
WEIGHTS = {kind: (f"{STEM}.{kind}", f"{STEM}.{kind}.index.json", f"{STEM}-*.{kind}") for kind in ("safetensors", "bin")}
#: What diffusers lists of weights that do not fit.
FAULTS = ("missing_keys", "unexpected_keys", "mismatched_keys")
ACCEPTED = (
    "accepted: a folder that UNet2DModel.save_pretrained wrote, or one of a pipeline, with unet/ and scheduler/ or "
    "with all in it"
)


class Diffusers(NetworkReference):
    """A diffusion model that diffusers saved, a ``UNet2DModel``, as a denoiser; needs the extra diffusers.

    It is scored as it is, and never trained; nothing is downloaded. Its images are in [-1, 1], where the noise is twice
    as strong. The scheduler says how it was trained: to estimate the noise, the image or v from timesteps (DDPM of Ho
    et al. 2020, DDIM, and others of their noise schedule), or preconditioned as of Karras et al. 2022 (the EDM
    schedulers). With timesteps the noisy image is scaled to the diffused one of its noise level; a level beyond those
    of the timesteps is given the nearest, which is noted.

    Parameters
    ----------
    path
        A folder that ``UNet2DModel.save_pretrained`` wrote, or that of a pipeline, with ``unet`` and ``scheduler``.
        The content of its files decides, not its path.
    scheduler
        The class of a scheduler of diffusers, such as ``DDPMScheduler``, instead of the one that is saved.
    arguments
        Arguments of its constructor, or instead of those of the saved one: ``{prediction_type: v_prediction}``.
    interpolate
        Whether the model is given fractions of timesteps, linear in the logarithm of sigma; otherwise the nearest step.
    clip
        Whether the output is clipped to [0, 1], as samplers often do.
    """

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
        self._asked: set[float] = set()
        self._sizes: set[tuple[int, ...]] = set()

    def fingerprint(self) -> str:
        """Return the SHA-256 of the model's files."""
        return self._files.digest

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ParameterError`` if the model cannot be read, or does not take such images."""
        # Its weights, too, are refused before anything runs.
        self.as_network(shape)
        config = self._files.config
        size, multiple = "x".join(map(str, shape)), 2 ** (len(config.get("block_out_channels", range(4))) - 1)
        if (channels := config.get("in_channels", 3)) != shape[0]:
            raise ParameterError(f"{self.path.name} takes images of {channels} channels, not of {shape[0]}")
        try:
            with torch.device("meta"), torch.no_grad():
                diffusers().UNet2DModel.from_config(dict(config))(torch.empty(1, *shape), torch.ones(1))
        except RuntimeError as error:
            raise ParameterError(
                f"{self.path.name} does not take images of {size}: accepted are sides that are multiples of {multiple} "
                f"({brief(error)})"
            ) from error

    def load(self, shape: Shape) -> nn.Module:
        """Return the model as a network for images in [0, 1]."""
        scheduler, config = self._made_scheduler(), self._files.config
        learned = str(scheduler.config.get("variance_type")).startswith("learned")
        channels, returned = config.get("in_channels", 3), config.get("out_channels", 3)
        if returned != (2 if learned else 1) * channels:
            raise ParameterError(
                f"{self.path.name}: {returned} channels come out of {channels}; accepted are as many, or twice as many "
                "with 'variance_type: learned' or 'learned_range' of the scheduler"
            )
        network = as_denoiser(load_unet(self._files), scheduler=scheduler, interpolate=self.interpolate)
        self._noise_levels = network.noise_levels
        self._facts = f"with {type(scheduler).__name__}, {scheduler.config.prediction_type}"
        return Clipped(network).eval() if self.clip else network

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        self._asked.add(sigma)
        self._sizes.add(tuple(noisy.shape[-2:]))
        return super().denoise(noisy, sigma, truth)

    @property
    def notes(self) -> tuple[str, ...]:
        """The model, the beginning of its SHA-256, its scheduler, and what it was not trained for."""
        if not self._facts:
            return ()
        notes = [f"a UNet2DModel in {self.path.name} (SHA-256 {self._files.digest[:8]}), {self._facts}"]
        low, high = self._noise_levels or (0.0, math.inf)
        # Those of the timesteps are rounded to float32.
        beyond = [f"{level:g}" for level in sorted(self._asked) if not 0.999 * low <= level <= 1.001 * high]
        if beyond:
            notes.append(f"σ = {', '.join(beyond)}: outside {low:.3g} to {high:.3g}, the noise of its timesteps")
        trained = self._files.config.get("sample_size")
        size = (trained, trained) if isinstance(trained, int) else tuple(trained or ())
        other = sorted("x".join(map(str, one)) for one in self._sizes if size and one != size)
        if other:
            notes.append(f"a model of images of {'x'.join(map(str, size))}, not of {', '.join(other)}")
        return tuple(notes)

    @functools.cached_property
    def _files(self) -> Files:
        return find_files(self.path)

    def _made_scheduler(self) -> Any:
        if self.scheduler is not None:
            return make_scheduler(self.scheduler, {}, self.arguments, "scheduler")
        path = self._files.scheduler
        if path is None:
            raise ParameterError(
                f"{self.path.name}: no scheduler is saved in it; accepted: 'scheduler', such as DDPMScheduler, and its "
                "'arguments'"
            )
        saved = read_config(path)
        return make_scheduler(saved.get("_class_name"), saved, self.arguments, str(path))


@dataclass(frozen=True)
class Files:
    """The files of a model."""

    unet: Path
    weights: tuple[Path, ...]
    config: Mapping[str, Any]
    scheduler: Path | None

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides what the model computes."""
        paths = (self.unet / CONFIG, *self.weights, *((self.scheduler,) if self.scheduler else ()))
        names = "\n".join(f"{path.name} {file_digest(str(path))}" for path in paths)
        return hashlib.sha256(names.encode()).hexdigest()


def find_files(folder: Path) -> Files:
    """Return the files of a model in a folder."""
    unet = next((one for one in (folder / "unet", folder) if (one / CONFIG).is_file()), None)
    if unet is None:
        reason = f"has no {CONFIG} and no unet/{CONFIG}" if folder.is_dir() else "no such folder"
        raise ParameterError(f"{folder}: {reason}; {ACCEPTED}")
    config = read_config(unet / CONFIG)
    if (name := config.get("_class_name")) != "UNet2DModel":
        raise ParameterError(f"{unet / CONFIG}: its class is {brief(name)}, not UNet2DModel; {ACCEPTED}")
    if config.get("class_embed_type") is not None or config.get("num_class_embeds") is not None:
        raise ParameterError(f"{unet / CONFIG}: a model of labelled images; accepted are models of images alone")
    found = (tuple(path for one in names for path in sorted(unet.glob(one))) for names in WEIGHTS.values())
    weights = next((paths for paths in found if paths), ())
    if not weights:
        raise ParameterError(f"{unet}: no weights; accepted: {', '.join(names[0] for names in WEIGHTS.values())}")
    schedulers = (folder / "scheduler" / SCHEDULER, folder / SCHEDULER)
    return Files(unet, weights, config, next((path for path in schedulers if path.is_file()), None))


def read_config(path: Path) -> Mapping[str, Any]:
    """Return a configuration."""
    try:
        found = json.loads(read_regular(path, MAX_BYTES))
        if not isinstance(found, Mapping):
            raise ValueError(f"it is a {type(found).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise ParameterError(f"{path}: cannot be read as a JSON object: {brief(error)}") from error
    return found


def load_unet(files: Files) -> nn.Module:
    """Return the network, float32, on the CPU. Of torch files only tensors are unpickled."""
    kind, library = files.weights[0].name.split(".")[1], diffusers()
    try:
        for path in files.weights:
            check_weights_file(path)
        with _quiet():
            network, info = library.UNet2DModel.from_pretrained(
                str(files.unet),
                local_files_only=True,
                use_safetensors=kind == "safetensors",
                low_cpu_mem_usage=False,
                torch_dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise ParameterError(f"{files.unet}: cannot be read by diffusers: {brief(error)}") from error
    # What is missing would be left random.
    faults = [
        f"{name.replace('_', ' ')}: {brief(', '.join(map(str, info[name])))}" for name in FAULTS if info.get(name)
    ]
    if faults:
        raise ParameterError(f"{files.unet}: weights of another network: {'; '.join(faults)}")
    module: nn.Module = network
    return module


def make_scheduler(name: Any, saved: Mapping[str, Any], arguments: Mapping[str, Any], where: str) -> Any:
    """Return a scheduler of diffusers."""
    library = diffusers()
    factory = getattr(library, name, None) if isinstance(name, str) and name.endswith("Scheduler") else None
    if not (isinstance(factory, type) and issubclass(factory, library.SchedulerMixin)):
        raise ParameterError(f"{where}: {brief(name)} is no scheduler of diffusers, such as DDPMScheduler")
    known = [one for one in inspect.signature(factory).parameters if one != "self"]
    for one in arguments:
        if one not in known:
            near = suggestion(one, known) or ";"
            raise ParameterError(
                f"arguments: {name} has no '{brief(one)}'{near} accepted: {', '.join(known) or 'none'}"
            )
    try:
        with _quiet():
            return factory.from_config({**saved, **arguments})  # type: ignore[attr-defined]
    except Exception as error:
        raise ParameterError(f"{where}: {name} refuses its arguments: {brief(error)}") from error


def diffusers() -> Any:
    """Return the package diffusers."""
    return imported("diffusers", "diffusers")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Have diffusers say in errors alone what is wrong: unused entries of configurations are usual."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
