"""Conversion of models with other value ranges, noise levels or outputs to denoisers of images in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from gahbench._util.errors import ParameterError, listing

SigmaInput = Literal["none", "level", "map", "timestep"]
Output = Literal["image", "residual", "eps", "score", "v", "edm", "edm-v"]

#: Values of ``output`` by ``prediction_type`` of a scheduler, and of a scheduler with EDM preconditioning.
PREDICTIONS: dict[str, Output] = {"epsilon": "eps", "sample": "image", "v_prediction": "v"}
EDM_PREDICTIONS: dict[str, Output] = {"epsilon": "edm", "v_prediction": "edm-v"}
#: Supported EDM schedulers; other schedulers with EDM preconditioning pass the noise level differently.
EDM_SCHEDULERS = frozenset({"EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"})


def _scheduler_parameters(scheduler: Any) -> dict[str, Any]:
    """Return the parameters of :class:`Converted` for models trained with a scheduler of diffusers."""
    name, config = type(scheduler).__name__, dict(getattr(scheduler, "config", {}))
    is_edm = not EDM_SCHEDULERS.isdisjoint(ancestor.__name__ for ancestor in type(scheduler).__mro__)
    products = getattr(scheduler, "alphas_cumprod", None)
    # Models with continuous timesteps, an option of EulerDiscreteScheduler, take log(sigma) / 4 instead of a timestep.
    if not is_edm and (products is None or config.get("timestep_type") == "continuous"):
        raise ParameterError(
            f"scheduler={name}; accepted: schedulers of diffusers with alphas_cumprod and discrete timesteps, such "
            f"as DDPMScheduler and DDIMScheduler, and {listing(sorted(EDM_SCHEDULERS))}"
        )
    accepted, prediction = (EDM_PREDICTIONS if is_edm else PREDICTIONS), config.get("prediction_type")
    if prediction not in accepted:
        raise ParameterError(f"prediction_type={prediction!r} of {name}; accepted: {listing(accepted)}")
    if is_edm:
        return {"sigma": "level", "output": accepted[prediction], "sigma_data": float(config["sigma_data"])}
    return {"sigma": "timestep", "output": accepted[prediction], "alphas_cumprod": products}


class Converted(nn.Module):
    """A model with ``forward(noisy, sigma)`` for images in [0, 1]; for parameters, see :func:`as_denoiser`."""

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
                raise ParameterError(f"{name}={value!r}; accepted: {listing(get_args(accepted))}")
        if (sigma == "timestep") != (alphas_cumprod is not None):
            raise ParameterError("sigma='timestep' needs alphas_cumprod, which no other sigma accepts")
        low, high = map(float, value_range)
        if not low < high:
            raise ParameterError(f"value_range={value_range}; accepted: two numbers, the lower number first")
        # The model may be a plain function, which does not become a submodule.
        self.model = model
        self.sigma, self.output, self.interpolate, self.sigma_data = sigma, output, interpolate, sigma_data
        self.low, self.scale = low, high - low
        #: Whether the model returns a variance in further channels, which is ignored.
        self.also_returns_variance = False
        products = torch.as_tensor(1.0 if alphas_cumprod is None else alphas_cumprod, dtype=torch.float64)
        if alphas_cumprod is not None and not (products.ndim == 1 and bool((products.diff() < 0).all())):
            raise ParameterError("alphas_cumprod must be decreasing numbers, one for each timestep")
        # Logarithms of the noise levels of the timesteps, in increasing order.
        self.register_buffer("log_levels", ((1 - products) / products).clamp_min(1e-300).log() / 2, persistent=False)

    @property
    def noise_levels(self) -> tuple[float, float] | None:
        """Smallest and largest noise level of the timesteps, for images in [0, 1]; ``None`` without timesteps."""
        if self.sigma != "timestep":
            return None
        levels = self.get_buffer("log_levels").exp() / self.scale
        return float(levels[0]), float(levels[-1])

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Return the denoised images, shape (N, C, H, W), for noisy images and their noise levels, shape (N,)."""
        level = (sigma * self.scale).to(noisy)
        column = level.reshape(-1, *(1 for _ in noisy.shape[1:]))
        scaled = noisy * self.scale + self.low
        output = self._call_model(scaled, level, column)
        output = torch.as_tensor(getattr(output, "sample", output)).to(scaled)
        if self.also_returns_variance:
            output = output[:, : noisy.shape[1]]
        return (self._to_image(scaled, output, column) - self.low) / self.scale

    def _call_model(self, scaled: Tensor, level: Tensor, column: Tensor) -> Any:
        if self.output in ("edm", "edm-v"):
            return self.model(scaled / (column.square() + self.sigma_data**2).sqrt(), level.log() / 4)
        if self.sigma == "none":
            return self.model(scaled)
        if self.sigma == "map":
            return self.model(torch.cat([scaled, column.expand_as(scaled[:, :1])], 1))
        if self.sigma == "timestep":
            return self.model(scaled / (1 + column.square()).sqrt(), self._timestep(level))
        return self.model(scaled, level)

    def _timestep(self, level: Tensor) -> Tensor:
        levels: Tensor = self.get_buffer("log_levels")
        # Keep the levels as tensors, since converting them to numbers would wait for a GPU.
        log_level = level.double().log().clamp(levels[0], levels[-1])
        after = torch.searchsorted(levels, log_level).clamp(1, len(levels) - 1)
        below, above = levels[after - 1], levels[after]
        time = (after - 1) + (log_level - below) / (above - below)
        return time.to(level) if self.interpolate else time.round().long()

    def _to_image(self, noisy: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        """Return the denoised images in the value range of the model."""
        if self.output == "image":
            return output
        if self.output in ("residual", "eps", "score"):
            factors = {"residual": -torch.ones_like(sigma), "eps": -sigma, "score": sigma.square()}
            return noisy + factors[self.output] * output
        # With x_t = sqrt(abar) y, v has the preconditioning of EDM for images of unit variance.
        data = 1.0 if self.output == "v" else self.sigma_data
        total = sigma.square() + data**2
        estimate = sigma * data / total.sqrt() * (output if self.output == "edm" else -output)
        return data**2 / total * noisy + estimate


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
    """Convert a model with other conventions to a module ``forward(noisy, sigma)`` for images in [0, 1].

    Parameters
    ----------
    model
        The model, called with scaled images and the noise level in the form that ``sigma`` selects.
    sigma
        Form in which the model gets the noise level: ``none``, ``level`` as a second argument of shape (N,), ``map``
        as an additional channel, or ``timestep`` as a second argument.
    value_range
        Value range of the images of the model; by default [0, 1], or [-1, 1] with a scheduler.
    output
        Output of the model: the denoised ``image``; the noise, as ``residual`` or with unit variance (``eps``); the
        ``score``; ``v``; or an output with EDM preconditioning (``edm``, ``edm-v``).
    alphas_cumprod
        Decreasing cumulative products of alpha, one for each timestep, for ``timestep``.
    interpolate
        Whether timesteps are fractional, for ``timestep``; otherwise the nearest timestep is used.
    sigma_data
        Standard deviation of the data, for ``edm`` and ``edm-v``.
    scheduler
        A scheduler of diffusers, which determines ``sigma``, ``output``, ``alphas_cumprod`` and ``sigma_data``: DDPM,
        DDIM and other schedulers with ``alphas_cumprod``, with ``prediction_type`` epsilon, sample or v_prediction, or
        an EDM scheduler. Outputs are not clipped, even if the scheduler clips.

    Raises
    ------
    ParameterError
        If a parameter is not accepted, or the scheduler determines it.

    Examples
    --------
    A DDPM network, which predicts noise of unit variance from images in [-1, 1] and timesteps:

    >>> import torch
    >>> import gahbench
    >>> products = torch.linspace(0.9999, 0.01, 1000)
    >>> network = lambda images, times: torch.zeros_like(images)
    >>> denoiser = gahbench.as_denoiser(network, "timestep", (-1, 1), "eps", products)
    >>> denoiser(torch.full((1, 1, 2, 2), 0.25), torch.tensor([0.1])).flatten().tolist()
    [0.25, 0.25, 0.25, 0.25]

    A ``UNet2DModel`` of diffusers: ``gahbench.as_denoiser(unet, scheduler=scheduler)``.
    """
    parameters: dict[str, Any] = {
        "sigma": sigma,
        "output": output,
        "alphas_cumprod": alphas_cumprod,
        "sigma_data": sigma_data,
    }
    if scheduler is not None:
        if (sigma, output, alphas_cumprod, sigma_data) != ("level", "image", None, 0.5):
            raise ParameterError(f"{', '.join(parameters)}: the scheduler determines them; leave them out")
        parameters = _scheduler_parameters(scheduler)
    ends = value_range or ((0.0, 1.0) if scheduler is None else (-1.0, 1.0))
    converted = Converted(model, value_range=ends, interpolate=interpolate, **parameters).eval()
    if scheduler is not None:
        converted.also_returns_variance = dict(scheduler.config).get("variance_type") in ("learned", "learned_range")
    return converted
