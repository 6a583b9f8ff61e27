"""Files of claims: the claims of one paper in YAML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gahbench._util.core_yaml import as_number
from gahbench.contracts.citation import Citation
from gahbench.contracts.claims import (
    Checked,
    Claim,
    Compared,
    Condition,
    Fact,
    Levels,
    Measure,
    Region,
    Scale,
    Slope,
    Take,
)
from gahbench.planning.yaml_lines import Document, Location

_FROZEN = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, populate_by_name=True)


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str | int | float) else tuple(value) if isinstance(value, list) else value


def _levels(value: Any) -> Any:
    if isinstance(value, str) and not value[:1].isdigit() and value[:1] != ".":
        return {"take": value}
    return {"at": value} if isinstance(value, str | int | float | list) else value


_Number = Annotated[float, BeforeValidator(as_number)]
_Texts = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]


class _Fields(BaseModel):
    model_config = _FROZEN


class RegionFields(_Fields):
    """The fields of a region: its ends."""

    start: _Number | None = Field(default=None, alias="from")
    end: _Number | None = Field(default=None, alias="to")
    above: _Number | None = None
    below: _Number | None = None

    def made(self) -> Region:
        """Return the region."""
        return Region(self.start, self.end, self.above, self.below)


class LevelsFields(_Fields):
    """The fields of levels: ``each``, numbers, or a range."""

    take: Take = "each"
    at: Annotated[tuple[_Number, ...], BeforeValidator(_several)] = ()
    start: _Number = Field(default=0.0, alias="from")
    end: _Number | None = Field(default=None, alias="to")

    def made(self) -> Levels:
        """Return the levels."""
        return Levels(self.take, self.at, self.start, math.inf if self.end is None else self.end)


_Levels = Annotated[LevelsFields, BeforeValidator(_levels)]


class ComparedFields(_Fields):
    """The fields of what a value is compared with."""

    metric: _Texts | None = None
    entrant: str = ""
    dataset: str = ""
    split: str = ""
    number: _Levels | None = Field(default=None, alias="N")

    def made(self) -> Compared:
        """Return the comparison."""
        number = None if self.number is None else self.number.made()
        return Compared(self.metric or (), self.entrant, self.dataset, self.split, number)


class MeasureFields(_Fields):
    """The fields of a measure."""

    metric: str
    entrants: _Texts = ("*",)
    datasets: _Texts = ("*",)
    without: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()
    split: str = "test"
    sigma: _Levels = Field(default_factory=LevelsFields)
    number: _Levels | None = Field(default=None, alias="N")
    minus: ComparedFields | None = None
    over: ComparedFields | None = None
    scale: Scale = "linear"
    slope: Slope | None = None

    def made(self) -> Measure:
        """Return the measure."""
        return Measure(
            self.metric,
            self.entrants,
            self.datasets,
            self.without,
            self.split,
            self.sigma.made(),
            None if self.number is None else self.number.made(),
            None if self.minus is None else self.minus.made(),
            None if self.over is None else self.over.made(),
            self.scale,
            self.slope,
        )


class ConditionFields(_Fields):
    """The fields of a condition: a fact, or a measure, and its region."""

    fact: Fact | None = None
    measure: MeasureFields | None = None
    region: RegionFields

    def made(self) -> Condition:
        """Return the condition."""
        if (self.fact is None) == (self.measure is None):
            raise ValueError("a condition has either a fact or a measure")
        of = self.fact if self.fact is not None else self.measure.made() if self.measure is not None else "images"
        return Condition(of, self.region.made())


class ClaimFields(_Fields):
    """The fields of a claim."""

    place: str
    checked: Checked
    statement: str
    published: str = ""
    reading: str = ""
    missing: str = ""
    measure: MeasureFields
    region: RegionFields
    requires: tuple[ConditionFields, ...] = Field(default=(), strict=False)
    suite: str
    full_scale: str | None = None


class PaperFields(_Fields):
    """The fields of a file of claims."""

    paper: dict[str, Any]
    suites: dict[str, dict[str, Any]] = Field(default_factory=dict)
    claims: dict[str, ClaimFields] = Field(min_length=1)


#: The models of the mappings in a file, by the last part of their place.
_MODELS: dict[str, type[BaseModel]] = {
    "measure": MeasureFields,
    "region": RegionFields,
    "requires": ConditionFields,
    "minus": ComparedFields,
    "over": ComparedFields,
    "sigma": LevelsFields,
    "N": LevelsFields,
}


def read_claims(file: str) -> tuple[Claim, ...]:
    """Read the claims of one paper from a YAML file.

    Parameters
    ----------
    file
        The file.

    Returns
    -------
    tuple of Claim
        In the order of the file.

    Raises
    ------
    SuiteError
        Naming the file, the line, the field, and what is accepted.
    """
    document = Document(Path(file))
    if not isinstance(document.content, dict):
        raise document.error((), "a file of claims is a mapping with the fields paper, suites, claims")
    try:
        parsed = PaperFields.model_validate(document.content)
    except pydantic.ValidationError as error:
        raise document.validation_error(error, _accepted) from error
    known = {one.name for one in fields(Citation)}
    for name in parsed.paper:
        if name not in known:
            raise document.error(("paper", name), f"unknown field 'paper.{name}'; accepted: {', '.join(sorted(known))}")
    try:
        paper = Citation(**parsed.paper)
    except (TypeError, ValueError) as error:
        raise document.error(("paper",), f"paper: {error}") from error
    return tuple(_claim(document, name, found, paper, parsed.suites) for name, found in parsed.claims.items())


def _claim(
    document: Document, name: str, found: ClaimFields, paper: Citation, suites: Mapping[str, Mapping[str, Any]]
) -> Claim:
    made: dict[str, Any] = {}
    for part in ("measure", "region", "requires"):
        try:
            value = getattr(found, part)
            made[part] = tuple(one.made() for one in value) if isinstance(value, tuple) else value.made()
        except ValueError as error:
            raise document.error(("claims", name, part), f"claims.{name}.{part}: {error}") from error
    try:
        for part in ("statement", "published", "reading", "missing"):
            made[part] = " ".join(getattr(found, part).split())
        full = found.full_scale
        return Claim(
            id=name,
            paper=paper,
            place=found.place,
            checked=found.checked,
            suite=suites.get(found.suite, found.suite),
            full_scale=None if full is None else suites.get(full, full),
            **made,
        )
    except ValueError as error:
        raise document.error(("claims", name), f"claims.{name}: {error}") from error


def _accepted(location: Location) -> list[str]:
    """Return the accepted fields at a place of a file of claims."""
    names = [part for part in location if isinstance(part, str)]
    model: type[BaseModel] = PaperFields if not names else ClaimFields
    if len(names) > 2:
        model = next((_MODELS[name] for name in reversed(names) if name in _MODELS), ClaimFields)
    return [one.alias or name for name, one in model.model_fields.items()]
