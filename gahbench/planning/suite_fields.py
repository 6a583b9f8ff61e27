"""Fields of a suite file, which are validated before plugins are resolved."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    WrapValidator,
)

from gahbench._util.core_yaml import Location, as_number
from gahbench._util.errors import DataError, ParameterError
from gahbench._util.readable import brief
from gahbench.contracts.datasets import MEASURED, Dataset, NoiseKind, Split, captured_level
from gahbench.contracts.engines import Limits
from gahbench.contracts.metrics import Metric
from gahbench.registry.spec import Spec, parse_spec
from gahbench.sampling.settings import Sampling
from gahbench.training.recipe import Training

_FROZEN = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

#: Constraint of a list with at least one value.
_SOME = Field(min_length=1, strict=False)


def _parse_entry(value: Any) -> Spec:
    if isinstance(value, str):
        try:
            return parse_spec(value)
        except ParameterError as error:
            raise ValueError(str(error)) from error
    if isinstance(value, dict) and len(value) == 1 and isinstance(inner := next(iter(value.values())), dict | None):
        return Spec(str(*value), (), {str(name): item for name, item in (inner or {}).items()})
    raise ValueError("expected a single plugin, as its name, or name: {parameter: value}")


#: A plugin with its unchecked parameters, which may be lists of values.
Entry = Annotated[Spec, PlainValidator(_parse_entry)]


def _has_test(splits: tuple[Split, ...]) -> tuple[Split, ...]:
    if "test" not in splits:
        raise ValueError(f"must include test, which the board shows and ranks; accepted: {['test', *splits]}")
    return splits


def _in_range_of_images(sigma: float) -> float:
    if sigma > 10:
        raise ValueError("must be at most 10, since images lie in [0, 1]; a level of 8-bit images is written 25/255")
    return sigma


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(map(repr, values))) < len(values):
        raise ValueError("repeats a value")
    return values


def _seeds(value: Any) -> Any:
    if isinstance(value, int):
        raise ValueError(f"expected a list of seeds, such as {list(range(value)) if 0 < value < 10 else [value]}")
    return value


class Scoring(BaseModel):
    """Scoring of entrants.

    Parameters
    ----------
    sigmas
        Noise levels, in units where images lie in [0, 1]; ``25/255`` is accepted. With ``measured``, denoisers are
        scored on the recorded noisy images of the datasets, such as ``captures``.
    images
        Number of images of each split to score, or of all images if the split has fewer; or ``all``.
    splits
        Splits to score: ``test``, by which the board ranks, and other splits for comparison.
    metrics
        Metrics, by name and parameters; ``psnr`` must be included, unless there are no clean images.
    noise_seed
        Seed of the noise, which is the same for all entrants.
    sampling
        Settings of sampling, for metrics of samples.
    jacobian_precision
        ``auto`` computes Jacobians of networks with ReLUs by products in bfloat16 if these products are at least 15 %
        faster than in float32, and accurate enough: to 1 % of the Jacobian, and to 5 % of the change of filters beyond
        strength and mean. ``float32`` always uses float32.
    """

    model_config = _FROZEN

    sigmas: Annotated[
        tuple[Annotated[float, Field(gt=0), BeforeValidator(as_number), AfterValidator(_in_range_of_images)], ...],
        _SOME,
        AfterValidator(_distinct),
        WrapValidator(lambda value, validate: () if value == MEASURED else validate(value)),
    ]
    images: Annotated[int, Field(ge=1)] | Literal["all"] = 100
    splits: Annotated[tuple[Split, ...], _SOME, AfterValidator(_distinct), AfterValidator(_has_test)] = ("test",)
    metrics: Annotated[tuple[Entry, ...], _SOME, AfterValidator(_distinct)] = Field(("psnr",), validate_default=True)
    noise_seed: int = 0
    sampling: Annotated[Sampling, Field(default_factory=Sampling)]
    jacobian_precision: Literal["auto", "float32"] = "auto"


class SuiteFile(BaseModel):
    """Fields of a suite file.

    Parameters
    ----------
    name
        Name of the suite.
    version
        Version of a frozen suite, from 1: results are combined only with results of the same version and text.
    description
        One or two sentences, for ``gahbench list``.
    datasets
        Datasets, each as ``name``, ``name[key=value]`` or ``name: {key: value}``. A list of values is a grid. Plugins
        in the values of parameters are texts, such as ``wavelet[levels=2]``.
    entrants
        Architectures and references, in the same forms as datasets.
    baseline
        Label of the entrant relative to which the gains of other entrants are measured.
    training
        Training of architectures.
    scoring
        Scoring of entrants.
    seeds
        Seeds of initialisation, order of images and training noise. Each seed is a separate fit.
    limits
        Time limits of units, in seconds.
    """

    model_config = _FROZEN

    # The name is also the name of a folder.
    name: Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    version: Annotated[int, Field(ge=1)] | None = None
    description: str = ""
    datasets: Annotated[tuple[Entry, ...], _SOME]
    entrants: Annotated[tuple[Entry, ...], _SOME]
    baseline: str | None = None
    training: Annotated[Training, Field(default_factory=lambda: Training.model_validate({}))]
    scoring: Scoring
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...], _SOME, AfterValidator(_distinct), BeforeValidator(_seeds)
    ] = (0,)
    limits: Annotated[Limits, Field(default_factory=Limits)]


def make_scoring(**fields: Any) -> Scoring:
    """Return a scoring of these fields; raise ``ParameterError``, in the words of suites, if a suite refuses them."""
    values = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in fields.items()}
    try:
        return Scoring.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        # Pydantic adds the names of types to the location.
        name = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part in fields)
        message = first["msg"].removeprefix("Value error, ")
        text = f"{message[0].lower()}{message[1:]}".replace("tuple", "list")
        raise ParameterError(f"{name}: {text} (got {brief(repr(first['input']))})") from error


def check_sigmas(sigmas: Any) -> tuple[float, ...]:
    """Return noise levels, which a suite would accept; raise ``ParameterError`` for any others."""
    if not (levels := make_scoring(sigmas=sigmas).sigmas):
        raise ParameterError(f"sigmas={MEASURED}; accepted: numbers greater than 0, such as 0.1")
    return levels


def accepted_fields(location: Location) -> list[str]:
    """Return the accepted fields at a location of a suite file."""
    sections: dict[str | int, type[BaseModel]] = {
        "training": Training, "scoring": Scoring, "limits": Limits, "sampling": Sampling
    }  # fmt: skip
    model = next((sections[part] for part in reversed(location) if part in sections), SuiteFile)
    return list(model.model_fields)


def noise_levels(scoring: Scoring, dataset: Dataset) -> list[float]:
    """Return the noise levels at which a dataset is scored; a single level for recorded noise."""
    if scoring.sigmas:
        if dataset.noise_kind is not None:
            raise DataError(f"the images are noisy, without clean references; accepted: sigmas={MEASURED}")
        return list(scoring.sigmas)
    if (level := captured_level(dataset, scored_images(scoring, dataset, "test"))) is None:
        raise DataError("the dataset has no recorded noisy images; accepted: sigmas=[0.1, 0.2], or captures")
    return [level]


def scored_images(scoring: Scoring, dataset: Dataset, split: Split) -> int:
    """Return the number of images of a split that are scored, at most those that it has."""
    available = dataset.available(split)
    if scoring.images != "all":
        return min(scoring.images, available or scoring.images)
    if not available:
        problem = f"images=all requested from the {split} split, which is endless or empty"
        raise DataError(f"{problem}; accepted: a number, and smaller datasets are scored on all their images")
    return available


def refusal_without_clean(metric: type[Metric] | Metric, noise: NoiseKind) -> str | None:
    """Return why a metric is refused on noisy images without clean references; ``None`` if it is accepted."""
    if noise in metric.without_clean:
        return None
    return (
        f"the metric needs clean images, and these are noisy, by noise of the kind '{noise}'; accepted: sure under "
        "white noise, masked-error under white or independent noise, bursts of three or more captures"
    )
