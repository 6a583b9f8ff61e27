"""Settings of sampling: the sampler, its noise levels and its steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gahbench._util.errors import ParameterError, listing, suggestion

#: Settings of only one of the samplers.
_OWN = {"stochastic": ("step", "beta", "growth", "max_steps"), "flow": ("levels", "solver")}
#: How many times the steps of an ideal denoiser a sample may take, by default.
MAX_STEP_FACTOR = 10

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class Sampling(BaseModel):
    """Settings of sampling. Both samplers start from y = mean + sigma_start z, z white, and end at sigma_end.

    Parameters
    ----------
    sampler
        ``stochastic``: stochastic ascent of the density that the denoiser implies, with steps of its own for each image
        (Kadkhodaie & Simoncelli 2020, algorithm 1); ``flow``: the deterministic probability flow (Song et al. 2021,
        equation 13; Karras et al. 2022, equation 1 with sigma(t) = t).
    count
        Number of samples.
    seed
        Seed of all noise: sample k starts from the same noise, and gets the same, for any count.
    mean
        Grey level that samples start around: 1/2, in the middle of [0, 1], as in the paper; the published code of
        Kadkhodaie et al. 2024 has 0 by default.
    sigma_start, sigma_end
        Noise levels where sampling starts and ends, in units where an image lies in [0, 1].
    final_step
        Whether the remaining noise is removed at the end, by denoising once.
    step
        Of ``stochastic``: h, the part of the residual that the first step takes, in (0, 1].
    beta
        Of ``stochastic``: the noise falls by the factor 1 - beta h in a step of h; at 1 none is added.
    growth
        Of ``stochastic``: ``growing``, step t takes h t / (1 + h (t - 1)), which tends to 1, as in the published code;
        ``constant``, every step takes h, some thirty times as many of them at the default h and beta.
    max_steps
        Of ``stochastic``: maximum of steps of a sample; null for ten times the steps of an ideal denoiser.
    levels
        Of ``flow``: number of noise levels, geometrically spaced; or the levels themselves, falling, which then are
        where sampling starts and ends.
    solver
        Of ``flow``: ``heun``, of second order, which denoises twice a step, or ``euler``.
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
    levels: Annotated[int, Field(ge=2)] | Annotated[tuple[Positive, ...], Field(min_length=2, strict=False)] = 50
    solver: Literal["heun", "euler"] = "heun"

    @model_validator(mode="before")
    @classmethod
    def _ends_of_levels(cls, given: Any) -> Any:
        """Take the noise levels where sampling starts and ends from a list of levels, if there is one."""
        levels = given.get("levels") if isinstance(given, dict) else None
        if not isinstance(levels, list | tuple) or not levels:
            return given
        # Errors in the levels are reported with the other fields.
        ends = {"sigma_start": levels[0], "sigma_end": levels[-1]}
        for name, value in ends.items():
            if name in given and given[name] != value:
                raise ValueError(f"{name}={given[name]} is not that of the levels, {value}; give one of the two")
        return {**ends, **given}

    @model_validator(mode="after")
    def _check(self) -> Self:
        for sampler, names in _OWN.items():
            for name in names if sampler != self.sampler else ():
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(
                        f"{name} belongs to the {sampler} sampler; accepted by {self.sampler}: "
                        f"{listing(_OWN[self.sampler])}"
                    )
        if self.sigma_end >= self.sigma_start:
            raise ValueError(f"sigma_end={self.sigma_end:g} must be below sigma_start={self.sigma_start:g}")
        if isinstance(self.levels, tuple):
            for one, other in itertools.pairwise(self.levels):
                if other >= one:
                    raise ValueError(f"levels must fall, but {other:g} comes after {one:g}")
        return self

    @property
    def bound(self) -> float:
        """The root mean square of a residual beyond which a sample has diverged: 2 (sigma_start + 1).

        Noise accounts for about sigma_start, and the rest, the difference between two images in [0, 1], for no more
        than 1: it is twice the remaining change.
        """
        return 2 * (self.sigma_start + 1)

    def step_size(self, number: int) -> float:
        """Return the part of the residual that a step takes, counted from 1."""
        if self.growth == "constant":
            return self.step
        return self.step * number / (1 + self.step * (number - 1))

    def ideal_steps(self) -> int:
        """Return how many steps the stochastic sampler takes with a denoiser whose residual is just the noise."""
        wanted = math.log(self.sigma_end / self.sigma_start)
        if self.growth == "constant":
            factor = self.beta * self.step
            return 1 if factor == 1 else math.ceil(wanted / math.log1p(-factor))
        reached, steps = 0.0, 0
        while reached > wanted:
            steps += 1
            factor = self.beta * self.step_size(steps)
            reached = reached + math.log1p(-factor) if factor < 1 else -math.inf
        return steps

    def step_limit(self) -> int:
        """Return after how many steps a sample is out of steps."""
        return MAX_STEP_FACTOR * self.ideal_steps() if self.max_steps is None else self.max_steps

    def schedule(self) -> tuple[float, ...]:
        """Return the noise levels of the flow, falling."""
        if isinstance(self.levels, tuple):
            return self.levels
        last = self.levels - 1
        between = (self.sigma_start * (self.sigma_end / self.sigma_start) ** (place / last) for place in range(1, last))
        return (self.sigma_start, *between, self.sigma_end)


def make_sampling(given: Mapping[str, Any]) -> Sampling:
    """Return checked settings.

    Parameters
    ----------
    given
        Fields of :class:`Sampling` by name; those that are left out have their defaults.

    Raises
    ------
    ParameterError
        If a name is unknown, or a value is not accepted.

    Examples
    --------
    >>> make_sampling({"sampler": "flow", "count": 4}).schedule()[0]
    1.0
    """
    names = tuple(Sampling.model_fields)
    for name in given:
        if name not in names:
            raise ParameterError(
                f"unknown setting '{name}' of sampling{suggestion(name, names) or ';'} accepted: {listing(names)}"
            )
    try:
        return Sampling.model_validate(dict(given))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        reason = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise ParameterError(f"sampling: {reason}") from error
        name = str(first["loc"][0])
        raise ParameterError(f"{name}={given[name]!r}: {reason[0].lower()}{reason[1:]}") from error
