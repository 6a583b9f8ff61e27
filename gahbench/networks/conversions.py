"""Models of other conventions as denoisers of images in [0, 1]: ranges, noise levels and what they return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from gahbench._util.errors import ParameterError, listing

SigmaInput = Literal["none", "level", "map", "timestep"]
Output = Literal["image", "residual", "eps", "score", "v", "edm", "edm-v"]


#: Outputs of :class:`gahbench.networks.conversions.Converted`, by ``prediction_type``.
PREDICTIONS: dict[str, Output] = {"epsilon": "eps", "sample": "image", "v_prediction": "v"}
EDM_PREDICTIONS: dict[str, Output] = {"epsilon": "edm", "v_prediction": "edm-v"}
#: Other schedulers of that preconditioning state the noise level otherwise.
EDM_SCHEDULERS = frozenset({"EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"})
#: ``variance_type`` of models that return a variance too.
LEARNED = ("learned", "learned_range")


def convention(scheduler: Any) -> dict[str, Any]:
    """Return the parameters of :class:`Converted` for models of a scheduler of diffusers; no step of it is taken."""
    name, config = type(scheduler).__name__, dict(getattr(scheduler, "config", {}))
    is_edm = not EDM_SCHEDULERS.isdisjoint(ancestor.__name__ for ancestor in type(scheduler).__mro__)
    products = getattr(scheduler, "alphas_cumprod", None)
    # With continuous timesteps, as EulerDiscreteScheduler may have, the model sees log(sigma) / 4.
    if not is_edm and (products is None or config.get("timestep_type") == "continuous"):
        raise ParameterError(
            f"scheduler={name}: accepted are schedulers of diffusers with alphas_cumprod and discrete timesteps, such "
            f"as DDPMScheduler and DDIMScheduler, and {listing(sorted(EDM_SCHEDULERS))}"
        )
    accepted, prediction = (EDM_PREDICTIONS if is_edm else PREDICTIONS), config.get("prediction_type")
    if prediction not in accepted:
        raise ParameterError(f"prediction_type={prediction!r} of {name}: accepted are {listing(accepted)}")
    if is_edm:
        return {"sigma": "level", "output": accepted[prediction], "sigma_data": float(config["sigma_data"])}
    return {"sigma": "timestep", "output": accepted[prediction], "alphas_cumprod": products}


class FirstChannels(nn.Module):
    """A model that returns a variance behind the channels of its output, without that."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, *given: Tensor) -> Tensor:
        """Return as many channels of the model's output as the images have."""
        found = self.model(images, *given)
        sample: Tensor = getattr(found, "sample", found)
        return sample[:, : images.shape[1]]


class Converted(nn.Module):
    """A model as ``forward(noisy, sigma)``, for images in [0, 1] with noise of standard deviation sigma."""

    def __init__(
        self,
        model: Callable[..., Any],
        sigma: SigmaInput = "level",
        value_range: tuple[float, float] = (0.0, 1.0),
        output: Output = "image",
        alphas_cumprod: Tensor | None = None,
        interpolate: bool = False,
        sigma_data: float = 0.5,
    ) -> None:
        super().__init__()
        for name, value, accepted in (("sigma", sigma, SigmaInput), ("output", output, Output)):
            if value not in get_args(accepted):
                raise ParameterError(f"{name}={value!r}: accepted are {listing(get_args(accepted))}")
        if (sigma == "timestep") != (alphas_cumprod is not None):
            raise ParameterError("alphas_cumprod goes with sigma='timestep': the cumulative product of each timestep")
        low, high = map(float, value_range)
        if not low < high:
            raise ParameterError(f"value_range={value_range}: accepted are two numbers, the lower one first")
        # A plain function is no submodule.
        self.model = model
        self.sigma, self.output, self.interpolate, self.sigma_data = sigma, output, interpolate, sigma_data
        self.low, self.scale = low, high - low
        products = torch.as_tensor(1.0 if alphas_cumprod is None else alphas_cumprod, dtype=torch.float64)
        if alphas_cumprod is not None and not (products.ndim == 1 and bool((products.diff() < 0).all())):
            raise ParameterError("alphas_cumprod: accepted are falling numbers, one for each timestep")
        # Logarithm of the noise of each step, rising.
        self.register_buffer("log_levels", ((1 - products) / products).clamp_min(1e-300).log() / 2, persistent=False)

    @property
    def noise_levels(self) -> tuple[float, float] | None:
        """Least and largest noise level of its timesteps, for images in [0, 1]; ``None`` without timesteps."""
        if self.sigma != "timestep":
            return None
        levels = self.get_buffer("log_levels").exp() / self.scale
        return float(levels[0]), float(levels[-1])

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Return the denoised images, shape (N, C, H, W), for noisy ones and their noise levels (N,)."""
        level = (sigma * self.scale).to(noisy)
        column = level.reshape(-1, *(1 for _ in noisy.shape[1:]))
        given = noisy * self.scale + self.low
        found = self._called(given, level, column)
        return (self._image(given, found.to(given), column) - self.low) / self.scale

    def _called(self, given: Tensor, level: Tensor, column: Tensor) -> Tensor:
        if self.output in ("edm", "edm-v"):
            norm = (column.square() + self.sigma_data**2).sqrt()
            found = self.model(given / norm, level.log() / 4)
        elif self.sigma == "none":
            found = self.model(given)
        elif self.sigma == "map":
            found = self.model(torch.cat([given, column.expand_as(given[:, :1])], 1))
        elif self.sigma == "timestep":
            found = self.model(given / (1 + column.square()).sqrt(), self._time(level))
        else:
            found = self.model(given, level)
        return torch.as_tensor(getattr(found, "sample", found))

    def _time(self, level: Tensor) -> Tensor:
        levels: Tensor = self.get_buffer("log_levels")
        # Tensors, since numbers would make a GPU wait.
        asked = level.double().log().clamp(levels[0], levels[-1])
        after = torch.searchsorted(levels, asked).clamp(1, len(levels) - 1)
        below, above = levels[after - 1], levels[after]
        time = (after - 1) + (asked - below) / (above - below)
        return time.to(level) if self.interpolate else time.round().long()

    def _image(self, given: Tensor, found: Tensor, sigma: Tensor) -> Tensor:
        """Return the denoised images in the model's range."""
        if self.output == "image":
            return found
        if self.output == "residual":
            return given - found
        if self.output == "eps":
            return given - sigma * found
        if self.output == "score":
            return given + sigma.square() * found
        if self.output in ("edm", "edm-v"):
            total = sigma.square() + self.sigma_data**2
            estimate = sigma * self.sigma_data / total.sqrt() * (found if self.output == "edm" else -found)
            return self.sigma_data**2 / total * given + estimate
        # x' = sqrt(abar) (sqrt(abar) y') - sqrt(1 - abar) v.
        product = 1 / (1 + sigma.square())
        return product * given - (1 - product).sqrt() * found


def as_denoiser(
    model: Callable[..., Any],
    sigma: SigmaInput = "level",
    value_range: tuple[float, float] | None = None,
    output: Output = "image",
    alphas_cumprod: Tensor | None = None,
    interpolate: bool = False,
    sigma_data: float = 0.5,
    *,
    scheduler: Any = None,
) -> Converted:
    """Return a model of another convention as a module ``forward(noisy, sigma)`` for images in [0, 1].

    Parameters
    ----------
    model, sigma
        As for :class:`Converted`.
    value_range
        Ends of the model's range of grey values: by default [0, 1], and [-1, 1] with a scheduler.
    output, alphas_cumprod, interpolate, sigma_data
        As for :class:`Converted`.
    scheduler
        A scheduler of diffusers, which says ``sigma``, ``output``, ``alphas_cumprod`` and ``sigma_data``: DDPM, DDIM
        and others with ``alphas_cumprod``, for ``prediction_type`` epsilon, sample or v_prediction, or one of EDM.
        Nothing is clipped, whether the scheduler clips or not.

    Raises
    ------
    ParameterError
        If a parameter is not accepted, or is given beside a scheduler that says it.

    Examples
    --------
    A network that estimates unit noise in images of [-1, 1] from images and timesteps, as of DDPM:

    >>> import torch
    >>> import gahbench
    >>> products = torch.linspace(0.9999, 0.01, 1000)
    >>> network = lambda images, times: torch.zeros_like(images)
    >>> denoiser = gahbench.as_denoiser(network, "timestep", (-1, 1), "eps", products)
    >>> denoiser(torch.full((1, 1, 2, 2), 0.25), torch.tensor([0.1])).flatten().tolist()
    [0.25, 0.25, 0.25, 0.25]

    A ``UNet2DModel`` of diffusers: ``gahbench.as_denoiser(unet, scheduler=scheduler)``.
    """
    if scheduler is None:
        ends = (0.0, 1.0) if value_range is None else value_range
        return Converted(model, sigma, ends, output, alphas_cumprod, interpolate, sigma_data).eval()
    if (sigma, output, alphas_cumprod, sigma_data) != ("level", "image", None, 0.5):
        raise ParameterError("sigma, output, alphas_cumprod, sigma_data: the scheduler says them; accepted: it alone")
    given = convention(scheduler)
    if dict(scheduler.config).get("variance_type") in LEARNED:
        model = FirstChannels(model)
    ends = (-1.0, 1.0) if value_range is None else value_range
    return Converted(model, value_range=ends, interpolate=interpolate, **given).eval()
