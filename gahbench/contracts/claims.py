"""Claims: statements of publications, each as a quantity in the tidy table and the region in which it must lie.

The guide ``plugins/claims/README.md`` describes the fields of all classes, which YAML files of claims set.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from gahbench._util.core_yaml import Document, Location, as_number
from gahbench.contracts.citation import Citation, as_citation

Outcome = Literal["holds", "fails", "undecided", "not measured"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

Checked = Literal["text", "abstract", "code", "unverified"]
#: The source that a statement and its numbers were compared with, in words. Unverified claims are not counted.
CHECKED: dict[Checked, str] = {
    "text": "compared with the paper's text",
    "abstract": "compared with the paper's abstract",
    "code": "compared with the published code",
    "unverified": "unverified",
}

Take = Literal["each", "mean", "slope", "lowest", "highest"]
Fact = Literal["images", "levels", "N", "side", "steps"]

#: Names of fields in YAML files that differ from the names of attributes.
FILE_NAMES = {"start": "from", "end": "to", "number": "N", "metrics": "metric"}


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str | int | float) else value


def _as_levels(value: Any) -> Any:
    if isinstance(value, str) and value.isalpha():
        return {"take": value}
    return {"at": value} if isinstance(value, str | int | float | list) else value


#: Types of fields as YAML files write them.
_Number = Annotated[float, Field(strict=True), BeforeValidator(as_number)]
_Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
_Line = Annotated[str, AfterValidator(lambda text: " ".join(text.split()))]


class _Fields:
    """Base of the parts of a claim, which are read from files."""

    __pydantic_config__ = ConfigDict(
        extra="forbid", allow_inf_nan=False, alias_generator=lambda name: FILE_NAMES.get(name, name)
    )


@dataclass(frozen=True)
class Region(_Fields):
    """The interval in which a value must lie for a claim to hold; ``above`` and ``below`` are ends outside of it."""

    start: _Number | None = None
    end: _Number | None = None
    above: _Number | None = None
    below: _Number | None = None

    def __post_init__(self) -> None:
        ends = [end for end in (self.start, self.above, self.end, self.below) if end is not None]
        has_two = None not in (self.start, self.above) or None not in (self.end, self.below)
        if not ends or has_two or not self._accepts(self.high, self.low):
            raise ValueError(
                "a region has one end on each side, or only one end: from or above, and to or below; it is not empty"
            )

    @property
    def low(self) -> float:
        """The lower end; minus infinity if the region is unbounded below."""
        return next((end for end in (self.start, self.above) if end is not None), -math.inf)

    @property
    def high(self) -> float:
        """The upper end; infinity if the region is unbounded above."""
        return next((end for end in (self.end, self.below) if end is not None), math.inf)

    def outcome(self, low: float, high: float) -> Outcome:
        """Return ``holds`` if an interval lies inside the region, ``fails`` if outside, otherwise ``undecided``."""
        if not low <= high:  # An end may be NaN.
            return "undecided"
        if self._accepts(low, high):
            return "holds"
        return "undecided" if self._accepts(high, low) else "fails"

    def _accepts(self, first: float, second: float) -> bool:
        """Return whether the lower end of the region accepts a first value, and the upper end a second one."""
        above = first >= self.low if self.above is None else first > self.low
        return above and (second <= self.high if self.below is None else second < self.high)

    def __str__(self) -> str:
        if self.start is not None and self.end is not None:
            text = f"{self.start:g} to {self.end:g}"
        else:
            ends = {"≥": self.start, ">": self.above, "≤": self.end, "<": self.below}
            text = " and ".join(f"{sign} {end:g}" for sign, end in ends.items() if end is not None)
        return text.replace("-", "−")


@dataclass(frozen=True)
class Levels(_Fields):
    """A choice of noise levels, or of numbers of training images, and how values at them are reduced."""

    take: Take = "each"
    at: Annotated[tuple[Annotated[_Number, Field(gt=0)], ...], BeforeValidator(_as_tuple)] = ()
    start: _Number = 0.0
    end: _Number = math.inf

    def __post_init__(self) -> None:
        if self.start > self.end:
            raise ValueError(f"'from' is at most 'to', not {self}")

    def choose(self, known: Iterable[float]) -> list[float]:
        """Return the wanted levels among known levels, in ascending order; none if a wanted level is missing."""
        levels = sorted(level for level in known if self.start <= level <= self.end)
        if self.at:
            levels = sorted(self.at) if {*self.at} <= {*levels} else []
        return {"lowest": levels[:1], "highest": levels[-1:]}.get(self.take, levels)

    def __str__(self) -> str:
        levels = "" if (self.start, self.end) == (0, math.inf) else f" of {self.start:g} to {self.end:g}"
        return ", ".join(f"{level:g}" for level in self.at) or f"{self.take}{levels}"


_Levels = Annotated[Levels, BeforeValidator(_as_levels)]


@dataclass(frozen=True)
class Compared(_Fields):
    """The measure that a value is compared with, given by the fields that differ from the value's measure."""

    metrics: _Texts = ()
    entrant: str = ""
    dataset: str = ""
    split: str = ""

    def __post_init__(self) -> None:
        if not (self.metrics or self.entrant or self.dataset or self.split):
            raise ValueError("a comparison needs at least one of metric, entrant, dataset, split")


@dataclass(frozen=True)
class Measure(_Fields):
    """A query on the tidy table: means over images and seeds, optionally compared with another measure and reduced.

    With ``these_images``, it is about the scored images alone, so that intervals are over training seeds.
    """

    metric: Annotated[str, Field(min_length=1)]
    entrants: Annotated[_Texts, Field(min_length=1)] = ("*",)
    datasets: Annotated[_Texts, Field(min_length=1)] = ("*",)
    without: _Texts = ()
    split: str = "test"
    sigma: _Levels = field(default_factory=Levels)
    number: _Levels | None = None
    minus: Compared | None = None
    over: Compared | None = None
    scale: Literal["linear", "log10"] = "linear"
    these_images: bool = False

    def __post_init__(self) -> None:
        if self.minus is not None and self.over is not None:
            raise ValueError("a measure has either minus or over, not both")


@dataclass(frozen=True)
class Condition(_Fields):
    """The region of a fact about a case, or of a measure of it, that the case must meet for a claim to apply to it."""

    region: Region
    fact: Fact | None = None
    measure: Measure | None = None

    def __post_init__(self) -> None:
        if (self.fact is None) == (self.measure is None):
            raise ValueError("a condition needs either a fact or a measure, not both")


@dataclass(frozen=True)
class Claim(_Fields):
    """A statement of a publication, and the measure and region by which gahbench decides on it."""

    id: Annotated[str, Field(pattern="^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$")]
    paper: Citation
    location: _Line
    checked: Checked
    statement: _Line
    measure: Measure
    region: Region
    suite: str | Mapping[str, Any]
    full_scale: str | Mapping[str, Any] | None = None
    requires: tuple[Condition, ...] = ()
    published: _Line = ""
    reading: _Line = ""
    missing: _Line = ""

    @property
    def source(self) -> str:
        """Where the publication states the claim, and what the statement was compared with."""
        return f"{self.location}; {CHECKED[self.checked]}"


@dataclass(frozen=True)
class _Paper(_Fields):
    """The fields of a file of claims."""

    paper: Annotated[Citation, BeforeValidator(lambda work: as_citation(work) if isinstance(work, str) else work)]
    claims: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    suites: dict[str, dict[str, Any]] = field(default_factory=dict)


#: Types of the mappings in a file, by the name of the field.
_TYPES: dict[str | int, Any] = {
    "paper": Citation, "claims": Claim, "measure": Measure, "region": Region, "requires": Condition,
    "minus": Compared, "over": Compared, "sigma": Levels, "N": Levels,
}  # fmt: skip
_PAPER, _CLAIM = TypeAdapter(_Paper), TypeAdapter(Claim)


def read_claims(file: str) -> tuple[Claim, ...]:
    """Read the claims of a paper from a YAML file.

    Parameters
    ----------
    file
        Path of the file.

    Returns
    -------
    tuple of Claim
        Claims in the order of the file.

    Raises
    ------
    SuiteError
        If the file is invalid. The message names the file, the line, the field, and what is accepted.

    Examples
    --------
    In a clone of the repository:

    >>> import gahbench
    >>> [claim.id for claim in gahbench.read_claims("plugins/claims/miyasawa-1961.yaml")][:1]
    ['optimum-symmetric']
    """
    document, claims = Document(Path(file)), list[Claim]()
    location: Location = ()
    try:
        parsed = _PAPER.validate_python(document.content)
        for name, values in parsed.claims.items():
            location = ("claims", name)
            named = {key: values[key] for key in ("suite", "full_scale") if key in values}
            suites = {key: parsed.suites.get(str(suite), suite) for key, suite in named.items()}
            claims.append(_CLAIM.validate_python({**values, **suites, "id": name, "paper": parsed.paper}))
    except ValidationError as error:
        raise document.validation_error(error, accepted_fields, location) from error
    return tuple(claims)


def accepted_fields(location: Location) -> list[str]:
    """Return the accepted fields at a location in a file; files set id and paper of a claim outside its mapping."""
    kind = next((_TYPES[part] for part in reversed(location) if part in _TYPES), _Paper)
    names = [item.name for item in fields(kind) if kind is not Claim or item.name not in ("id", "paper")]
    return [FILE_NAMES.get(name, name) for name in names]
