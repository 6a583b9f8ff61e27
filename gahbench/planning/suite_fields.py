"""The fields of a suite file, as they are checked before any plugin is looked up."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from gahbench._util.core_yaml import as_number
from gahbench._util.errors import DataError
from gahbench.contracts.datasets import Dataset, Split
from gahbench.contracts.engines import Limits
from gahbench.planning.yaml_lines import Location
from gahbench.sampling.settings import Sampling
from gahbench.training.recipe import Training

_FROZEN = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
#: Characters of a suite's name, which is that of a folder.
MAX_NAME = 100

#: A list with at least one value.
_SOME = Field(min_length=1, strict=False)

Entry = str | dict[str, dict[str, Any] | None]


def entry_name(entry: Entry) -> str:
    """Return the name of the plugin in an entry that may still be wrong."""
    return entry.partition("[")[0].strip() if isinstance(entry, str) else next(iter(entry), "")


def _ranks(metrics: tuple[Entry, ...]) -> tuple[Entry, ...]:
    if "psnr" not in map(entry_name, metrics):
        raise ValueError("must have psnr, which the board ranks by")
    return metrics


def _has_test(splits: tuple[Split, ...]) -> tuple[Split, ...]:
    if "test" not in splits:
        raise ValueError(f"must have test, which the board shows and ranks by; accepted: {['test', *splits]}")
    return splits


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(map(repr, values))) < len(values):
        raise ValueError("repeats a value")
    return values


class Scoring(BaseModel):
    """The scoring of entrants.

    Parameters
    ----------
    sigmas
        Noise levels, in units where images lie in [0, 1]; ``25/255`` is accepted.
    images
        Images of each split that are scored; ``all`` of those that a dataset holds.
    splits
        ``test``, which the board ranks by, and others for comparison.
    metrics
        Metrics, by name and parameters.
    noise_seed
        Seed of the noise, which is the same for every entrant.
    sampling
        How images are sampled, for metrics of samples.
    jacobian_precision
        ``auto``: Jacobians of networks of rectifiers are from products in bfloat16, where these were timed to be at
        least 15 % faster, and are accurate to 1 %, and to 5 % of what filters do beyond their strength; ``float32``:
        never.
    """

    model_config = _FROZEN

    sigmas: Annotated[
        tuple[Annotated[float, Field(gt=0, le=100), BeforeValidator(as_number)], ...], _SOME, AfterValidator(_distinct)
    ]
    images: Annotated[int, Field(ge=1)] | Literal["all"] = 100
    splits: Annotated[tuple[Split, ...], _SOME, AfterValidator(_distinct), AfterValidator(_has_test)] = ("test",)
    metrics: Annotated[tuple[Entry, ...], _SOME, AfterValidator(_distinct), AfterValidator(_ranks)] = ("psnr",)
    noise_seed: int = 0
    sampling: Annotated[Sampling, Field(default_factory=Sampling)]
    jacobian_precision: Literal["auto", "float32"] = "auto"


class SuiteFile(BaseModel):
    """The fields of a suite file.

    Parameters
    ----------
    name
        Name of the suite.
    description
        A sentence or two, for ``gahbench list``.
    datasets, entrants
        Plugins, each ``name``, ``name[key=value]`` or ``name: {key: value}``; a list of values is a grid. So are the
        plugins that a parameter names.
    baseline
        The entrant that others' gains are measured from.
    training
        The training of architectures.
    scoring
        The scoring of entrants.
    seeds
        One fit for each; names initialisation, order of images and training noise.
    limits
        Seconds that units may take.
    plugins
        Plugin files, or folders of them, relative to the suite's file.
    """

    model_config = _FROZEN

    name: Annotated[str, Field(pattern=_NAME, max_length=MAX_NAME)]
    description: str = ""
    datasets: Annotated[tuple[Entry, ...], _SOME]
    entrants: Annotated[tuple[Entry, ...], _SOME]
    baseline: str | None = None
    training: Annotated[Training, Field(default_factory=lambda: Training.model_validate({}))]
    scoring: Scoring
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], _SOME, AfterValidator(_distinct)] = (0,)
    limits: Annotated[Limits, Field(default_factory=Limits)]
    plugins: Annotated[tuple[str, ...], Field(strict=False)] = ()


def accepted_fields(location: Location) -> list[str]:
    """Return the accepted fields at a location of a suite file."""
    models: dict[str, type[BaseModel]] = {"training": Training, "scoring": Scoring, "limits": Limits}
    if tuple(location[:2]) == ("scoring", "sampling"):
        return list(Sampling.model_fields)
    model = models.get(str(location[0]) if location else "", SuiteFile)
    return list(model.model_fields)


def scored_images(scoring: Scoring, dataset: Dataset, split: Split) -> int:
    """Return how many images of a split are scored."""
    if scoring.images != "all":
        return scoring.images
    available = dataset.available(split)
    if not available:
        what = "never ends" if available is None else "holds none"
        raise DataError(f"images=all asked of the {split} split, which {what}; accepted: a number")
    return available
