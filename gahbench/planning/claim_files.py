"""YAML files of claims, each about a single paper."""

from __future__ import annotations

import functools
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from gahbench._util.core_yaml import Document, Location
from gahbench.contracts.citation import Citation
from gahbench.contracts.claims import FILE_NAMES, Claim, Compared, Condition, Levels, Measure, Region

#: Types of the mappings in a claim, by the name of the field.
_TYPES: dict[str, type[Any]] = {
    "measure": Measure,
    "region": Region,
    "requires": Condition,
    "minus": Compared,
    "over": Compared,
    "sigma": Levels,
    "N": Levels,
}
#: Fields of a claim that a file sets outside the claim's mapping.
_OUTSIDE = ("id", "paper")


class PaperFields(BaseModel):
    """The fields of a file of claims."""

    model_config = ConfigDict(extra="forbid", strict=True)

    paper: dict[str, Any]
    suites: dict[str, dict[str, Any]] = Field(default_factory=dict)
    claims: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]


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
    document = Document(Path(file))
    if not isinstance(document.content, dict):
        raise document.error((), "a file of claims is a mapping with the fields paper, suites, claims")
    try:
        parsed = PaperFields.model_validate(document.content)
    except pydantic.ValidationError as error:
        raise document.validation_error(error, lambda location: list(PaperFields.model_fields)) from error
    known = [field.name for field in fields(Citation)]
    for name in parsed.paper:
        if name not in known:
            raise document.unknown_field(("paper", name), known)
    try:
        paper = Citation(**parsed.paper)
    except (TypeError, ValueError) as error:
        raise document.error(("paper",), f"paper: {error}") from error
    claims, adapter = [], _claim_adapter()
    for name, values in parsed.claims.items():
        for field in values:
            if field not in accepted_fields(()):
                raise document.unknown_field(("claims", name, field), accepted_fields(()))
        suites = {
            field: parsed.suites.get(values[field], values[field])
            for field in ("suite", "full_scale")
            if isinstance(values.get(field), str)
        }
        try:
            claim = adapter.validate_python({**values, **suites, "id": name, "paper": paper})
        except pydantic.ValidationError as error:
            raise document.validation_error(error, accepted_fields, ("claims", name)) from error
        claims.append(claim)
    return tuple(claims)


@functools.cache
def _claim_adapter() -> pydantic.TypeAdapter[Claim]:
    """Return the validator of claims; cached, since building it takes longer than a file of claims."""
    return pydantic.TypeAdapter(Claim)


def accepted_fields(location: Location) -> list[str]:
    """Return the accepted fields at a location in a claim."""
    kind = next((_TYPES[part] for part in reversed(location) if part in _TYPES), Claim)
    return [FILE_NAMES.get(field.name, field.name) for field in fields(kind) if field.name not in _OUTSIDE]
