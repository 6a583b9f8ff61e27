"""Diffusion models that were saved by the package diffusers."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator
from torch import Tensor, nn

from gahbench import ParameterError, Shape, Truth, as_denoiser

from .._messages import brief
from .._papers import HO_2020, KARRAS_2022
from ..architectures._arguments import as_mapping, as_text
from ._diffusers_files import Files, diffusers, find_files, load_unet, make_scheduler, read_config
from ._network import NetworkReference


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
        _ = self.network
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

    def load(self) -> nn.Module:
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


class Clipped(nn.Module):
    """A denoiser whose output is clipped to [0, 1]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        found: Tensor = self.network(noisy, sigma)
        return found.clamp(0, 1)
