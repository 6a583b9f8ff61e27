"""Settings of the samplers: noise levels, steps and seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gahbench._util.errors import ParameterError, listing, suggestion

#: Settings that apply to only one sampler.
_SAMPLER_SETTINGS = {"stochastic": ("step", "beta", "growth", "max_steps"), "flow": ("levels", "solver")}
#: Default limit on the steps of a sample, in multiples of the steps that it takes with an ideal denoiser.
MAX_STEP_FACTOR = 10

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class Sampling(BaseModel):
    """Settings for sampling, which starts from y = mean + sigma_start z, with white noise z, and ends at sigma_end.

    Parameters
    ----------
    sampler
        ``stochastic``: stochastic gradient ascent on the density that the denoiser implies, with an adaptive noise
        level for each image (Kadkhodaie & Simoncelli 2020, algorithm 1); ``flow``: the deterministic probability flow
        (Song et al. 2021, equation 13; Karras et al. 2022, equation 1 with sigma(t) = t).
    count
        Number of samples.
    seed
        Seed of all noise. Sample k receives the same noise for any count.
    mean
        Mean grey level of the starting noise: 1/2, the middle of [0, 1], as in the paper; the published code of
        Kadkhodaie et al. 2024 uses 0 by default.
    sigma_start, sigma_end
        Noise levels at which sampling starts and ends, in units where an image lies in [0, 1].
    final_step
        Whether to remove the remaining noise at the end by denoising once.
    step
        For ``stochastic``: h, the fraction of the residual that the first step adds, in (0, 1].
    beta
        For ``stochastic``: a step of size h multiplies the noise level by 1 - beta h; at 1 no noise is added.
    growth
        For ``stochastic``: ``growing``: step t has the size h t / (1 + h (t - 1)), which tends to 1, as in the
        published code; ``constant``: every step has the size h, which takes about thirty times as many steps at the
        default h and beta.
    max_steps
        For ``stochastic``: maximum number of steps of a sample; null for ten times the steps of an ideal denoiser.
    levels
        For ``flow``: number of noise levels, geometrically spaced from ``sigma_start`` to ``sigma_end``.
    solver
        For ``flow``: ``heun``, a second-order method that denoises twice per step, or ``euler``, a first-order method.

    Examples
    --------
    >>> Sampling(count=4, sampler="flow").count
    4
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    sampler: Literal["stochastic", "flow"] = "stochastic"
    count: Annotated[int, Field(ge=1)] = 16
    seed: Annotated[int, Field(ge=0)] = 0
    mean: float = 0.5
    sigma_start: Positive = 1.0
    sigma_end: Positive = 0.05
    final_step: bool = True
    step: Share = 0.01
    beta: Share = 0.1
    growth: Literal["growing", "constant"] = "growing"
    max_steps: Annotated[int, Field(ge=1)] | None = None
    levels: Annotated[int, Field(ge=2)] = 50
    solver: Literal["heun", "euler"] = "heun"

    @model_validator(mode="after")
    def _check(self) -> Self:
        for sampler, names in _SAMPLER_SETTINGS.items():
            for name in names if sampler != self.sampler else ():
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(
                        f"{name} belongs to the {sampler} sampler; accepted by {self.sampler}: "
                        f"{listing(_SAMPLER_SETTINGS[self.sampler])}"
                    )
        if self.sigma_end >= self.sigma_start:
            raise ValueError(f"sigma_end={self.sigma_end:g} must be below sigma_start={self.sigma_start:g}")
        return self

    @property
    def bound(self) -> float:
        """The root mean square of a residual beyond which a sample has diverged: 2 (sigma_start + 1).

        A residual consists of noise, about sigma_start, and the difference of two images in [0, 1], at most 1; the
        bound is twice their sum.
        """
        return 2 * (self.sigma_start + 1)

    def as_flow(self) -> Self:
        """Return the settings of the flow with the same noise and ends; the settings themselves if they are a flow's.

        Examples
        --------
        >>> settings = Sampling(count=4, sigma_start=2.0, step=0.1).as_flow()
        >>> settings.sampler, settings.count, settings.sigma_start
        ('flow', 4, 2.0)
        """
        if self.sampler == "flow":
            return self
        shared = ("count", "seed", "mean", "sigma_start", "sigma_end", "final_step")
        return type(self)(sampler="flow", **{name: getattr(self, name) for name in shared})

    def step_size(self, number: int) -> float:
        """Return the fraction of the residual that step ``number`` adds, counted from 1."""
        if self.growth == "constant":
            return self.step
        return self.step * number / (1 + self.step * (number - 1))

    def ideal_steps(self) -> int:
        """Return the number of steps of the stochastic sampler if the residual of the denoiser is exactly the noise."""
        target = math.log(self.sigma_end / self.sigma_start)
        if self.growth == "constant":
            factor = self.beta * self.step
            return 1 if factor == 1 else math.ceil(target / math.log1p(-factor))
        log_level, steps = 0.0, 0
        while log_level > target:
            steps += 1
            factor = self.beta * self.step_size(steps)
            log_level = log_level + math.log1p(-factor) if factor < 1 else -math.inf
        return steps

    def step_limit(self) -> int:
        """Return the maximum number of steps of a sample."""
        return MAX_STEP_FACTOR * self.ideal_steps() if self.max_steps is None else self.max_steps

    def schedule(self) -> tuple[float, ...]:
        """Return the noise levels of the flow, in decreasing order."""
        last = self.levels - 1
        between = (self.sigma_start * (self.sigma_end / self.sigma_start) ** (index / last) for index in range(1, last))
        return (self.sigma_start, *between, self.sigma_end)


def make_sampling(given: Mapping[str, Any]) -> Sampling:
    """Return settings with these fields; raise ``ParameterError`` for an unknown name or an invalid value."""
    try:
        return Sampling.model_validate(dict(given))
    except pydantic.ValidationError as error:
        first, names = error.errors()[0], tuple(Sampling.model_fields)
        name, reason = "".join(map(str, first["loc"][:1])), first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            near = suggestion(name, names) or ";"
            message = f"unknown sampling setting '{name}'{near} accepted: {listing(names)}"
        else:
            message = f"{name}={given[name]!r}: {reason[0].lower()}{reason[1:]}" if name else f"sampling: {reason}"
        raise ParameterError(message) from error
