"""The field ``noise`` of a suite's scoring: noise other than white Gaussian noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gahbench._util.core_yaml import as_number
from gahbench._util.errors import ParameterError
from gahbench._util.readable import level_name
from gahbench.contracts.captured import NoiseKind
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.metrics import Metric
from gahbench.noise.poisson_gaussian import PoissonGaussian

#: The kind of noise of photon counts.
POISSON_GAUSSIAN = "poisson-gaussian"
#: Why a metric is refused on noisy images without clean references, and what is accepted, by kind of noise.
_WITHOUT_CLEAN = {
    "white": "the metric needs clean images, and these images are noisy; accepted: the metrics sure and masked-error",
    "independent": (
        "the metric needs clean images, or noise that is shown to be white and Gaussian; accepted: the metric "
        "masked-error"
    ),
    "unknown": (
        "these images are noisy, and their noise is not shown to be independent between pixels, so no metric is "
        "defined; accepted: bursts of three or more captures"
    ),
}
#: Significant digits of noise levels.
_DIGITS = 4


def _as_numbers(value: Any) -> Any:
    return tuple(map(as_number, value)) if isinstance(value, list | tuple) else (as_number(value),)


_Values = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1), BeforeValidator(_as_numbers)]


class SuiteNoise(BaseModel):
    """Poisson-Gaussian noise, y = a Poisson(x / a) + sqrt(b) z, under which a suite scores denoisers.

    Parameters
    ----------
    kind
        ``poisson-gaussian``.
    a, b
        Variances of photon noise at intensity 1 and of Gaussian noise. A list of values of one or both, of equal
        lengths, gives several noise levels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    kind: Literal["poisson-gaussian"]
    a: _Values
    b: _Values

    @property
    def levels(self) -> dict[float, PoissonGaussian]:
        """The noise of each level; a level is the standard deviation at intensity 1/2."""
        count = max(len(self.a), len(self.b))
        a, b = (values * count if len(values) == 1 else values for values in (self.a, self.b))
        if len(a) != len(b):
            raise ValueError(f"a has {len(a)} values and b has {len(b)}; accepted: equal numbers, or a single value")
        models = [PoissonGaussian(*pair) for pair in zip(a, b, strict=True)]
        levels = {float(f"{(model.a / 2 + model.b) ** 0.5:.{_DIGITS}g}"): model for model in models}
        if len(levels) < len(models):
            raise ValueError("two noise levels are equal at intensity 1/2; accepted: different levels")
        return levels

    @model_validator(mode="after")
    def _check(self) -> SuiteNoise:
        try:
            levels = self.levels
        except ParameterError as error:
            raise ValueError(str(error)) from error
        from gahbench.noise.stabilisation import Stabilisation

        for model in levels.values():
            if (start := Stabilisation(model).stable_from) > 1:
                raise ValueError(
                    f"a={model.a:g}, b={model.b:g}: the variance can be stabilised from intensity {start:.2g} only; "
                    "accepted: more photons, which is a smaller a"
                )
        return self


def add_levels(values: Any) -> Any:
    """Return the fields of a suite's scoring with the ``sigmas`` that its ``noise`` gives."""
    if not isinstance(values, Mapping) or values.get("noise") is None:
        return values
    if "sigmas" in values:
        raise ValueError("sigmas and noise exclude each other: a and b give the noise levels; remove one of them")
    try:
        levels = list(SuiteNoise.model_validate(values["noise"]).levels)
    except pydantic.ValidationError:
        # The field `noise` reports the error.
        levels = [1.0]
    return {**values, "sigmas": levels}


def noise_note(noise: SuiteNoise, dataset: Dataset) -> str:
    """Return the note on a board about the noise of a dataset's scores, on one line."""
    from gahbench.noise.stabilisation import Stabilisation

    levels = []
    for sigma, model in noise.levels.items():
        stabilisation = Stabilisation(model)
        levels.append(
            f"σ = {level_name(sigma)}: a = {model.a:g}, b = {model.b:g}, stabilised to σ = {stabilisation.sigma:.3g} "
            f"with a variance within 2 % from intensity {stabilisation.stable_from:.2g}"
        )
    is_exact = all(dataset.optimum_under(model).kind == "exact" for model in noise.levels.values())
    known = (
        "The optimum is the posterior mean of intensities" if is_exact else "The optimum under this noise is not known"
    )
    return (
        f"Poisson-Gaussian noise of variance a·x + b at intensity x; σ is its standard deviation at x = 1/2 "
        f"({'; '.join(levels)}). Denoisers run on stabilised images, at their σ, and their outputs are inverted "
        "without bias; scores are in "
        f"intensity. Oracles are oracles of the stabilised images. {known}; an optimal denoiser of stabilised images, "
        "inverted, is not the optimum"
    )


def refusal_without_clean(metric: type[Metric] | Metric, noise: NoiseKind) -> str | None:
    """Return why a metric is refused on noisy images without clean references; ``None`` if it is accepted."""
    return None if noise in metric.without_clean else f"{_WITHOUT_CLEAN[noise]}, or clean images"
